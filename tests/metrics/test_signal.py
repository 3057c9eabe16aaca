"""Signal metrics of sounds and frames with known values."""

import numpy as np
import pytest

from v2a.media import motion
from v2a.metrics import onsets
from v2a.metrics import retrieval
from v2a.metrics import signal
from v2a.metrics import spectra

RATE_HZ = 48000
FPS = 25


def sine(hz, seconds=1.0, amplitude=1.0, phase=0.0, rate_hz=RATE_HZ):
  """Returns one channel of a sine."""
  time_N = np.arange(round(seconds * rate_hz)) / rate_hz
  return amplitude * np.sin(2 * np.pi * hz * time_N + phase)[:, None]


def noise(seconds=1.0, seed=0, channels=2, amplitude=0.1):
  """Returns white noise."""
  return amplitude * np.random.default_rng(seed).standard_normal((round(seconds * RATE_HZ), channels))


def bursts(times_s, amplitudes=None, seconds=2.0, rate_hz=RATE_HZ):
  """Returns noise bursts of 40 ms decay at times, the same in both channels."""
  rng = np.random.default_rng(1)
  wave_NA = np.zeros((round(seconds * rate_hz), 2))
  decay_N = np.exp(-np.arange(rate_hz // 5) / (0.04 * rate_hz))
  for time_s, amplitude in zip(times_s, amplitudes or [0.5] * len(times_s)):
    first = round(time_s * rate_hz)
    part_NA = wave_NA[first : first + len(decay_N)]
    # Each burst peaks at its amplitude, at its first sample.
    shape_N = np.clip(rng.standard_normal(len(decay_N)) / 3, -1, 1) * decay_N
    shape_N[0] = 1.0
    part_NA += amplitude * shape_N[: len(part_NA), None]
  return wave_NA


def flashes(times_s, seconds=2.0, size=8):
  """Returns grey frames that are inverted at times, which are multiples of the frame period."""
  frame_LYX3 = np.full((round(seconds * FPS), size, size, 3), 100, np.uint8)
  for time_s in times_s:
    frame_LYX3[round(time_s * FPS) :] = 255 - frame_LYX3[round(time_s * FPS) :]
  return frame_LYX3


# Onsets.


def test_onsets_that_match():
  times_s = [0.2, 0.6, 1.1, 1.5]
  metrics = signal.onset_metrics(times_s[::-1], bursts(times_s), RATE_HZ)
  assert metrics == signal.OnsetMetrics(onsets.Counts(4, 4, 4), 1.0)
  assert (metrics.is_count_correct, metrics.accuracy, metrics.f1) == (True, 1.0, 1.0)


def test_missed_onsets_have_zero_precision():
  # Detections by loudness: 0.2 matches, 0.6 does not, 1.1 matches; 1.7 is missed.
  wave_NA = bursts([0.2, 0.6, 1.1], [0.9, 0.6, 0.3])
  metrics = signal.onset_metrics([0.2, 1.1, 1.7], wave_NA, RATE_HZ)
  assert metrics.is_count_correct
  assert metrics.accuracy == pytest.approx(2 / 3)
  assert metrics.average_precision == pytest.approx((1 / 1 + 2 / 3) / 3)
  assert metrics.f1 == pytest.approx(2 / 3)


def test_confidence_is_the_absolute_peak():
  # The loudest detection is negative and has no match, so the matched one has half the precision.
  wave_NA = np.abs(bursts([0.3], [0.4])) - np.abs(bursts([1.2], [0.8]))
  for sound_NA in (wave_NA, -wave_NA, 0.1 * wave_NA):
    assert signal.onset_metrics([0.3], sound_NA, RATE_HZ).average_precision == pytest.approx(1 / 2)
  assert signal.onset_metrics([1.2], wave_NA, RATE_HZ).average_precision == pytest.approx(1.0)


def test_equal_confidences_share_their_precision():
  assert signal._average_precision(np.array([1.0, 1.0]), [1], 1) == pytest.approx(1 / 2)
  assert signal._average_precision(np.array([1.0, 1.0, 2.0]), [0, 1], 2) == pytest.approx(2 / 3)


def test_tolerance_affects_only_matching():
  wave_NA = bursts([0.5, 1.0])
  late = signal.onset_metrics([0.58, 1.08], wave_NA, RATE_HZ)
  strict = signal.onset_metrics([0.58, 1.08], wave_NA, RATE_HZ, tolerance_s=0.05)
  assert (late.accuracy, late.f1, late.average_precision) == (1.0, 1.0, 1.0)
  assert (strict.accuracy, strict.f1, strict.average_precision) == (0.0, 0.0, 0.0)
  assert late.is_count_correct and strict.is_count_correct


def test_silence_has_no_matches():
  quiet_NA = np.zeros((RATE_HZ, 2))
  for known_s, wave_NA, counts, expected in (
    ([0.3, 0.6], quiet_NA, (0, 2, 0), (False, 0.0, 0.0, 0.0)),
    ([], quiet_NA, (0, 0, 0), (True, None, None, None)),
    ([], bursts([0.5]), (0, 0, 1), (False, None, None, None)),
  ):
    metrics = signal.onset_metrics(known_s, wave_NA, RATE_HZ)
    assert metrics.counts == counts
    assert (metrics.is_count_correct, metrics.accuracy, metrics.average_precision, metrics.f1) == expected


def test_onsets_at_the_edges():
  # The known onsets are the louder ones.
  wave_NA = bursts([0.02, 1.0, 1.97], [0.8, 0.3, 0.8])
  metrics = signal.onset_metrics([0.02, 1.97], wave_NA, RATE_HZ)
  assert (metrics.accuracy, metrics.average_precision) == (1.0, 1.0)


# Audio and video.


def test_motion_peaks_by_hand():
  motion_L = np.array([9.0, 1, 5, 2, 2, 2, 0.3, 0.9, 0.8])
  np.testing.assert_allclose(signal.motion_peaks(motion_L, 10), [0.2, 0.7])
  assert len(signal.motion_peaks(np.array([0.0, 10, 0, 0.9, 0]), 10)) == 1
  for still_L in (np.zeros(5), np.zeros(1), np.array([1.0, 2.0])):
    assert not len(signal.motion_peaks(still_L, 10))


def peaks_of(frame_LYX3):
  """Returns the times of the motion peaks of frames."""
  return signal.motion_peaks(motion.curve(frame_LYX3), FPS)


def test_motion_onset_iou_by_hand():
  both_s = [0.4, 0.8, 1.2]
  assert signal.motion_onset_iou(bursts(both_s), RATE_HZ, peaks_of(flashes(both_s)), FPS) == 1.0
  # Two of three audio onsets and two of four motion peaks match: 2 / (3 + 4 - 2).
  assert signal.motion_onset_iou(
    bursts(both_s), RATE_HZ, peaks_of(flashes([0.4, 0.6, 1.2, 1.6])), FPS
  ) == pytest.approx(2 / 5)
  assert signal.motion_onset_iou(bursts([0.5, 0.9]), RATE_HZ, peaks_of(flashes([0.4, 0.8])), FPS) == 0.0
  quiet_NA = np.zeros((RATE_HZ, 2))
  assert signal.motion_onset_iou(quiet_NA, RATE_HZ, peaks_of(flashes([0.4])), FPS) == 0.0
  assert signal.motion_onset_iou(quiet_NA, RATE_HZ, peaks_of(flashes([])), FPS) is None


@pytest.mark.parametrize('offset_s', [-0.3, -0.08, 0.0, 0.04, 0.2, 0.45])
def test_offset_of_shifted_beeps(offset_s):
  seen_s = np.array([0.52, 0.96, 1.64, 2.28])
  wave_NA = bursts(seen_s + offset_s, seconds=3.0)
  offset = signal.av_offset_s(wave_NA, RATE_HZ, flashes(seen_s, seconds=3.0), FPS)
  assert offset == pytest.approx(offset_s, abs=0.011)


def test_offset_without_onsets_or_motion_is_none():
  frame_LYX3 = flashes([0.4])
  assert signal.av_offset_s(np.zeros((2 * RATE_HZ, 2)), RATE_HZ, frame_LYX3, FPS) is None
  assert signal.av_offset_s(bursts([0.4]), RATE_HZ, flashes([]), FPS) is None
  assert signal.av_offset_s(bursts([0.4]), RATE_HZ, frame_LYX3[:1], FPS) is None
  assert signal.av_offset_s(bursts([0.12], seconds=0.3), RATE_HZ, flashes([0.12], seconds=0.3), FPS) == (
    pytest.approx(0.0, abs=0.011)
  )


# Distances.

DISTANCES = {
  'envelope_l1': lambda a_NA, b_NA: signal.envelope_l1(a_NA, b_NA, RATE_HZ),
  'stft_distance': signal.stft_distance,
  'log_spectral_distance': signal.log_spectral_distance,
  'log_mel_distance': lambda a_NA, b_NA: signal.log_mel_distance(a_NA, b_NA, RATE_HZ),
}


@pytest.mark.parametrize('name', DISTANCES)
def test_distances_are_zero_for_equal_waves_and_symmetric(name):
  distance, a_NA, b_NA = DISTANCES[name], noise(seed=2), noise(seed=3, amplitude=0.02)
  assert distance(a_NA, a_NA) == 0.0
  assert distance(a_NA, b_NA) > 0.0
  assert distance(a_NA, b_NA) == pytest.approx(distance(b_NA, a_NA), rel=1e-12)
  # Opposite phases, which cancel in a mono mix.
  assert distance(a_NA[:, :1] * [1, -1], 0.0 * a_NA) > 0.0


def test_distances_of_a_scaled_wave():
  wave_NA, gain = noise(), 0.25
  # Few bins of the noise are below the floor.
  assert signal.log_spectral_distance(wave_NA, gain * wave_NA) == pytest.approx(2 * np.log10(4), rel=2e-3)
  assert signal.stft_distance(wave_NA, gain * wave_NA) == pytest.approx(0.75 + np.log(4), rel=2e-3)
  # log_mel adds its floor, and bands of noise are near 1e-3.
  assert signal.log_mel_distance(wave_NA, gain * wave_NA, RATE_HZ) == pytest.approx(np.log(4), rel=0.03)
  known = 0.75 * signal.envelope(wave_NA, RATE_HZ).mean()
  assert signal.envelope_l1(wave_NA, gain * wave_NA, RATE_HZ) == pytest.approx(known, rel=1e-9)


def test_log_mel_distance_of_mono_is_that_of_retrieval():
  a_NA, b_NA = noise(channels=1), noise(channels=1, seed=4)
  known = retrieval.pairwise_distances([a_NA], [b_NA])[0, 0]
  assert signal.log_mel_distance(a_NA, b_NA, spectra.RATE_HZ) == pytest.approx(known, rel=1e-12)


def test_envelope_by_definition():
  wave_NA = noise(seconds=0.1, channels=1)[:1600]
  padded_N = np.pad(wave_NA[:, 0], 192, mode='reflect')
  known_J = [np.sqrt((padded_N[j : j + 512] ** 2).mean()) for j in range(0, len(padded_N) - 511, 128)]
  np.testing.assert_allclose(signal.envelope(wave_NA, 16000), known_J, rtol=1e-12)
  assert len(signal.envelope(np.zeros((16000, 1)), 16000)) == 125
  np.testing.assert_allclose(signal.envelope(np.full((16000, 2), 0.3) * [1, -1], 16000), 0.3)
  loud_NA, soft_NA = np.full((1600, 1), 0.5), np.full((1600, 1), 0.2)
  assert signal.envelope_l1(loud_NA, soft_NA, 16000) == pytest.approx(0.3)


def test_distances_of_different_shapes_raise():
  for distance in DISTANCES.values():
    with pytest.raises(ValueError, match='N=48000'):
      distance(noise(), noise()[:100])
    with pytest.raises(ValueError, match='A=2'):
      distance(noise(), noise(channels=1))


# Level.


@pytest.mark.parametrize('rate_hz', [16000, 44100, 48000])
def test_loudness_of_the_calibration_sine(rate_hz):
  wave_NA = np.sin(2 * np.pi * 997.0 * np.arange(3 * rate_hz) / rate_hz)[:, None] * np.ones(2)
  assert signal.loudness_lufs(wave_NA, rate_hz) == pytest.approx(0.0, abs=0.1)
  assert signal.loudness_lufs(wave_NA[:, :1], rate_hz) == pytest.approx(-3.01, abs=0.1)
  assert signal.loudness_lufs(wave_NA * [0.1, 0.0], rate_hz) == pytest.approx(-23.01, abs=0.1)


def test_loudness_is_gated_and_weights_high_frequencies():
  wave_NA = sine(997.0)
  padded_NA = np.concatenate([wave_NA, np.zeros_like(wave_NA), wave_NA])
  alone, padded = (signal.loudness_lufs(each_NA, RATE_HZ) for each_NA in (wave_NA, padded_NA))
  assert padded == pytest.approx(alone, abs=1.0)
  # K-weighting raises high frequencies by 4 dB, and 997 Hz by 0.7.
  assert signal.loudness_lufs(sine(6000.0), RATE_HZ) == pytest.approx(alone + 3.3, abs=0.1)
  assert signal.loudness_lufs(np.zeros((RATE_HZ, 2)), RATE_HZ) == signal.SILENCE_LUFS
  assert signal.loudness_lufs(wave_NA[: RATE_HZ // 4], RATE_HZ) is None


def test_true_peak_between_samples():
  # A quarter of the rate at 45 degrees: every sample is 0.7071, the wave is 1.
  wave_NA = sine(RATE_HZ / 4, phase=np.pi / 4)
  assert np.abs(wave_NA).max() == pytest.approx(np.sqrt(0.5))
  fade_N1 = np.hanning(len(wave_NA))[:, None]
  assert signal.true_peak_db(wave_NA * fade_N1) == pytest.approx(0.0, abs=0.05)
  assert signal.true_peak_db(0.1 * wave_NA * fade_N1 * [1, 0]) == pytest.approx(-20.0, abs=0.05)


@pytest.mark.parametrize('hz', [100.0, 997.0, 6000.0, 15000.0])
def test_true_peak_of_a_full_scale_sine(hz):
  wave_NA = sine(hz) * np.hanning(RATE_HZ)[:, None]
  assert signal.true_peak_db(wave_NA) == pytest.approx(0.0, abs=0.2)


def test_true_peak_is_never_below_the_sample_peak():
  click_NA = np.zeros((100, 1))
  click_NA[50] = -0.5
  assert signal.true_peak_db(click_NA) >= 20 * np.log10(0.5)
  assert signal.true_peak_db(np.zeros((100, 2))) == signal.FLOOR_DB


def test_clipping_and_dc_by_hand():
  wave_NA = np.array([[1.0, 0.0], [-1.2, 0.5], [32767 / 32768, -0.5], [0.999, 0.0]])
  assert signal.clipping_share(wave_NA) == pytest.approx(3 / 8)
  assert signal.clipping_share(0.9 * noise()) == 0.0
  assert signal.dc_offset(sine(100.0) * [1, 1] + [0.01, -0.2]) == pytest.approx(0.2, abs=1e-9)


def test_silence_share_of_a_half_silent_wave():
  wave_NA = noise(seconds=4.0)
  wave_NA[: 2 * RATE_HZ] *= 1e-3
  assert signal.silence_share(wave_NA, RATE_HZ) == pytest.approx(0.5, abs=0.01)
  assert signal.silence_share(wave_NA, RATE_HZ, threshold_db=-90.0) == 0.0
  assert signal.silence_share(0.0 * wave_NA, RATE_HZ) == 1.0


def test_rolloff_of_a_sine_and_of_noise():
  assert signal.rolloff_hz(sine(5000.0), RATE_HZ) == pytest.approx(5000.0, abs=50)
  assert signal.rolloff_hz(noise(), RATE_HZ) == pytest.approx(0.99 * RATE_HZ / 2, rel=0.01)
  assert signal.rolloff_hz(noise(), RATE_HZ, share=0.5) == pytest.approx(0.5 * RATE_HZ / 2, rel=0.05)
  two_NA = np.hstack([sine(1000.0), sine(8000.0)])
  assert signal.rolloff_hz(two_NA, RATE_HZ) == pytest.approx(8000.0, abs=50)


# Left and right.


def test_correlation_of_channels():
  mono_N1 = noise(channels=1)
  assert signal.stereo_correlation(mono_N1 * [1, 0.3]) == pytest.approx(1.0)
  assert signal.stereo_correlation(mono_N1 * [1, -2]) == pytest.approx(-1.0)
  assert signal.stereo_correlation(noise(seconds=4.0)) == pytest.approx(0.0, abs=0.02)
  assert signal.stereo_correlation(mono_N1 * [1, 0]) is None


@pytest.mark.parametrize('x', [-0.9, -0.3, 0.0, 0.5])
def test_level_difference_of_a_panned_tone(x):
  angle = (x + 1) * np.pi / 4
  wave_NA = sine(440.0) * [np.cos(angle), np.sin(angle)]
  assert signal.level_difference_db(wave_NA) == pytest.approx(20 * np.log10(np.tan(angle)), abs=1e-9)


def test_level_difference_of_one_channel_alone_is_finite():
  assert signal.level_difference_db(sine(440.0) * [0, 1]) == pytest.approx(120 - 3.0103, abs=1e-3)
  assert signal.level_difference_db(np.zeros((10, 2))) == 0.0
  with pytest.raises(ValueError, match='two channels; got 1'):
    signal.level_difference_db(sine(440.0))
  with pytest.raises(ValueError, match='two channels; got 1'):
    signal.stereo_correlation(sine(440.0))


# Edge cases of every function.

METRICS = {
  'onset_metrics': lambda wave_NA: signal.onset_metrics([0.1], wave_NA, RATE_HZ).average_precision,
  'motion_onset_iou': lambda wave_NA: signal.motion_onset_iou(
    wave_NA, RATE_HZ, peaks_of(flashes([0.4, 1.0])), FPS
  ),
  'av_offset_s': lambda wave_NA: signal.av_offset_s(wave_NA, RATE_HZ, flashes([0.4, 1.0]), FPS),
  'envelope': lambda wave_NA: signal.envelope(wave_NA, RATE_HZ).sum(),
  'true_peak_db': signal.true_peak_db,
  'clipping_share': signal.clipping_share,
  'silence_share': lambda wave_NA: signal.silence_share(wave_NA, RATE_HZ),
  'rolloff_hz': lambda wave_NA: signal.rolloff_hz(wave_NA, RATE_HZ),
  'dc_offset': signal.dc_offset,
  'stereo_correlation': signal.stereo_correlation,
  'level_difference_db': signal.level_difference_db,
}
SHORT = {
  'one silent sample': np.zeros((1, 2)),
  'one sample': np.full((1, 2), 0.5),
  'two silent samples': np.zeros((2, 2)),
  'seven samples': np.full((7, 2), -1.0),
  'silence': np.zeros((RATE_HZ, 2)),
}


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('wave_NA', SHORT.values(), ids=SHORT)
def test_silence_and_single_samples_have_finite_values(wave_NA):
  for name, metric in METRICS.items():
    value = metric(wave_NA)
    assert value is None or np.isfinite(value), name
  for name, distance in DISTANCES.items():
    assert distance(wave_NA, wave_NA) == 0.0, name
    assert np.isfinite(distance(wave_NA, np.full_like(wave_NA, 0.7))), name
    assert np.isfinite(distance(np.full_like(wave_NA, 0.7), wave_NA)), name


@pytest.mark.parametrize('wave_NA', [np.zeros((0, 2)), np.zeros(9), np.full((9, 2), np.nan)])
def test_invalid_waveforms_raise(wave_NA):
  for name, metric in (METRICS | {name: lambda x, f=f: f(x, x) for name, f in DISTANCES.items()}).items():
    with pytest.raises(ValueError, match='a wave to measure'):
      metric(wave_NA)
      pytest.fail(name)


def test_invalid_times_raise():
  with pytest.raises(ValueError, match='known onset times'):
    signal.onset_metrics([np.nan], np.zeros((9, 1)), RATE_HZ)
