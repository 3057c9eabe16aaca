"""Media records: clips as compressed video and FLAC at their own size and rate, decoded when they are read.

A record is one map of MessagePack (https://msgpack.org), which libraries of all languages read:

  {'version': 1, 'id': ..., 'video': bytes of a video file, 'audio': bytes of a FLAC file, ...}

Unlike tf.train.Example it nests (annotations with their words, times and origins), and reading it needs
neither TensorFlow nor a copy of its protocol buffers. Media are stored as bytes, so the ArrayRecord file
around them need not compress.

Times are seconds on the clock of the clip: t=0 is its start. Sample k of the sound is at k / sample rate; the
clip starts at `video_start_s` of the video file, which is 0 unless its container cannot hide earlier frames.
The video is stored whole; its black bars are left out when frames are read.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import msgpack

from v2a.data import annotations as annotations_lib
from v2a.media import crop as crop_lib

VERSION = 1


@dataclasses.dataclass(frozen=True)
class MediaRecord:
  """A clip.

  Attributes:
    id: unique in its data set.
    group: what must never be in two splits, such as the video from which it was cut.
    duration_s: of the clip.
    video: content of a video file without sound; b'' if the clip has no video.
    video_suffix: of that file, such as '.mp4'; '' without video.
    video_start_s: time in that file at which the clip starts.
    audio: content of a FLAC file; b'' if the clip has no sound.
    annotations: what is known about the sound.
    licence: SPDX identifier or name; None if it is not known.
    measured: number of each filter by its name; None where it could not be measured.
    crop: what is read of the frames, without black bars; None, and absent from the bytes, for all.
  """

  id: str
  group: str
  duration_s: float
  video: bytes = b''
  video_suffix: str = ''
  video_start_s: float = 0.0
  audio: bytes = b''
  annotations: annotations_lib.Annotations = annotations_lib.Annotations()
  licence: str | None = None
  measured: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
  crop: crop_lib.CropBox | None = None

  def __post_init__(self):
    if not self.id or not self.group:
      raise ValueError(f'a record needs an id and a group; got {self.id!r} and {self.group!r}.')
    if not self.duration_s > 0:
      raise ValueError(f'record {self.id!r} must last longer than 0 s; got {self.duration_s}.')
    if not self.video and not self.audio:
      raise ValueError(f'record {self.id!r} must have video or sound; got neither.')

  def to_bytes(self) -> bytes:
    """Returns the record as MessagePack. Equal records give equal bytes."""
    values = {'version': VERSION, **vars(self)}
    values['annotations'] = self.annotations.to_json()
    values['measured'] = dict(sorted(self.measured.items()))
    del values['crop']
    if self.crop is not None:
      values['crop'] = dataclasses.asdict(self.crop)
    return msgpack.packb(values, use_bin_type=True)

  @classmethod
  def from_bytes(cls, data: bytes) -> 'MediaRecord':
    """Returns the record of `to_bytes`.

    Raises:
      ValueError: the bytes are no record, or have another version.
    """
    try:
      values: Any = msgpack.unpackb(data, raw=False)
      version = values.pop('version')
    except (ValueError, TypeError, AttributeError, KeyError, msgpack.UnpackException) as error:
      raise ValueError(f'Not a media record: got bytes that begin with {data[:8]!r} ({error}).') from error
    if version != VERSION:
      raise ValueError(f'A media record has version {version!r}; wanted {VERSION}.')
    try:
      annotations = annotations_lib.Annotations.from_json(values['annotations'])
      box = crop_lib.CropBox(**values['crop']) if 'crop' in values else None
      return cls(**values | {'annotations': annotations, 'crop': box})
    except (TypeError, KeyError) as error:
      raise ValueError(f'A media record has other fields than this version: {error}.') from error
