"""Networks that turn a clip into embeddings and class logits; see `embedder`."""
