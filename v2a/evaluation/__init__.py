"""Evaluation: measuring tools that are themselves measured, and the figures of the world."""
