"""The procedural audiovisual world: clips whose sound is caused by what is seen, with exact ground truth."""
