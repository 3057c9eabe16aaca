"""What the measures of ceilings and bit rates say of sounds and codecs that are known."""

import types

import numpy as np
import pytest

from benchmarks import ceilings
from benchmarks import codecs
from v2a import clip
from v2a.data import record_schema
from v2a.synthetic import clips


def test_alone_is_the_wave_without_what_is_off_screen():
  made = [clips.render(0, k, fps=1, frame_size=16) for k in range(12)]
  kinds = set()
  for each in made:
    music, wind = (np.abs(each.stems[name]).max() > 0 for name in ('music', 'ambience'))
    is_scene = each.truth['scene'] in ('keys', 'score', 'wind', 'rain')
    wanted_NA = each.wave_NA if is_scene else each.stems['effects'] + each.stems['speech']
    if not is_scene:
      np.testing.assert_allclose(
        ceilings.without_off_screen_sound(each), wanted_NA, atol=1e-6, err_msg=each.truth['scene']
      )
      assert ceilings.is_mixed(each.truth) == bool(music or wind)
      kinds.add((bool(music), bool(wind)))
  assert {(False, False), (True, False)} <= kinds


def case(has_music, wave_NA):
  truth = {'scene': 'bounce', 'has_music': has_music, 'has_wind': False}
  return types.SimpleNamespace(truth=truth, wave_NA=record_schema.wave_to_int16(wave_NA))


def clicks(*times_s):
  """Returns 2 s of silence with bursts of noise that die away."""
  rng = np.random.default_rng(0)
  wave_NA = np.zeros((32000, 2))
  for time_s in times_s:
    first = int(16000 * time_s)
    decay_N1 = np.exp(-np.arange(3200) / 480)[:, None]
    wave_NA[first : first + 3200] += 0.03 * decay_N1 * rng.standard_normal((3200, 2))
  return wave_NA


def test_onsets_of_a_sound_against_those_of_the_truth():
  truth = case(False, clicks(0.5, 1.0, 1.5))
  assert ceilings.flux_counts(clicks(0.55, 1.2), truth) == (1, 3, 2)
  scores = [(1, 3, 2), (0, 1, 0)]
  assert ceilings.recall(scores) == 1 / 4 and ceilings.precision(scores) == 1 / 2
  assert ceilings.recall([(0, 0, 2)]) is None and ceilings.precision([(0, 2, 0)]) is None


def test_rows_of_all_clips_of_those_with_music_and_of_the_others():
  cases = [case(False, clicks()), case(True, clicks()), case(True, clicks())]
  waves = {
    sound: [np.full((4, 2), k + value) for value in (1.0, 2.0, np.nan)]
    for k, sound in enumerate(ceilings.SOUNDS)
  }
  measure = lambda wave_NA, case: None if np.isnan(wave_NA).any() else (wave_NA[0, 0],)
  found = ceilings.rows(cases, waves, measure, lambda scores: float(np.mean(scores)))
  assert [row['num_clips'] for row in found.values()] == [3, 2, 1]
  assert [row['ceiling'] for row in found.values()] == [2.5, 3.0, 2.0]
  lines = ceilings.table({'x': found}).splitlines()
  assert lines[0] == '| metric | clips | n | truth | ceiling | alone | alone, codec | generated |'
  assert lines[3] == '| `x` | with music or wind | 2 | 2.00 | 3.00 | 4.00 | 5.00 | 6.00 |'


def test_bad_arguments_are_one_line(capsys, monkeypatch):
  monkeypatch.setattr(ceilings.compilation_cache, 'enable', lambda: None)
  assert ceilings.main(['--num-clips', '1']) == 2
  said = capsys.readouterr()
  assert not said.out and 'a whole number of at least 2' in said.err and said.err.count('\n') == 1


def test_bit_rates_by_hand():
  spec = clip.ClipSpec(sample_rate_hz=16000, hop_samples=320, patch_frames=2)
  assert spec.latent_rate_hz == 25
  assert codecs.code_bits_per_s(spec, 8, 256) == 25 * 8 * 8
  # A normal posterior of deviation 1 / 2 around 0: ln 2 + 1 / 8 - 1 / 2 nats.
  nats = np.log(2) - 3 / 8
  assert codecs.latent_bits_per_s(spec, 32, nats) == pytest.approx(25 * 32 * (1 - 3 / 8 / np.log(2)))
