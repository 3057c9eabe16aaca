"""Figures of sets as entries: values, ceilings, pairs that a test can draw anew, refusals."""

import types

import numpy as np
import pytest

from tests.media import films
from tests.metrics.embedders import bands
from v2a import clip as clip_lib
from v2a.data import examples
from v2a.evaluation import distribution_metrics
from v2a.metrics import bootstrap
from v2a.metrics import set_distances
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames

NUM = 24


@pytest.fixture(scope='module')
def measured():
  """Returns what is measured of sounds that are tilted, whose codec tilts a little."""
  true, drawn, coded = (
    bands.noise_clips(seed, NUM, tilt=tilt) for seed, tilt in ((0, 0.0), (1, 1.5), (0, 0.2))
  )
  cases = [
    types.SimpleNamespace(
      wave_NA=(32767 * np.clip(clip.wave_NA, -1, 1)).astype(np.int16),
      frames=(None, np.zeros((4, 8, 8, 3), np.uint8)),
      truth={'annotation': 'x'},
      video=None,
    )
    for clip in true
  ]
  embedders = [
    bands.FakeEmbedder(),
    embedder_lib.Missing('vggish', 'weights vggish.pth missing', ('fd', 'is')),
  ]
  meter = distribution_metrics.DistributionMetrics(None, embedders)
  rate_hz = true[0].sample_rate_hz
  waves, codec = ([clip.wave_NA for clip in clips] for clips in (drawn, coded))
  return meter.measure(cases, rate_hz, 25.0, waves, codec, rate_hz)


def test_entries_hold_value_ceiling_and_what_is_missing(measured):
  name = bands.FakeEmbedder().name
  entry = measured.entries[f'fd_{name}']
  assert 0 <= entry['ceiling'] < entry['value'] and entry['floor'] is None
  assert entry['interval'][0] < entry['value'] < entry['interval'][1]
  assert entry['n'] == entry['num_true'] == 2 * NUM
  assert measured.entries['fd_vggish'] == {
    'value': None, 'floor': None, 'ceiling': None, 'n': 0, 'num_true': 0, 'interval': None,
    'reason': 'not computed: weights vggish.pth missing'}  # fmt: skip
  assert 'needs at least 1000 rows' in measured.entries[f'kid_{name}']['reason']


def test_tested_figures_are_the_same_figures_over_clips(measured):
  name = bands.FakeEmbedder().name
  assert set(measured.observed_scores) == {f'fd_{name}', f'kl_{name}'}
  for figure, sample in measured.observed_scores.items():
    assert sample.value() == pytest.approx(measured.entries[figure]['value'], rel=1e-6), figure
  pairs = measured.observed_scores[f'fd_{name}'].scores[0]
  right = bootstrap.ObservedScores(distribution_metrics._frechet, [[(true, true) for true, _ in pairs]])
  found = bootstrap.paired_difference(measured.observed_scores[f'fd_{name}'], right, 50)
  assert found.value == pytest.approx(measured.entries[f'fd_{name}']['value'], rel=1e-6)
  assert found.p < 0.05


class Witness(bands.FakeEmbedder):
  """Keeps what it is given."""

  def __init__(self):
    super().__init__(name='witness', reads=('audio', 'video'))
    self.clips = []

  def embed(self, clip):
    self.clips.append(clip)
    return super().embed(clip)


def test_of_a_video_its_own_pictures_and_sound_are_embedded(tmp_path):
  spec = clip_lib.ClipSpec(clip_s=2.0, frame_size=8, sample_rate_hz=16000)
  sound_NA = films.clicks(3.0, 48000)
  for name in 'ab':
    films.make(tmp_path / name, 'mov', duration_s=3.0, fps=30, wave_NA=sound_NA)
  found, witness = list(examples.from_folder(tmp_path, None, spec)), Witness()
  drawn = [np.random.default_rng(k).normal(size=(32000, 2)) for k in range(2)]
  meter = distribution_metrics.DistributionMetrics(tmp_path / 'kept', [witness])
  entries = meter.measure(found, 16000, 25.0, drawn, drawn, 16000).entries
  true, first = witness.clips[0], witness.clips[1]
  # Both videos are the same, and the codec's sounds those drawn: each is embedded once.
  assert len(witness.clips) == 3 and entries['kl_witness']['n'] == 2
  assert (true.sample_rate_hz, true.wave_NA.shape) == (48000, (96000, 2))
  assert abs(films.lag_s(true.wave_NA[:, 0], sound_NA[:96000, 0], 48000)) < 1e-3
  assert (first.sample_rate_hz, first.wave_NA.shape) == (16000, (32000, 2))
  for clip in witness.clips:
    shown = list(clip.frames.frames_at_fps(25, 50))
    assert clip.frames.duration_s == 2.0
    assert {each.shape for each in shown} == {(films.HEIGHT, films.WIDTH, 3)}
    assert [films.frame_number(each) for each in shown[:7]] == [0, 1, 2, 4, 5, 6, 7]
  assert meter.describe() == {'witness': {'digest': witness.digest, 'reads': ['audio', 'video']}}


def test_another_file_or_length_is_another_picture(tmp_path):
  path = films.make(tmp_path / 'a', duration_s=0.4)
  digests = [frames.Video(path, 0.2).digest(), frames.Video(path, 0.4).digest()]
  films.make(tmp_path / 'a', duration_s=0.8)
  assert len({*digests, frames.Video(path, 0.2).digest()}) == 3


def test_which_way_is_better():
  for name in ('is_world', 'clap_clap', 'ib_imagebind', 'lse_c_syncnet', 'another_score'):
    assert distribution_metrics.is_higher_better(name), name
  errors = ('desync_synchformer', 'lse_d_syncnet')
  for name in ('fd_world', 'fd_inf_world', 'kid_world', 'kad_world', 'kl_panns', *errors):
    assert not distribution_metrics.is_higher_better(name), name
  assert distribution_metrics.about('fd_inf_world') == distribution_metrics.ABOUT['fd_inf']


def test_distances_of_other_numbers_of_rows_are_refused():
  entry = lambda num: {'value': 1.0, 'interval': [0.5, 1.5], 'n': num, 'num_true': 100}
  models = {name: {'fd_x': entry(num), 'kad_x': entry(num)} for name, num in (('a', 100), ('b', 99))}
  distribution_metrics.drop_incomparable(models, 'a')
  assert models['a']['fd_x']['value'] == models['b']['kad_x']['value'] == 1.0
  assert models['b']['fd_x']['value'] is None
  assert models['b']['fd_x']['reason'].startswith('not compared with a: Frechet distances shrink')
  with pytest.raises(ValueError):
    set_distances.check_comparable((100, 100), (100, 99))
