"""The source, the filter and the annotator that docs/data.md shows work as they are."""

import pathlib
import pickle
import re
import sys
import types

import numpy as np
import pytest

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import apply
from data_pipelines.filters import filter as filter_lib
from data_pipelines.sources import items
from v2a.data import annotations as annotations_lib

PAGE = pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'data.md'


@pytest.fixture(name='shown')
def make_shown(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
  """Returns a module with the examples of the section."""
  section = PAGE.read_text().partition('## Extending')[2].partition('\n## ')[0]
  blocks = re.findall(r'^```python\n(.*?)^```', section, re.DOTALL | re.MULTILINE)
  assert len(blocks) == 3
  module = types.ModuleType('shown')
  monkeypatch.setitem(sys.modules, 'shown', module)
  for block in blocks:
    exec(compile(block, str(PAGE), 'exec'), module.__dict__)
  return module


def clip(level: float) -> decoded.DecodedClip:
  """Returns a clip of a sine."""
  wave_NA = level * np.sin(np.arange(16000) * 0.1).astype(np.float32)[:, None]
  return decoded.DecodedClip('a', np.zeros((0, 0, 0, 3), np.uint8), wave_NA, 16000, 0.0, 1.0)


def test_the_source(shown, tmp_path):
  table = tmp_path / 'clips.csv'
  table.write_text('video,start,end,label\n---g-f_I2yQ,1,4,drums, fast\n-0abcdefghi,x,4,rain\n')
  (tmp_path / '---g-f_I2yQ.mp4').write_bytes(b'')
  item, problem = pickle.loads(pickle.dumps(shown.Clips(table)))
  assert isinstance(item, items.Item) and (item.start_s, item.end_s) == (1.0, 4.0)
  assert item.annotations.captions[0].text == 'drums, fast'
  assert isinstance(problem, items.Problem) and 'start must be a number' in problem.reason


def test_the_filter(shown):
  measure = lambda level: filter_lib.measure_all(clip(level), [pickle.loads(pickle.dumps(shown.CREST))])
  assert measure(0.5)['crest'].value == pytest.approx(3.01, abs=0.01)
  assert measure(0.0)['crest'].reason == 'the sound is silent'


def test_the_annotator(shown):
  loudness = pickle.loads(pickle.dumps(shown.Loudness()))
  result = apply.annotate(clip(0.9), annotations_lib.Annotations(), [loudness])
  assert result.annotations.tags == (('level', 'loud'),)
  assert result.annotations.provenance_of('tags.level').origin == annotator.origin(loudness) == 'loudness@1'
