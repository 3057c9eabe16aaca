"""The ground truth agrees with audio and frames."""

import numpy as np
import pytest
import scipy.signal

from v2a.synthetic import bodies
from v2a.synthetic import clips
from v2a.synthetic import impacts
from v2a.synthetic import modal
from v2a.synthetic import scene as scene_lib
from v2a.synthetic import speech

RATE_HZ = 16000


def render_audio(scene: str, index: int, **more):
  """Renders a clip with tiny frames."""
  return clips.render(17, index, (scene,), corruption='clean', fps=1, frame_size=4, **more)


def level(wave_NA: np.ndarray, hop: int) -> np.ndarray:
  """Returns the root mean square of blocks of `hop` samples."""
  whole = len(wave_NA) // hop * hop
  return np.sqrt((wave_NA[:whole].astype(float) ** 2).reshape(-1, hop, wave_NA.shape[1]).mean((1, 2)))


@pytest.mark.parametrize('scene', ('bounce', 'collide', 'strike', 'hidden', 'keys'))
def test_events_are_audible(scene):
  rises = []
  for index in range(8):
    clip = render_audio(scene, index)
    # Ringing is predictable from the last samples, an onset is not: the second difference shows it.
    wave_N = np.abs(np.diff(clip.stems['effects'].sum(1), 2))
    for entry in clip.truth['events']:
      at = int(round(entry['time_s'] * RATE_HZ))
      if at > 160:
        after, before = wave_N[at - 8 : at + 160].max(), wave_N[at - 160 : at - 8].max()
        rises.append(after > 1.3 * before)
  assert len(rises) > 30 and np.mean(rises) > (0.9 if scene == 'keys' else 0.98)


def test_audio_is_silent_before_the_first_event():
  for index in range(6):
    clip = render_audio('strike', index)
    first = int(clip.truth['events'][0]['time_s'] * RATE_HZ)
    assert not clip.stems['effects'][: first - 1].any()


def test_bodies_touch_the_floor_only_at_events():
  for index in range(20):
    rng = np.random.default_rng(index)
    drop = impacts.BouncingBody(rng, 0.3, bodies.random_body(rng, 'wood'), 0.9, 5.0)
    y = drop.y(drop.hits_S)
    np.testing.assert_allclose(y, drop.rest_y, atol=1e-6)
    if len(drop.hits_S) > 1:
      between = (drop.hits_S[1:] + drop.hits_S[:-1]) / 2
      assert (drop.y(between) < drop.rest_y - 0.005).all()
    fine = np.linspace(drop.start_s, drop.end_s, 2000)
    assert np.abs(np.diff(drop.y(fine))).max() < 0.02  # no jumps
    speed = (drop.y(drop.hits_S[:1]) - drop.y(drop.hits_S[:1] - 1e-4)) / 1e-4
    np.testing.assert_allclose(speed, drop.speeds_S[:1], rtol=1e-2)


def test_colliding_bodies_touch_at_events():
  for index in range(10):
    rng = np.random.default_rng(index)
    run = impacts.CollidingBodies(rng, [bodies.random_body(rng, 'wood') for _ in range(2)], 6.0)
    for time_s, _, kind, _ in run.hits():
      x_S = run.positions(np.array([time_s]))[0]
      gap = x_S[1] - x_S[0] - run.radius_S.sum()
      wall = min(x_S[0] - run.radius_S[0] - run.left, run.right - x_S[1] - run.radius_S[1])
      assert abs(gap if kind == 'collision' else wall) < 1e-6
    x_LS = run.positions(np.linspace(0, 6, 3000))
    assert (np.diff(x_LS, axis=1)[:, 0] > run.radius_S.sum() - 1e-9).all()


def test_materials_ring_at_their_modes():
  for name, material in modal.MATERIALS.items():
    mono_N = modal.impact(name, 1.0, 1.0, RATE_HZ)
    assert 0.3 < np.abs(mono_N).max() < 0.75
    late_N = mono_N[int(0.01 * RATE_HZ) :]
    peak_hz = np.abs(np.fft.rfft(late_N, 1 << 16)).argmax() * RATE_HZ / (1 << 16)
    assert min(abs(peak_hz - mode_hz) for mode_hz in material.modes_hz) < 20
    assert np.abs(mono_N[: int(0.003 * RATE_HZ)]).max() > 0.5 * np.abs(mono_N).max()  # sharp attack


@pytest.mark.parametrize('scene', ('engine', 'rain', 'wind', 'pass'))
def test_the_envelope_is_that_of_the_audio(scene):
  for index in range(4):
    clip = render_audio(scene, index, clip_s=8.0)
    measured = level(clip.stems['effects'], RATE_HZ // 20)
    track = np.array(clip.truth['envelope'])
    expected = track.reshape(-1, 5).mean(1)
    assert np.corrcoef(measured, expected)[0, 1] > 0.9 and track.min() >= 0 and track.max() <= 1


def test_the_pitch_of_the_engine_is_that_of_the_audio():
  clip = render_audio('engine', 1)
  wave_N = clip.stems['effects'].sum(1)
  for time_s in (0.7, 1.5, 2.4, 3.3):
    expected_hz = clip.truth['pitch_hz'][int(time_s * 100)]
    segment_N = wave_N[int((time_s - 0.05) * RATE_HZ) : int((time_s + 0.05) * RATE_HZ)]
    power = scipy.signal.correlate(segment_N, segment_N)[len(segment_N) - 1 :]
    low, high = int(RATE_HZ / 260), int(RATE_HZ / 55)
    lag = low + power[low:high].argmax()
    ratio = RATE_HZ / lag / expected_hz
    assert min(abs(ratio - 1), abs(ratio - 0.5)) < 0.06


def test_panning_follows_the_position():
  clip = render_audio('pass', 3, clip_s=12.0)
  left, right = (level(clip.stems['effects'][:, [channel]], RATE_HZ // 20) for channel in range(2))
  measured = (right - left) / (right + left)
  expected = np.array(clip.truth['x']).reshape(-1, 5).mean(1)
  assert np.corrcoef(measured, expected)[0, 1] > 0.97
  for index in range(6):
    clip = render_audio('strike', index)
    x = clip.truth['events'][0]['x']
    power = (clip.stems['effects'].astype(float) ** 2).sum(0)
    assert abs(x) < 0.1 or (power[1] > power[0]) == (x > 0)


def test_objects_are_at_the_position_of_the_truth():
  clip = clips.render(17, 3, ('pass',), corruption='clean', fps=25, frame_size=64)
  still = np.median(clip.frame_LYX3, axis=0)
  moving = np.abs(clip.frame_LYX3.astype(float) - still).sum(-1)
  moving[moving < 60] = 0
  column = (moving.sum(1) * np.arange(64)).sum(1) / np.maximum(moving.sum((1, 2)), 1e-9)
  visible = moving.sum((1, 2)) > 500
  expected = np.array(clip.truth['x'])[::4]
  assert visible.sum() > 30 and np.corrcoef(column[visible], expected[visible])[0, 1] > 0.9


def test_mouth_moves_with_the_speech():
  pairs = []
  for index in range(6):
    clip = render_audio('dialogue', index)
    measured = level(clip.stems['speech'], RATE_HZ // 100)
    smooth = np.convolve(measured, np.hanning(11) / np.hanning(11).sum(), mode='same')
    pairs.append(np.corrcoef(smooth, clip.truth['mouth'])[0, 1])
    assert clip.truth['transcript'] == ' '.join(entry['word'] for entry in clip.truth['words'])
    for entry in clip.truth['words']:
      span = measured[int(entry['start_s'] * 100) : int(entry['end_s'] * 100) + 1]
      assert span.max() > 0.02
    assert len(clip.truth['transcript']) <= 64
  assert np.mean(pairs) > 0.5 and min(pairs) > 0.3


def test_the_mouth_is_large_enough_to_be_visible():
  clip = clips.render(17, 2, ('dialogue',), corruption='clean', fps=25, frame_size=48)
  mouth_S = np.array(clip.truth['mouth'])[::4]
  shut, wide = clip.frame_LYX3[mouth_S.argmin()], clip.frame_LYX3[mouth_S.argmax()]
  changed = np.abs(shut.astype(int) - wide).sum(-1)[28:] > 60
  assert changed.any(0).sum() >= 10 and changed.sum() > 50


def test_lips_close_for_their_phonemes():
  _, words, phonemes = speech.synthesize('mama', 150, RATE_HZ)
  assert [word for word, _, _ in words] == ['mama']
  for name, start_s, end_s in phonemes:
    opening, _, _, _, closed = speech.mouth_shape(phonemes, np.array([(start_s + end_s) / 2]))[0]
    assert (closed > 0.9 and opening < 0.1) if name[0] == 'm' else opening > 0.3


def test_keys_have_the_pitch_of_their_notes():
  clip = render_audio('keys', 1)
  note = max(clip.truth['notes'], key=lambda entry: entry['duration_s'])
  start = int((note['time_s'] + 0.03) * RATE_HZ)
  segment_N = clip.stems['effects'].sum(1)[start : start + int((note['duration_s'] - 0.05) * RATE_HZ)]
  spectrum = np.abs(np.fft.rfft(segment_N * np.hanning(len(segment_N)), 1 << 16))
  assert abs(spectrum.argmax() * RATE_HZ / (1 << 16) - note['pitch_hz']) < 4


def test_black_frames_are_silent():
  for index in range(6):
    clip = clips.render(17, index, ('cut',), corruption='clean', fps=25, frame_size=16)
    dark = clip.frame_LYX3.max((1, 2, 3)) == 0
    loud = level(clip.wave_NA, RATE_HZ // 25)
    assert 0.1 < dark.mean() < 0.9
    inner = dark[1:-1] & dark[:-2] & dark[2:]
    assert not loud[1:-1][inner].any()


def test_still_scenes_do_not_move():
  clip = clips.render(17, 1, ('still',), corruption='clean', fps=25, frame_size=16)
  assert (clip.frame_LYX3 == clip.frame_LYX3[:1]).all() and not clip.wave_NA.any()


def test_lengths_of_a_scene_spec():
  spec = scene_lib.SceneSpec(2.5, 44100)
  assert spec.num_samples == 110250 and len(spec.curve_time_S) == 250 and spec.silence().shape == (110250, 2)
