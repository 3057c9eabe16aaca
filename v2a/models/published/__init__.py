"""Published networks as JAX functions of their weights in the published layout."""
