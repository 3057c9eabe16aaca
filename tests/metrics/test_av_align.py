"""AV-Align against OpenCV and librosa (goldens/av_align.py writes what they compute), and by hand."""

import numpy as np
import pytest

from tests.media import films
from tests.metrics.goldens import av_align as golden
from v2a import clip as clip_lib
from v2a.data import folder_examples
from v2a.evaluation import evaluator
from v2a.evaluation import scoring
from v2a.metrics import av_align
from v2a.metrics import metric as metric_lib
from v2a.metrics import optical_flow
from v2a.metrics import registry
from v2a.metrics.embedders import frames as frames_lib

RATE_HZ = 16000
# One level of the pyramid, which compiles fast.
HEIGHT, WIDTH = 48, 96


@pytest.fixture(scope='module')
def expected():
  return np.load(golden.FILE)


def test_optical_flow_is_that_of_opencv(expected):
  frame_LYX3 = golden.frames()
  for k, expected_YX2 in enumerate(expected['flow_LYX2']):
    flow_YX2 = optical_flow.flow(frame_LYX3[k], frame_LYX3[k + 1])
    assert flow_YX2.shape == (golden.HEIGHT, golden.WIDTH, 2)
    # The flow has up to 20 pixels.
    np.testing.assert_allclose(flow_YX2[:: golden.STRIDE, :: golden.STRIDE], expected_YX2, atol=2e-3)
  mean_L = optical_flow.mean_magnitudes(iter(frame_LYX3))
  np.testing.assert_allclose(mean_L, expected['mean_magnitude_L'], rtol=1e-5)


def test_flow_of_a_shift_is_the_shift():
  rng = np.random.default_rng(0)
  noise_YX = np.kron(rng.integers(0, 256, (12, 12)), np.ones((4, 4)))
  frame_YX3 = np.repeat(noise_YX[..., None], 3, axis=2).astype(np.uint8)
  flow_YX2 = optical_flow.flow(frame_YX3, np.roll(frame_YX3, (1, 2), axis=(0, 1)))
  np.testing.assert_allclose(np.median(flow_YX2[12:-12, 12:-12], axis=(0, 1)), [2.0, 1.0], atol=0.1)


@pytest.mark.parametrize(('name', 'wave_NA'), [('', golden.sound()), ('noisy_', golden.noisy_sound())])
def test_onsets_are_those_of_librosa(expected, name, wave_NA):
  strength_J = av_align.onset_strength(wave_NA, golden.RATE_HZ)
  np.testing.assert_allclose(strength_J, expected[f'{name}strength_J'], atol=1e-3)
  onset_s = av_align.onset_times(wave_NA, golden.RATE_HZ)
  np.testing.assert_allclose(onset_s, expected[f'{name}onset_s'], atol=1e-9)


def test_silence_and_a_constant_have_no_onsets():
  for wave_NA in (np.zeros((RATE_HZ, 2)), np.zeros((1, 1))):
    assert not len(av_align.onset_times(wave_NA, RATE_HZ))
  with pytest.raises(ValueError, match='must be finite'):
    av_align.onset_times(np.full((10, 1), np.nan), RATE_HZ)


def test_motion_peaks_by_hand():
  motion_L = np.array([9.0, 1, 5, 2, 2, 2, 0.3, 0.9, 0.8, 0.05, 0.09, 0.05, 0.1, 0.0])
  np.testing.assert_allclose(av_align.motion_peaks(motion_L, 10), [0.2, 0.7, 1.2])
  for still_L in (np.zeros(5), np.zeros(1), np.zeros(0), np.array([1.0, 2.0])):
    assert not len(av_align.motion_peaks(still_L, 10))


@pytest.mark.parametrize(
  ('onset_s', 'peak_s', 'score'),
  [
    ([0.4, 0.8, 1.2], [0.4, 0.8, 1.2], 1.0),
    ([0.4, 0.8, 1.2], [0.4, 0.6, 1.2, 1.6], 2 / 5),
    ([0.4], [0.509], 0.0),  # a frame away is too far
    ([0.4], [0.491], 1.0),
    ([0.5], [0.409], 1.0),
    ([0.4, 0.41], [0.4], 1 / 2),  # a peak matches once
    ([0.45, 0.39], [0.4, 0.5], 1 / 3),  # the first peak that is near, not the nearest
    ([], [0.4], 0.0),
    ([0.4], [], 0.0),
    ([], [], 0.0),
  ],
)
def test_score_by_hand(onset_s, peak_s, score):
  assert av_align.score(np.array(onset_s), np.array(peak_s), 10.0) == pytest.approx(score)


def test_frames_are_those_of_the_file_at_its_own_rate(tmp_path):
  path = films.make(tmp_path / 'a', 'mov', duration_s=1.0, fps=30, height=HEIGHT, width=WIDTH)
  source = frames_lib.Video(path, 0.6)
  assert source.fps == pytest.approx(30.0)
  shown = list(source.frames_at_fps(source.fps, 18))
  assert [films.frame_number(frame_YX3) for frame_YX3 in shown] == list(range(18))
  assert shown[0].shape == (HEIGHT, WIDTH, 3)
  motion_L = av_align.motion(source)
  assert len(motion_L) == 18 and motion_L[0] == motion_L[1]


def test_metric_reads_the_file_and_not_the_frames_of_the_model(tmp_path):
  wave_NA = films.clicks(2.0, 48000)
  films.make(tmp_path / 'a', 'mov', duration_s=2.0, fps=30, wave_NA=wave_NA, height=HEIGHT, width=WIDTH)
  spec = clip_lib.ClipSpec(clip_s=2.0, frame_size=8)
  (reference,) = evaluator.make_references(list(folder_examples.read(tmp_path, None, spec)), 16000)
  assert reference.frame_LYX3.shape[1] == 8 and reference.fps != 30
  source = reference.frame_source()
  assert (source.fps, source.duration_s) == (pytest.approx(30.0), 2.0)
  expected = av_align.score(
    av_align.onset_times(wave_NA, 48000), av_align.motion_peaks(av_align.motion(source), 30.0), 30.0
  )
  found = registry.get('av_align').score(metric_lib.Sample(metric_lib.Sound(wave_NA, 48000), reference))
  assert found == pytest.approx(expected) and 0.0 < found < 1.0


def bursts(times_s, seconds=4.0):
  """Returns a sound of clicks."""
  wave_NA = np.zeros((round(seconds * RATE_HZ), 1), np.float32)
  for time_s in times_s:
    first = round(time_s * RATE_HZ)
    wave_NA[first : first + 400, 0] = 0.5 * np.random.default_rng(0).standard_normal(400)
  return wave_NA


@pytest.fixture(scope='module')
def moving():
  """Returns the reference of a texture that jumps at known times, and those times."""
  fps, times_s = 25.0, np.array([0.4, 0.92, 1.6, 2.2, 2.56, 3.4])
  texture_YX = np.random.default_rng(0).integers(0, 256, (12, 12)).repeat(4, 0).repeat(4, 1)
  shift_L = np.zeros(100, int)
  for time_s in times_s:
    shift_L[round(time_s * fps) :] += 2
  frame_LYX3 = np.stack([np.roll(texture_YX, shift, axis=1) for shift in shift_L])[..., None].repeat(3, -1)
  sound = metric_lib.Sound(bursts(times_s), RATE_HZ)
  return metric_lib.Reference(sound, None, frame_LYX3.astype(np.uint8), fps), times_s


def test_metric_falls_with_the_delay_of_the_sound(moving):
  reference, times_s = moving
  metric = registry.get('av_align')
  sounds = (bursts(times_s), bursts(times_s + 0.1), bursts(times_s + 0.3), np.zeros((4 * RATE_HZ, 1)))
  scores = metric.score_all(
    [metric_lib.Sample(metric_lib.Sound(wave_NA, RATE_HZ), reference) for wave_NA in sounds]
  )
  assert scores[0] == 1.0 and max(scores[1:]) <= 1 / 11 and scores[3] == 0.0


def test_chance_level_is_of_motion_at_shifted_times(moving):
  reference, times_s = moving
  metric = registry.get('av_align')
  late = reference.with_onset_shift(1.0)
  sound = metric_lib.Sound(bursts(np.sort((times_s + 1.0) % 4.0)), RATE_HZ)
  assert metric.score(metric_lib.Sample(sound, late)) > 0.8
  assert metric.score(metric_lib.Sample(sound, reference)) < 0.4
  entry = scoring.score_metric(
    metric,
    [reference],
    [0],
    scoring.Samples({0: reference.sound}, [reference]),
    None,
    None,
    shifted=[scoring.Samples({0: reference.sound}, each) for each in scoring.shift_references([reference])],
  )
  assert entry.value == [[1.0]] and len(entry.shifted) == scoring.NUM_SHIFTS
  assert np.mean(entry.shifted) < 0.3


def test_flow_is_computed_once_for_all_systems_and_shifts(moving, monkeypatch):
  reference, times_s = moving
  reference = metric_lib.Reference(reference.sound, None, reference.frame_LYX3, reference.fps)
  compute, calls = av_align.motion, []
  monkeypatch.setattr(av_align, 'motion', lambda source: calls.append(source) or compute(source))
  metric = registry.get('av_align')
  for each in (reference, *(part[0] for part in scoring.shift_references([reference]))):
    metric.score(metric_lib.Sample(reference.sound, each))
  assert len(calls) == 1
