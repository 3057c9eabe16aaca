"""The benchmark on real clips, on audio and times with known results."""

import numpy as np
import pytest

from benchmarks import real_clips
from tests.media import films
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


def sine(frequency_hz, left, right, rate_hz=16000):
  wave_N = np.sin(2 * np.pi * frequency_hz * np.arange(rate_hz) / rate_hz)
  return np.stack([left * wave_N, right * wave_N], axis=1)


def test_level_of_a_band_is_that_of_its_sines():
  wave_NA = sine(5000, 1.0, 1.0) + sine(1000, 0.1, 0.1)
  assert real_clips.band_db(wave_NA, 16000, 4000, 8000) == pytest.approx(-3.01, abs=0.01)
  assert real_clips.band_db(wave_NA, 16000, 0, 4000) == pytest.approx(-23.01, abs=0.01)
  # One channel alone has half of the power.
  assert real_clips.band_db(sine(5000, 1.0, 0.0), 16000, 4000, 8000) == pytest.approx(-6.02, abs=0.01)
  assert real_clips.band_db(0 * wave_NA, 16000, 0, 8000) == -120.0


def test_round_trip_changes_by_hand():
  true_NA = sine(1000, 0.5, 0.5) + sine(5000, 0.5, -0.5)
  found = real_clips.round_trip_changes(true_NA, sine(1000, 0.5, 0.5) + sine(5000, 0.05, 0.05), 16000)
  assert found['treble_db'] == pytest.approx(-20.0, abs=0.01)
  assert found['level_db'] == pytest.approx(10 * np.log10(1.01 / 2), abs=0.01)
  assert found['correlation'] == pytest.approx(0.0, abs=1e-6)
  assert found['correlation_after'] == pytest.approx(1.0)
  assert found['distance_db'] > 2
  same = real_clips.round_trip_changes(true_NA, true_NA, 16000)
  assert same['distance_db'] == same['level_db'] == same['treble_db'] == 0
  mono = real_clips.round_trip_changes(true_NA[:, :1], true_NA[:, :1], 16000)
  assert np.isnan(mono['correlation']) and np.isnan(mono['correlation_after'])


def test_round_trip_table():
  keys = 'distance_db', 'level_db', 'treble_db', 'correlation', 'correlation_after'
  values = (10.0, -1.0, -8.0, 0.1, 0.9), (20.0, 0.0, 2.0, np.nan, 1.0), (30.0, -5.0, 0.0, 0.5, 1.0)
  found = {name: dict(zip(keys, row)) for name, row in zip('abc', values)}
  rows = real_clips.format_round_trip_table(found).splitlines()[2:]
  assert rows == [
    '| a | 10.0 | -1.0 | -8.0 | 0.10 | 0.90 |',
    '| b | 20.0 | +0.0 | +2.0 | - | 1.00 |',
    '| c | 30.0 | -5.0 | +0.0 | 0.50 | 1.00 |',
    '| mean | 20.0 | -2.0 | -2.0 | 0.30 | 0.97 |',
    '| median | 20.0 | -1.0 | +0.0 | 0.30 | 1.00 |',
  ]


def test_codec_command_uses_videos_that_are_long_enough_and_have_audio(tmp_path, capsys):
  rate_hz = films.KINDS['mp4'][3]
  for name, duration_s, has_sound in (('long', 1.0, True), ('short', 0.5, True), ('silent', 1.0, False)):
    wave_NA = sine(1000, 0.5, 0.25, rate_hz)[: int(rate_hz * duration_s)].astype(np.float32)
    films.make(tmp_path / name, duration_s=duration_s, wave_NA=wave_NA if has_sound else None)
  assert real_clips.main(['codec', '--clips', str(tmp_path), '--seconds', '0.8']) == 0
  out = capsys.readouterr().out
  assert out.startswith('codec of default, 1 clips of at least 0.8 s with audio there, of 3\n')
  assert '| long.mp4 |' in out and '| 1.00 | 1.00 |' in out
  assert real_clips.main(['codec', '--clips', str(tmp_path)]) == 2
  assert '3 x the video is shorter than 4 s' in capsys.readouterr().err


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
    (['codec', '--clips', 'nowhere'], 'nowhere'),
    (['codec', '--clips', 'x', '--seconds', '0'], '0.5..60'),
    (['codec', '--clips', 'x', '--generator', 'y'], 'invalid choice'),
  ],
)
def test_bad_arguments_are_one_line(argv, message, capsys, monkeypatch):
  monkeypatch.setattr(real_clips.compilation_cache, 'enable', lambda: None)
  assert real_clips.main(argv) == 2
  out, err = capsys.readouterr()
  assert not out and message in err and err.count('\n') == 1
