"""Filters: numbers that tell which clips are fit for training, and thresholds that decide."""
