"""Waves to latents and codes, and back."""
