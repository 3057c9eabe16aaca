"""Video, text and transcript to one Condition."""
