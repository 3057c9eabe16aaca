"""Codecs: waveforms to latents or codes, and back."""
