"""The cache of annotations: what is a hit, what is not cached, and several processes that are killed."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import apply
from data_pipelines.annotate import cache
from v2a.data import annotations as annotations_lib
from v2a.media import transcript


@dataclasses.dataclass
class Counting:
  """An annotator that counts its calls in a file, one byte each."""

  calls: str
  name: str = 'counting'
  version: str = '1'
  reads: tuple[str, ...] = ()
  is_failing: bool = False

  def check(self):
    pass

  def annotate(self, clip, known):
    with open(self.calls, 'ab', buffering=0) as file:
      file.write(b'.')
    if self.is_failing:
      raise annotator.AnnotationError('no')
    return annotator.tags(self, [('peak', f'{abs(clip.wave_NA).max():.2f}', 0.5)])


def make_clip(value: float = 0.5, **changes) -> decoded.DecodedClip:
  wave_NA = np.full((800, 1), value, np.float32)
  clip = decoded.DecodedClip('a', np.zeros((2, 8, 8, 3), np.uint8), wave_NA, 8000, 1.0, 0.1)
  return dataclasses.replace(clip, **changes)


@pytest.fixture
def calls(tmp_path):
  path = tmp_path / 'calls'
  path.touch()
  return path


def num_calls(calls) -> int:
  return calls.stat().st_size


def test_annotations_survive_json():
  annotations = annotations_lib.Annotations(
    captions=(
      annotations_lib.Caption('Élan "x"', 'detailed', 'a@1', 0.25),
      annotations_lib.Caption('b', 'label'),
    ),
    transcript=transcript.Transcript('one two', (0.1, 0.30000000000000004)),
    events=(annotations_lib.Event(0.5, 0.6, 'bark', 'b@1', None),),
    tags=(('mood', 'calm'),),
    provenance=(annotations_lib.Provenance('tags.mood', 'a@1', 1.0),),
  )
  for each in (annotations, annotations_lib.Annotations()):
    assert annotations_lib.Annotations.from_json(json.loads(json.dumps(each.to_json()))) == each
  with pytest.raises(ValueError, match='wanted annotations as JSON'):
    annotations_lib.Annotations.from_json({'captions': []})


@pytest.mark.parametrize(
  ('clip', 'changes', 'known', 'is_hit'),
  [
    (make_clip(id='renamed'), {}, annotations_lib.Annotations(), True),
    (make_clip(), {}, annotations_lib.Annotations(tags=(('not', 'read'),)), True),
    (make_clip(0.25), {}, annotations_lib.Annotations(), False),
    (make_clip(frame_MYX3=np.ones((2, 8, 8, 3), np.uint8)), {}, annotations_lib.Annotations(), False),
    (make_clip(frame_MYX3=np.zeros((2, 4, 16, 3), np.uint8)), {}, annotations_lib.Annotations(), False),
    (make_clip(sample_rate_hz=16000), {}, annotations_lib.Annotations(), False),
    (make_clip(start_s=2.0), {}, annotations_lib.Annotations(), False),
    (make_clip(), {'version': '2'}, annotations_lib.Annotations(), False),
    (make_clip(), {'name': 'other'}, annotations_lib.Annotations(), False),
    (make_clip(), {}, annotations_lib.Annotations(transcript=transcript.Transcript('read')), False),
  ],
)
def test_what_a_result_depends_on(tmp_path, calls, clip, changes, known, is_hit):
  first = Counting(str(calls), reads=('transcript',))
  store = cache.Cache(tmp_path / 'cache')
  before = apply.annotate(make_clip(), annotations_lib.Annotations(), [first], store)
  after = apply.annotate(clip, known, [dataclasses.replace(first, **changes)], store)
  assert num_calls(calls) == (1 if is_hit else 2)
  assert (store.num_hits, store.num_misses) == ((1, 1) if is_hit else (0, 2))
  if is_hit:
    assert after.annotations.provenance == before.annotations.provenance


def test_failures_are_not_cached(tmp_path, calls):
  store = cache.Cache(tmp_path / 'cache')
  failing = Counting(str(calls), is_failing=True)
  for _ in range(2):
    assert apply.annotate(make_clip(), annotations_lib.Annotations(), [failing], store).failures
  assert num_calls(calls) == 2
  works = dataclasses.replace(failing, is_failing=False)
  for _ in range(2):
    assert not apply.annotate(make_clip(), annotations_lib.Annotations(), [works], store).failures
  assert num_calls(calls) == 3


@pytest.mark.parametrize('damage', [b'', b'{"format": 1', b'{"format": 1, "added": 3}', b'[]', b'\xff'])
def test_a_damaged_entry_is_computed_again(tmp_path, calls, damage: bytes):
  store, each = cache.Cache(tmp_path / 'cache'), Counting(str(calls))
  expected = apply.annotate(make_clip(), annotations_lib.Annotations(), [each], store)
  (path,) = (tmp_path / 'cache').rglob('*.json')
  path.write_bytes(damage)
  for _ in range(2):
    assert apply.annotate(make_clip(), annotations_lib.Annotations(), [each], store) == expected
  assert num_calls(calls) == 2 and store.num_damaged == 1


def annotate_forever(folder: str, calls: str):
  store = cache.Cache(folder)
  for index in range(100_000):
    apply.annotate(make_clip(index / 1000), annotations_lib.Annotations(), [Counting(calls)], store)


def test_processes_that_are_killed_leave_whole_entries(tmp_path, calls):
  command = [sys.executable, __file__, str(tmp_path / 'cache'), str(calls)]
  path = os.pathsep.join([str(pathlib.Path(__file__).parents[3]), *sys.path])
  workers = [subprocess.Popen(command, env=os.environ | {'PYTHONPATH': path}) for _ in range(3)]
  while num_calls(calls) < 150 and all(worker.poll() is None for worker in workers):
    time.sleep(0.01)
  for worker in workers:
    assert worker.poll() is None
    worker.kill()
    worker.wait()
  entries = [path for path in (tmp_path / 'cache').rglob('*.json') if not path.name.startswith('.')]
  assert len(entries) >= 40
  for path in entries:
    annotations_lib.Annotations.from_json(json.loads(path.read_text())['added'])
  store, before = cache.Cache(tmp_path / 'cache'), num_calls(calls)
  for index in range(20):
    apply.annotate(make_clip(index / 1000), annotations_lib.Annotations(), [Counting(str(calls))], store)
  assert num_calls(calls) == before and store.num_hits == 20


if __name__ == '__main__':
  annotate_forever(*sys.argv[1:])
