"""Checkpoints on a machine's own storage: used if they are newer than shared ones and fit the mesh."""

import os

import jax
import numpy as np
import pytest
import toy

from v2a import weights
from v2a.training import loop

STEPS = {'num_steps': 6, 'evaluate_every_steps': 1, 'keep_latest': 5}
DEVICES = jax.devices()[:2]


class CrashError(Exception):
  """Ends a run, as a crash does."""


def run(workdir, folder, end_at=None, mesh=None, every=2, **training):
  """Trains the toy task; returns the steps before which it evaluated, and the weights if it finished."""
  steps = []

  def evaluate(model, step):
    steps.append(step)
    if step == end_at:
      raise CrashError
    return {}

  c = toy.configuration(
    **STEPS, local_checkpoint_every_steps=every, local_checkpoint_folder=str(folder), **training
  ).unlock()
  c.mesh.update(mesh or {'data': 1, 'fsdp': 2})
  try:
    path = loop.train(c.lock(), workdir, toy.Task(), [evaluate], DEVICES)
  except CrashError:
    return steps, None
  return steps, weights.load_export(path).arrays


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  """The weights of an uninterrupted run without local checkpoints."""
  return run(tmp_path_factory.mktemp('uninterrupted'), '', every=0)[1]


def assert_same(a, b):
  assert set(a) == set(b)
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def saved_files(folder):
  return sorted(file.name for file in folder.glob('v2a-*/0/*'))


def test_training_resumes_from_the_newest_bit_for_bit_and_deletes_them_at_the_end(uninterrupted, tmp_path):
  folder = tmp_path / 'local'
  run(tmp_path / 'run', folder, end_at=5)
  assert saved_files(folder) == ['2.safetensors', '4.safetensors']
  steps, arrays = run(tmp_path / 'run', folder)
  assert steps == [5, 6]
  assert_same(arrays, uninterrupted)
  assert not list(folder.iterdir())


def test_a_newer_shared_checkpoint_is_used(uninterrupted, tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5, checkpoint_every_steps=3, every=2)
  for file in (tmp_path / 'local').glob('v2a-*/0/4.safetensors'):
    file.unlink()
  steps, arrays = run(tmp_path / 'run', tmp_path / 'local')
  assert steps[0] == 4
  assert_same(arrays, uninterrupted)


def test_another_mesh_resumes_from_the_shared_checkpoint_and_deletes_later_local_ones(tmp_path):
  workdir, folder = tmp_path / 'run', tmp_path / 'local'
  run(workdir, folder, end_at=5, checkpoint_every_steps=3)
  assert saved_files(folder) == ['2.safetensors', '4.safetensors']
  assert run(workdir, folder, end_at=5, mesh={'data': 2}, checkpoint_every_steps=3, every=1)[0] == [4, 5]
  assert saved_files(folder) == ['2.safetensors', '4.safetensors']
  # The first mesh' checkpoint of step 4 was deleted: step 4 was repeated on the second mesh.
  assert run(workdir, folder, checkpoint_every_steps=3)[0][0] == 4


def test_a_truncated_file_is_ignored(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  (file,) = (tmp_path / 'local').glob('v2a-*/0/4.safetensors')
  os.truncate(file, file.stat().st_size - 100)
  assert run(tmp_path / 'run', tmp_path / 'local')[0][0] == 3


def test_incomplete_files_of_a_crash_are_deleted(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  folder = next((tmp_path / 'local').glob('v2a-*/0'))
  (folder / '.6.12345678.partial.safetensors').write_bytes(b'half')
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  assert not list(folder.glob('.*'))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / 'local').write_text('a file')
  with pytest.raises(OSError, match='local_checkpoint_folder: process .0. of 1 cannot write to .*local'):
    run(tmp_path / 'run', tmp_path / 'local')


def test_local_checkpoints_of_a_deleted_training_folder_are_not_used(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  assert run(tmp_path / 'again', tmp_path / 'local')[0][0] == 1


def test_another_configuration_is_refused(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  with pytest.raises(ValueError, match='holds a run of step 4 with another batch_size'):
    run(tmp_path / 'run', tmp_path / 'local', batch_size=4)


def test_write_errors_are_reported_and_training_continues(uninterrupted, tmp_path, capsys, monkeypatch):
  def fail(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('safetensors.numpy.save_file', fail)
  assert_same(run(tmp_path / 'run', tmp_path / 'local')[1], uninterrupted)
  errors = capsys.readouterr().err
  assert 'the checkpoint of step 2 could not be written' in errors and 'No space left on device' in errors
