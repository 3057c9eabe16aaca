"""Frames and waveforms by presentation time."""

import fractions
import os
import pathlib
import struct
import tracemalloc

import av
import numpy as np
from PIL import Image as image
import pytest

from tests.media import films
from v2a.media import audio_file
from v2a.media import audio_reader
from v2a.media import crop
from v2a.media import errors
from v2a.media import probe
from v2a.media import read


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp('films')


def numbers(path, fps=25, start_s=0.0, duration_s=None):
  return [films.frame_number(frame_YX3) for frame_YX3 in read.frames(path, fps, 32, start_s, duration_s)]


@pytest.mark.parametrize('kind', films.KINDS)
def test_frames_and_audio_of_every_container(folder, kind):
  rate_hz = films.KINDS[kind][3]
  wave_NA = films.clicks(2.0, rate_hz)
  path = films.make(folder / f'kind-{kind}', kind, wave_NA=wave_NA)
  info = probe.probe(path)
  assert (info.width, info.height, info.rotation_deg, info.is_image) == (96, 64, 0, False)
  assert info.duration_s == pytest.approx(2.0, abs=0.002) and info.fps == pytest.approx(25, abs=0.03)
  assert info.has_audio and info.audio_sample_rate_hz == rate_hz and info.audio_channels == 2
  assert numbers(path) == list(range(50))
  assert numbers(path, 8) == [int(k * 25 / 8) for k in range(16)]
  audio_NA = read.wave(path, rate_hz, 2)
  assert len(audio_NA) == pytest.approx(2 * rate_hz, abs=0.002 * rate_hz)
  assert abs(films.lag_s(audio_NA[:, 0], wave_NA[:, 0], rate_hz)) < 1e-3


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'webm-vp9', 'avi-h264', 'mpg', 'ts'])
def test_reading_from_the_middle(folder, kind):
  rate_hz = films.KINDS[kind][3]
  wave_NA = films.clicks(8.0, rate_hz)
  path = films.make(folder / f'middle-{kind}', kind, duration_s=8.0, wave_NA=wave_NA)
  assert numbers(path, 25, 4.36, 1.0) == list(range(109, 134))
  assert numbers(path, 25, 0.04, 0.2) == [1, 2, 3, 4, 5]
  audio_NA = read.wave(path, 16000, 1, 4.36, 2.0)
  expected_NA = films.clicks(8.0, 16000)[round(4.36 * 16000) : round(6.36 * 16000)]
  assert abs(films.lag_s(audio_NA[:, 0], expected_NA[:, 0], 16000)) < 1e-3


def test_frames_at_a_variable_frame_rate(folder):
  times_s = [0.0, 0.1, 0.15, 0.6, 0.62, 1.4]
  path = films.make(folder / 'vfr', 'mp4', times_s=times_s)
  expected = [max(n for n, time_s in enumerate(times_s) if time_s <= k / 50 + 1e-9) for k in range(70)]
  assert numbers(path, 50, 0.0, 1.4) == expected
  assert numbers(path, 50, 0.3, 0.5) == expected[15:40]


def by_ffmpeg(path: pathlib.Path, fps: str) -> np.ndarray:
  """Returns the frames of FFmpeg's own filters `fps` and `format`."""
  with av.open(str(path)) as container:
    stream = container.streams.video[0]
    graph = av.filter.Graph()
    nodes = [graph.add_buffer(template=stream), graph.add('fps', fps), graph.add('format', 'rgb24')]
    graph.link_nodes(*nodes, graph.add('buffersink')).configure()
    frames = []
    for frame in [*container.decode(stream), None]:
      graph.push(frame)
      while True:
        try:
          frames.append(graph.pull().to_ndarray())
        except (av.error.BlockingIOError, av.error.EOFError):
          break
  return np.stack(frames)


@pytest.mark.parametrize('fps', ['25', '50', '1/2', '24000/1001'])
@pytest.mark.parametrize(
  'times_s',
  [
    np.arange(130) / 30,
    np.arange(130) * 1001 / 30000,
    np.arange(220) / 50,
    [0.0, 0.1, 0.15, 0.6, 1.02, 4.4],
    np.arange(110) / 25 + 0.47,
  ],
  ids=['30', '29.97', '50', 'varying', 'late'],
)
def test_full_size_frames_are_those_of_ffmpeg(folder, times_s, fps):
  path = films.make(folder / f'own-{fps.replace("/", "_")}-{times_s[1]:.4f}', 'mp4', times_s=times_s)
  expected_LYX3 = by_ffmpeg(path, fps)
  found = list(read.iterate_full_size_frames(path, float(fractions.Fraction(fps)), len(expected_LYX3) + 3))
  assert len(expected_LYX3) >= 2 and found[0].shape == (films.HEIGHT, films.WIDTH, 3)
  np.testing.assert_array_equal(found[:-3], expected_LYX3)
  assert [films.frame_number(frame_YX3) for frame_YX3 in found[-2:]] == [len(times_s) - 1] * 2


def test_full_size_frames_are_upright(folder):
  path = films.make(folder / 'own-turned', 'mp4', duration_s=0.2, rotation_deg=90)
  upright = films.make(folder / 'own-upright', 'mp4', duration_s=0.2)
  found, expected = (list(read.iterate_full_size_frames(each, 25, 3)) for each in (path, upright))
  np.testing.assert_array_equal(found, [np.rot90(frame_YX3) for frame_YX3 in expected])


def test_the_first_frame_is_at_0_and_the_last_one_is_held(folder):
  path = films.make(folder / 'late', 'mp4', times_s=np.arange(25) / 25 + 0.5)
  assert numbers(path, 25, 0.0, 1.6) == [*range(25), *[24] * 15]
  assert probe.probe(path).duration_s == pytest.approx(1.0)


def test_matroska_rounding_repeats_no_frame(folder):
  path = films.make(folder / 'rounded', 'mkv', times_s=np.arange(60) / 30, fps=30)
  assert numbers(path, 30) == list(range(60))


@pytest.mark.parametrize(
  ('kind', 'start_s'), [('mp4', 0.4), ('mp4', 0.123), ('mkv', 0.4), ('mov', 0.25), ('ts', 0.4)]
)
def test_audio_that_starts_after_the_video(folder, kind, start_s):
  rate_hz = films.KINDS[kind][3]
  wave_NA = films.clicks(1.0, rate_hz)
  path = films.make(folder / f'offset-{kind}-{start_s}', kind, wave_NA=wave_NA, sound_start_s=start_s)
  audio_N = read.wave(path, rate_hz, 1)[:, 0]
  assert abs(films.lag_s(audio_N, wave_NA[:, 0], rate_hz) - start_s) < 1e-3
  assert np.abs(audio_N[: round((start_s - 0.03) * rate_hz)]).max() < 1e-4
  assert np.abs(audio_N[round((start_s + 1.1) * rate_hz) :]).max() < 1e-4


def test_video_that_starts_after_the_audio(folder):
  wave_NA = films.clicks(2.0, 44100)
  path = films.make(folder / 'late-video', 'mp4', times_s=np.arange(25) / 25 + 0.5, wave_NA=wave_NA)
  audio_N = read.wave(path, 44100, 1)[:, 0]
  assert len(audio_N) == 44100
  assert abs(films.lag_s(audio_N, wave_NA[22050:66150, 0], 44100)) < 1e-3


def patched(path: pathlib.Path, track: int, media_time: int) -> None:
  """Changes the media time of the edit list of one track."""
  data = bytearray(path.read_bytes())
  position = -1
  for _ in range(track + 1):
    position = data.index(b'elst', position + 1)
  assert struct.unpack('>I', data[position + 8 : position + 12]) == (1,)
  struct.pack_into('>I', data, position + 16, media_time + struct.unpack_from('>I', data, position + 16)[0])
  path.write_bytes(data)


def test_edit_lists_shift_frames_and_audio(folder):
  """An edit list that hides half a second shifts frames or audio by as much."""
  wave_NA = films.clicks(2.0, 44100)
  path = films.make(folder / 'edit-video', 'mp4', wave_NA=wave_NA)
  patched(path, 0, 45000)
  assert numbers(path, 25, 0.0, 1.4)[:30] == list(range(12, 42)) or numbers(path, 25, 0.0, 1.4)[:30] == [
    *range(13, 43)
  ]
  path = films.make(folder / 'edit-audio', 'mp4', wave_NA=wave_NA)
  patched(path, 1, 22050)
  audio_N = read.wave(path, 44100, 1)[:, 0]
  assert abs(films.lag_s(audio_N, wave_NA[:, 0], 44100) + 0.5) < 1e-3


@pytest.mark.parametrize('length_s', [0.7, 3.1])
def test_audio_shorter_and_longer_than_the_video(folder, length_s):
  wave_NA = films.clicks(length_s, 44100)
  path = films.make(folder / f'length-{length_s}', 'mp4', wave_NA=wave_NA)
  audio_N = read.wave(path, 44100, 1)[:, 0]
  assert len(audio_N) == 88200
  assert abs(films.lag_s(audio_N, wave_NA[:, 0], 44100)) < 1e-3
  assert not audio_N[round((length_s + 0.1) * 44100) :].any()


def test_a_video_without_audio_is_silent(folder):
  path = films.make(folder / 'mute', 'mp4')
  assert not probe.probe(path).has_audio
  wave_NA = read.wave(path, 16000, 2)
  assert wave_NA.shape == (32000, 2) and not wave_NA.any()


@pytest.mark.parametrize(('turn', 'size'), [(90, (64, 96)), (-90, (64, 96)), (180, (96, 64))])
def test_frames_are_rotated(folder, turn, size):
  path = films.make(folder / f'turn{turn}', 'mp4', rotation_deg=turn)
  info = probe.probe(path)
  assert (info.width, info.height) == size and info.rotation_deg == -turn % 360
  upright_YX3 = read.frames(films.make(folder / 'upright', 'mp4'), 25, 32, 0.0, 0.04)[0]
  turned_YX3 = read.frames(path, 25, 32, 0.0, 0.04)[0]
  # NumPy rotates counter-clockwise, like the argument of films.make.
  np.testing.assert_allclose(turned_YX3.astype(int), np.rot90(upright_YX3, turn // 90).astype(int), atol=3)


@pytest.mark.parametrize('rotation_deg', [0, 90])
def test_a_part_of_upright_frames_is_resized(folder, rotation_deg):
  path = films.make(folder / f'part{rotation_deg}', rotation_deg=rotation_deg)
  whole = films.HEIGHT, films.WIDTH
  whole = whole[::-1] if rotation_deg else whole
  box, tick_L = crop.CropBox(0.25, 0.75, 0.125, 1.0), np.arange(10)
  (frame_LYX3,) = read.iterate_frames_at(path, tick_L, 25, whole)
  wanted_LYX3 = box.apply(frame_LYX3)
  (found_LYX3,) = read.iterate_frames_at(path, tick_L, 25, wanted_LYX3.shape[1:3], crop=box)
  assert found_LYX3.shape == wanted_LYX3.shape
  assert np.abs(found_LYX3.astype(int) - wanted_LYX3).max() <= 2
  assert np.any(found_LYX3[0] != found_LYX3[9])  # of which the fourth bit differs


def test_frames_are_resized_by_area_averaging(folder):
  path = films.make(folder / 'colours', 'mp4', height=480, width=640)
  frame_YX3 = read.frames(path, 25, 4, 0.0, 0.04)[0]
  np.testing.assert_allclose(frame_YX3[3, 3], (224, 16, 16), atol=12)
  np.testing.assert_allclose(frame_YX3[0, 3], (0, 0, 0), atol=12)


@pytest.mark.parametrize(
  ('layout', 'gain'),
  [
    ('mono', np.ones((1, 2))),
    ('stereo', np.eye(2)),
    ('5.1', np.array([[1, 0], [0, 1], [0.7071, 0.7071], [0, 0], [0.7071, 0], [0, 0.7071]]) / 2.4142),
    (
      '7.1',
      np.array([[1, 0], [0, 1], [0.7071, 0.7071], [0, 0], [0.7071, 0], [0, 0.7071], [0.7071, 0], [0, 0.7071]])
      / 3.1213,
    ),
  ],
)
def test_channels_are_mixed_by_the_matrix(folder, layout, gain):
  """Every channel has its own tone; the levels of the tones in the mix are the matrix."""
  rate_hz, t_N = 44100, np.arange(44100 * 2) / 44100
  tone_NA = np.stack([0.5 * np.sin(2 * np.pi * 100 * (channel + 1) * t_N) for channel in range(len(gain))], 1)
  path = films.make(folder / f'mix-{layout}', 'mkv-h265', wave_NA=tone_NA.astype(np.float32), layout=layout)
  stereo_NA = read.wave(path, rate_hz, 2, 0.0, 1.0)
  found = (
    2 * np.abs(np.fft.rfft(stereo_NA, axis=0))[100 : 100 * (len(gain) + 1) : 100] / (0.5 * len(stereo_NA))
  )
  np.testing.assert_allclose(found, gain, atol=2e-3)
  np.testing.assert_allclose(read.wave(path, rate_hz, 1, 0.0, 1.0)[:, 0], stereo_NA.mean(axis=1), atol=1e-6)


def test_resampling_preserves_time_and_level(folder):
  t_N = np.arange(96000) / 48000
  tone_NA = np.repeat(0.5 * np.sin(2 * np.pi * 440 * t_N)[:, None], 2, 1).astype(np.float32)
  path = films.make(folder / 'tone', 'mkv', wave_NA=tone_NA)
  for rate_hz in (16000, 22050, 44100, 96000):
    got_N = read.wave(path, rate_hz, 1, 0.5, 1.0)[:, 0]
    expected_N = 0.5 * np.sin(2 * np.pi * 440 * (0.5 + np.arange(rate_hz) / rate_hz))
    assert np.abs(got_N - expected_N).max() < 0.01


def test_consecutive_windows_join_seamlessly(folder):
  """The blocks of a stream, and windows read one by one, equal the whole."""
  wave_NA = films.clicks(6.0, 44100)
  path = films.make(folder / 'seam', 'mp4', duration_s=6.0, wave_NA=wave_NA)
  whole_NA = read.wave(path, 16000, 2)
  blocks = list(audio_reader.iterate_blocks(path, 16000, 2, 0.0, 6.0))
  assert len(blocks) > 3
  np.testing.assert_array_equal(np.concatenate(blocks), whole_NA)
  windows_NA = np.concatenate([read.wave(path, 16000, 2, start_s, 1.5) for start_s in (0.0, 1.5, 3.0, 4.5)])
  np.testing.assert_allclose(windows_NA, whole_NA, atol=1e-4)
  frames = list(read.iterate_frames(path, 25, 16, chunk_frames=40))
  assert [len(chunk_LYX3) for chunk_LYX3 in frames] == [40, 40, 40, 30]
  np.testing.assert_array_equal(np.concatenate(frames), read.frames(path, 25, 16))


def test_still_images_last_as_long_as_requested(tmp_path):
  for name in ('still.png', 'still.jpg'):
    path = tmp_path / name
    av.VideoFrame.from_ndarray(films.numbered_frame(77), 'rgb24').to_image().save(path)
    info = probe.probe(path)
    assert info.is_image and info.duration_s == 0 and (info.width, info.height) == (96, 64)
    assert numbers(path, 25, 3.0, 0.4) == [77] * 10
    assert not read.wave(path, 16000, 1, 0.0, 0.5).any()
    with pytest.raises(errors.MediaError, match='still image; wanted duration_s'):
      read.frames(path, 25, 32)


@pytest.mark.parametrize(('mark', 'turn'), [(1, 0), (6, 90), (3, 180), (8, 270)])
def test_photos_are_oriented_by_exif(tmp_path, mark, turn):
  """EXIF orientation, JEITA CP-3451."""
  path, photo = tmp_path / 'photo.jpg', image.fromarray(films.numbered_frame(77))
  exif = image.Exif()
  exif[0x0112] = mark
  photo.save(path, exif=exif, quality=95)
  info = probe.probe(path)
  assert info.rotation_deg == turn and (info.width, info.height) == ((64, 96) if turn % 180 else (96, 64))
  shown_YX3 = read.frames(path, 1, 32, 0.0, 1.0)[0].astype(int)
  upright_YX3 = np.asarray(photo.resize((32, 32), image.Resampling.BOX)).astype(int)
  assert np.abs(shown_YX3 - np.rot90(upright_YX3, -turn // 90)).mean() < 8


def test_an_animation_has_frames_and_a_duration(tmp_path):
  path = tmp_path / 'moving.gif'
  with av.open(str(path), 'w') as output:
    stream = output.add_stream('gif', rate=10, width=96, height=64, pix_fmt='rgb8')
    for index in range(10):
      frame = av.VideoFrame.from_ndarray(films.numbered_frame(index), 'rgb24')
      output.mux(stream.encode(frame.reformat(format='rgb8')))
    output.mux(stream.encode(None))
  info = probe.probe(path)
  assert not info.is_image and info.duration_s == pytest.approx(1.0) and info.video_codec == 'gif'
  assert numbers(path, 10) == list(range(10))


def test_an_audio_file_has_its_own_clock(folder):
  path = films.make(folder / 'audio', 'mkv', wave_NA=films.clicks(1.0, 48000))
  alone = folder / 'alone.wav'
  audio_file.wav(alone, films.clicks(1.0, 48000), 48000)
  info = probe.probe(alone)
  assert not info.has_video and info.has_audio and info.duration_s == 1.0
  np.testing.assert_allclose(read.wave(alone, 48000, 2), films.clicks(1.0, 48000), atol=1e-4)
  assert read.wave(path, 48000, 2, 0.0, 1.0).shape == (48000, 2)
  with pytest.raises(errors.MediaError, match='no video stream'):
    read.frames(alone, 25, 16)


def test_damage_in_the_middle_affects_nearby_frames_only(folder):
  path = films.make(folder / 'damaged', 'mkv', duration_s=4.0, wave_NA=films.clicks(4.0, 48000), gop=5)
  data = bytearray(path.read_bytes())
  middle = len(data) // 2
  data[middle : middle + 200] = bytes(range(200))
  path.write_bytes(data)
  numbers_shown = numbers(path, 25, 0.0, 4.0)
  assert numbers_shown[:40] == list(range(40)) and numbers_shown[-20:] == list(range(80, 100))


def test_memory_does_not_grow_with_length(folder):
  """Ten times the length takes no more memory, in Python's allocations and NumPy's."""
  peaks = []
  for duration_s in (6.0, 18.0):
    wave_NA = films.clicks(duration_s, 44100)
    path = films.make(folder / f'long{duration_s:g}', 'mp4', duration_s=duration_s, fps=5, wave_NA=wave_NA)
    tracemalloc.start()
    for chunk_LYX3 in read.iterate_frames(path, 5, 32, chunk_frames=10):
      assert chunk_LYX3.shape[0] == 10
    for block_NA in audio_reader.iterate_blocks(path, 16000, 2, 0.0, duration_s):
      assert len(block_NA) <= 16000
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
  assert peaks[1] < 1.1 * peaks[0] + 100_000


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'fps': 0}, 'fps must be positive; got 0'),
    ({'fps': float('nan')}, 'fps must be positive'),
    ({'size': 0}, 'size must be at least 1'),
    ({'start_s': -1.0}, 'start_s must be at least 0 s; got -1.0'),
    ({'duration_s': 0.0}, 'duration_s must be positive; got 0.0'),
    ({'duration_s': float('inf')}, 'duration_s must be positive'),
    ({'start_s': 5.0}, 'lasts 2.000 s; wanted a start before that, got 5.0'),
    ({'start_s': 5.0, 'duration_s': 1.0}, 'lasts 2.000 s; wanted a start before that, got 5.0'),
  ],
)
def test_numbers_out_of_range_are_refused(folder, change, message):
  path = films.make(folder / 'numbers', 'mp4')
  with pytest.raises(ValueError, match=message):
    read.frames(**({'path': path, 'fps': 25, 'size': 8, 'start_s': 0.0, 'duration_s': None} | change))


def test_a_fractional_frame_rate(folder):
  path = films.make(folder / 'odd', 'mp4')
  rate = fractions.Fraction(30000, 1001)
  expected = [int(k / rate * 25) for k in range(59)]
  assert numbers(path, float(rate), 0.0, 59 / float(rate)) == expected


@pytest.mark.skipif(not hasattr(os, 'sched_getscheduler'), reason='this system has no scheduling policies')
def test_encoding_does_not_change_the_priority_of_the_process(tmp_path):
  before = os.sched_getscheduler(0)
  films.make(tmp_path / 'film', 'mp4-av1', duration_s=0.4)
  assert os.sched_getscheduler(0) == before
