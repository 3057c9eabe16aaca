"""New audio for an unchanged video."""

import pathlib
import struct
import tracemalloc

import av
import numpy as np
import pytest
import soundfile

from tests.media import films
from v2a.media import audio_file
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import write

RATE_HZ = 16000


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp('films')


def audio_by_time(path: pathlib.Path, rate_hz: int) -> np.ndarray:
  """Returns the audio from the first shown frame on, by PyAV's timestamps alone, resampled by FFmpeg."""
  with av.open(str(path)) as container:
    # Players start at 0 if there is an edit list, even if FFmpeg outputs an earlier frame.
    zero_s = max(0.0, next(container.decode(video=0)).time)
  resampler = av.AudioResampler(format='flt', layout='mono', rate=rate_hz)
  audio_N = np.zeros(0, np.float32)
  with av.open(str(path)) as container:
    for index, frame in enumerate(container.decode(audio=0)):
      if not index:
        first_s = frame.time - zero_s
      for block in resampler.resample(frame):
        audio_N = np.append(audio_N, block.to_ndarray().reshape(-1))
  start = round(first_s * rate_hz)
  return np.concatenate([np.zeros(max(0, start), np.float32), audio_N[max(0, -start) :]])


def start_error_s(path: pathlib.Path, wave_NA: np.ndarray, rate_hz: int) -> float:
  return films.lag_s(audio_by_time(path, rate_hz), wave_NA[:, 0], rate_hz)


@pytest.mark.parametrize('kind', films.KINDS)
def test_every_container_is_copied_to_mp4(folder, kind):
  path = films.make(folder / f'from-{kind}', kind, wave_NA=films.clicks(2.0, films.KINDS[kind][3], seed=5))
  wave_NA = films.clicks(2.0, RATE_HZ)
  out = write.mux(path, wave_NA, RATE_HZ, folder / f'to-{kind}.mp4').path
  assert out == folder / f'to-{kind}.mp4'
  old, new = films.packets(path), films.packets(out)
  if kind in ('ts', 'avi-h264'):
    # MP4 uses sizes instead of start codes; the coded data are the same.
    assert [nal_units(data) for data, *_ in old] == [sized_units(data) for data, *_ in new]
  else:
    assert [data for data, *_ in old] == [data for data, *_ in new]
  if kind != 'avi-h264':
    np.testing.assert_allclose([time_s for _, time_s, _ in new], [time_s for _, time_s, _ in old], atol=2e-4)
  np.testing.assert_array_equal(read.frames(out, 25, 32), read.frames(path, 25, 32))
  info = probe.probe(out)
  assert info.audio_codec == 'aac' and info.duration_s == pytest.approx(2.0, abs=0.002)
  assert abs(start_error_s(out, wave_NA, RATE_HZ)) < 1e-3
  assert abs(films.lag_s(read.wave(out, RATE_HZ, 1)[:, 0], wave_NA[:, 0], RATE_HZ)) < 1e-4


def nal_units(data: bytes) -> list[bytes]:
  """Returns the units between start codes, without delimiters and parameter sets, which MP4 stores once."""
  units = [unit.rstrip(b'\0') for unit in data.replace(b'\0\0\0\1', b'\0\0\1').split(b'\0\0\1') if unit]
  return [unit for unit in units if unit[0] & 31 not in (7, 8, 9)]


def sized_units(data: bytes) -> list[bytes]:
  units, offset = [], 0
  while offset < len(data):
    (size,) = struct.unpack('>I', data[offset : offset + 4])
    units.append(data[offset + 4 : offset + 4 + size].rstrip(b'\0'))
    offset += 4 + size
  return [unit for unit in units if unit[0] & 31 not in (7, 8, 9)]


@pytest.mark.parametrize(
  ('kind', 'suffix', 'codec'),
  [
    ('mp4', '.mov', 'aac'),
    ('mp4', '.mkv', 'aac'),
    ('webm-vp9', '.webm', 'opus'),
    ('webm-vp8', '.webm', 'opus'),
    ('mkv', '.m4v', 'aac'),
  ],
)
@pytest.mark.parametrize('rate_hz', [16000, 44100, 48000])
def test_audio_starts_with_the_video(folder, kind, suffix, codec, rate_hz):
  wave_NA = films.clicks(2.0, rate_hz)
  path = films.make(folder / f'start-{kind}', kind)
  out = write.mux(path, wave_NA, rate_hz, folder / f'start-{kind}-{rate_hz}{suffix}').path
  assert probe.probe(out).audio_codec == codec and out.suffix == suffix
  assert [data for data, *_ in films.packets(path)] == [data for data, *_ in films.packets(out)]
  assert abs(start_error_s(out, wave_NA, rate_hz)) < 1e-3
  assert abs(films.lag_s(read.wave(out, rate_hz, 2)[:, 1], wave_NA[:, 1], rate_hz)) < 1e-3


def test_encoder_delay_is_hidden_by_an_edit_list(folder):
  """ISO 14496-12: the edit list of the audio hides 1024 samples, and lasts as long as the video."""
  path = films.make(folder / 'edits', 'mp4')
  out = write.mux(path, films.clicks(2.0, RATE_HZ), RATE_HZ, folder / 'edits-out.mp4').path
  data = out.read_bytes()
  position = data.index(b'elst', data.index(b'elst') + 1)
  count, duration, media_time = struct.unpack('>III', data[position + 8 : position + 20])
  assert (count, duration, media_time) == (1, 2 * 90000, 1024)


def test_hidden_frames_are_copied_and_stay_hidden(folder):
  """Frames before the start of an edit list are copied and stay hidden."""
  path = films.make(folder / 'hidden', 'mp4', wave_NA=films.clicks(2.0, 44100))
  data = bytearray(path.read_bytes())
  position = data.index(b'elst')
  (media_time,) = struct.unpack('>I', data[position + 16 : position + 20])
  data[position + 16 : position + 20] = struct.pack('>I', media_time + 45000)
  path.write_bytes(data)
  wave_NA = films.clicks(1.5, RATE_HZ)
  out = write.mux(path, wave_NA, RATE_HZ, folder / 'hidden-out.mp4').path
  assert [data for data, *_ in films.packets(path)] == [data for data, *_ in films.packets(out)]
  np.testing.assert_array_equal(read.frames(out, 25, 32, 0.0, 1.4), read.frames(path, 25, 32, 0.0, 1.4))
  assert abs(start_error_s(out, wave_NA, RATE_HZ)) < 1e-3


@pytest.mark.parametrize('kind', ['mp4', 'webm-vp9', 'mpg', 'avi-h264'])
@pytest.mark.parametrize(('start_s', 'duration_s'), [(1.32, 1.0), (1.32, None), (0.0, 0.8)])
def test_a_segment_is_copied(folder, kind, start_s, duration_s):
  """The video is copied from a keyframe, but shown exactly from the requested start on."""
  path = films.make(folder / f'part-{kind}', kind, duration_s=3.0)
  length_s = duration_s or 3.0 - start_s
  wave_NA = films.clicks(length_s, RATE_HZ)
  out = folder / f'part-{kind}-{start_s}-{duration_s}.mp4'
  write.mux(path, wave_NA, RATE_HZ, out, 'replace', start_s, duration_s)
  numbers_shown = [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 25, 32, 0.0, length_s)]
  first = round(start_s * 25)
  assert numbers_shown == list(range(first, first + round(length_s * 25)))
  assert probe.probe(out).duration_s == pytest.approx(length_s, abs=0.001)
  assert abs(start_error_s(out, wave_NA, RATE_HZ)) < 1e-3
  if kind != 'avi-h264':
    old, new = [data for data, *_ in films.packets(path)], [data for data, *_ in films.packets(out)]
    first = old.index(new[0])
    assert old[first : first + len(new)] == new and len(new) < len(old)


def test_a_segment_in_matroska_starts_at_its_keyframe(folder):
  """Without edit lists, the video starts with the keyframe, and the audio later by as much."""
  path = films.make(folder / 'part-mkv', 'mkv', duration_s=3.0)
  wave_NA = films.clicks(1.0, RATE_HZ)
  out = write.mux(path, wave_NA, RATE_HZ, folder / 'part-out.mkv', 'replace', 1.32, 1.0).path
  assert films.frame_number(read.frames(out, 25, 32, 0.0, 0.04)[0]) == 24
  assert abs(start_error_s(out, wave_NA, RATE_HZ) - (1.32 - 24 / 25)) < 1e-3


def test_rotation_and_times_are_preserved(folder):
  path = films.make(folder / 'turned', 'mp4', times_s=[0.0, 0.1, 0.15, 0.6, 0.62, 1.4], rotation_deg=90)
  out = write.mux(path, films.clicks(1.0, RATE_HZ), RATE_HZ, folder / 'turned-out.mp4').path
  old, new = probe.probe(path), probe.probe(out)
  for info in (old, new):
    assert (info.rotation_deg, info.width, info.height) == (270, 64, 96)
  times = [[times for _, *times in films.packets(file)] for file in (path, out)]
  np.testing.assert_allclose(times[1], times[0], atol=1e-6)


@pytest.mark.parametrize('length_s', [0.6, 5.0])
def test_the_audio_is_as_long_as_the_video(folder, length_s):
  path = films.make(folder / 'length', 'mp4')
  wave_NA = films.clicks(length_s, RATE_HZ)
  out = write.mux(path, wave_NA, RATE_HZ, folder / f'length-{length_s}.mp4').path
  audio_NA = read.wave(out, RATE_HZ, 2, 0.0, 6.0)
  if length_s < 2:
    assert np.abs(audio_NA[round(0.7 * RATE_HZ) :]).max() < 1e-3
  assert not audio_NA[round(2.07 * RATE_HZ) :].any()
  assert np.abs(audio_NA[round(1.5 * RATE_HZ) : 2 * RATE_HZ]).max() > 0.05 or length_s < 2


def test_a_mix_has_both_and_headroom(folder):
  own_NA, new_NA = films.clicks(2.0, 44100, seed=1), films.clicks(2.0, 44100, seed=2)
  path = films.make(folder / 'own', 'mp4', wave_NA=own_NA)
  audio_N = read.wave(write.mux(path, new_NA, 44100, folder / 'mixed.mp4', 'mix').path, 44100, 1)[:, 0]
  expected_N = own_NA[:, 0] + new_NA[:, 0]
  assert np.corrcoef(audio_N, expected_N)[0, 1] > 0.99 and abs(films.lag_s(audio_N, expected_N, 44100)) < 1e-3
  quiet_NA = 0.1 * new_NA
  audio_N = read.wave(write.mux(path, quiet_NA, 44100, folder / 'kept.mp4', 'mix').path, 44100, 1)[:, 0]
  gain = audio_N @ (own_NA + quiet_NA)[:, 0] / ((own_NA + quiet_NA)[:, 0] @ (own_NA + quiet_NA)[:, 0])
  assert gain == pytest.approx(min(1.0, 10**-0.05 / np.abs(own_NA + quiet_NA).max()), rel=0.02)
  loud_NA = np.clip(3 * new_NA, -1, 1)
  loud = write.mux(path, loud_NA, 44100, folder / 'loud.mp4', 'mix').path
  assert 0.7 < np.abs(read.wave(loud, 44100, 2)).max() < 1.0
  mute = write.mux(films.make(folder / 'mute', 'mp4'), new_NA, 44100, folder / 'mute-mixed.mp4', 'mix').path
  assert np.corrcoef(read.wave(mute, 44100, 1)[:, 0], new_NA[:, 0])[0, 1] > 0.99


def test_mono_and_odd_rates(folder):
  path = films.make(folder / 'mono', 'mp4')
  wave_NA = films.clicks(2.0, 20000, num_channels=1)
  out = write.mux(path, wave_NA, 20000, folder / 'mono-out.mp4').path
  info = probe.probe(out)
  assert (info.audio_channels, info.audio_sample_rate_hz) == (1, 48000)
  assert abs(films.lag_s(read.wave(out, 20000, 1)[:, 0], wave_NA[:, 0], 20000)) < 1e-3


@pytest.mark.parametrize('name', ['still.png', 'still.jpg'])
def test_a_still_image_becomes_a_video(tmp_path, name):
  path = tmp_path / name
  av.VideoFrame.from_ndarray(films.numbered_frame(77, 65, 97), 'rgb24').to_image().save(path)
  wave_NA = films.clicks(2.0, RATE_HZ)
  out = write.mux(path, wave_NA, RATE_HZ, tmp_path / 'out.mp4', 'replace', 0.0, 2.0).path
  info = probe.probe(out)
  assert (info.video_codec, info.width, info.height) == ('h264', 98, 66)
  assert info.duration_s == pytest.approx(2.0, abs=0.01)
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 5, 32)] == [77] * 10
  assert abs(start_error_s(out, wave_NA, RATE_HZ)) < 1e-3
  own = write.mux(path, wave_NA, RATE_HZ, tmp_path / 'own.mp4').path
  assert probe.probe(own).duration_s == pytest.approx(2.0, abs=0.01)


def test_an_animation_becomes_a_video(tmp_path):
  path = tmp_path / 'moving.gif'
  with av.open(str(path), 'w') as output:
    stream = output.add_stream('gif', rate=10, width=96, height=64, pix_fmt='rgb8')
    for index in range(10):
      frame = av.VideoFrame.from_ndarray(films.numbered_frame(index), 'rgb24')
      output.mux(stream.encode(frame.reformat(format='rgb8')))
    output.mux(stream.encode(None))
  wave_NA = films.clicks(1.0, RATE_HZ)
  out = write.mux(path, wave_NA, RATE_HZ, tmp_path / 'out.mp4').path
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 10, 32, 0.0, 1.0)] == list(
    range(10)
  )
  assert probe.probe(out).duration_s == pytest.approx(1.0, abs=0.01)
  assert abs(start_error_s(out, wave_NA, RATE_HZ)) < 1e-3
  out = write.mux(path, wave_NA, RATE_HZ, tmp_path / 'part.mp4', 'replace', 0.35, 0.4).path
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 10, 32, 0.0, 0.4)] == [3, 4, 5, 6]


def test_a_codec_without_mp4_support_is_written_to_matroska(tmp_path):
  path = tmp_path / 'old.avi'
  with av.open(str(path), 'w') as output:
    stream = output.add_stream('huffyuv', rate=10, width=96, height=64, pix_fmt='yuv422p')
    for index in range(5):
      frame = av.VideoFrame.from_ndarray(films.numbered_frame(index), 'rgb24')
      output.mux(stream.encode(frame.reformat(format='yuv422p')))
    output.mux(stream.encode(None))
  out = write.mux(path, films.clicks(0.5, RATE_HZ), RATE_HZ, tmp_path / 'out.mp4').path
  assert out == tmp_path / 'out.mkv' and not (tmp_path / 'out.mp4').exists()
  assert [data for data, *_ in films.packets(path)] == [data for data, *_ in films.packets(out)]
  assert abs(films.lag_s(read.wave(out, RATE_HZ, 1)[:, 0], films.clicks(0.5, RATE_HZ)[:, 0], RATE_HZ)) < 1e-3
  assert sorted(p.name for p in tmp_path.iterdir()) == ['old.avi', 'out.mkv']


def test_wav_and_flac_round_trip(tmp_path):
  wave_NA = films.clicks(1.0, 44100)
  for name, writer in (('a.wav', audio_file.wav), ('a.flac', audio_file.flac)):
    writer(tmp_path / name, 2 * wave_NA, 44100)
    got_NA, rate_hz = soundfile.read(tmp_path / name)
    assert rate_hz == 44100
    np.testing.assert_allclose(got_NA, np.clip(2 * wave_NA, -1, 1), atol=1e-4)
  assert sorted(path.name for path in tmp_path.iterdir()) == ['a.flac', 'a.wav']


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'wave_NA': np.full((100, 2), np.nan)}, 'wave_NA must be finite'),
    ({'wave_NA': np.zeros((100, 3))}, r'1 or 2 channels; got shape \(100, 3\)'),
    ({'wave_NA': np.zeros(100)}, 'wave_NA names 2 axes'),
    ({'wave_NA': np.zeros((0, 2))}, 'must hold samples'),
    ({'wave_NA': np.zeros((9, 2), np.int16)}, 'must hold floats'),
    ({'sample_rate_hz': 0}, 'at least 1; got 0'),
    ({'audio': 'both'}, "one of .*; got 'both'"),
    ({'start_s': -1.0}, 'start_s must be at least 0 s; got -1.0'),
    ({'duration_s': 0.0}, 'duration_s must be positive'),
    ({'start_s': 9.0}, 'lasts 2.000 s; wanted a start before'),
    ({'out_path': 'x.txt'}, r"must end in one of \.mp4.*; got 'x.txt'"),
    ({'out_path': 'self'}, 'must differ'),
  ],
)
def test_bad_arguments_leave_no_file(folder, tmp_path, change, message):
  path = films.make(folder / 'bad', 'mp4')
  arguments = {
    'source_path': path,
    'wave_NA': np.zeros((100, 2)),
    'sample_rate_hz': RATE_HZ,
    'out_path': 'x.mp4',
  }
  arguments |= change
  arguments['out_path'] = path if arguments['out_path'] == 'self' else tmp_path / arguments['out_path']
  with pytest.raises(ValueError, match=message):
    write.mux(**arguments)
  assert not list(tmp_path.iterdir())


def test_a_failure_leaves_no_file(folder, tmp_path):
  path = films.make(folder / 'broken', 'mkv', duration_s=4.0)
  with path.open('r+b') as file:
    file.truncate(path.stat().st_size // 3)
  with pytest.raises(errors.MediaError, match='cut short'):
    write.mux(path, films.clicks(4.0, RATE_HZ), RATE_HZ, tmp_path / 'out.mp4')
  assert not list(tmp_path.iterdir())


def test_memory_does_not_grow_with_length(folder):
  peaks = []
  for duration_s in (6.0, 18.0):
    own_NA = films.clicks(duration_s, 44100)
    path = films.make(folder / f'long{duration_s:g}', 'mp4', duration_s=duration_s, fps=5, wave_NA=own_NA)
    wave_NA = films.clicks(duration_s, RATE_HZ)
    tracemalloc.start()
    write.mux(path, wave_NA, RATE_HZ, folder / 'long-out.mp4', 'mix')
    peaks.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
  assert peaks[1] < 1.1 * peaks[0] + 100_000
