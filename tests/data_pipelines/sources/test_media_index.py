"""Media on disk by id, under every naming in use."""

import os
import pathlib

import pytest

from data_pipelines.sources import media_index

VIDEO = '-0BIyqJj9ZU'


def index_of(folder: pathlib.Path, *names: str) -> media_index.MediaIndex:
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
  return media_index.MediaIndex(folder)


@pytest.mark.parametrize(
  'name',
  [
    f'{VIDEO}_000030.mp4',
    f'{VIDEO}_30.webm',
    f'{VIDEO}_30_40.flac',
    f'{VIDEO}_30000_40000.mp4',
    f'{VIDEO}_30.000_40.000.MKV',
    f'{VIDEO}_0030_0040.wav',
    f'{VIDEO}_000030_000040.mp4',
    f'Y{VIDEO}_30.wav',
    f'train/dog barking/{VIDEO}_000030.mp4',
  ],
)
def test_a_cut_segment_is_found_and_used_whole(name, tmp_path):
  found = index_of(tmp_path, name).find(VIDEO, 30.0, 40.0)
  assert found == (tmp_path / name, 0.0, None, True)


@pytest.mark.parametrize(
  'name', [f'{VIDEO}.mp4', f'Y{VIDEO}.wav', f'Dog barks [{VIDEO}].webm', f'a/{VIDEO}.m4a']
)
def test_in_a_whole_video_the_times_of_the_segment_apply(name, tmp_path):
  found = index_of(tmp_path, name).find(VIDEO, 30.0, 40.0)
  assert found == (tmp_path / name, 30.0, 40.0, False)


def test_a_longer_cut_that_holds_the_segment_is_used(tmp_path):
  found = index_of(tmp_path, f'{VIDEO}_20_60.mp4').find(VIDEO, 30.0, 40.0)
  assert found == (tmp_path / f'{VIDEO}_20_60.mp4', 10.0, 20.0, False)


def test_the_cut_is_preferred_to_the_whole_video_and_video_to_sound(tmp_path):
  index = index_of(
    tmp_path, f'{VIDEO}.mp4', f'{VIDEO}_000030.wav', f'{VIDEO}_000030.mp4', f'{VIDEO}_000090.mp4'
  )
  assert index.find(VIDEO, 30.0, 40.0).path.name == f'{VIDEO}_000030.mp4'
  assert index.find(VIDEO, 50.0, 60.0).path.name == f'{VIDEO}.mp4'


def test_files_of_other_videos_and_cuts_with_another_end_are_not_the_segment(tmp_path):
  index = index_of(tmp_path, f'{VIDEO}_30_35.mp4', 'zzzzzzzzzzz_000030.mp4', '-----------_000030.mp4')
  assert index.find(VIDEO, 30.0, 40.0) is None
  index = index_of(tmp_path, f'{VIDEO}_30_60.mp4')
  assert index.find(VIDEO, 30.0, 40.0) == (tmp_path / f'{VIDEO}_30_60.mp4', 0.0, 10.0, False)


def test_a_name_is_that_of_the_whole_file(tmp_path):
  index = index_of(tmp_path, f'{VIDEO}.mp4', f'{VIDEO}_000030.mp4')
  assert index.named(f'{VIDEO}_000030') == tmp_path / f'{VIDEO}_000030.mp4'
  assert index.named(VIDEO) == tmp_path / f'{VIDEO}.mp4' and index.named(f'{VIDEO}_000031') is None


def test_of_several_cuts_the_nearest_is_used(tmp_path):
  index = index_of(tmp_path, f'{VIDEO}_30.4.mp4', f'{VIDEO}_30.1.mp4', f'{VIDEO}_29.7.mp4')
  assert index.find(VIDEO, 30.0, 40.0).path.name == f'{VIDEO}_30.1.mp4'


def test_other_cuts_and_other_files_are_not_the_segment(tmp_path):
  index = index_of(tmp_path, f'{VIDEO}_000090.mp4', f'{VIDEO}_35_45.mp4', f'{VIDEO}.txt', f'.{VIDEO}.mp4')
  assert index.find(VIDEO, 30.0, 40.0) is None
  assert index.named(f'.{VIDEO}') is None


def test_an_id_like_the_name_of_a_cut_is_an_id(tmp_path):
  found = index_of(tmp_path, 'AbCd_000030.mp4').find('AbCd_000030', 0.0, 10.0)
  assert found is not None and not found.is_segment


def test_other_ids_are_found_by_the_name_of_the_file_and_a_folder(tmp_path):
  index = index_of(tmp_path, 's1/bbaf2n.mpg', 's2/bbaf2n.mpg', 's2/578.mp4')
  assert index.named('bbaf2n', 's2') == tmp_path / 's2/bbaf2n.mpg'
  assert index.named('bbaf2n', 's3') is None
  assert index.find('578', 0.0, 10.0) == (tmp_path / 's2/578.mp4', 0.0, 10.0, False)


def test_files_are_listed_once_and_not_touched(tmp_path, monkeypatch):
  index = index_of(tmp_path, *(f'{number:011d}_000030.mp4' for number in range(50)))
  refuse = lambda *args, **kwargs: pytest.fail('a file was touched')
  for name in ('stat', 'listdir', 'scandir'):
    monkeypatch.setattr(os, name, refuse)
  assert all(index.find(f'{number:011d}', 30.0, 40.0) for number in range(50))


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError):
    media_index.MediaIndex(tmp_path / 'none')


def test_listings_know_files_by_one_listing_of_their_folder(tmp_path):
  (tmp_path / 'a.mp4').touch()
  listings = media_index.Listings()
  assert tmp_path / 'a.mp4' in listings and tmp_path / 'b.mp4' not in listings
  assert tmp_path / 'none' / 'a.mp4' not in listings
