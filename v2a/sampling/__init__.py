"""Sampling: requests, windows, samplers, the model bundle and the pipeline that joins them."""
