"""Embedders: networks that turn a clip into embeddings, class logits and scores; see `embedder`."""
