"""Checkpoints on shared storage and on each machine's own storage."""
