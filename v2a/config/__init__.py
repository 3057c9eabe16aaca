"""Configuration: every key with unit, default and meaning; files of them."""
