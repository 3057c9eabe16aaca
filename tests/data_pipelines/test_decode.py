"""Segments of a file as clips: frames, sound, and alignment of both."""

import dataclasses
import pathlib
import tracemalloc

import numpy as np
import pytest

from data_pipelines import decode
from data_pipelines import decoded
from tests.media import films
from v2a.media import audio_file
from v2a.media import errors


@pytest.fixture(scope='module')
def film(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp('films')
  return films.make(
    folder / 'film', 'mkv', duration_s=6.0, wave_NA=films.clicks(6.0, 48000), height=90, width=160
  )


def one(path: pathlib.Path, *segments: decode.Segment, **options) -> list[decoded.DecodedClip]:
  media = decode.open_file(path)
  return list(decode.decode(media, segments or ((0.0, media.info.duration_s),), 'clip', **options))


def test_a_segment_has_its_own_frames_and_sound(film):
  (clip,) = one(film, (2.5, 4.5))
  assert clip.id == 'clip' and clip.start_s == 2.5 and clip.duration_s == 2.0
  assert clip.frame_MYX3.shape == (16, 90, 160, 3) and clip.wave_NA.shape == (96000, 2)
  times_s = 2.5 + np.arange(16) / decoded.FRAMES_PER_S
  assert [films.frame_number(frame) for frame in clip.frame_MYX3] == list((times_s * 25 + 1e-6).astype(int))
  expected_N = films.clicks(6.0, 48000)[round(2.5 * 48000) : round(4.5 * 48000), 0]
  assert abs(films.lag_s(clip.mono_N, expected_N, 48000)) < 1e-3


def test_segments_in_one_pass_equal_segments_alone(film):
  # In one pass; after an overlap; after a gap within a pass.
  segments = [(0.0, 1.1), (1.1, 2.2), (2.0, 3.3), (4.0, 6.0)]
  together = one(film, *segments)
  assert [clip.id for clip in together] == ['clip@0.000', 'clip@1.100', 'clip@2.000', 'clip@4.000']
  for segment, clip in zip(segments, together):
    (alone,) = one(film, segment)
    assert np.array_equal(clip.frame_MYX3, alone.frame_MYX3)
    assert clip.wave_NA.shape == alone.wave_NA.shape
    np.testing.assert_allclose(clip.wave_NA, alone.wave_NA, atol=2e-3)  # Opus decodes with a history


def test_nothing_is_invented_after_the_end(film):
  (clip,) = one(film, (5.0, 9.0))
  assert clip.duration_s == pytest.approx(1.0, abs=0.03) and len(clip.frame_MYX3) == 8
  with pytest.raises(errors.MediaError, match='6.0'):
    one(film, (7.0, 9.0))


@pytest.mark.parametrize('segments', [[(2.0, 1.0)], [(1.0, 1.0)], [(2.0, 3.0), (1.0, 2.0)], [(-1.0, 2.0)]])
def test_segments_that_are_none_are_refused(film, segments):
  with pytest.raises(ValueError, match='clip: segments must ascend'):
    one(film, *segments)


def test_frames_keep_the_aspect_ratio_and_are_never_enlarged(tmp_path):
  large = films.make(tmp_path / 'large', height=240, width=640, duration_s=1.0)
  assert one(large)[0].frame_MYX3.shape[1:] == (96, 256, 3)
  upright = films.make(tmp_path / 'upright', height=240, width=640, duration_s=1.0, rotation_deg=90)
  assert one(upright)[0].frame_MYX3.shape[1:] == (256, 96, 3)
  small = films.make(tmp_path / 'small', height=64, width=96, duration_s=1.0)
  assert one(small)[0].frame_MYX3.shape[1:] == (64, 96, 3)


def test_frames_of_a_rotated_video_are_upright(tmp_path):
  upright = films.make(tmp_path / 'upright', height=64, width=96, duration_s=1.0)
  turned = films.make(tmp_path / 'turned', height=64, width=96, duration_s=1.0, rotation_deg=90)
  # The metadata turns frames counter-clockwise.
  expected_MYX3 = np.rot90(one(upright)[0].frame_MYX3, axes=(1, 2)).astype(int)
  assert np.abs(one(turned)[0].frame_MYX3 - expected_MYX3).mean() < 1


def test_frames_for_synchformer_on_request(film):
  assert one(film, (1.0, 2.0))[0].sync_frame_LYX3 is None
  (clip,) = one(film, (1.0, 2.0), has_sync_frames=True)
  assert clip.sync_frame_LYX3.shape == (25, 224, 224, 3)
  # Square pixels and the centre: the right half, which is red at the bottom, begins at the middle.
  row_X3 = clip.sync_frame_LYX3[0, 200].astype(int)
  is_red_X = row_X3[:, 0] - row_X3[:, 1] > 100
  assert is_red_X[116:].all() and not is_red_X[:108].any()


def test_sound_alone_and_video_alone(tmp_path):
  audio_file.wav(tmp_path / 'sound.wav', films.clicks(2.0, 22050, 1), 22050)
  (sound,) = one(tmp_path / 'sound.wav')
  assert not sound.has_video and sound.frame_MYX3.shape == (0, 0, 0, 3) and sound.alignment is None
  assert sound.sample_rate_hz == 22050 and sound.wave_NA.shape == (44100, 1)
  (video,) = one(films.make(tmp_path / 'video', duration_s=2.0))
  assert not video.has_audio and len(video.frame_MYX3) == 16 and video.alignment is None


def test_sound_of_six_channels_is_mixed_to_two(tmp_path):
  wave_NA = films.clicks(1.0, 48000, 6)
  (clip,) = one(
    films.make(tmp_path / 'film', 'mkv-h265', wave_NA=wave_NA[:44100], layout='5.1', duration_s=1.0)
  )
  assert clip.wave_NA.shape[1] == 2 and clip.sample_rate_hz == 44100


@pytest.mark.parametrize('kind', ['mp4', 'mkv', 'webm-vp8', 'ts', 'avi'])
def test_sound_at_the_start_has_no_offset_and_no_gap(tmp_path, kind):
  rate_hz = films.KINDS[kind][3]
  path = films.make(tmp_path / 'film', kind, duration_s=2.0, wave_NA=films.clicks(2.0, rate_hz))
  alignment = decode.open_file(path).alignment
  # MPEG-TS cannot state the priming of AAC, a block of 1024 samples, which is then heard as silence.
  early_s = 1024 / 48000 if kind == 'ts' else 0.0
  # Drift of a block of the codec; containers round to milliseconds.
  assert alignment.offset_s == pytest.approx(-early_s, abs=0.003)
  assert abs(alignment.drift_s) < 0.05 and abs(alignment.gap_s) < 0.003


def test_alignment_is_measured(tmp_path):
  wave_NA = films.clicks(1.0, 48000)
  late = films.make(tmp_path / 'late', 'mkv', duration_s=2.0, wave_NA=wave_NA, sound_start_s=0.4)
  alignment = decode.open_file(late).alignment
  assert alignment.offset_s == pytest.approx(0.4, abs=0.01)
  assert alignment.drift_s == pytest.approx(-1.0, abs=0.03) and abs(alignment.gap_s) < 0.003


def test_missing_sound_in_the_middle_is_a_gap(tmp_path):
  times_s = np.arange(50) / 25
  path = tmp_path / 'gap.mkv'
  write_with_gap(path, times_s, 0.3)
  alignment = decode.open_file(path).alignment
  assert alignment.gap_s == pytest.approx(0.3, abs=0.003) and abs(alignment.offset_s) < 0.003
  (clip,) = one(path)
  assert not np.abs(clip.wave_NA[round(1.05 * 44100) : round(1.25 * 44100)]).any()


def write_with_gap(path: pathlib.Path, times_s: np.ndarray, gap_s: float) -> None:
  """Writes a film whose sound pauses at 1 s without samples."""
  import av

  with av.open(str(path), 'w') as output:
    video = output.add_stream(
      'libx264', rate=25, width=64, height=64, pix_fmt='yuv420p', options={'preset': 'ultrafast'}
    )
    audio = output.add_stream('pcm_s16le', rate=44100, layout='mono')
    for index in range(len(times_s)):
      output.mux(video.encode(av.VideoFrame.from_ndarray(films.numbered_frame(index, 64, 64), 'rgb24')))
    output.mux(video.encode(None))
    for index in range(20):
      block = np.full((1, 4410), 8000, np.int16)
      frame = av.AudioFrame.from_ndarray(block, format='s16', layout='mono')
      frame.sample_rate, frame.pts = 44100, index * 4410 + (round(gap_s * 44100) if index >= 10 else 0)
      output.mux(audio.encode(frame))
    output.mux(audio.encode(None))


def test_a_still_image_is_refused(tmp_path):
  from PIL import Image

  Image.new('RGB', (32, 32)).save(tmp_path / 'a.png')
  with pytest.raises(errors.MediaError, match='still image'):
    decode.open_file(tmp_path / 'a.png')


def test_memory_holds_one_clip(tmp_path):
  # 40 s in clips of 1 s: a clip has 8 x 90 x 160 x 3 bytes and 48,000 samples, 0.7 MB.
  path = films.make(
    tmp_path / 'long', 'mkv', duration_s=40.0, fps=8, wave_NA=films.clicks(40.0, 48000), height=90, width=160
  )
  media = decode.open_file(path)
  segments = [(float(start), start + 1.0) for start in range(39)]
  tracemalloc.start()
  try:
    for clip in decode.decode(media, segments, 'clip'):
      assert dataclasses.is_dataclass(clip)
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
  assert peak < 8e6
