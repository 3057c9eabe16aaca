"""The benchmark on real clips, on audio and times with known results."""

import numpy as np
import pytest

from benchmarks import real_clips
from v2a import clip
from v2a.data import fake_records
from v2a.data import records
from v2a.metrics import retrieval
from v2a.metrics import spectra


def noises(count, num_channels=2):
  """Returns waveforms of noise, half a second each, in distinct frequency bands."""
  rng = np.random.default_rng(0)
  waves = []
  for index in range(count):
    spectrum_FA = np.fft.rfft(rng.standard_normal((spectra.RATE_HZ // 2, num_channels)), axis=0)
    frequency_F = np.arange(len(spectrum_FA)) * 2
    spectrum_FA[np.abs(frequency_F - 500 - 1000 * index) > 400] *= 0.01
    waves.append(np.fft.irfft(spectrum_FA, axis=0))
  return waves


def test_distance_of_louder_audio_is_the_logarithm_of_its_gain():
  loud = [100 * wave_NA for wave_NA in noises(2)]  # far above the floor inside the logarithm
  found_NN = retrieval.pairwise_distances(loud, [2.5 * wave_NA for wave_NA in loud])
  np.testing.assert_allclose(np.diag(found_NN), np.log(2.5), rtol=1e-3)


def test_distances_have_rows_of_the_first_argument_and_use_the_mono_mix():
  first, second = noises(2), noises(3)
  found = retrieval.pairwise_distances(first, second)
  assert found.shape == (2, 3)
  np.testing.assert_allclose(found, retrieval.pairwise_distances(second, first).T)
  np.testing.assert_allclose(np.diag(found), 0.0)
  assert found[0, 1] > 1.0
  mono = [wave_NA.mean(axis=1, keepdims=True) for wave_NA in second]
  np.testing.assert_allclose(retrieval.pairwise_distances(first, mono), found)


def test_audio_of_different_durations_is_refused():
  with pytest.raises(ValueError, match=r'must have one length; got \[7999, 8000\] samples'):
    retrieval.pairwise_distances(noises(2), [wave_NA[1:] for wave_NA in noises(2)])


def test_retrieval_accuracy_by_hand():
  distance_NN = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [9.0, 8.0, 7.0]])
  assert retrieval.top1_retrieval_accuracy(distance_NN) == pytest.approx(2 / 3)
  # By rows: the true soundtrack is retrieved by the generated one, not vice versa.
  assert retrieval.top1_retrieval_accuracy(distance_NN.T) == pytest.approx(1 / 3)
  with pytest.raises(ValueError, match='distance_NN'):
    retrieval.top1_retrieval_accuracy(distance_NN[:2])


def test_report_of_three_failures_of_four():
  true = noises(4)
  found = real_clips.compare('abcd', [true[0], true[3], true[1], true[2]], true, true)
  assert (found['value'], found['ceiling'], found['chance']) == (0.25, 1.0, 0.25)
  # The audio generated for c is that of b, which is the floor of b; likewise for d and c.
  assert found['floor'] == 0.5
  assert [(row['clip'], row['nearest']) for row in found['failed']] == [('b', 'd'), ('c', 'b'), ('d', 'c')]
  assert all(row['distance'] == 0.0 < row['distance_own'] for row in found['failed'])


def test_first_window_with_audio_of_each_video():
  spec = clip.ClipSpec(clip_s=1.0, frame_size=8)
  all_records = [fake_records.make(spec, seed) for seed in range(6)]
  ids = ('a@b.mp4@0.000', 'a@b.mp4@1.000', 'a@b.mp4@2.000', 'c.mp4@0.000', 'd.webm@0.000', 'd.mp4@0.000')
  for record, name in zip(all_records, ids):
    record['id'] = name
    record['has_audio'] = name not in ('a@b.mp4@0.000', 'c.mp4@0.000')
  found = real_clips.first_windows(records.InMemorySource(all_records, spec))
  assert {name: record['id'] for name, record in found.items()} == {
    'a@b.mp4': 'a@b.mp4@1.000',
    'd.webm': 'd.webm@0.000',
    'd.mp4': 'd.mp4@0.000',
  }


def test_onset_times_of_cut_and_repeated_audio():
  time_s = np.array([0.5, 1.5])
  np.testing.assert_allclose(real_clips.tile_times(time_s, 2.0, 1.0), [0.5])
  np.testing.assert_allclose(real_clips.tile_times(time_s, 2.0, 5.0), [0.5, 1.5, 2.5, 3.5, 4.5])
  assert len(real_clips.tile_times(np.zeros(0), 2.0, 5.0)) == 0
  found = real_clips.next_clip_onsets(
    [[np.array([0.1])], [np.array([0.2])], [np.array([0.3])]], [1.0, 2.0, 4.0]
  )
  np.testing.assert_allclose(
    np.concatenate([times_s for (times_s,) in found]), [0.2, 0.3, 0.1, 1.1, 2.1, 3.1]
  )


def test_the_start_of_a_file_is_not_an_onset():
  wave_NA = 0.2 * np.random.default_rng(0).standard_normal((spectra.RATE_HZ, 2))
  wave_NA[:160] = 0.0
  wave_NA[8000:8400] *= 20
  np.testing.assert_allclose(real_clips.onset_times_s(wave_NA, spectra.RATE_HZ), [0.5], atol=0.02)
  assert real_clips.onsets.detect(wave_NA, spectra.RATE_HZ)[0] < real_clips.EDGE_S


def test_precision_and_recall_by_hand():
  known_s = np.array([1.0, 2.0, 3.0, 4.0])
  counts = real_clips.count_onsets(known_s, [np.array([1.04, 2.06]), np.array([4.0])])
  np.testing.assert_array_equal(counts, [2, 8, 3])
  none = real_clips.onsets.Counts(0, 4, 0)
  rows = real_clips.format_onset_table(['x', 'y'], [counts, none], [none, none], num_samples=2).splitlines()
  assert rows[2] == '| x | 4 | 1.5 | 0.67 | 0.25 | - | 0.00 |'
  assert rows[3] == '| y | 2 | 0 | - | 0.00 | - | 0.00 |'
  assert rows[4] == '| all | 6 | 1.5 | 0.67 | 0.17 | - | 0.00 |'


@pytest.mark.parametrize(
  ('argv', 'message'),
  [
    ([], 'arguments are required: command'),
    (['nearest'], 'arguments are required: --records'),
    (['nearest', '--records', 'nowhere'], 'nowhere is no folder of records'),
    (['onsets', '--num-samples', '0'], 'a whole number of at least 1'),
    (['onsets', '--clips', 'x', '--num-samples', '2000'], 'must lie in 1..1000'),
    (['onsets', '--clips', 'x', '--seed', '-1'], 'a whole number in 0..2147483647'),
    (['onsets', '--clips', 'nowhere'], 'no clip nowhere/'),
  ],
)
def test_bad_arguments_are_one_line(argv, message, capsys, monkeypatch):
  monkeypatch.setattr(real_clips.compilation_cache, 'enable', lambda: None)
  assert real_clips.main(argv) == 2
  out, err = capsys.readouterr()
  assert not out and message in err and err.count('\n') == 1
