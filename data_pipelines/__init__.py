"""Data for training: sources of clips, and the commands that make records of them."""
