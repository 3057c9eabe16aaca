"""Commands that create assets of the package: classifiers, the synthetic embedder, OOD statistics."""
