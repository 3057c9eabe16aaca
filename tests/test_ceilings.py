"""The benchmarks of ceilings and bit rates, on audio and codecs with known results."""

import numpy as np
import pytest

from benchmarks import ceilings
from benchmarks import codecs
from v2a import clip
from v2a.evaluation import scoring
from v2a.metrics import metric
from v2a.metrics import signal_metrics
from v2a.synthetic import clips


def test_off_screen_sounds_are_removed():
  rendered = [clips.render(0, k, fps=1, frame_size=16) for k in range(12)]
  kinds = set()
  for clip_ in rendered:
    music, wind = (np.abs(clip_.stems[name]).max() > 0 for name in ('music', 'ambience'))
    is_scene = clip_.truth['scene'] in ('keys', 'score', 'wind', 'rain')
    expected_NA = clip_.wave_NA if is_scene else clip_.stems['effects'] + clip_.stems['speech']
    if not is_scene:
      np.testing.assert_allclose(
        ceilings.without_off_screen_sound(clip_), expected_NA, atol=1e-6, err_msg=clip_.truth['scene']
      )
      assert ceilings.is_mixed(clip_.truth) == bool(music or wind)
      kinds.add((bool(music), bool(wind)))
  assert {(False, False), (True, False)} <= kinds


def reference(has_music, wave_NA):
  truth = {'scene': 'bounce', 'has_music': has_music, 'has_wind': False}
  return metric.Reference(metric.Sound(wave_NA, 16000), truth)


def clicks(*times_s):
  """Returns 2 s of silence with decaying bursts of noise."""
  rng = np.random.default_rng(0)
  wave_NA = np.zeros((32000, 2))
  for time_s in times_s:
    first = int(16000 * time_s)
    decay_N1 = np.exp(-np.arange(3200) / 480)[:, None]
    wave_NA[first : first + 3200] += 0.03 * decay_N1 * rng.standard_normal((3200, 2))
  return wave_NA


def test_flux_onsets_are_matched_with_those_of_the_truth():
  metrics = {each.name: each for each in ceilings.make_metrics()}
  known, none = reference(False, clicks(0.5, 1.0, 1.5)), reference(False, clicks())
  sounds = (clicks(0.55, 1.2), known), (clicks(), known), (clicks(0.5, 1.0), none)
  samples = [metric.Sample(metric.Sound(wave_NA, 16000), each) for wave_NA, each in sounds]
  for name, expected in (('recall', 1 / 6), ('precision', 1 / 4)):
    each = metrics[f'onset flux {name}']
    each.update(samples)
    assert each.scores == [(1, 3, 2), (0, 3, 0), (0, 0, 2)]
    assert each.compute() == pytest.approx(expected)
    # Without known, or without detected onsets.
    assert each.combine([(0, 0, 2) if name == 'recall' else (0, 2, 0)]) is None


def test_rows_are_all_clips_those_with_music_and_the_others():
  references = [reference(has_music, clicks()) for has_music in (False, True, True)]
  samples = {
    sound: scoring.Samples(
      {i: metric.Sound(np.full((4, 2), k + value), 16000) for i, value in enumerate((1.0, 2.0, np.nan))},
      references,
    )
    for k, sound in enumerate(ceilings.SOUNDS)
  }
  first = lambda sample: None if np.isnan(sample.sound.wave_NA).any() else sample.sound.wave_NA[0, 0]
  mean = signal_metrics.SignalMetric(name='x', description='first sample', measure=first)
  found = ceilings.rows(mean, references, samples)
  assert [row['num_clips'] for row in found.values()] == [3, 2, 1]
  assert [row['ceiling'] for row in found.values()] == [2.5, 3.0, 2.0]
  lines = ceilings.table({'x': found}).splitlines()
  assert lines[0] == '| metric | clips | n | truth | ceiling | alone | alone, codec | generated |'
  assert lines[3] == '| `x` | with music or wind | 2 | 2.00 | 3.00 | 4.00 | 5.00 | 6.00 |'


def test_bit_rates_by_hand():
  spec = clip.ClipSpec(sample_rate_hz=16000, hop_samples=320, patch_frames=2)
  assert spec.latent_rate_hz == 25
  assert codecs.code_bits_per_s(spec, 8, 256) == 25 * 8 * 8
  # A normal posterior of deviation 1 / 2 around 0: ln 2 + 1 / 8 - 1 / 2 nats.
  nats = np.log(2) - 3 / 8
  assert codecs.latent_bits_per_s(spec, 32, nats) == pytest.approx(25 * 32 * (1 - 3 / 8 / np.log(2)))


class Identity:
  """A codec that loses nothing, or the left channel."""

  clip_spec = clip.ClipSpec(frame_size=16)

  def __init__(self, name, gains):
    self.name, self.gains = name, gains

  def reconstruct(self, wave_NA):
    return wave_NA * np.array(self.gains, np.float32)


def test_columns_of_codecs_are_round_trips_of_the_truth():
  found = ceilings.of_codecs([Identity('all', (1, 1)), Identity('right', (0, 1))], 1, 6)
  panning = found['panning_correlation']['all']
  assert panning['all'] == panning['truth'] > panning['right']
  assert found['onset_f1']['all']['all'] == found['onset_f1']['all']['truth']
