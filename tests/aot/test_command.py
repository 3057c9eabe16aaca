"""`v2a compile`: invalid input is reported in one line, before any device work; steps compile for TPUs."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from v2a.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--topology', 'v5e:7'], 'must look like v5e:16x16'),
    (
      ['--topology', 'v5e:4x4', '--config.mesh.fsdp=3'],
      'fsdp 3 x context 1 x tensor 1 does not fit 16 devices',
    ),
    (['--topology', 'v5e:4x4', '--batch-size', '24'], 'batch_size must be a multiple of'),
    (['--topology', 'v5e:4x4', '--num-slices', '2', '--config.mesh.replica=1'], 'multiple of the 2 slices'),
    (['--topology', '2*v5e:4x4', '--config.mesh.replica=1'], 'multiple of the 2 slices'),
    (['--topology', '0*v5e:4x4'], 'must be at least 1'),
    (['--topology', 'v5e:4x4', 'v6e:4x4', '--output', 'x'], 'one --topology'),
    (['--topology', 'v5e:4x4', '--output', 'nowhere/x'], 'there is no folder nowhere'),
  ],
)
def test_invalid_input_is_one_line_and_exit_code_2(arguments, message, capsys):
  assert main.main(['compile', '--config', 'sync_synthetic', '--tiny', *arguments]) == 2
  error = capsys.readouterr().err
  assert message in error and error.count('\n') == 1


def compile_for(topology, *flags):
  """Returns the report of `v2a compile`, run in a new process: only one process can use libtpu."""
  ran = subprocess.run(
    [sys.executable, '-m', 'v2a', 'compile', '--topology', topology, '--json', *flags],
    cwd=ROOT,
    env=os.environ,
    capture_output=True,
    text=True,
  )
  assert ran.returncode == 0, ran.stderr
  return json.loads(ran.stdout)


@pytest.mark.tpu
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason="needs libtpu: pip install 'v2a[tpu]'")
@pytest.mark.parametrize(('topology', 'slices'), [('v5e:4x4', 1), ('v6e:4x4', 1), ('v5e:4x4', 2)])
def test_a_tiny_step_compiles_for_a_tpu(topology, slices):
  report = compile_for(
    topology,
    '--config',
    'sync_synthetic',
    '--tiny',
    '--num-slices',
    str(slices),
    '--batch-size',
    '32',
    '--config.mesh.fsdp=4',
  )
  assert report['fits'] and 0 < report['highest_mfu'] <= 1
  assert report['mesh']['replica'] == slices
  assert any('fsdp' in axes.split('+') for axes in report['sent_bytes'])
  assert any('replica' in axes for axes in report['sent_bytes']) == (slices > 1)


@pytest.mark.tpu
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason="needs libtpu: pip install 'v2a[tpu]'")
def test_a_mesh_that_splits_an_axis_of_the_torus_is_refused():
  ran = subprocess.run(
    [
      sys.executable,
      '-m',
      'v2a',
      'compile',
      '--config',
      'sync_synthetic',
      '--tiny',
      '--topology',
      'v5e:4x4',
      '--batch-size',
      '16',
      '--config.mesh.fsdp=2',
    ],
    cwd=ROOT,
    env=os.environ,
    capture_output=True,
    text=True,
  )
  assert ran.returncode == 2 and 'data 8 x fsdp 2 splits an axis of the 4x4 torus' in ran.stderr, ran.stderr


@pytest.mark.tpu
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason="needs libtpu: pip install 'v2a[tpu]'")
def test_a_shallow_flagship_compiles_for_a_tpu_and_gathers_in_bfloat16():
  report = compile_for(
    'v6e:4x4',
    '--config',
    'flow_0.15b',
    '--config.flow.num_joint_layers=1',
    '--config.flow.num_audio_layers=1',
    '--config.clip.clip_s=1',
    '--config.clip.num_text_bytes=32',
    '--config.clip.num_transcript_bytes=32',
    '--batch-size',
    '16',
  )
  assert report['fits'] and report['mesh']['fsdp'] == 16
  # A parameter is gathered in the forward and the backward pass, 2 bytes each; its gradient is summed in
  # float32, by an all-reduce (4 + 4) if fsdp is along both axes of a torus, as here. With float32 gathers it
  # would be 16.
  expected = 15 / 16 * 12 * report['num_parameters']
  assert 0.4 * expected < report['sent_bytes']['fsdp'] < 1.05 * expected, report
