"""Items of sources as examples of TFDS.

An example is whole by itself: it holds the bytes of its media file, and everything that the source says about
the clip. Nothing is decoded, cut or resampled, so that it can be read without TensorFlow, and decoded at any
size and rate. The names of the features are keys of `sources.tfds`, which turns examples into the items that
they were made of.

Times are whole microseconds, since the floating point numbers of an example have 32 bits only.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.sources import items

# A clip of 10 s has a few MB. An example is held in memory several times while it is written, and its format
# ends at 2 GB.
MAX_MEDIA_BYTES = 256 << 20


def features(**more: Any) -> tfds.features.FeaturesDict:
  """Returns the features of an example.

  Args:
    **more: features that only some data sets have.
  """
  text = tfds.features.Text
  return tfds.features.FeaturesDict(
    {
      'id': text(doc='of the clip, unique in its split'),
      'group': text(doc='what must not be in two splits, such as the video from which the clip was cut'),
      'media': tfds.features.Tensor(
        shape=(), dtype=np.object_, doc='bytes of a file of video, sound or both'
      ),
      'suffix': text(doc="of the name of the file, such as '.mp4'"),
      'start_us': tfds.features.Scalar(np.int64, doc='start of the clip in the file, in microseconds'),
      'end_us': tfds.features.Scalar(np.int64, doc='its end in microseconds; -1 for the end of the file'),
      'label': tfds.features.Sequence(text(), doc='names of classes'),
      'caption': tfds.features.Sequence(text(), doc='descriptions of the sound'),
      'transcript': text(doc='spoken words'),
      'annotations': text(doc='all that is known about the clip, with times and origins, as JSON'),
      'licence': text(doc='SPDX identifier or name; empty if it is not known'),
      **more,
    }
  )


def encode(item: items.Item) -> Mapping[str, Any]:
  """Returns the example of an item.

  Raises:
    OSError: its media cannot be read, is empty, or has more than MAX_MEDIA_BYTES.
  """
  captions = item.annotations.captions
  with item.media.as_file() as path:
    num_bytes = path.stat().st_size
    if not 0 < num_bytes <= MAX_MEDIA_BYTES:
      raise OSError(f'wanted a file of 1 to {MAX_MEDIA_BYTES} bytes; got {num_bytes}')
    media = path.read_bytes()
  return {
    'id': item.id,
    'group': item.group,
    'media': media,
    'suffix': pathlib.PurePath(item.media.name).suffix.lower(),
    'start_us': round(item.start_s * 1e6),
    'end_us': -1 if item.end_s is None else round(item.end_s * 1e6),
    'label': [each.text for each in captions if each.style == 'label'],
    'caption': [each.text for each in captions if each.style in ('short', 'detailed')],
    'transcript': item.annotations.transcript.text,
    'annotations': json.dumps(item.annotations.to_json(), ensure_ascii=False),
    'licence': item.licence or '',
  }
