"""The analysis of a shard: a line for each clip, whatever happens to others; whole files only."""

import json
import pathlib

import numpy as np
import pytest

from data_pipelines import analysis
from data_pipelines import cut
from data_pipelines import plan
from data_pipelines.sources import folder as folder_source
from v2a.media import audio_file
from v2a.media import write

ASSETS = pathlib.Path(analysis.__file__).parents[1] / 'v2a/assets/demo'
SETTINGS = analysis.Settings(cut.Cutting('windows', 1.0, 2.5), filters=('peak', 'still_share'))


@pytest.fixture(name='planned', scope='module')
def make_plan(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns a plan of a video with sound, a silent one, a damaged one and a short one."""
  videos, output = tmp_path_factory.mktemp('videos'), tmp_path_factory.mktemp('plan') / 'plan'
  tone_NA = 0.5 * np.sin(2 * np.pi * 440 / 16000 * np.arange(4 * 16000, dtype=np.float32))[:, None]
  write.mux(ASSETS / 'ball.mp4', tone_NA, 16000, videos / 'tone.mp4')
  (videos / 'silent.mp4').write_bytes((ASSETS / 'rain.mp4').read_bytes())
  (videos / 'damaged.mp4').write_bytes(b'no video' * 1000)
  audio_file.flac(videos / 'short.flac', tone_NA[:8000], 16000)
  plan.make(folder_source.Folder(videos), output, plan.Settings())
  return output


def entries(planned: pathlib.Path, folder: pathlib.Path) -> dict[str, list[analysis.Entry]]:
  analysis.analyse_shard(planned, 'train', 0, folder, SETTINGS)
  found: dict[str, list[analysis.Entry]] = {}
  for entry in analysis.read_shard(folder, 'train', 0):
    found.setdefault(entry.item, []).append(entry)
  return found


def test_every_item_has_an_entry(planned: pathlib.Path, tmp_path: pathlib.Path):
  found = {name.partition('.')[0]: rows for name, rows in entries(planned, tmp_path).items()}
  assert set(found) == {'tone', 'silent', 'damaged', 'short'}
  assert [entry.outcome for entry in found['tone']] == ['measured', 'measured']
  assert [entry.start_s for entry in found['tone']] == [0.0, 2.5]
  first, second = found['tone']
  assert first.has_audio and first.has_video and first.content != second.content
  assert first.measured['peak'].value == pytest.approx(-6.0, abs=0.5)
  assert not found['silent'][0].has_audio
  assert found['silent'][0].measured['peak'].reason == 'no sound'
  assert found['damaged'][0].outcome == 'failed' and 'damaged' in found['damaged'][0].reason
  assert found['short'][0].outcome == 'omitted'
  assert found['short'][0].reason == 'lasts 0.50 s; wanted at least 1 s'


def test_an_analysed_shard_is_not_analysed_again(planned: pathlib.Path, tmp_path: pathlib.Path):
  path = plan.shard_path(tmp_path, 'train', 0)
  analysis.analyse_shard(planned, 'train', 0, tmp_path, SETTINGS)
  before = path.stat().st_mtime_ns, path.read_bytes()
  analysis.analyse_shard(planned, 'train', 0, tmp_path, SETTINGS)
  assert (path.stat().st_mtime_ns, path.read_bytes()) == before


def test_equal_input_gives_equal_bytes(planned: pathlib.Path, tmp_path: pathlib.Path):
  for name in ('a', 'b'):
    analysis.analyse_shard(planned, 'train', 0, tmp_path / name, SETTINGS)
  paths = [plan.shard_path(tmp_path / name, 'train', 0) for name in ('a', 'b')]
  assert paths[0].read_bytes() == paths[1].read_bytes()


def test_an_interrupted_analysis_leaves_no_file(
  planned: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  def interrupt(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(analysis.filter_lib, 'measure_all', interrupt)
  with pytest.raises(KeyboardInterrupt):
    analysis.analyse_shard(planned, 'train', 0, tmp_path, SETTINGS)
  assert not [path for path in tmp_path.rglob('*') if path.is_file()]


def test_another_format_is_refused(tmp_path: pathlib.Path):
  path = plan.shard_path(tmp_path, 'train', 0)
  path.parent.mkdir()
  path.write_text(json.dumps({'format': 99}) + '\n')
  with pytest.raises(ValueError, match='wanted an analysis of format 1; got'):
    list(analysis.read_shard(tmp_path, 'train', 0))
