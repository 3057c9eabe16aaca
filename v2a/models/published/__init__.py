"""Networks that others published, and their weights in their published layout."""
