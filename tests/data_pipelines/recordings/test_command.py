"""The command: its folder, interrupted runs, packages that are not what they should be."""

import csv
import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from data_pipelines.recordings import __main__ as command
from data_pipelines.recordings import output
from data_pipelines.recordings import packages
from data_pipelines.sources import catalog
from data_pipelines.sources import items
from tests.data_pipelines.recordings import packing

NAMES = 'sonic-pi-samples,fluid-soundfont-gs'


@pytest.fixture
def debs(tmp_path):
  """A folder with two small packages."""
  packing.sonic_pi(tmp_path / 'debs')
  packing.fluid(tmp_path / 'debs')
  return tmp_path / 'debs'


def run(folder, debs, *more):
  """Runs the command on packages in a folder."""
  return command.main(['--output', str(folder), '--packages', str(debs), '--only', NAMES, *more])


def content(folder):
  """Returns the files of a folder and their bytes."""
  return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_folder(tmp_path, debs, capsys):
  assert run(tmp_path / 'out', debs) == 0
  printed = capsys.readouterr()
  assert 'sonic-pi-samples: 3 files' in printed.out and '1 left out (the same sound)' in printed.out
  assert 'fluid-soundfont-gs 1-1: not the file this was tested with' in printed.err
  rows = [json.loads(line) for line in (tmp_path / 'out' / 'manifest.jsonl').read_text().splitlines()]
  assert [row['path'] for row in rows] == [
    'audio/sonic-pi-samples/bd_a.flac',
    'audio/sonic-pi-samples/glitch_bass1.flac',
    'audio/sonic-pi-samples/sn_b.flac',
    'audio/fluid-soundfont-gs/Piano_C4.flac',
  ]
  with (tmp_path / 'out' / 'licences.csv').open() as file:
    licences = list(csv.DictReader(file))
  assert [row['file'] for row in licences] == [row['path'] for row in rows]
  assert licences[3]['path_in_package'] == 'usr/share/sounds/sf2/F.sf2#Piano C4'
  assert {row['version'] for row in licences} == {'1-1'}
  # One author's sounds are in one split.
  assert rows[0]['split'] == rows[2]['split']
  assert 'Frank Wen' in (tmp_path / 'out' / 'README.txt').read_text()
  assert 'Statement of Purpose' in (tmp_path / 'out' / 'copyright' / 'sonic-pi-samples.txt').read_text()
  for row in rows:
    assert soundfile.info(tmp_path / 'out' / row['path']).frames


def test_the_source_reads_the_manifest(tmp_path, debs):
  assert run(tmp_path / 'out', debs) == 0
  found = list(catalog.open_source(f'audio_only:{tmp_path / "out" / "manifest.jsonl"}'))
  assert len(found) == 4 and all(isinstance(item, items.Item) for item in found)
  assert {item.licence for item in found} == {'CC0-1.0', 'MIT'}


def test_an_interrupted_run_continues(tmp_path, debs, monkeypatch):
  assert run(tmp_path / 'whole', debs) == 0
  write, count = output._write_bytes, []

  def interrupt(path, data):
    count.append(path)
    if len(count) == 3:
      raise KeyboardInterrupt
    write(path, data)

  monkeypatch.setattr(output, '_write_bytes', interrupt)
  assert run(tmp_path / 'out', debs) == 130
  assert not (tmp_path / 'out' / 'manifest.jsonl').exists()
  assert not json.loads((tmp_path / 'out' / 'recordings.json').read_text())['is_complete']
  first = tmp_path / 'out' / 'audio' / 'sonic-pi-samples' / 'bd_a.flac'
  time_ns = first.stat().st_mtime_ns
  monkeypatch.setattr(output, '_write_bytes', write)
  assert run(tmp_path / 'out', debs) == 0
  assert content(tmp_path / 'out') == content(tmp_path / 'whole')
  assert first.stat().st_mtime_ns == time_ns
  assert run(tmp_path / 'out', debs) == 0  # finished: nothing to do


def test_files_of_the_user_stay(tmp_path, debs, capsys):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'mine.txt').write_text('a')
  assert run(tmp_path / 'out', debs) == 2
  assert 'is not a folder of recordings' in capsys.readouterr().err
  assert content(tmp_path / 'out') == {'mine.txt': b'a'}
  assert run(tmp_path / 'two', debs) == 0
  assert (
    command.main(['--output', str(tmp_path / 'two'), '--packages', str(debs), '--only', 'sonic-pi-samples'])
    == 2
  )
  assert 'has recordings of' in capsys.readouterr().err


def test_missing_and_wrong_packages(tmp_path, debs, capsys, monkeypatch):
  assert command.main(['--output', str(tmp_path / 'out'), '--packages', str(debs)]) == 2
  assert 'has no fluid-soundfont-gm_*.deb' in capsys.readouterr().err
  version = '1-1'
  pin = packages.Pin(version, '0' * 64, 1)
  monkeypatch.setitem(packages.PINS, 'fluid-soundfont-gs', pin)
  assert run(tmp_path / 'out', debs) == 2
  error = capsys.readouterr().err
  assert 'SHA-256' in error and len(error.splitlines()) == 1
  assert not (tmp_path / 'out').exists()
  assert run(tmp_path / 'out', debs, '--accept-rebuilt') == 0
  capsys.readouterr()
  path = packages.find('sonic-pi-samples', debs)
  shutil.copy(packages.find('fluid-soundfont-gs', debs), path)
  assert run(tmp_path / 'other', debs) == 2
  assert "is the package 'fluid-soundfont-gs'; wanted sonic-pi-samples" in capsys.readouterr().err


def test_apt_errors_are_one_line(tmp_path, capsys, monkeypatch):
  arguments = ['--output', str(tmp_path / 'out'), '--only', 'fluid-soundfont-gs']
  monkeypatch.setattr(packages.shutil, 'which', lambda name: None)
  assert command.main(arguments) == 2
  assert 'there is no apt-get' in capsys.readouterr().err
  program = tmp_path / 'apt-get'
  program.write_text('#!/bin/sh\necho "E: Unable to locate package $3" >&2\nexit 100\n')
  program.chmod(0o755)
  monkeypatch.setattr(packages.shutil, 'which', lambda name: str(program))
  assert command.main(arguments) == 2
  error = capsys.readouterr().err.splitlines()
  assert 'Unable to locate package fluid-soundfont-gs' in error[-1]
  assert not list((tmp_path / 'out').rglob('*.deb'))


def test_fetched_packages_are_used_again(tmp_path, debs, monkeypatch):
  calls = []

  def download(name, folder):
    calls.append(name)
    shutil.copy(packages.find(name, debs), folder)

  monkeypatch.setattr(packages, '_download', download)
  folder = tmp_path / 'out'
  output.begin(folder, NAMES.split(','))
  packages.fetch(['sonic-pi-samples'], folder / 'packages')
  assert command.main(['--output', str(folder), '--only', NAMES]) == 0
  assert calls == NAMES.split(',')
  assert not (folder / 'packages').exists()


@pytest.mark.slow
def test_the_smallest_package_of_apt(tmp_path):
  if shutil.which('apt-get') is None:
    pytest.skip('there is no apt-get')
  found = subprocess.run(
    ['apt-get', '-q', 'download', '--print-uris', 'fluid-soundfont-gs'], capture_output=True, check=False
  )
  if found.returncode:
    pytest.skip('apt-get knows no fluid-soundfont-gs')
  folder = tmp_path / 'out'
  code = command.main(['--output', str(folder), '--only', 'fluid-soundfont-gs'])
  if code and not list(folder.rglob('*.deb')):
    pytest.skip('fluid-soundfont-gs cannot be fetched; there may be no network')
  assert code == 0
  rows = [json.loads(line) for line in (folder / 'manifest.jsonl').read_text().splitlines()]
  assert len(rows) == 44 and {row['licence'] for row in rows} == {'MIT'}
  wave_NA, rate_hz = soundfile.read(folder / 'audio' / 'fluid-soundfont-gs' / 'Thunder.flac')
  assert wave_NA.shape[1] == 2 and rate_hz > 10000 and np.abs(wave_NA).max() > 0.1
