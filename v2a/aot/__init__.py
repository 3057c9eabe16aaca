"""Training steps compiled ahead of time for chips that are not here: does it fit, and what bounds it."""
