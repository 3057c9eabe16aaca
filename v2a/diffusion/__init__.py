"""Rectified flow on latents: process, loss, guidance, samplers. Knows no network: takes a predict_fn."""
