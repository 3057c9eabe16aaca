"""The table of metrics of sets: against the distances themselves; what it says where it cannot compute."""

import numpy as np
import pytest

from tests.metrics.embedders import bands
from v2a.metrics import distribution
from v2a.metrics import set_distances
from v2a.metrics.embedders import embedder as embedder_lib


def lines_of(true, drawn, embedder, num_draws=20):
  """Returns the lines of a table by the names of their metrics."""
  made = [distribution.embed(clips, [embedder]) for clips in (true, drawn)]
  return {line.name: line for line in distribution.compute_metrics(*made, [embedder], num_draws)}


def test_values_are_those_of_the_distances():
  true, drawn, embedder = bands.noise_clips(0, 100), bands.noise_clips(1, 100, tilt=1.0), bands.FakeEmbedder()
  lines = lines_of(true, drawn, embedder)
  rows = [np.concatenate([embedder.embed(clip)['rows_NF'] for clip in clips]) for clips in (true, drawn)]
  logits = [np.stack([embedder.embed(clip)['logits_O'] for clip in clips]) for clips in (true, drawn)]
  assert list(lines) == list(embedder.metrics)
  assert lines['fd'].value == set_distances.frechet(*rows)
  assert lines['kad'].value == set_distances.kad(*rows)
  assert lines['kl'].value == set_distances.kl(*logits)
  assert lines['is'].value == set_distances.inception_score(logits[1])[0]
  assert lines['lowness'].value == np.mean([embedder.scores(embedder.embed(c))['lowness'] for c in drawn])
  assert lines['lowness'].true_value < lines['lowness'].value
  assert (lines['fd'].num_true, lines['fd'].num_generated) == (200, 200)
  assert (lines['kl'].num_true, lines['is'].num_generated) == (100, 100)
  for name in ('fd', 'kad', 'kl', 'is', 'lowness'):
    low, high = lines[name].interval
    assert low < lines[name].value < high


@pytest.mark.slow
def test_values_that_want_a_thousand_rows():
  true, drawn = bands.noise_clips(0, 500), bands.noise_clips(1, 500, tilt=1.0)
  embedder = bands.FakeEmbedder(metrics=('kid', 'fd_inf'))
  lines = lines_of(true, drawn, embedder, num_draws=8)
  rows = [np.concatenate([embedder.embed(clip)['rows_NF'] for clip in clips]) for clips in (true, drawn)]
  assert lines['fd_inf'].value == set_distances.frechet_infinity(*rows)
  assert lines['kid'].value == set_distances.kid(*rows)[0]
  for line in lines.values():
    low, high = line.interval
    assert low < line.value < high


def test_an_interval_is_over_clips_not_rows():
  # Clips whose rows are all one row: a bootstrap over rows would think it had fifty times as much to go by.
  class Repeated(bands.FakeEmbedder):
    def embed(self, clip):
      arrays = super().embed(clip)
      return {**arrays, 'rows_NF': arrays['rows_NF'][:1].repeat(50, axis=0)}

  true, drawn = bands.noise_clips(0, 30), bands.noise_clips(1, 30, tilt=1.0)
  both = (bands.FakeEmbedder(metrics=('fd',)), Repeated(metrics=('fd',)))
  once, often = (lines_of(true, drawn, embedder, 100)['fd'].interval for embedder in both)
  assert (often[1] - often[0]) > 0.5 * (once[1] - once[0])


def test_without_draws_there_is_no_interval():
  lines = lines_of(bands.noise_clips(0, 12), bands.noise_clips(1, 12), bands.FakeEmbedder(), num_draws=0)
  assert lines['fd'].value is not None and lines['fd'].interval is None


def test_few_clips_are_said_to_be_few():
  lines = lines_of(bands.noise_clips(0, 2), bands.noise_clips(1, 2), bands.FakeEmbedder())
  assert lines['fd'].note.startswith('4 rows cannot fill a covariance of 4 features')
  assert 'not computed: frechet_infinity needs' in lines['fd_inf'].note
  assert 'needs at least 10 rows; got 2' in lines['is'].note
  assert lines['kid'].value is None and 'needs at least 1000 rows; got 4' in lines['kid'].note
  assert lines['kid'].note.startswith('not computed: ')


def test_what_is_missing_is_in_the_table():
  missing = embedder_lib.Missing('vggish', 'weights x.pth missing', ('fd', 'kad'))
  true, drawn = (
    distribution.embed(bands.noise_clips(k, 12), [missing, bands.FakeEmbedder()]) for k in (0, 1)
  )
  lines = distribution.compute_metrics(true, drawn, [missing, bands.FakeEmbedder()], 0)
  assert [(line.name, line.embedder, line.value) for line in lines[:2]] == [
    ('fd', 'vggish', None),
    ('kad', 'vggish', None),
  ]
  assert lines[0].note == 'not computed: weights x.pth missing'
  shown = distribution.format_results(lines)
  assert 'fd_vggish' in shown and shown.count('not computed: weights x.pth missing') == 1


def test_refused_clips_are_counted_and_their_pairs_left_out():
  silent = embedder_lib.Clip(np.zeros((256, 1), np.float32), 16000)
  true, drawn, embedder = bands.noise_clips(0, 12), bands.noise_clips(1, 12), bands.FakeEmbedder()
  lines = lines_of(true, [*drawn[:5], silent, *drawn[6:]], embedder)
  assert lines['fd'].num_generated == 22
  assert lines['fd'].note == '1 of 12 drawn clips refused: silence has no bands.'
  kept = [k for k in range(12) if k != 5]
  logits = [np.stack([embedder.embed(clips[k])['logits_O'] for k in kept]) for clips in (true, drawn)]
  assert lines['kl'].value == set_distances.kl(*logits)
  lines = lines_of(true, [silent] * 12, embedder)
  assert all(line.value is None and line.note.startswith('not computed: ') for line in lines.values())


def test_kl_of_sets_that_are_no_pairs():
  lines = lines_of(bands.noise_clips(0, 12), bands.noise_clips(1, 13), bands.FakeEmbedder())
  assert 'got 12 true and 13 drawn clips' in lines['kl'].note and lines['fd'].value is not None


def test_tables_of_other_numbers_of_rows_are_refused():
  def table(num):
    made = [distribution.embed(bands.noise_clips(k, num), [bands.FakeEmbedder()]) for k in (0, 1)]
    return distribution.compute_metrics(*made, [bands.FakeEmbedder()], 0)

  distribution.check_comparable({'a': table(12), 'b': table(12)})
  with pytest.raises(ValueError, match=r'compare only at equal numbers of rows.*\(24, 24\), \(22, 22\)'):
    distribution.check_comparable({'a': table(12), 'b': table(11)})
