"""Evaluation: one system, several systems compared, robustness to corrupted video, callbacks of training."""
