"""Commands of this repository that make what the package ships: classifiers, embedder, OOD statistics."""
