"""Rectified flow on latents: process, loss, samplers. Independent of the network: takes a predict_fn."""
