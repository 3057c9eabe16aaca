"""Types of TensorFlow Datasets, which the environment lacks, as far as data_pipelines.tfds uses it."""

from typing import Any

from tensorflow_datasets import core as core

decode: Any
download: Any
features: Any
