"""Metrics of the synthetic set: missing sound is penalized, which a correlation alone would not do."""

import functools

import numpy as np
import pytest

from v2a.evaluation import check_classifiers
from v2a.metrics import synthetic


@functools.cache
def clips(*scenes, num_clips=6):
  """Returns true sounds and truths."""
  return check_classifiers.render_ground_truth(31_000_040, num_clips, scenes)


def panning(change):
  """Returns the panning correlation of changed true sounds: `change` of the index and the wave."""
  known = [(k, *pair) for k, pair in enumerate(clips('bounce', 'strike', 'collide', num_clips=12))]
  scores = [synthetic.panning_score(change(k, wave_NA), truth, None) for k, wave_NA, truth in known]
  return synthetic.combine_panning(scores)


def test_silent_clips_lower_the_panning_correlation():
  whole = panning(lambda k, wave_NA: wave_NA)
  half = panning(lambda k, wave_NA: wave_NA if k % 2 else 0 * wave_NA)
  assert whole > 0.9
  assert half < 0.7 * whole
  assert panning(lambda k, wave_NA: 0 * wave_NA) == 0.0
  # Loudness alone changes nothing.
  assert panning(lambda k, wave_NA: 0.1 * wave_NA) == pytest.approx(whole, abs=0.03)


def test_truncated_sound_has_a_lower_pitch_correlation():
  wave_NA, truth = next(pair for pair in clips('engine') if synthetic.pitch_score(*pair, None))
  (whole,) = synthetic.pitch_score(wave_NA, truth, None)
  cut_NA = np.where(np.arange(len(wave_NA))[:, None] < 0.6 * len(wave_NA), wave_NA, 0.0)
  (cut,) = synthetic.pitch_score(cut_NA, truth, None)
  assert whole > 0.9 and cut < 0.75
