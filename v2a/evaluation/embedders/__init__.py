"""Networks that turn a clip into embeddings and class logits, behind one protocol; see `embedder`."""
