"""Records on disk: schema, shards, loader, augmentation, evaluation examples."""
