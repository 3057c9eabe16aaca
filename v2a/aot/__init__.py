"""Ahead-of-time compilation of training steps for TPUs that are not present: memory, traffic, roofline."""
