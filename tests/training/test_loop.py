"""The training loop: resuming, checkpoints, exports, initial weights, order of a step."""

import dataclasses
import itertools
import json
import os
import shutil
import signal
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator
import toy

from data_pipelines import encode_column
from tests.data import test_media_source
from tests.training import runs
from v2a import files
from v2a import weights
from v2a.config import files as files_lib
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import media_folder
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.training import history
from v2a.training import loop
from v2a.training import metrics_reader
from v2a.training import saving
from v2a.training import step as step_lib
from v2a.training.checkpoints import checkpoint
from v2a.training.distributed import stopping


def assert_same(a, b):
  assert set(a) == set(b)
  for name in a:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.fixture(scope='module')
def four(tmp_path_factory):
  """An uninterrupted run of four steps."""
  workdir = tmp_path_factory.mktemp('four')
  task, steps = toy.Task(), []

  def evaluate(model, step):
    steps.append(step)
    return {'validation_error': float(model.scale[...])}

  c = toy.configuration(evaluate_every_steps=3, keep_latest=5)
  path = loop.train(c, workdir, task, [evaluate], **runs.ONE)
  assert path == workdir / 'model' and steps == [3, 4] and task.num_finalized == 1
  return workdir


def test_two_steps_resumed_for_two_equal_four_steps_bit_for_bit(four, tmp_path, capsys):
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **runs.ONE)
  two = runs.state_of(tmp_path, 2)
  capsys.readouterr()
  loop.train(toy.configuration(num_steps=4), tmp_path, toy.Task(), **runs.ONE)
  output = capsys.readouterr().out
  assert 'step 3/4' in output and 'step 2/4' not in output, 'training was not resumed'
  assert_same(runs.state_of(tmp_path, 4), runs.state_of(four, 4))
  assert any(not np.array_equal(two[name], value) for name, value in runs.state_of(four, 4).items())


def test_restored_to_another_mesh(four):
  assert_same(runs.state_of(four, 4, data=2, fsdp=2, tensor=2), runs.state_of(four, 4))


def test_files_of_a_finished_run(four, capsys):
  assert files_lib.load(four / 'config.json') == toy.configuration(evaluate_every_steps=3, keep_latest=5)
  assert 'inner' in (four / 'parameters.txt').read_text()
  export = weights.load_export(four)
  assert export.about['step'] == 4 and export.about['batch_size'] == 8
  # `Task.finalize` changes the exported model, and not the checkpoint that training resumes from.
  state = runs.state_of(four, 4)
  assert export.arrays['scale'] == 16.0 and state['frozen.scale'] == 2.0
  np.testing.assert_array_equal(export.arrays['inner'], state['ema.inner'])
  events = event_accumulator.EventAccumulator(str(four / 'tensorboard'))
  events.Reload()
  assert [event.step for event in events.Scalars('loss')] == [1, 2, 3, 4]
  assert [event.step for event in events.Scalars('evaluation/validation_error')] == [3, 4]
  tags = set(events.Tags()['scalars'])
  assert {
    'grad_norm',
    'learning_rate',
    'error',
    'steps_per_s',
    'clips_per_s',
    'tokens_per_s',
    'step_s_p50',
    'step_s_p99',
    'data_wait',
    'goodput',
  } <= tags


def test_an_incomplete_checkpoint_is_ignored(four, tmp_path):
  shutil.copytree(four, tmp_path / 'run')
  folder = tmp_path / 'run' / checkpoint.FOLDER
  (folder / '4').rename(folder / '4.orbax-checkpoint-tmp')
  shutil.rmtree(folder / '4.orbax-checkpoint-tmp' / 'position')
  checkpoints = checkpoint.Checkpoints(tmp_path / 'run')
  assert checkpoints.latest_step() is None
  checkpoints.close()


def test_checkpoints_by_the_clock_of_process_0(tmp_path, monkeypatch):
  ticks = itertools.count()  # a second per reading of the clock
  monkeypatch.setattr(saving, 'time', types.SimpleNamespace(monotonic=lambda: next(ticks)))
  c = toy.configuration(num_steps=7, log_every_steps=1, keep_latest=9, checkpoint_every_s=1.5)
  loop.train(c, tmp_path, toy.Task(), **runs.ONE)
  # The clock is read at the start, in each step that logs, and again after a save.
  assert sorted(int(path.name) for path in (tmp_path / checkpoint.FOLDER).iterdir()) == [2, 4, 6, 7]


def test_the_newest_checkpoints_and_multiples_are_not_deleted(tmp_path):
  c = toy.configuration(num_steps=6, checkpoint_every_steps=1, keep_latest=2, keep_every_steps=3)
  loop.train(c, tmp_path, toy.Task(), **runs.ONE)
  checkpoints = checkpoint.Checkpoints(tmp_path, 2, 3)
  assert checkpoints.steps() == (3, 5, 6)
  saved, position = checkpoints.read(5)
  assert saved == c and position['num_records'] == 16 and len(position['records_hash']) == 64
  checkpoints.close()


@pytest.mark.parametrize(
  'change',
  [
    '--config.seed=1',
    '--config.training.batch_size=16',
    '--config.flow.width=48',
    '--config.data.num_fake_records=17',
  ],
)
def test_another_run_in_the_folder_is_refused(four, change):
  c = files_lib.override(toy.configuration(), [change])
  with pytest.raises(ValueError, match='holds a run of step 4 with another'):
    loop.train(c, four, toy.Task(), **runs.ONE)


def test_a_run_continues_with_other_records_on_request(four, tmp_path, capsys):
  shutil.copytree(four, tmp_path / 'run')
  flags = ['--config.data.num_fake_records=17', '--config.training.num_steps=6']
  c = files_lib.override(toy.configuration(keep_latest=5), flags)
  with pytest.raises(
    ValueError, match='or continue with these records by config.data.accept_other_records=true'
  ):
    loop.train(c, tmp_path / 'run', toy.Task(), **runs.ONE)
  accepting = files_lib.override(c, ['--config.data.accept_other_records=true'])
  loop.train(accepting, tmp_path / 'run', toy.Task(), **runs.ONE)
  assert 'From step 4 on 17 records are read instead of 16' in capsys.readouterr().out
  (line,) = (tmp_path / 'run' / history.RECORDS_HISTORY).read_text().splitlines()
  change = json.loads(line)
  assert (change['from_step'], change['before']['num_records'], change['after']['num_records']) == (4, 16, 17)
  assert change['before']['records_hash'] != change['after']['records_hash']
  # From then on they are the records of the run.
  longer = files_lib.override(c, ['--config.training.num_steps=7'])
  loop.train(longer, tmp_path / 'run', toy.Task(), **runs.ONE)
  assert weights.load_export(tmp_path / 'run').about['step'] == 7
  assert len((tmp_path / 'run' / history.RECORDS_HISTORY).read_text().splitlines()) == 1


def test_a_folder_with_other_parameter_groups_is_refused_in_one_line(four):
  task = toy.Task()
  task.param_groups = {'outer': {'clip_norm': 0.5}}
  message = 'Checkpoint .*/4 is of another model .* does not fit; .*opt_state'
  with pytest.raises(ValueError, match=message) as caught:
    loop.train(toy.configuration(num_steps=5), four, task, **runs.ONE)
  assert '\n' not in str(caught.value)


def test_raw_parameters_are_evaluated_and_exported_if_the_task_uses_no_ema(tmp_path):
  evaluated = []
  for is_averaged in (True, False):
    task, workdir = toy.Task(), tmp_path / str(is_averaged)
    task.use_ema = is_averaged
    evaluate = lambda model, step: {'outer': evaluated.append(np.asarray(model.outer[...])) or 0.0}
    c = toy.configuration(num_steps=2, evaluate_every_steps=5)
    path = loop.train(c, workdir, task, [evaluate], **runs.ONE)
    state, exported = runs.state_of(workdir, 2), weights.load_export(path).arrays['outer']
    used, other = ('ema', 'params')[:: 1 if is_averaged else -1]
    np.testing.assert_array_equal(exported, state[f'{used}.outer'])
    np.testing.assert_array_equal(exported, evaluated[-1])
    assert not np.array_equal(exported, state[f'{other}.outer'])


def test_starting_from_named_weights(four, tmp_path):
  c = files_lib.override(toy.configuration(num_steps=2), [f'--config.init_from.model={four}'])
  task = toy.Task()
  task.is_trainable = lambda path: path[-1] == 'bias'
  loop.train(c, tmp_path, task, **runs.ONE)
  before, after = weights.load_export(four).arrays, weights.load_export(tmp_path).arrays
  np.testing.assert_array_equal(after['inner'], before['inner'])
  assert not np.array_equal(after['bias'], before['bias'])
  with pytest.raises(FileNotFoundError, match='No model at'):
    loop.train(files_lib.override(c, ['--config.init_from.model=nowhere']), tmp_path / 'b', task, **runs.ONE)


def test_a_task_may_initialise(tmp_path):
  task = toy.Task()

  def initialise(model, source):
    model.gain[...] = model.gain[...] * len(source)
    return model

  task.initialise = initialise
  loop.train(toy.configuration(num_steps=2), tmp_path, task, **runs.ONE)
  assert weights.load_export(tmp_path).arrays['gain'] == 16.0


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_exits(tmp_path, number, code, four, capsys):
  before = signal.getsignal(number)

  def send(model, step):
    os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before, 'a second signal must have its previous effect'
    return {}

  c = toy.configuration(evaluate_every_steps=2)
  with pytest.raises(stopping.Interrupted) as error:
    loop.train(c, tmp_path, toy.Task(), [send], **runs.ONE)
  assert error.value.code == code and signal.getsignal(number) is before
  assert 'saved at step 2' in capsys.readouterr().out
  assert weights.load_export(tmp_path).about['step'] == 2
  loop.train(toy.configuration(num_steps=4), tmp_path, toy.Task(), **runs.ONE)
  assert_same(runs.state_of(tmp_path, 4), runs.state_of(four, 4))


def test_steps_of_the_profile_are_counted_from_the_first_of_the_process(tmp_path):
  loop.train(toy.configuration(num_steps=2), tmp_path, toy.Task(), **runs.ONE)
  loop.train(
    toy.configuration(num_steps=4, profile_at_step=1, profile_steps=1), tmp_path, toy.Task(), **runs.ONE
  )
  assert list((tmp_path / 'profile').rglob('*.xplane.pb'))


def test_metrics_are_read_one_step_late_so_that_the_device_never_waits(tmp_path, monkeypatch):
  events, make, read = [], step_lib.make, metrics_reader.MetricsReader._read

  def make_recorded(*args):
    step_fn = make(*args)

    def step(leaves, batch):
      events.append('step')
      assert all(isinstance(value, jax.Array) for value in batch.values()), 'transferred before the step'
      return step_fn(leaves, batch)

    return step

  def read_recorded(reader, step, values):
    events.append(f'read {step}')
    read(reader, step, values)

  monkeypatch.setattr(step_lib, 'make', make_recorded)
  monkeypatch.setattr(metrics_reader.MetricsReader, '_read', read_recorded)
  loop.train(toy.configuration(), tmp_path, toy.Task(), **runs.ONE)
  assert events == ['step', 'step', 'read 0', 'step', 'read 1', 'step', 'read 2', 'read 3']


class Waves(toy.Task):
  """The toy task on features of whole waveforms, of any length."""

  def collate(self, items, rng):
    waves = [record_schema.wave_to_float(record['wave_NA'][:, 0]) for record in items]
    targets = [record['sync_frame_LYX3'].mean() / 255 for record in items]
    return {'wave_BN': np.stack(waves), 'y_B': np.asarray(targets, np.float32)}

  def sample_random_inputs(self, batch, key):
    return {'noise_BF': self.noise * jax.random.normal(key, (len(batch['y_B']), 16))}

  def loss(self, model, batch, step):
    x_BF = jnp.mean(batch['wave_BN'].reshape(len(batch['y_B']), 16, -1), axis=-1)
    return super().loss(model, batch | {'x_BF': x_BF}, step)


def test_batches_of_each_length_are_compiled_once(tmp_path, capsys):
  folder = test_media_source.make_records(tmp_path)
  c = toy.configuration(num_steps=6, batch_size=4).unlock()
  c.data.update(train=(str(folder),), num_fake_records=0, bucket_s=(1.0, 4.0))
  loop.train(c.lock(), tmp_path / 'run', Waves(), **runs.ONE)
  printed = capsys.readouterr().out
  assert printed.count('Compiling step') == 2 and 'Done: 6 steps' in printed


def test_frames_of_a_column_that_do_not_fit_are_noted(tmp_path, capsys):
  folder = test_media_source.make_records(tmp_path)
  c = toy.configuration(num_steps=2, batch_size=4).unlock()
  c.data.update(train=(str(folder),), num_fake_records=0)
  spec = schema.clip_spec(c)
  other = dataclasses.replace(spec, frame_size=2 * spec.frame_size)
  encode_column.encode(media_folder.MediaFolder(folder), encode_column.FrameEncoder(other))
  loop.train(c.lock(), tmp_path / 'run', toy.Task(), **runs.ONE)
  assert 'so video is decoded at every step' in capsys.readouterr().out


def test_an_export_says_the_licences_of_all_that_it_was_trained_on(tmp_path):
  (tmp_path / 'media').mkdir()
  folder = test_media_source.make_records(tmp_path / 'media')
  manifest = json.loads((folder / 'manifest.json').read_text())
  counts = {'CC-BY-4.0': manifest['num_records'] - 1, 'unknown': 1}
  (folder / 'manifest.json').write_text(json.dumps(manifest | {'licences': counts}))
  c = toy.configuration(num_steps=2, batch_size=4).unlock()
  spec = schema.clip_spec(c)
  record_writer.write(tmp_path / 'fixed', [fake_records.make(spec, seed) for seed in range(5)], spec)
  c.data.update(train=(str(folder), str(tmp_path / 'fixed')), num_fake_records=0)
  data_of = lambda workdir: weights.load_export(workdir).about['data']
  loop.train(c.lock(), tmp_path / 'run', toy.Task(), **runs.ONE)
  of_media, of_fixed = data_of(tmp_path / 'run')
  assert of_media == {'hash': manifest['hash'], 'num_records': manifest['num_records'], 'licences': counts}
  assert of_fixed['licences'] == {'unknown': 5} and str(tmp_path) not in json.dumps([of_media, of_fixed])
  # Continued with other records, the earlier ones count; as do those of initial weights.
  flags = ['--config.data.train=', '--config.data.num_fake_records=16', '--config.training.num_steps=3']
  other = files_lib.override(c, [*flags, '--config.data.accept_other_records=true'])
  loop.train(other, tmp_path / 'run', toy.Task(), **runs.ONE)
  present, earlier = data_of(tmp_path / 'run')
  assert present['licences'] == {'generated': 16}
  assert earlier['licences'] == {'unknown': manifest['num_records'] + 5}
  initial = files_lib.override(other, [f'--config.init_from.model={tmp_path / "run"}'])
  loop.train(initial, tmp_path / 'further', toy.Task(), **runs.ONE)
  assert data_of(tmp_path / 'further') == [present, earlier]


def test_shards_are_verified_on_request_once_per_workdir(tmp_path, monkeypatch, capsys):
  c = toy.configuration(num_steps=2).unlock()
  spec = schema.clip_spec(c)
  record_writer.write(tmp_path / 'data', [fake_records.make(spec, seed) for seed in range(8)], spec)
  c.data.update(train=(str(tmp_path / 'data'),), num_fake_records=0)
  hashed, digest = [], files.sha256
  monkeypatch.setattr(files, 'sha256', lambda path: hashed.append(path) or digest(path))
  loop.train(c, tmp_path / 'other', toy.Task(), **runs.ONE)
  assert not hashed
  c.data.verify = True
  for _ in range(2):
    loop.train(c, tmp_path / 'run', toy.Task(), **runs.ONE)
  assert len(hashed) == 1 and capsys.readouterr().out.count('Verified 1 shards of records') == 1
