"""Prompts of Movie Gen's benches."""

import json
import pathlib

import pytest

from data_pipelines.sources import moviegen
from v2a.data import annotations as annotations_lib


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  (tmp_path / 'video_with_audio').mkdir()
  for number in (0, 1):
    (tmp_path / 'video_with_audio' / f'{number}.mp4').touch()
  return tmp_path


def read(path: pathlib.Path, content: str) -> list:
  path.write_text(content, encoding='utf-8')
  return list(moviegen.MovieGen(path))


def test_audio_bench(folder):
  rows = [
    {'id': number, 'video_prompt': 'A dog', 'audio_prompt': 'barking', 'music_prompt': 'piano'}
    for number in (0, 1, 2)
  ]
  del rows[1]['music_prompt']
  first, second, missing = read(folder / 'AudioBench.jsonl', '\n'.join(map(json.dumps, rows)))
  assert (first.id, first.media.path.name, first.split) == ('0', '0.mp4', 'test')
  assert first.annotations.captions == (
    annotations_lib.Caption('barking', 'short'),
    annotations_lib.Caption('barking piano', 'detailed'),
  )
  assert first.annotations.tags == (('video_prompt', 'A dog'),) and first.licence == 'CC-BY-NC-4.0'
  assert second.annotations.captions == (annotations_lib.Caption('barking', 'short'),)
  assert (missing.kind, missing.id, missing.where) == ('missing', '2', f'{folder}/AudioBench.jsonl:3')


def test_prompts_of_videos_are_no_captions(folder):
  first, second = read(folder / 'VideoBench.txt', 'A "dog, barking\nA cat\n')
  assert first.annotations == annotations_lib.Annotations(tags=(('video_prompt', 'A "dog, barking'),))
  assert (second.id, second.media.path.name) == ('1', '1.mp4')
  (item,) = read(folder / 'WithTag.csv', 'prompt,concept,motion_level\n"A dog, barking",animal,low\n')
  assert item.annotations.captions == ()
  assert dict(item.annotations.tags) == {
    'video_prompt': 'A dog, barking',
    'concept': 'animal',
    'motion_level': 'low',
  }


def test_prompts_of_hunyuan_are_of_sounds(folder):
  content = 'index,video,prompt\n7,assets/video_with_audio/1.mp4,"dogs, barking"\n'
  (item,) = read(folder / 'test.csv', content)
  assert (item.id, item.media.path.name) == ('7', '1.mp4')
  assert item.annotations == annotations_lib.Annotations((annotations_lib.Caption('dogs, barking', 'short'),))


def test_other_tables_are_refused(folder):
  with pytest.raises(ValueError, match='wanted a column prompt or audio_prompt; got id, x'):
    read(folder / 'a.csv', 'id,x\n1,2\n')
