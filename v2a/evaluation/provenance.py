"""The protocol of an evaluation, written into its result, so that whoever compares two sees whether they may.

Hashes are of content alone: two sets of one hash hold the same clips (sounds, pictures, truths), wherever
they lie, whatever they are called, and in whatever order.
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
from v2a.data import examples
from v2a.evaluation import scoring
from v2a.metrics import spectra

# What changes numbers.
_PACKAGES = ('jax', 'flax', 'numpy', 'scipy', 'soxr', 'jiwer')
# The default of soxr.resample, which spectra.prepare calls.
_RESAMPLER = 'soxr HQ'
NO_SCORE = 'the sound or the truth allows no measurement'
NOT_APPLICABLE = 'the figure does not count clips of this kind'


def clip_hash(case: examples.Example) -> str:
  """Returns the hash of a clip: its sound, its clean pictures and its truth."""
  truth = json.dumps(case.truth, sort_keys=True, separators=(',', ':'))
  parts = (weights.array_hash(case.wave_NA, *case.frames), truth)
  return hashlib.sha256(' '.join(parts).encode()).hexdigest()


def set_hash(cases: Iterable[examples.Example]) -> str:
  """Returns the hash of a set of clips, the same in any order."""
  return hashlib.sha256(' '.join(sorted(clip_hash(case) for case in cases)).encode()).hexdigest()


def versions() -> dict[str, str]:
  """Returns what an evaluation runs on, by name."""
  return {
    'v2a': v2a.__version__,
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in _PACKAGES},
  }


def describe(
  cases: Sequence[examples.Example],
  sample_rate_hz: int,
  has_captions: bool,
  measured: Mapping[str, scoring.MetricScores],
) -> dict:
  """Returns the protocol's object.

  Args:
    cases: the clips.
    sample_rate_hz: of their sounds.
    has_captions: whether the model was given their annotations.
    measured: by figure, what it measured.
  """
  num_samples, num_channels = cases[0].wave_NA.shape
  semantic_frame_MYX3, sync_frame_LYX3 = cases[0].frames
  clip_s = num_samples / sample_rate_hz
  return {
    'set_hash': set_hash(cases),
    'clip_s': clip_s,
    'sample_rate_hz': sample_rate_hz,
    'num_channels': num_channels,
    'measured_at_hz': spectra.RATE_HZ,
    'resampler': _RESAMPLER,
    # Of a clip that is no whole number of frames the last one is cut short.
    'semantic_fps': math.floor(len(semantic_frame_MYX3) / clip_s + 1e-6),
    'sync_fps': math.floor(len(sync_frame_LYX3) / clip_s + 1e-6),
    'frame_size': sync_frame_LYX3.shape[1],
    'captions': has_captions,
    'transcripts': True,
    'versions': versions(),
    'scored': {name: _scored(mine, len(cases)) for name, mine in measured.items()},
  }


def _scored(mine: scoring.MetricScores, num_clips: int) -> dict:
  """Returns how many clips a figure scored, and by reason how many it did not."""
  rows = mine.value or [[None] * len(mine.example_indices)]
  num_scored = sum(any(row[k] is not None for row in rows) for k in range(len(mine.example_indices)))
  num_lost = len(mine.example_indices) - num_scored
  why = mine.unavailable_reason or NO_SCORE
  missing = {NOT_APPLICABLE: num_clips - len(mine.example_indices), why: num_lost}
  return {'num_scored': num_scored, 'not_scored': {reason: num for reason, num in missing.items() if num}}
