"""Training in object stores, against servers on this machine."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator
import toy

from tests.training import runs
from v2a import files
from v2a import storage
from v2a import weights
from v2a.config import files as files_lib
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import record_writer
from v2a.sharding import mesh as mesh_lib
from v2a.training import log_folder
from v2a.training import loop
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training.checkpoints import checkpoint
from v2a.training.checkpoints import staged_checkpoint
from v2a.training.distributed import shared_storage
from v2a.training.distributed import stopping

pytestmark = pytest.mark.stores


@pytest.fixture(scope='module')
def four(tmp_path_factory):
  """The exported model of an uninterrupted run of four steps on this machine."""
  workdir = tmp_path_factory.mktemp('four')
  loop.train(toy.configuration(num_steps=4), workdir, toy.Task(), **runs.ONE)
  return weights.load_export(workdir).arrays


def assert_same(a, b):
  assert set(a) == set(b)
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def steps_in(workdir):
  names = storage.list_files(workdir / checkpoint.FOLDER)
  return sorted(int(name.split('/')[0]) for name in names if name.count('/') == 1 and 'success' in name)


# The emulator of gs:// is not always right when TensorStore reads what is being replaced.
@pytest.mark.parametrize('scheme', ['s3', pytest.param('gs', marks=pytest.mark.slow)])
def test_a_run_in_a_store_is_resumed_bit_for_bit(scheme, request, four, tmp_path, capsys):
  workdir = request.getfixturevalue(scheme) / 'runs' / 'a'
  loop.train(toy.configuration(num_steps=2), str(workdir), toy.Task(), **runs.ONE)
  assert steps_in(workdir) == [2]
  c = toy.configuration(num_steps=4, keep_latest=1)
  assert loop.train(c, workdir, toy.Task(), **runs.ONE) == workdir / 'model'
  output, errors = capsys.readouterr()
  assert 'cannot be written' not in errors
  assert f'Resuming from step 2 in {workdir}.' in output and 'config.training.num_steps=4 (was 2)' in output
  assert_same(weights.load_export(workdir).arrays, four)
  assert steps_in(workdir) == [4]
  # What is written at the end, and what grows: one file of events a start, lines of both.
  assert files_lib.load(workdir / 'config.json') == c
  (replaced,) = storage.read_text(workdir / 'config_history.jsonl').splitlines()
  assert json.loads(replaced)['until_step'] == 2
  assert 'inner' in storage.read_text(workdir / 'parameters.txt')
  lines = [json.loads(line) for line in storage.read_text(workdir / 'goodput.jsonl').splitlines()]
  assert [line['start'] for line in lines if 'start' in line] == [0, 2]
  storage.download_folder(workdir / 'tensorboard', tmp_path / 'events')
  assert len(list((tmp_path / 'events').iterdir())) == 2
  events = event_accumulator.EventAccumulator(str(tmp_path / 'events'))
  events.Reload()
  assert [event.step for event in events.Scalars('loss')] == [1, 2, 3, 4]
  with pytest.raises(ValueError, match=f'{workdir} has been trained for 4 steps, beyond'):
    loop.train(toy.configuration(num_steps=3), workdir, toy.Task(), **runs.ONE)


def test_records_and_initial_weights_in_a_store(s3, tmp_path, monkeypatch):
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'cache'))
  c = toy.configuration(num_steps=2).unlock()
  c.data.num_fake_records, found = 0, []
  items = [fake_records.make(schema.clip_spec(c), seed) for seed in range(16)]
  for root in (s3, tmp_path):
    record_writer.write(root / 'records', items, schema.clip_spec(c))
    c.data.train, c.init_from.model = (str(root / 'records'),), ''
    loop.train(c, root / 'first', toy.Task(), **runs.ONE)
    c.init_from.model = str(root / 'first')
    loop.train(c, root / 'second', toy.Task(), **runs.ONE)
    found.append(weights.load_export(root / 'second').arrays)
  assert_same(*found)


def state_at(step):
  task, c, mesh = toy.Task(), toy.configuration(), mesh_lib.make({}, jax.devices()[:1])
  optimizer = optimizer_lib.make(c.training)
  abstract = state_lib.abstract(task, optimizer, mesh)
  state = state_lib.init(task, optimizer, abstract, jax.random.key(step))
  return abstract, dataclasses.replace(state, step=jax.numpy.asarray(step, 'int32'))


def save(checkpoints, *steps):
  for step in steps:
    checkpoints.save(state_at(step)[1], toy.configuration(), {'step': step})


def test_retention_and_restoration_of_staged_checkpoints(s3):
  checkpoints = staged_checkpoint.StagedCheckpoints(s3 / 'run', keep_latest=2, keep_every_steps=4)
  save(checkpoints, 1, 4, 5, 6, 7)
  checkpoints.wait()
  assert checkpoints.steps() == (4, 6, 7) and checkpoints.latest_step() == 7
  checkpoints.close()
  assert steps_in(s3 / 'run') == [4, 6, 7]
  assert {name.split('/')[0] for name in storage.list_files(s3 / 'run' / 'checkpoints')} == {'4', '6', '7'}
  opened = staged_checkpoint.StagedCheckpoints(s3 / 'run', keep_latest=2, keep_every_steps=4)
  for step in (6, 4):
    abstract, state = state_at(step)
    assert_same(weights.flatten(opened.restore(step, abstract)), weights.flatten(state))
    assert opened.read(step) == (toy.configuration(), {'step': step})
  opened.close()
  opened = staged_checkpoint.StagedCheckpoints(s3 / 'run', keep_latest=2, keep_every_steps=4)
  assert opened.read(6)[1] == {'step': 6}
  save(opened, 7, 8)
  opened.close()
  assert steps_in(s3 / 'run') == [4, 7, 8]


def test_an_incomplete_checkpoint_is_ignored_and_deleted(s3):
  checkpoints = staged_checkpoint.StagedCheckpoints(s3 / 'run', keep_latest=5)
  save(checkpoints, 1, 2)
  checkpoints.close()
  storage.remove(s3 / 'run' / 'checkpoints' / '2' / checkpoint.COMPLETE)
  opened = staged_checkpoint.StagedCheckpoints(s3 / 'run', keep_latest=5)
  assert opened.latest_step() == 1
  opened.close()
  assert {name.split('/')[0] for name in storage.list_files(s3 / 'run' / 'checkpoints')} == {'1'}


def test_a_failed_upload_is_reported_once_and_tried_again(s3, monkeypatch):
  checkpoints = staged_checkpoint.StagedCheckpoints(s3 / 'run')
  upload = storage.upload

  def fail(local, path):
    if 'state' in path.parts:  # other files are uploaded
      raise OSError(f'{path}: connection lost')
    upload(local, path)

  monkeypatch.setattr(storage, 'upload', fail)
  save(checkpoints, 1)
  error = checkpoints.pop_error(wait=True)
  assert error.startswith(f'the checkpoint of step 1 could not be written to {s3}/run/checkpoints: ')
  assert error.endswith('connection lost') and checkpoints.pop_error() is None
  assert checkpoints.latest_step() is None and steps_in(s3 / 'run') == []
  with pytest.raises(OSError, match='connection lost'):
    checkpoints.wait()
  monkeypatch.setattr(storage, 'upload', upload)
  save(checkpoints, 1)
  checkpoints.wait()
  assert checkpoints.steps() == (1,)
  checkpoints.close()


def test_training_ends_with_the_code_of_storage_where_the_store_is_lost(s3, monkeypatch, capsys):
  """The last checkpoint cannot be written: a restart resumes from the one before."""
  upload = storage.upload

  def fail(local, path):
    if '/checkpoints/4/' in str(path):
      raise OSError(f'{path}: connection lost')
    upload(local, path)

  monkeypatch.setattr(storage, 'upload', fail)
  c = toy.configuration(num_steps=4, checkpoint_every_steps=2)
  with pytest.raises(stopping.StorageError):
    loop.train(c, s3 / 'run', toy.Task(), **runs.ONE)
  assert 'connection lost' in capsys.readouterr().err and steps_in(s3 / 'run') == [2]


def test_several_processes_are_refused_on_s3(s3, monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(ValueError, match=r'checkpoints of 2 processes cannot be written to s3://; .*use gs://'):
    staged_checkpoint.StagedCheckpoints(s3 / 'run')


def test_logs_that_cannot_be_uploaded_are_reported_once(s3, monkeypatch, capsys):
  logs = log_folder.LogFolder(s3 / 'run')
  (logs.path / 'a').write_text('1')
  logs.upload()
  assert storage.read_text(s3 / 'run' / 'a') == '1'
  with (logs.path / 'a').open('a') as file:
    file.write('2')
  upload, names = storage.upload, []
  with monkeypatch.context() as patch:
    patch.setattr(storage, 'upload', lambda local, path: storage.read_bytes(s3 / 'none'))
    logs.upload()
    logs.upload()
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('Logs cannot be written (') and 'none: does not exist' in line
  monkeypatch.setattr(storage, 'upload', lambda local, path: (names.append(path.name), upload(local, path)))
  (logs.path / 'b').write_text('3')
  logs.upload()
  logs.close()
  assert names == ['a', 'b'] and storage.read_text(s3 / 'run' / 'a') == '12' and not logs.path.exists()


def test_processes_see_each_other_in_a_store(s3, monkeypatch):
  """One process writes what it waits for, and deletes it."""
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(shared_storage.processes, 'all_gather', lambda array: np.stack([array, array]))
  with pytest.raises(ValueError, match=r'--workdir s3://.* must be on storage that all processes share'):
    shared_storage.check_workdir(s3 / 'run', 0.5)
  assert storage.list_files(s3 / 'run') == {}


def test_the_command_checks_the_bucket_before_it_trains(s3):
  argv = [sys.executable, '-m', 'v2a', 'train', '--config', 'codec_synthetic', '--tiny', '--workdir']
  environment = dict(os.environ, JAX_PLATFORMS='cpu')
  for workdir, reason in (
    ('s3://no-such-bucket/run', 'The specified bucket does not exist'),
    (f'{s3}/taken', 'config.json: exists already'),
  ):
    files.write_text(s3 / 'taken' / 'config.json', '{}')
    ran = subprocess.run([*argv, workdir], capture_output=True, text=True, env=environment)
    (line,) = ran.stderr.splitlines()
    assert ran.returncode == 2 and reason in line and workdir in line
  assert list(storage.list_files(s3)) == ['taken/config.json']
