"""`v2a compile`: what is at fault is said in one line before any device work; tiny steps compile for TPUs."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from v2a.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(('arguments', 'message'), [
    (['--topology', 'v5e:7'], 'must look like v5e:16x16'),
    (['--topology', 'v5e:4x4', '--config.mesh.fsdp=3'],
     'fsdp 3 x context 1 x tensor 1 does not fit 16 devices'),
    (['--topology', 'v5e:4x4', '--batch-size', '24'], 'batch_size must be a multiple of'),
    (['--topology', 'v5e:4x4', '--slices', '2', '--config.mesh.replica=1'], 'multiple of the 2 slices'),
    (['--topology', '2*v5e:4x4', '--config.mesh.replica=1'], 'multiple of the 2 slices'),
    (['--topology', '0*v5e:4x4'], 'must be at least 1'),
    (['--topology', 'v5e:4x4', 'v6e:4x4', '--output', 'x'], 'one --topology'),
    (['--topology', 'v5e:4x4', '--output', 'nowhere/x'], 'there is no folder nowhere'),
])
def test_faults_are_one_line_and_exit_code_2(arguments, message, capsys):
  assert main.main(['compile', '--config', 'sync_world', '--tiny', *arguments]) == 2
  error = capsys.readouterr().err
  assert message in error and error.count('\n') == 1


@pytest.mark.tpu
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason="needs libtpu: pip install 'v2a[tpu]'")
@pytest.mark.parametrize(('topology', 'slices'), [('v5e:4x4', 1), ('v6e:4x4', 1), ('v5e:4x4', 2)])
def test_a_tiny_step_compiles_for_a_tpu(topology, slices):
  ran = subprocess.run(
      [sys.executable, '-m', 'v2a', 'compile', '--config', 'sync_world', '--tiny', '--topology', topology,
       '--slices', str(slices), '--batch-size', '32', '--config.mesh.fsdp=4', '--json'],
      cwd=ROOT, env=os.environ, capture_output=True, text=True)
  assert ran.returncode == 0, ran.stderr
  report = json.loads(ran.stdout)
  assert report['fits'] and 0 < report['highest_mfu'] <= 1
  assert report['mesh']['replica'] == slices
  assert any('fsdp' in axes.split('+') for axes in report['sent_bytes'])
  assert any('replica' in axes for axes in report['sent_bytes']) == (slices > 1)
