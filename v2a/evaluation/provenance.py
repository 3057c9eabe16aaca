"""The protocol of an evaluation, part of its report, by which two results are known to be comparable.

Hashes are of content alone: two sets with the same hash contain the same clips (audio, frames, truth),
whatever their folder, names and order.
"""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import hashlib
import importlib.metadata
import json
import math
import platform

import v2a
from v2a import weights
from v2a.data import examples as examples_lib
from v2a.evaluation import scoring
from v2a.metrics import spectra

# Packages whose versions change results.
_PACKAGES = ('jax', 'flax', 'numpy', 'scipy', 'soxr', 'jiwer')
# The default of soxr.resample, which spectra.resample calls.
_RESAMPLER = 'soxr HQ'
NO_SCORE = 'the sound or the truth allows no measurement'
NOT_APPLICABLE = 'the metric does not select clips of this kind'


def clip_hash(example: examples_lib.Example) -> str:
  """Returns the hash of a clip: its audio, clean frames and truth."""
  truth = json.dumps(example.truth, sort_keys=True, separators=(',', ':'))
  parts = (weights.array_hash(example.wave_NA, *example.frames), truth)
  return hashlib.sha256(' '.join(parts).encode()).hexdigest()


def set_hash(examples: Iterable[examples_lib.Example]) -> str:
  """Returns the hash of a set of clips, the same in any order."""
  return hashlib.sha256(' '.join(sorted(map(clip_hash, examples))).encode()).hexdigest()


def versions() -> dict[str, str]:
  """Returns the versions of this package, Python, and packages that change results, by name."""
  return {
    'v2a': v2a.__version__,
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
  }


def describe(
  examples: Sequence[examples_lib.Example],
  sample_rate_hz: int,
  has_captions: bool,
  scores: Mapping[str, scoring.MetricScores],
) -> dict:
  """Returns the protocol, JSON-able.

  Args:
    examples: the clips.
    sample_rate_hz: of their sounds.
    has_captions: whether the model was given their annotations.
    scores: by the name of a metric.
  """
  num_samples, num_channels = examples[0].wave_NA.shape
  semantic_frame_MYX3, sync_frame_LYX3 = examples[0].frames
  clip_s = num_samples / sample_rate_hz
  return {
    'set_hash': set_hash(examples),
    'clip_s': clip_s,
    'sample_rate_hz': sample_rate_hz,
    'num_channels': num_channels,
    'measured_at_hz': spectra.RATE_HZ,
    'resampler': _RESAMPLER,
    # Where a clip is not a whole number of frames long, its last frame is shorter.
    'semantic_fps': math.floor(len(semantic_frame_MYX3) / clip_s + 1e-6),
    'sync_fps': math.floor(len(sync_frame_LYX3) / clip_s + 1e-6),
    'frame_size': sync_frame_LYX3.shape[1],
    'captions': has_captions,
    'transcripts': True,
    'versions': versions(),
    'scored': {name: _scored(each, len(examples)) for name, each in scores.items()},
  }


def _scored(scores: scoring.MetricScores, num_clips: int) -> dict:
  """Returns the number of clips that a metric scored, and of those that it did not, by reason."""
  num_selected = len(scores.example_indices)
  rows = scores.value or [[None] * num_selected]
  num_scored = sum(any(row[k] is not None for row in rows) for k in range(num_selected))
  reason = scores.unavailable_reason or NO_SCORE
  missing = {NOT_APPLICABLE: num_clips - num_selected, reason: num_selected - num_scored}
  return {'num_scored': num_scored, 'not_scored': {reason: num for reason, num in missing.items() if num}}
