"""Filters of the frames on videos of known content."""

import numpy as np
import pytest

from data_pipelines import cut
from data_pipelines import decode
from data_pipelines import decoded
from data_pipelines.filters import registry
from data_pipelines.filters import video
from tests.media import films
from v2a.media import crop

needs_scenedetect = pytest.mark.skipif(not cut.is_installed(), reason='scenedetect-headless is not installed')


def clip(frame_MYX3: np.ndarray) -> decoded.DecodedClip:
  return decoded.DecodedClip('a', frame_MYX3, np.zeros((0, 1), 'f4'), 0, 0.0, len(frame_MYX3) / 8)


def image(seed: int, height: int = 72, width: int = 128) -> np.ndarray:
  small_YX3 = np.random.default_rng(seed).integers(40, 250, (-(-height // 12), -(-width // 12), 3))
  return np.kron(small_YX3, np.ones((12, 12, 1))).astype(np.uint8)[:height, :width]


def moving(num: int) -> np.ndarray:
  return np.stack([np.roll(image(0), 3 * k, axis=1) for k in range(num)])


def test_still_and_moving():
  rng = np.random.default_rng(1)
  still_MYX3 = np.stack([image(0)] * 24) + rng.integers(0, 3, (24, 72, 128, 3)).astype(np.uint8)
  assert video.still_share(clip(still_MYX3)) == 1.0
  assert video.slideshow_share(clip(still_MYX3)) == 'the video is still'
  assert video.still_share(clip(moving(24))) == 0.0 and video.slideshow_share(clip(moving(24))) == 0.0


def test_a_small_motion_is_no_still_video():
  frame_MYX3 = np.stack([image(0)] * 24)
  for index in range(24):
    frame_MYX3[index, 30:38, 20 + index : 28 + index] = 255  # 0.7 % of the area
  assert video.still_share(clip(frame_MYX3)) < 0.1


def test_a_still_video_is_still_after_compression(tmp_path):
  import av

  path = tmp_path / 'still.mp4'
  with av.open(str(path), 'w') as output:
    stream = output.add_stream('libx264', rate=25, width=128, height=72, pix_fmt='yuv420p', gop_size=12)
    stream.options = {'crf': '30'}
    for _ in range(75):
      output.mux(stream.encode(av.VideoFrame.from_ndarray(image(0), 'rgb24')))
    output.mux(stream.encode(None))
  media = decode.open_file(path)
  (found,) = decode.decode(media, [(0.0, 3.0)], 'a')
  # The first frame is coarser than those that follow.
  assert video.still_share(found) >= 1 - 1 / 23


def test_a_slideshow_changes_only_between_still_frames():
  slides_MYX3 = np.concatenate([np.stack([image(seed)] * 12) for seed in range(4)])
  assert video.slideshow_share(clip(slides_MYX3)) == 1.0
  assert video.still_share(clip(slides_MYX3)) == pytest.approx(1 - 3 / 47)
  mixed_MYX3 = np.concatenate([slides_MYX3, moving(24)])
  assert video.slideshow_share(clip(mixed_MYX3)) < 0.2


def test_black_frames():
  frame_MYX3 = moving(20)
  frame_MYX3[:5] = 8
  assert video.black_share(clip(frame_MYX3)) == 0.25
  assert video.black_share(clip(np.full((4, 72, 128, 3), 40, np.uint8))) == 0.0


@pytest.mark.parametrize('bars', [(0, 0, 0, 0), (9, 9, 0, 0), (0, 0, 20, 30), (12, 6, 10, 10)])
def test_bars_are_found_and_cropped(bars):
  top, bottom, left, right = bars
  frame_MYX3 = moving(16)
  frame_MYX3[:, :top] = frame_MYX3[:, 72 - bottom :] = 6
  frame_MYX3[:, :, :left] = frame_MYX3[:, :, 128 - right :] = 6
  frame_MYX3[3] = 0  # a black frame says nothing
  box = video.crop_box(clip(frame_MYX3))
  assert box == crop.CropBox(top / 72, 1 - bottom / 72, left / 128, 1 - right / 128)
  inside = (72 - top - bottom) * (128 - left - right)
  found = video.letterbox(clip(frame_MYX3))
  assert found.value == pytest.approx(1 - inside / (72 * 128)) and dict(found.details)['top'] == top / 72
  cropped_MYX3 = box.apply(frame_MYX3)
  assert cropped_MYX3.shape[1:3] == (72 - top - bottom, 128 - left - right)
  assert cropped_MYX3[0].min() > 24


def test_a_dark_scene_that_becomes_bright_has_no_bars():
  frame_MYX3 = moving(16)
  frame_MYX3[:8, :20] = 0
  assert video.letterbox(clip(frame_MYX3)).value == 0.0
  assert video.letterbox(clip(0 * frame_MYX3)).reason == 'all frames are black'


@needs_scenedetect
def test_scene_cuts_per_ten_seconds():
  frame_MYX3 = np.concatenate([np.stack([image(seed)] * 20) for seed in range(4)])
  assert video.scene_cuts(clip(frame_MYX3)) == pytest.approx(3.0)


def test_without_the_detector_scene_cuts_have_a_reason(monkeypatch):
  monkeypatch.setattr(cut, 'is_installed', lambda: False)
  (found,) = registry.load(['scene_cuts'])
  assert 'scenedetect-headless missing' in found.measure(clip(moving(8))).reason


def test_films_of_numbers_move():
  frames = np.stack([films.numbered_frame(3 * k) for k in range(16)])
  assert video.still_share(clip(frames)) < 0.1
