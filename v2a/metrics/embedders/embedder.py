"""What an embedder is: a clip in, named arrays out; and what stands for one that cannot be had.

Names of arrays, whatever the network:

  rows_NF       embeddings of the sound, one or several a clip: what distances of sets are computed on
  logits_O      class logits of the sound, before any sigmoid or softmax
  anything else is the network's own, and read by the network's own figures, see `Embedder.scores`

An embedder may refuse a clip that its protocol does not serve (`Refusal`); the clip is then counted as
refused. What is missing altogether (weights, a package) is a `Missing`, which a report prints in place of a
figure: nothing is dropped in silence.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Protocol

import numpy as np

from v2a.metrics.embedders import frames as picture_lib

EMBEDDINGS, LOGITS = 'rows_NF', 'logits_O'
Arrays = dict[str, np.ndarray]
# What of a clip a network may read, and the fields that hold it.
INPUT_FIELDS = {
  'wave': ('wave_NA', 'sample_rate_hz'),
  'pictures': ('pictures',),
  'text': ('text',),
}


class UnsupportedClipError(ValueError):
  """A clip that the protocol of an embedder does not serve; the message says why."""


@dataclasses.dataclass(frozen=True)
class Clip:
  """What there is to embed.

  Attributes:
    wave_NA: samples, full scale 1.
    sample_rate_hz: their rate.
    pictures: what is seen, or None.
    text: the prompt, or None.
  """

  wave_NA: np.ndarray
  sample_rate_hz: int
  pictures: picture_lib.FrameSource | None = None
  text: str | None = None

  def __post_init__(self):
    if self.wave_NA.ndim != 2 or 0 in self.wave_NA.shape:
      raise ValueError(f'a clip needs a wave of shape (samples, channels); got {self.wave_NA.shape}.')
    if not np.isfinite(self.wave_NA).all():
      num_bad = int((~np.isfinite(self.wave_NA)).sum())
      raise ValueError(f'a clip needs a finite wave; got {num_bad} bad samples.')


class Embedder(Protocol):
  """A network with its protocol.

  Attributes:
    name: as in `catalog.ENTRIES`.
    digest: of the weights and of the version of the protocol's code, for the cache.
    reads: some of PARTS; a clip that lacks one is refused.
    figures: what its arrays tell: names of `sets.OF_ROWS` and `sets.OF_LOGITS`, and its own scores.
  """

  name: str
  digest: str
  reads: tuple[str, ...]
  metrics: tuple[str, ...]

  def embed(self, clip: Clip) -> Arrays:
    """Returns the named arrays of a clip, see the module.

    Raises:
      Refusal: the protocol does not serve this clip.
    """

  def scores(self, arrays: Arrays) -> Mapping[str, float]:
    """Returns the network's own figures of one clip, such as the agreement of picture and sound, or none."""
    del arrays
    return {}


@dataclasses.dataclass(frozen=True)
class Missing:
  """An embedder (or recognizer) that cannot be had.

  Attributes:
    name: as in the catalogue.
    reason: what is missing, such as 'weights vggish-10086976.pth missing'.
    figures: those that are not computed for it.
  """

  name: str
  reason: str
  metrics: tuple[str, ...] = ()

  @property
  def note(self) -> str:
    """What a report prints in place of a figure."""
    return f'not computed: {self.reason}'


def missing_inputs(clip: Clip, reads: tuple[str, ...]) -> str | None:
  """Returns why a clip cannot be read, or None."""
  absent = [part for part in reads if any(getattr(clip, field) is None for field in INPUT_FIELDS[part])]
  return f'the clip has no {" and no ".join(absent)}' if absent else None


def content_hash(clip: Clip, reads: tuple[str, ...]) -> str:
  """Returns a hash of those parts of a clip that a network reads."""
  found = hashlib.sha256()
  for part in reads:
    for field in INPUT_FIELDS[part]:
      value = getattr(clip, field)
      if isinstance(value, np.ndarray):
        found.update(json.dumps([field, value.dtype.str, value.shape]).encode())
        found.update(np.ascontiguousarray(value).data)
      else:
        plain = value.digest() if field == 'pictures' else value
        found.update(json.dumps([field, plain]).encode())
  return found.hexdigest()
