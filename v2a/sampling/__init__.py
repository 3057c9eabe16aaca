"""Sampling: requests, windows, samplers, the model bundle, and the pipeline, which also ranks samples."""
