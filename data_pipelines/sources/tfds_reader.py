"""Examples of prepared data sets of TFDS, by position and with some of their features only.

Of the file formats of TFDS, ArrayRecord is read without TensorFlow, and one example in constant time; the
others are read with tf.data. Both libraries are imported when a data set is read, not before.
"""

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import importlib
import os
from typing import Any

import numpy as np

_WITHOUT_TENSORFLOW = 'array_record'


@functools.lru_cache(maxsize=8)
def builder(dataset: str, data_dir: str | None) -> Any:
  """Returns the builder of a prepared data set.

  Raises:
    ValueError: TFDS is not installed, knows no such data set, or it is not prepared.
  """
  module = _imported('tensorflow_datasets')
  try:
    found = module.builder(dataset, data_dir=data_dir)
  except (module.core.DatasetNotFoundError, AssertionError) as error:
    raise ValueError(f'{dataset}: TFDS knows no such data set: {str(error).splitlines()[0]}') from error
  if not found.info.splits:
    raise ValueError(f'{dataset}: is not prepared in {found.data_dir}; run: tfds build {dataset}')
  return found


def feature(features: Any, path: str, dataset: str) -> Any:
  """Returns a feature by its path, such as 'clip/frames'.

  Args:
    features: of the data set.
    path: names, separated by '/'.
    dataset: its name, for the message.

  Raises:
    ValueError: there is no such feature.
  """
  found = features
  for part in path.split('/'):
    if part not in found:
      raise ValueError(f'{dataset}: has no feature {path!r}; known are {", ".join(found)}.')
    found = found[part]
  return found


def examples(found: Any, split: str, paths: Sequence[str]) -> Iterator[Mapping[str, Any]]:
  """Yields the examples of a split with some features only, in the order of their positions.

  Args:
    found: see `builder`.
    split: its name.
    paths: of the features, see `feature`.
  """
  if not paths:
    yield from ({} for _ in range(found.info.splits[split].num_examples))
    return
  module = _imported('tensorflow_datasets')
  wanted = _subset(found.info.features, paths)
  if _is_random_access(found):
    features = module.features.FeaturesDict(wanted)
    for record in _records(found, split):
      yield features.deserialize_example_np(record)
    return
  _import_tensorflow()
  # One file after the other: several at a time would be in another order than the positions.
  data = found.as_dataset(
    split=split,
    decoders=module.decode.PartialDecoding(wanted),
    read_config=module.ReadConfig(interleave_cycle_length=1),
    shuffle_files=False,
  )
  yield from module.as_numpy(data)


def example(found: Any, split: str, index: int) -> Mapping[str, Any] | None:
  """Returns the example at a position of a split, with all features; None if there is none.

  Args:
    found: see `builder`.
    split: its name.
    index: the position.
  """
  if index >= found.info.splits[split].num_examples:
    return None
  if _is_random_access(found):
    return found.info.features.deserialize_example_np(_records(found, split)[index])
  _import_tensorflow()
  module = _imported('tensorflow_datasets')
  return next(iter(module.as_numpy(found.as_dataset(split=f'{split}[{index}:{index + 1}]'))), None)


def value(found: Mapping[str, Any], path: str) -> Any:
  """Returns the value of a feature of an example; path: see `feature`."""
  for part in path.split('/'):
    found = found[part]
  return found


def texts(of: Any, found: Any) -> list[str]:
  """Returns the texts of a feature; class labels become their names.

  Args:
    of: the feature.
    found: its value.
  """
  to_name = getattr(getattr(of, 'feature', of), 'int2str', None)
  listed = []
  for each in np.atleast_1d(np.asarray(found, dtype=object)):
    if isinstance(each, bytes):
      listed.append(each.decode('utf-8', 'replace'))
    else:
      listed.append(to_name(int(each)) if to_name else str(each))
  return listed


def _is_random_access(found: Any) -> bool:
  return found.info.file_format.value == _WITHOUT_TENSORFLOW


@functools.lru_cache(maxsize=8)
def _records(found: Any, split: str) -> Sequence[bytes]:
  """Returns the records of a split as they are in the files; files stay open."""
  module = _imported('tensorflow_datasets')
  raw = module.decode.DeserializeMethod.RAW_BYTES
  return found.as_data_source(split=split, deserialize_method=raw)


def _subset(features: Any, paths: Sequence[str]) -> dict[str, Any]:
  """Returns the features at some paths, nested as they are; a sequence of several features is left whole."""
  wanted: dict[str, Any] = {}
  for path in paths:
    *parents, last = path.split('/')
    inner, found = wanted, features
    for part in parents:
      if not isinstance(found[part], type(features)):
        last = part
        break
      inner, found = inner.setdefault(part, {}), found[part]
    inner[last] = found[last]
  return wanted


@functools.cache
def _import_tensorflow() -> None:
  """Imports TensorFlow, and keeps it off the accelerators."""
  # Without its messages about the processor.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  _imported('tensorflow').config.set_visible_devices([], 'GPU')


@functools.cache
def _imported(name: str) -> Any:
  """Returns a module of the extra."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ValueError(
      f"data sets of TFDS need tensorflow-datasets and tensorflow; pip install 'v2a[tfds]' ({error})."
    ) from error
