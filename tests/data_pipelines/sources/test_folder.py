"""Folders of media with texts beside them, and folders and manifests of sounds."""

import json
import pathlib

import pytest

from data_pipelines.sources import audio_only
from data_pipelines.sources import folder
from data_pipelines.sources import items
from v2a.data import annotations as annotations_lib


def write(root: pathlib.Path, **contents: str) -> None:
  for name, content in contents.items():
    path = root / name.replace('__', '/').replace('_', '.')
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)


def test_texts_beside_the_media_are_its_annotations(tmp_path):
  srt = '1\n00:00:01,000 --> 00:00:03,000\nhello there\n'
  write(tmp_path, a_mp4='', a_txt='A dog\n barks', a_srt=srt, sub__b_flac='', c_docx='')
  write(tmp_path, sub__b_json='{"annotation": "Rain", "label": "rain", "licence": "CC0-1.0", "split": "val"}')
  first, second = folder.Folder(tmp_path, licence='CC-BY-4.0', split='train')
  assert (first.id, first.group, first.licence, first.split) == ('a.mp4', 'a.mp4', 'CC-BY-4.0', 'train')
  assert first.media == items.MediaFile(tmp_path / 'a.mp4') and first.end_s is None
  assert first.annotations.captions == (annotations_lib.Caption('A dog barks', 'short'),)
  assert first.annotations.transcript.text == 'hello there'
  assert first.annotations.transcript.times_s == (1.5, 2.5)
  assert (second.id, second.licence, second.split) == ('sub/b.flac', 'CC0-1.0', 'validation')
  assert [(each.style, each.text) for each in second.annotations.captions] == [
    ('label', 'rain'),
    ('short', 'Rain'),
  ]


def test_a_malformed_text_is_a_problem_of_its_clip(tmp_path):
  write(
    tmp_path,
    a_mp4='',
    a_json='{',
    b_mp4='',
    b_json='{"split": 3}',
    c_mp4='',
    d_mp4='',
    d_vtt='WEBVTT\n\n1 --> 2\n',
  )
  a, b, c, d = folder.Folder(tmp_path)
  assert (a.kind, a.id, a.where) == ('malformed', 'a.mp4', str(tmp_path / 'a.mp4')) and 'a.json' in a.reason
  assert 'split must be a string; got 3' in b.reason
  assert isinstance(c, items.Item)
  assert d.id == 'd.mp4' and 'd.vtt' in d.reason


def test_a_folder_without_media_is_refused(tmp_path):
  write(tmp_path, a_docx='', b_txt='')
  with pytest.raises(ValueError, match=r'has no video or sound \(1 file skipped \(\.docx 1\)\)'):
    list(folder.Folder(tmp_path))
  with pytest.raises(FileNotFoundError):
    list(folder.Folder(tmp_path / 'none'))


def test_audio_only_reads_folders_and_manifests_of_sounds(tmp_path):
  write(tmp_path, a_mp4='', b_wav='', b_txt='Rain')
  (item,) = audio_only.open_audio(tmp_path, licence='CC0-1.0')
  assert (item.id, item.licence, item.annotations.captions[0].text) == ('b.wav', 'CC0-1.0', 'Rain')
  with pytest.raises(ValueError, match='is for manifests'):
    audio_only.open_audio(tmp_path, tmp_path)
  (tmp_path / 'sounds').mkdir()
  (tmp_path / 'sounds' / '00008004.flac').touch()
  (tmp_path / 'sounds' / '00008009.mp4').touch()
  path = tmp_path / 'audio.tsv'
  path.write_text('id\tcaption\n00008004\tsomething\n00008009\tsomething else\n')
  item, missing = audio_only.open_audio(path, tmp_path / 'sounds')
  assert (item.id, item.media.path.name) == ('00008004', '00008004.flac')
  assert item.annotations.captions == (annotations_lib.Caption('something', 'short'),)
  assert (missing.kind, missing.id, missing.where) == ('missing', '00008009', f'{path}:3')


def test_a_misspelt_key_is_malformed_and_those_of_other_programs_are_not(tmp_path):
  for name, content in (('a', {'annotatoin': 'x'}), ('b', {'annotation': 'x', 'uploader': 'y', 'fps': 3})):
    (tmp_path / f'{name}.mp4').touch()
    (tmp_path / f'{name}.json').write_text(json.dumps(content))
  problem, item = folder.Folder(tmp_path)
  assert (
    problem.kind == 'malformed' and "unknown key 'annotatoin'; did you mean annotation?" in problem.reason
  )
  assert item.annotations.captions[0].text == 'x'
