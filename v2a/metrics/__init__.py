"""Metrics, and the classifiers and embedders that they need."""
