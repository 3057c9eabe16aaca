"""Encoders of video, text and transcript, and the Condition that they make."""
