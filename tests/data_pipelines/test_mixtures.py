"""Mixtures of recordings: deterministic, of one split, with the licences of what they hold."""

import json

import numpy as np
import pytest
import soundfile

from data_pipelines import mixtures
from data_pipelines.sources import catalog
from data_pipelines.sources import items

ROWS = (
  ('bell', 'train', 'CC0-1.0', 22050, 1, 0.4),
  ('drum', 'train', 'MIT', 16000, 2, 0.1),
  ('wave', 'train', 'MIT', 44100, 1, 0.002),
  ('rain', 'test', 'CC-BY-3.0', 44100, 1, 0.8),
)


@pytest.fixture
def recordings(tmp_path):
  """A folder of recordings."""
  folder = tmp_path / 'recordings'
  (folder / 'audio').mkdir(parents=True)
  rows, rng = [], np.random.default_rng(0)
  for name, split, licence, rate_hz, num_channels, seconds in ROWS:
    wave_NA = rng.uniform(-0.5, 0.5, (round(seconds * rate_hz), num_channels))
    soundfile.write(folder / 'audio' / f'{name}.flac', wave_NA, rate_hz)
    row = {'path': f'audio/{name}.flac', 'id': name, 'label': name, 'licence': licence, 'split': split}
    rows.append(json.dumps(row))
  (folder / 'manifest.jsonl').write_text('\n'.join(rows) + '\n')
  (folder / 'recordings.json').write_text('{"names": [], "is_complete": true}')
  (folder / 'licences.csv').write_text('file,licence\n')
  (folder / 'README.txt').write_text('by A\n')
  return folder


def run(recordings, folder, *more):
  """Runs the command for clips of a second."""
  arguments = ['--recordings', str(recordings), '--output', str(folder), '--seconds', '1', *more]
  return mixtures.main([*arguments, '--sample-rate', '16000', '--num-workers', '1'])


def content(folder):
  """Returns the files of a folder and their bytes."""
  return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_folder(tmp_path, recordings):
  assert run(recordings, tmp_path / 'out', '--num-clips', '6') == 0
  rows = [json.loads(line) for line in (tmp_path / 'out' / 'manifest.jsonl').read_text().splitlines()]
  sources = [json.loads(line) for line in (tmp_path / 'out' / 'sources.jsonl').read_text().splitlines()]
  assert len(rows) == 6
  for row, about in zip(rows, sources, strict=True):
    info = soundfile.info(tmp_path / 'out' / row['path'])
    assert (info.frames, info.samplerate, info.channels) == (16000, 16000, 2)
    licences = {{'bell': 'CC0-1.0', 'drum': 'MIT'}[label] for label in row['label']}
    assert row['licence'] == (' AND '.join(sorted(licences)) or 'generated') and row['split'] == 'train'
    assert {f'audio/{label}.flac' for label in row['label']} == set(about['recordings'])
  found = list(catalog.open_source(f'audio_only:{tmp_path / "out" / "manifest.jsonl"}'))
  assert len(found) == 6 and all(isinstance(item, items.Item) for item in found)
  assert (tmp_path / 'out' / 'README.txt').read_text() == 'by A\n'


def test_only_long_enough_recordings_of_the_split(recordings):
  names = [
    [found.label for found in mixtures.read_recordings(recordings, split)] for split in ('train', 'test')
  ]
  assert names == [['bell', 'drum'], ['rain']]


def test_interrupted_and_longer_runs_give_the_same_clips(tmp_path, recordings, monkeypatch):
  assert run(recordings, tmp_path / 'whole', '--num-clips', '4') == 0
  render = mixtures.render

  def interrupt(chosen, settings, index):
    if index == 2:
      raise KeyboardInterrupt
    return render(chosen, settings, index)

  monkeypatch.setattr(mixtures, 'render', interrupt)
  assert run(recordings, tmp_path / 'out', '--num-clips', '4') == 130
  assert len(list((tmp_path / 'out' / 'audio').iterdir())) == 2
  assert not (tmp_path / 'out' / 'manifest.jsonl').exists()
  times_ns = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out' / 'audio').iterdir()}
  monkeypatch.setattr(mixtures, 'render', render)
  assert run(recordings, tmp_path / 'out', '--num-clips', '2') == 0
  assert {path: path.stat().st_mtime_ns for path in times_ns} == times_ns
  assert run(recordings, tmp_path / 'out', '--num-clips', '4') == 0
  assert content(tmp_path / 'out') == content(tmp_path / 'whole')


def test_processes_do_not_matter(tmp_path, recordings):
  settings = mixtures.Settings(5, 0.5, 16000, 'train')
  found = mixtures.read_recordings(recordings, 'train')
  for index in (1, 0):  # in another order
    mixtures.write_clip(index, found, settings, tmp_path / 'one')
  arguments = [
    '--recordings',
    str(recordings),
    '--output',
    str(tmp_path / 'two'),
    '--seconds',
    '0.5',
    '--seed',
    '5',
  ]
  assert mixtures.main([*arguments, '--num-clips', '2', '--sample-rate', '16000', '--num-workers', '2']) == 0
  one, two = content(tmp_path / 'one'), content(tmp_path / 'two')
  assert len(one) == 2 and one.items() <= two.items()


def test_seeds_and_indices_give_other_clips(recordings):
  found = mixtures.read_recordings(recordings, 'train')
  waves = [
    mixtures.render(found, mixtures.Settings(seed, 0.5, 16000, 'train'), index)
    for seed, index in ((0, 0), (0, 1), (1, 0))
  ]
  assert len({wave_NA.tobytes() for wave_NA in waves}) == 3


def test_clips_are_varied_and_below_full_scale(recordings):
  found = mixtures.read_recordings(recordings, 'train')
  levels_db, correlations, ends = [], [], 0
  for index in range(60):
    wave_NA = mixtures.render(found[: 1 + index % 2], mixtures.Settings(0, 1.0, 16000, 'train'), index)
    assert wave_NA.shape == (16000, 2) and np.isfinite(wave_NA).all() and np.abs(wave_NA).max() <= 0.9701
    levels_db.append(10 * np.log10(np.mean(wave_NA**2)))
    correlations.append(np.corrcoef(wave_NA.T)[0, 1])
    ends += not wave_NA[:200].any() or not wave_NA[-200:].any()
  assert max(levels_db) > -20 and min(levels_db) < -40
  assert max(correlations) > 0.99 and min(correlations) < 0.3
  assert 0 < ends < 40


def test_errors_are_one_line(tmp_path, recordings, capsys):
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'a.txt').write_text('a')
  assert run(recordings, tmp_path / 'done', '--num-clips', '1') == 0
  capsys.readouterr()
  for arguments, message in (
    ((tmp_path, tmp_path / 'x'), 'is no finished folder of recordings'),
    ((recordings, tmp_path / 'mine'), 'is not a folder of mixtures'),
    ((recordings, tmp_path / 'done', '--seed', '2'), 'other settings (seed)'),
    ((recordings, tmp_path / 'x', '--split', 'validation'), "no recordings of the split 'validation'"),
  ):
    assert run(*arguments, '--num-clips', '1') == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
  (recordings / 'recordings.json').write_text('{"names": [], "is_complete": false}')
  assert run(recordings, tmp_path / 'x', '--num-clips', '1') == 2
  assert not (tmp_path / 'x').exists()
