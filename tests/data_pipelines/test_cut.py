"""Items are cut into segments, and nothing is dropped silently."""

import pathlib

import numpy as np
import pytest

from data_pipelines import cut
from data_pipelines import decode
from tests.media import films
from v2a.media import audio_file

needs_scenedetect = pytest.mark.skipif(not cut.is_installed(), reason='scenedetect-headless is not installed')


def covered_s(found: cut.Cut) -> float:
  return sum(end_s - start_s for start_s, end_s in found.segments) + sum(
    each.end_s - each.start_s for each in found.omitted
  )


def test_a_whole_item_is_one_segment():
  assert cut.Cutting('whole', 2, 30).segments(1.0, 9.0).segments == ((1.0, 9.0),)


@pytest.mark.parametrize(
  'end_s, message', [(2.5, 'lasts 1.50 s; wanted at least 2 s'), (40.0, 'at most 30 s')]
)
def test_a_whole_item_outside_the_limits_is_omitted(end_s, message):
  found = cut.Cutting('whole', 2, 30).segments(1.0, end_s)
  assert not found.segments and message in found.omitted[0].reason


def test_windows_cover_the_item_but_for_a_short_rest():
  found = cut.Cutting('windows', 2, 8).segments(1.0, 20.0)
  assert found.segments == ((1.0, 9.0), (9.0, 17.0), (17.0, 20.0)) and not found.omitted
  found = cut.Cutting('windows', 4, 8).segments(1.0, 20.0)
  assert found.segments == ((1.0, 9.0), (9.0, 17.0)) and found.omitted[0].end_s == 20.0
  assert covered_s(found) == 19.0
  # Containers round: a window of 8.0004 s is one, not two.
  assert cut.Cutting('windows', 4, 8).segments(0.0, 8.0004).segments == ((0.0, 8.0004),)


def test_scenes_are_split_into_equal_parts_or_omitted():
  scenes = [(0.0, 1.0), (1.125, 4.0), (4.125, 24.125)]
  found = cut.Cutting('scenes', 2, 8).segments(0.0, 24.125, scenes)
  assert found.segments[0] == (1.125, 4.0) and len(found.segments) == 4
  assert {round(end_s - start_s, 3) for start_s, end_s in found.segments[1:]} == {6.667}
  assert [(each.start_s, each.end_s) for each in found.omitted] == [(0.0, 1.0)]
  with pytest.raises(ValueError, match='needs the scenes'):
    cut.Cutting('scenes', 2, 8).segments(0.0, 24.0)


@pytest.mark.parametrize('options', [('shots', 2, 8), ('whole', 0, 8), ('whole', 9, 8)])
def test_bad_settings_are_refused(options):
  with pytest.raises(ValueError, match='cutting'):
    cut.Cutting(*options)


def moving_frames(num: int, seed: int, step: int = 2) -> np.ndarray:
  """Returns frames of a textured image that pans by `step` pixels a frame."""
  rng = np.random.default_rng(seed)
  num_columns = (128 + step * num) // 12 + 1
  image_YX3 = np.kron(rng.integers(0, 255, (6, num_columns, 3)), np.ones((12, 12, 1))).astype(np.uint8)
  return np.stack([image_YX3[:, step * k : step * k + 128] for k in range(num)])


@needs_scenedetect
def test_scene_cuts_are_found_and_pans_are_not():
  frames = np.concatenate([moving_frames(20, 1), moving_frames(30, 2), moving_frames(25, 3)])
  assert cut.cut_indices(iter(frames)) == [20, 50]
  # A threshold alone, without the comparison to neighbours, finds a cut in every frame of this one.
  assert cut.cut_indices(iter(moving_frames(60, 4, 8))) == []


@needs_scenedetect
def test_no_scene_has_a_frame_of_its_neighbour(tmp_path: pathlib.Path):
  # The numbered film changes its red quarter at 2.04 s, between two frames at 8 Hz.
  import av

  path = tmp_path / 'film.mp4'
  first, second = moving_frames(1, 1)[0], moving_frames(1, 2)[0]
  with av.open(str(path), 'w') as output:
    stream = output.add_stream('libx264', rate=25, width=128, height=72, pix_fmt='yuv420p')
    for index in range(100):
      frame = av.VideoFrame.from_ndarray(first if index < 51 else second, 'rgb24')
      output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
  media = decode.open_file(path)
  scenes = cut.find_scenes(media, 0.0, media.info.duration_s)
  assert scenes == [(0.0, 2.0), (2.125, pytest.approx(4.0))]
  for (start_s, end_s), image_YX3 in zip(scenes, (first, second)):
    for frame_YX3 in decode.small_frames(media, start_s, end_s):
      assert np.abs(frame_YX3.astype(int) - image_YX3).mean() < 12


def test_a_file_without_video_is_one_scene(tmp_path: pathlib.Path):

  audio_file.wav(tmp_path / 'a.wav', films.clicks(2.0, 8000, 1), 8000)
  assert cut.find_scenes(decode.open_file(tmp_path / 'a.wav'), 0.5, 2.0) == [(0.5, 2.0)]


def test_a_missing_package_is_named(monkeypatch):
  monkeypatch.setattr(cut, 'is_installed', lambda: False)
  with pytest.raises(ValueError, match='scenedetect-headless'):
    cut.cut_indices(iter([]))
