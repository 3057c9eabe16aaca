"""Distribution metrics: their distances, report entries, unsupported clips, and the inputs of embedders."""

import dataclasses

import numpy as np
import pytest

from tests.media import films
from tests.metrics.embedders import bands
from v2a import clip as clip_lib
from v2a.data import folder_examples
from v2a.evaluation import evaluator
from v2a.evaluation import scoring
from v2a.metrics import bootstrap
from v2a.metrics import distribution
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import set_distances
from v2a.metrics.embedders import cache as cache_lib
from v2a.metrics.embedders import catalog
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.synthetic import truth as truth_lib

NUM = 24


def sound_of(clip):
  """Returns the sound of a clip."""
  return metric_lib.Sound(clip.wave_NA, clip.sample_rate_hz)


def evaluate(true, generated, metrics, coded=None):
  """Returns entries by name, and the observed scores of metrics with paired tests."""
  references = [metric_lib.Reference(sound_of(clip), {'annotation': 'x'}) for clip in true]
  value, ceiling = (
    None
    if clips is None
    else scoring.Samples({i: sound_of(clip) for i, clip in enumerate(clips)}, references)
    for clips in (generated, coded)
  )
  selected = list(range(len(true)))
  scores = {
    metric.name: scoring.score_metric(metric, references, selected, value, value, ceiling)
    for metric in metrics
  }
  entries, observed = scoring.entries(metrics, scores)
  return entries['distribution'], observed['distribution']


def entries_of(true, generated, embedder):
  """Returns the entries of an embedder by the kinds of its metrics."""
  entries, _ = evaluate(true, generated, distribution.make_metrics(embedder))
  return {name.removesuffix(f'_{embedder.name}'): entry for name, entry in entries.items()}


def test_values_are_those_of_the_distances():
  true, generated, embedder = (
    bands.noise_clips(0, 100),
    bands.noise_clips(1, 100, tilt=1.0),
    bands.FakeEmbedder(),
  )
  entries = entries_of(true, generated, embedder)
  rows = [np.concatenate([embedder.embed(clip)['rows_NF'] for clip in clips]) for clips in (true, generated)]
  logits = [np.stack([embedder.embed(clip)['logits_O'] for clip in clips]) for clips in (true, generated)]
  assert list(entries) == list(embedder.metrics)
  assert entries['fd']['value'] == set_distances.frechet(*rows)
  assert entries['kad']['value'] == set_distances.kad(*rows)
  assert entries['kl']['value'] == set_distances.kl(*logits)
  assert entries['is']['value'] == set_distances.inception_score(logits[1])[0]
  own = [embedder.scores(embedder.embed(clip))['lowness'] for clip in generated]
  assert entries['lowness']['value'] == np.mean(own)
  assert (entries['fd']['num_true'], entries['fd']['n']) == (200, 200)
  assert (entries['kl']['num_true'], entries['is']['n'], entries['is']['num_true']) == (100, 100, 0)
  for kind in ('fd', 'kad', 'kl', 'is', 'lowness'):
    low, high = entries[kind]['interval']
    assert low < entries[kind]['value'] < high


@pytest.mark.slow
def test_values_that_need_a_thousand_rows():
  true, generated = bands.noise_clips(0, 500), bands.noise_clips(1, 500, tilt=1.0)
  embedder = bands.FakeEmbedder(metrics=('kid', 'fd_inf'))
  entries = entries_of(true, generated, embedder)
  rows = [np.concatenate([embedder.embed(clip)['rows_NF'] for clip in clips]) for clips in (true, generated)]
  assert entries['fd_inf']['value'] == set_distances.frechet_infinity(*rows)
  assert entries['kid']['value'] == set_distances.kid(*rows)[0]
  for entry in entries.values():
    low, high = entry['interval']
    assert low < entry['value'] < high


def test_intervals_resample_clips_not_rows():
  # Clips with 50 equal rows, which a bootstrap over rows would count as independent.
  class Repeated(bands.FakeEmbedder):
    def embed(self, clip):
      arrays = super().embed(clip)
      return {**arrays, 'rows_NF': arrays['rows_NF'][:1].repeat(50, axis=0)}

  true, generated = bands.noise_clips(0, 30), bands.noise_clips(1, 30, tilt=1.0)
  both = (bands.FakeEmbedder(metrics=('fd',)), Repeated(metrics=('fd',)))
  once, often = (entries_of(true, generated, embedder)['fd']['interval'] for embedder in both)
  assert (often[1] - often[0]) > 0.5 * (once[1] - once[0])


def pairs_of(true_NF, generated_NF):
  """Returns scores with one row per clip."""
  embeddings = embedder_lib.EMBEDDINGS
  return [
    distribution.EmbeddedPair({embeddings: true_NF[k : k + 1]}, {embeddings: generated_NF[k : k + 1]})
    for k in range(len(true_NF))
  ]


@pytest.mark.parametrize('kind', ['fd_inf', pytest.param('kid', marks=pytest.mark.slow)])
def test_intervals_of_means_over_subsets_are_as_wide_as_their_values_vary(kind):
  # Soundtracks that resemble their true sounds: clips must be resampled as pairs, and without repetition.
  def sets(seed):
    rng = np.random.default_rng(seed)
    true_NF = rng.standard_normal((1000, 8))
    return true_NF, 1.05 * true_NF + 0.2 * rng.standard_normal((1000, 8)) + 0.1

  # One subset of all rows, since a thousand rows have no other subset of a thousand.
  statistic = {
    'fd_inf': set_distances.frechet_infinity,
    'kid': lambda a_NF, b_NF: set_distances.kid(a_NF, b_NF, 1)[0],
  }[kind]
  deviation = np.std([statistic(*sets(seed)) for seed in range(50)], ddof=1)
  (metric,) = distribution.make_metrics(bands.FakeEmbedder(metrics=(kind,)))
  observed = bootstrap.ObservedScores(metric.combine, [pairs_of(*sets(99))], None, metric.is_set_statistic)
  low, high = metric.interval(observed)
  assert low < statistic(*sets(99)) < high
  assert (high - low) / (2 * 1.96 * deviation) == pytest.approx(1.0, abs=0.25)


def test_fd_inf_of_many_features_says_why_it_has_no_interval():
  rng = np.random.default_rng(0)
  for num_features, is_noted in ((distribution.MAX_FD_INF_FEATURES, False), (257, True)):
    scores = pairs_of(*rng.standard_normal((2, 300, num_features)))
    (metric,) = distribution.make_metrics(bands.FakeEmbedder(metrics=('fd_inf',)))
    assert ('no interval: 257 features (more than 256)' in metric.note(scores)) == is_noted
  assert metric.interval(bootstrap.ObservedScores(metric.combine, [scores], None, True)) is None


def test_few_clips_are_noted():
  entries = entries_of(bands.noise_clips(0, 2), bands.noise_clips(1, 2), bands.FakeEmbedder())
  assert entries['fd']['note'].startswith('4 rows cannot fill a covariance of 4 features')
  assert (
    'fd_inf needs at least 1000 embeddings, of about 500 clips; got 4 embe' in entries['fd_inf']['reason']
  )
  assert 'is needs at least 10 clips; got 2.' in entries['is']['reason']
  assert entries['kid']['value'] is None
  assert entries['kid']['reason'].startswith('not computed: ')
  assert 'kid needs at least 1000 embeddings, of about 500 clips; got 4 embe' in entries['kid']['reason']


def test_a_missing_embedder_has_a_reason(monkeypatch):
  missing = embedder_lib.Missing('vggish', 'weights x.pth missing', ('fd', 'kad'))
  monkeypatch.setattr(catalog, 'load', lambda names: [missing])
  metrics = [each.load(metric_lib.LoadContext()) for each in distribution.make_metrics('vggish')]
  metrics += distribution.make_metrics(bands.FakeEmbedder())
  entries, _ = evaluate(bands.noise_clips(0, 12), bands.noise_clips(1, 12), metrics)
  assert list(entries)[:5] == ['fd_vggish', 'fd_inf_vggish', 'kid_vggish', 'kad_vggish', 'fd_bands']
  assert entries['fd_vggish'] == {
    'value': None, 'floor': None, 'ceiling': None, 'n': 0, 'num_true': 0, 'interval': None,
    'reason': 'not computed: weights x.pth missing'}  # fmt: skip
  assert distribution.describe_embedders(metrics) == {
    'vggish': {'digest': None, 'reason': 'weights x.pth missing'},
    'bands': {'digest': 'd' * 64, 'reads': ['audio']},
  }


def test_unsupported_clips_are_counted_and_their_pairs_excluded():
  silent = embedder_lib.Clip(np.zeros((256, 1), np.float32), 16000)
  true, generated, embedder = bands.noise_clips(0, 12), bands.noise_clips(1, 12), bands.FakeEmbedder()
  entries = entries_of(true, [*generated[:5], silent, *generated[6:]], embedder)
  assert entries['fd']['n'] == 22
  assert entries['fd']['note'] == '1 of 12 generated clips not supported: silence has no bands.'
  supported = [k for k in range(12) if k != 5]
  logits = [
    np.stack([embedder.embed(clips[k])['logits_O'] for k in supported]) for clips in (true, generated)
  ]
  assert entries['kl']['value'] == set_distances.kl(*logits)
  entries = entries_of(true, [silent] * 12, embedder)
  for entry in entries.values():
    assert entry['value'] is None and entry['reason'].startswith('not computed: ')
    assert entry['reason'].endswith('12 of 12 generated clips not supported: silence has no bands.')


def test_ceilings_are_of_reconstructions_by_the_codec():
  true, generated, coded = (
    bands.noise_clips(seed, NUM, tilt=tilt) for seed, tilt in ((0, 0.0), (1, 1.5), (0, 0.2))
  )
  metrics = distribution.make_metrics(bands.FakeEmbedder())
  entries, observed = evaluate(true, generated, metrics, coded)
  entry = entries['fd_bands']
  assert 0 <= entry['ceiling'] < entry['value'] and entry['floor'] is None
  assert entry['interval'][0] < entry['value'] < entry['interval'][1]
  assert entry['n'] == entry['num_true'] == 2 * NUM
  # Only fast statistics have paired tests.
  assert set(observed) == {'fd_bands', 'kl_bands'}
  for name, each in observed.items():
    assert each.value() == entries[name]['value'], name
  pairs = observed['fd_bands'].scores[0]
  perfect = [dataclasses.replace(pair, generated=pair.true) for pair in pairs]
  found = bootstrap.paired_difference(
    observed['fd_bands'], bootstrap.ObservedScores(observed['fd_bands'].combine, [perfect]), 50
  )
  assert found.value == pytest.approx(entry['value'], rel=1e-6) and found.p < 0.05


def test_metrics_of_processes_merge():
  true, generated, embedder = bands.noise_clips(0, 12), bands.noise_clips(1, 12), bands.FakeEmbedder()
  samples = [
    metric_lib.Sample(sound_of(sample), metric_lib.Reference(sound_of(clip)))
    for clip, sample in zip(true, generated)
  ]
  whole, first, second = (distribution.make_metrics(embedder)[0] for _ in range(3))
  whole.update(samples)
  first.update(samples[:5])
  second.update(samples[5:])
  first.merge(second)
  assert whole.compute() == first.compute() != second.compute()
  with pytest.raises(ValueError, match='fd_bands cannot be merged with kad_bands'):
    first.merge(distribution.make_metrics(embedder)[3])


class RecordingEmbedder(bands.FakeEmbedder):
  """Records the clips that it embeds."""

  def __init__(self):
    super().__init__(name='recording', reads=('audio', 'video'))
    self.clips = []

  def embed(self, clip):
    self.clips.append(clip)
    return super().embed(clip)


def test_frames_and_audio_of_the_video_file_are_embedded(tmp_path):
  spec = clip_lib.ClipSpec(clip_s=2.0, frame_size=8, sample_rate_hz=16000)
  sound_NA = films.clicks(3.0, 48000)
  for name in 'ab':
    films.make(tmp_path / name, 'mov', duration_s=3.0, fps=30, wave_NA=sound_NA)
  found, embedder = list(folder_examples.read(tmp_path, None, spec)), RecordingEmbedder()
  waves = [np.random.default_rng(k).normal(size=(32000, 2)).astype(np.float32) for k in range(2)]
  system = evaluator.System(
    'noise', lambda conditions: np.stack(waves), lambda wave_BNA: np.stack(waves), 16000
  )
  result = evaluator.evaluate(
    system, found, '', batch_size=2, report_progress=lambda line: None,
    metrics=distribution.make_metrics(embedder, cache_lib.EmbeddingCache(tmp_path / 'cache')),
  ).result  # fmt: skip
  true, first = embedder.clips[0], embedder.clips[1]
  # Both videos are equal, and reconstructions equal soundtracks: each is embedded once.
  assert len(embedder.clips) == 3 and result['distribution']['kl_recording']['n'] == 2
  assert (true.sample_rate_hz, true.wave_NA.shape) == (48000, (96000, 2))
  assert abs(films.lag_s(true.wave_NA[:, 0], sound_NA[:96000, 0], 48000)) < 1e-3
  assert (first.sample_rate_hz, first.wave_NA.shape) == (16000, (32000, 2))
  for clip in embedder.clips:
    shown = list(clip.frames.frames_at_fps(25, 50))
    assert clip.frames.duration_s == 2.0
    assert {each.shape for each in shown} == {(films.HEIGHT, films.WIDTH, 3)}
    assert [films.frame_number(each) for each in shown[:7]] == [0, 1, 2, 4, 5, 6, 7]
  assert result['protocol']['embedders'] == {
    'recording': {'digest': embedder.digest, 'reads': ['audio', 'video']}
  }


def test_networks_of_the_synthetic_set_select_synthetic_clips_only():
  true, generated = bands.noise_clips(0, 12, num_samples=16000), bands.noise_clips(1, 12, num_samples=16000)
  of_video = metric_lib.Reference(sound_of(true[0]), {'annotation': 'x', 'scene': truth_lib.VIDEO_SCENE})
  assert not of_video.is_synthetic
  for name in ('fd_synthetic', 'kl_synthetic', 'wer_synthetic'):
    metric = registry.get(name)
    assert scoring.select(metric, [of_video]) == []
    synthetic = dataclasses.replace(of_video, truth={'annotation': 'x', 'scene': 'strike'})
    assert scoring.select(metric, [of_video, synthetic]) == [1]
    samples = scoring.Samples({i: sound_of(clip) for i, clip in enumerate(generated)}, [of_video] * 12)
    scores = scoring.score_metric(metric, [of_video] * 12, [], samples, samples, None)
    entry = scoring.entry(metric, scores, scoring.observed_scores(metric, scores))
    assert entry['value'] is None and entry['reason'] == 'defined for clips of the synthetic set alone'
  assert scoring.select(registry.get('fd_panns'), [of_video]) == [0]


def test_needs_follow_from_the_kind_and_from_what_the_embedder_reads():
  expected = {
    **dict.fromkeys(('fd_vggish', 'kad_panns', 'kl_passt', 'fd_inf_synthetic'), {'reference_sound'}),
    **dict.fromkeys(('is_panns', 'is_synthetic'), set()),
    **dict.fromkeys(('desync_synchformer', 'ib_imagebind', 'lse_c_syncnet', 'lse_d_syncnet'), {'frames'}),
    'clap_clap': {'prompt'},
    'kid_clap': {'reference_sound', 'prompt'},
  }
  for name, needs in expected.items():
    assert set(registry.get(name).needs) == {'embedder'} | needs, name


def test_metrics_are_refused_without_what_they_need_and_nothing_else():
  (sound,) = map(sound_of, bands.noise_clips(1, 1))
  true = sound_of(bands.noise_clips(0, 1)[0])
  reads_all = bands.FakeEmbedder(reads=('audio', 'video', 'text'), metrics=('is', 'fd'))
  inception, frechet = distribution.make_metrics(reads_all)
  frame_LYX3 = np.zeros((3, 8, 8, 3), np.uint8)
  without_sound = metric_lib.Reference(None, {'annotation': 'x'}, frame_LYX3, 25.0)
  inception.update([metric_lib.Sample(sound, without_sound)])
  assert reads_all.num_calls == 1 and inception.scores[0].true is None
  with pytest.raises(ValueError, match='metric fd_bands needs reference_sound; a reference has none'):
    frechet.update([metric_lib.Sample(sound, without_sound)])
  for reference, need in (
    (dataclasses.replace(without_sound, truth=None, sound=true), 'prompt'),
    (dataclasses.replace(without_sound, frame_LYX3=None, sound=true), 'frames'),
  ):
    with pytest.raises(ValueError, match=f'metric is_bands needs {need}; a reference has none'):
      inception.update([metric_lib.Sample(sound, reference)])
  references = [dataclasses.replace(without_sound, truth=None), without_sound]
  assert scoring.select(inception, references) == [1]


def test_digest_of_a_video_depends_on_file_and_duration(tmp_path):
  path = films.make(tmp_path / 'a', duration_s=0.4)
  digests = [frames.Video(path, 0.2).digest(), frames.Video(path, 0.4).digest()]
  films.make(tmp_path / 'a', duration_s=0.8)
  assert len({*digests, frames.Video(path, 0.2).digest()}) == 3


def test_directions():
  for name in ('is_synthetic', 'clap_clap', 'ib_imagebind', 'lse_c_syncnet'):
    assert registry.get(name).direction == 'higher', name
  errors = ('desync_synchformer', 'lse_d_syncnet')
  for name in ('fd_synthetic', 'fd_inf_synthetic', 'kid_synthetic', 'kad_synthetic', 'kl_panns', *errors):
    assert registry.get(name).direction == 'lower', name
  assert registry.get('fd_inf_synthetic').description == distribution.DESCRIPTIONS['fd_inf']
  own = {metric.kind: metric for metric in distribution.make_metrics(bands.FakeEmbedder())}
  assert own['lowness'].direction == 'higher'


def test_distances_of_other_numbers_of_rows_are_dropped():
  entry = lambda num: {'value': 1.0, 'interval': [0.5, 1.5], 'n': num, 'num_true': 100}
  models = {name: {'fd_x': entry(num), 'kad_x': entry(num)} for name, num in (('a', 100), ('b', 99))}
  distribution.drop_incomparable(models, 'a')
  assert models['a']['fd_x']['value'] == models['b']['kad_x']['value'] == 1.0
  assert models['b']['fd_x']['value'] is None
  assert models['b']['fd_x']['reason'].startswith('not compared with a: Frechet distances shrink')
  with pytest.raises(ValueError):
    set_distances.check_comparable((100, 100), (100, 99))
