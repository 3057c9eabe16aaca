"""Items of a source: segments, and media inside other files."""

import pathlib

import pytest

from data_pipelines import decode
from data_pipelines.sources import items


def test_a_file_inside_another_is_read_as_a_file(tmp_path: pathlib.Path):
  outer = tmp_path / 'shard.tar'
  outer.write_bytes(b'ab' + b'x' * 3_000_000 + b'cd')
  media = items.FileRange(outer, 'folder/a.mp4', 2, 3_000_000)
  with media.as_file() as path:
    assert path.suffix == '.mp4' and path.read_bytes() == b'x' * 3_000_000
  assert not path.exists()


def test_a_file_that_was_cut_is_an_error(tmp_path: pathlib.Path):
  outer = tmp_path / 'shard.tar'
  outer.write_bytes(b'abc')
  with (
    pytest.raises(OSError, match=r'shard.tar/a.mp4: wanted 9 bytes at 1; got 2'),
    items.FileRange(outer, 'a.mp4', 1, 9).as_file(),
  ):
    pass


@pytest.mark.parametrize('start_s, end_s', [(-1.0, 2.0), (3.0, 3.0), (3.0, 1.0)])
def test_a_segment_that_is_none_is_refused(start_s: float, end_s: float):
  with pytest.raises(ValueError, match=r'clip: a segment must be 0 <= start < end'):
    items.Item('clip', items.MediaFile(pathlib.Path('a.mp4')), 'clip', start_s, end_s)


def test_errors_name_the_media_and_not_its_temporary_copy(tmp_path: pathlib.Path):
  outer = tmp_path / 'shard.tar'
  outer.write_bytes(b'no video' * 100)
  media = items.FileRange(outer, 'a.mp4', 0, 800)
  with (
    pytest.raises(ValueError, match=rf'^{outer}/a.mp4: is not a media file; wanted'),
    media.as_file() as path,
  ):
    decode.open_file(path)
  with pytest.raises(FileNotFoundError) as caught, media.as_file() as path:
    path.unlink()
    path.read_bytes()
  assert caught.value.filename == f'{outer}/a.mp4'
