"""These tests need TensorFlow Datasets, which only `make test-tfds` has."""

import importlib.util

collect_ignore_glob = [] if importlib.util.find_spec('tensorflow_datasets') else ['test_*.py']
