"""Black bars: found in the analysis, stored as a crop box, and left out of the frames that training reads."""

import fractions

import numpy as np
import pytest

from data_pipelines import analysis
from data_pipelines import cut
from data_pipelines import encode_column
from data_pipelines import pipeline
from data_pipelines.reporting import players
from v2a import clip as clip_lib
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import media_source
from v2a.media import crop
from v2a.media import preview
from v2a.media import read
from v2a.media import stills

SPEC = clip_lib.ClipSpec(clip_s=1.0)
HEIGHT, WIDTH = 192, 256
BARS = {'wide': (24, 24, 0, 0), 'tall': (0, 0, 64, 64), 'subtitled': (24, 0, 0, 0), 'plain': (0, 0, 0, 0)}
LEAST = 100  # level of the content; bars have 16 and less


def content(num_frames: int = 50) -> np.ndarray:
  """Returns smooth bright frames that move."""
  x_X, y_Y, t_L = np.arange(WIDTH), np.arange(HEIGHT), np.arange(num_frames)
  wave_LYX = np.sin(x_X / 20 + y_Y[:, None] / 30 + t_L[:, None, None] / 4)
  return np.stack([180 + 70 * wave_LYX, 180 - 70 * wave_LYX, np.full_like(wave_LYX, 150)], -1).astype(
    np.uint8
  )


@pytest.fixture(name='folder', scope='module')
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> media_folder.MediaFolder:
  """Returns the records of videos with bars, and of one without."""
  root = tmp_path_factory.mktemp('letterbox')
  (root / 'videos').mkdir()
  for name, (top, bottom, left, right) in BARS.items():
    frame_LYX3 = content()
    frame_LYX3[:, :top] = frame_LYX3[:, HEIGHT - bottom :] = 0
    frame_LYX3[:, :, :left] = frame_LYX3[:, :, WIDTH - right :] = 0
    timed = ((fractions.Fraction(index, 25), frame_YX3) for index, frame_YX3 in enumerate(frame_LYX3))
    preview.write(root / 'videos' / f'{name}.mp4', timed, fractions.Fraction(2))
  settings = pipeline.Settings(
    f'folder:{root / "videos"}',
    analysing=analysis.Settings(cut.Cutting('whole', 1.0, 30.0), ('letterbox',)),
    thresholds={},
  )
  pipeline.build(settings, root / 'set', report=lambda line: None)
  return media_folder.MediaFolder(root / 'set/train')


def records_of(folder: media_folder.MediaFolder) -> dict[str, media_records.MediaRecord]:
  found = (folder[index] for index in range(len(folder)))
  return {record.id.removesuffix('.mp4'): record for record in found}


def frames_of(folder: media_folder.MediaFolder) -> dict[str, np.ndarray]:
  source = media_source.MediaSource(folder.path, SPEC)
  found = (source[index] for index in range(len(source)))
  return {each['id'].removesuffix('.mp4'): each['sync_frame_LYX3'] for each in found}


def test_the_box_is_stored_and_the_video_stays_whole(folder, tmp_path):
  found = records_of(folder)
  assert found.keys() == BARS.keys()
  for name, (top, bottom, left, right) in BARS.items():
    if name == 'plain':
      assert found[name].crop is None and b'crop' not in found[name].to_bytes()
      continue
    wanted = crop.CropBox(top / HEIGHT, 1 - bottom / HEIGHT, left / WIDTH, 1 - right / WIDTH)
    # A pixel of the small frames inside the bars.
    assert found[name].crop == wanted.inset(1 / HEIGHT, 1 / WIDTH)
    assert media_records.MediaRecord.from_bytes(found[name].to_bytes()) == found[name]
    (tmp_path / 'a.mp4').write_bytes(found[name].video)
    (frame_LYX3,) = read.iterate_frames_at(tmp_path / 'a.mp4', np.array([0]), 1, (HEIGHT, WIDTH))
    assert frame_LYX3[0].min() < 20


@pytest.mark.parametrize('is_stored', [False, True])
def test_frames_for_training_have_no_bars(folder, is_stored, tmp_path):
  if is_stored:
    encode_column.encode(folder, encode_column.FrameEncoder(SPEC), True, report=lambda line: None)
  found, size = frames_of(folder), SPEC.frame_size
  (tmp_path / 'plain.mp4').write_bytes(records_of(folder)['plain'].video)
  ticks = np.arange(SPEC.num_sync_frames)
  (plain_LYX3,) = read.iterate_frames_at(tmp_path / 'plain.mp4', ticks, SPEC.sync_fps, size)
  assert np.array_equal(found['plain'], plain_LYX3)
  (whole_LYX3,) = read.iterate_frames_at(tmp_path / 'plain.mp4', ticks, SPEC.sync_fps, (HEIGHT, WIDTH))
  for name, (top, bottom, left, right) in BARS.items():
    assert found[name].shape == plain_LYX3.shape
    assert found[name].min() > LEAST, name
    # As the content of the video without bars, cropped to the same part.
    inner_YX3 = whole_LYX3[5, top : HEIGHT - bottom, left : WIDTH - right]
    wanted_YX3 = stills.resize(inner_YX3, size, size).astype(int)
    assert np.abs(found[name][5] - wanted_YX3).mean() < 10, name  # swscale shifts by part of a pixel


def test_players_show_what_training_reads(folder):
  record = records_of(folder)['wide']
  player = players.make(record, 10**7)
  assert (player.width, player.height) == (256, 142)


@pytest.mark.parametrize(
  'edges', [{'top': 0.5, 'bottom': 0.5}, {'left': -0.1}, {'right': 1.5}, {'bottom': float('nan')}]
)
def test_a_box_without_area_is_refused(edges):
  with pytest.raises(ValueError, match='a crop box must have 0 <= top < bottom <= 1'):
    crop.CropBox(**edges)
