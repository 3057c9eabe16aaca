"""Metrics of the synthetic set: missing sound is penalized, which a correlation alone would not do."""

import functools
import types

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


def test_detected_onsets_of_invisible_impacts_do_not_count():
  events = [
    {'time_s': t, 'visible': is_visible} for t, is_visible in ((0.5, True), (1.0, False), (1.5, True))
  ]
  counts = lambda *detected_s: synthetic.onset_score(
    np.zeros((1, 1)), {'events': events}, types.SimpleNamespace(onsets=lambda wave_NA: np.array(detected_s))
  )
  # (matched, known, detected): a hit at an invisible impact is neither wanted nor wrong.
  assert counts(0.5, 1.5) == counts(0.5, 1.0, 1.5) == (2, 2, 2)
  assert counts(1.0) == (0, 2, 0)
  # One impact excuses one onset, and none that is far from it.
  assert counts(0.5, 0.99, 1.01, 1.5) == (2, 2, 3)
  assert counts(0.5, 1.2, 1.5) == (2, 2, 3)
  # A visible impact excuses none: the second onset at it is wrong.
  assert counts(0.49, 0.51, 1.5) == (2, 2, 3)
  assert synthetic.combine_f1([counts(0.5, 1.0, 1.5)]) == 1.0
