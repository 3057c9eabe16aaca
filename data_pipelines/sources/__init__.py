"""Sources of training data: readers of folders, manifests and public data sets."""
