"""Checkpoints on a machine's own storage: taken up where they are newer, left where they do not fit."""

import os

import jax
import numpy as np
import pytest
import toy

from v2a import weights
from v2a.training import loop

STEPS = {'num_steps': 6, 'evaluate_every_steps': 1, 'keep_latest': 5}
DEVICES = jax.devices()[:2]


class Ended(Exception):
  """What ends a run in these tests, as a crash does."""


def run(workdir, folder, end_at=None, mesh=None, every=2, **training):
  """Trains the toy; returns the steps before which it evaluated, and the weights where it came to the end."""
  seen = []

  def evaluate(model, step):
    seen.append(step)
    if step == end_at:
      raise Ended
    return {}

  c = toy.configuration(
    **STEPS, local_checkpoint_every_steps=every, local_checkpoint_folder=str(folder), **training
  ).unlock()
  c.mesh.update(mesh or {'data': 1, 'fsdp': 2})
  try:
    path = loop.train(c.lock(), workdir, toy.Task(), [evaluate], DEVICES)
  except Ended:
    return seen, None
  return seen, weights.load_export(path).arrays


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """The weights of a run that nothing disturbs and that keeps nothing nearby."""
  return run(tmp_path_factory.mktemp('whole'), '', every=0)[1]


def assert_same(a, b):
  assert set(a) == set(b)
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def kept(folder):
  return sorted(file.name for file in folder.glob('v2a-*/0/*'))


def test_the_newest_is_taken_up_bit_for_bit_and_nothing_stays_at_the_end(whole, tmp_path):
  folder = tmp_path / 'local'
  run(tmp_path / 'run', folder, end_at=5)
  assert kept(folder) == ['2.safetensors', '4.safetensors']
  seen, arrays = run(tmp_path / 'run', folder)
  assert seen == [5, 6]
  assert_same(arrays, whole)
  assert not list(folder.iterdir())


def test_a_shared_checkpoint_that_is_newer_is_taken_up(whole, tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5, checkpoint_every_steps=3, every=2)
  for file in (tmp_path / 'local').glob('v2a-*/0/4.safetensors'):
    file.unlink()
  seen, arrays = run(tmp_path / 'run', tmp_path / 'local')
  assert seen[0] == 4
  assert_same(arrays, whole)


def test_another_mesh_begins_from_what_all_share_and_forgets_the_rest(tmp_path):
  workdir, folder = tmp_path / 'run', tmp_path / 'local'
  run(workdir, folder, end_at=5, checkpoint_every_steps=3)
  assert kept(folder) == ['2.safetensors', '4.safetensors']
  assert run(workdir, folder, end_at=5, mesh={'data': 2}, checkpoint_every_steps=3, every=1)[0] == [4, 5]
  assert kept(folder) == ['2.safetensors', '4.safetensors']
  # What the first mesh had kept of step 4 is another's past.
  assert run(workdir, folder, checkpoint_every_steps=3)[0][0] == 4


def test_a_torn_file_is_ignored(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  (file,) = (tmp_path / 'local').glob('v2a-*/0/4.safetensors')
  os.truncate(file, file.stat().st_size - 100)
  assert run(tmp_path / 'run', tmp_path / 'local')[0][0] == 3


def test_what_a_crash_cut_short_is_cleared_away(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  place = next((tmp_path / 'local').glob('v2a-*/0'))
  (place / '.6.12345678.partial.safetensors').write_bytes(b'half')
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  assert not list(place.glob('.*'))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / 'local').write_text('a file')
  with pytest.raises(OSError, match='local_checkpoint_folder: process .0. of 1 cannot write to .*local'):
    run(tmp_path / 'run', tmp_path / 'local')


def test_an_emptied_training_folder_begins_anew(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  assert run(tmp_path / 'again', tmp_path / 'local')[0][0] == 1


def test_another_configuration_is_refused(tmp_path):
  run(tmp_path / 'run', tmp_path / 'local', end_at=5)
  with pytest.raises(ValueError, match='holds a run of step 4 with another batch_size'):
    run(tmp_path / 'run', tmp_path / 'local', batch_size=4)


def test_what_cannot_be_written_is_told_and_training_goes_on(whole, tmp_path, capsys, monkeypatch):
  def fail(*args):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('safetensors.numpy.save_file', fail)
  assert_same(run(tmp_path / 'run', tmp_path / 'local')[1], whole)
  said = capsys.readouterr().err
  assert 'the checkpoint of step 2 could not be written' in said and 'No space left on device' in said
