"""`v2a train` as it is called: a tiny training with a trace of it, and input that it refuses."""

import os
import pathlib
import re

import pytest

from v2a import storage
from v2a.cli import main
from v2a.config import files
from v2a.config import schema
from v2a.data import fake_records
from v2a.data import record_writer
from v2a.training import state as state_lib

TINY = ['train', '--config', 'sync_synthetic', '--tiny']


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """The folder of a training that has ended."""
  workdir = tmp_path_factory.mktemp('runs') / 'new' / 'run'
  more = ['--config.training.profile_at_step=1', '--config.training.profile_steps=1']
  assert main.main([*TINY, '--workdir', str(workdir), '--profile', *more]) == 0
  return workdir


def test_a_training_leaves_model_checkpoint_and_trace(workdir):
  assert {path.name for path in workdir.iterdir()} >= {'model', 'checkpoints', 'config.json', 'profile'}
  assert list((workdir / 'profile').rglob('*.xplane.pb'))


@pytest.fixture
def no_device_work(monkeypatch):
  """Fails where a state is made."""

  def fail(*args, **kwargs):
    raise AssertionError('a state was made')

  monkeypatch.setattr(state_lib, 'init', fail)


def refused(words, capsys):
  """Returns the one line in which a command is refused."""
  assert main.main([*TINY, *words]) == 2
  (line,) = capsys.readouterr().err.strip().splitlines()
  return line


@pytest.mark.parametrize('name', ['config.json', 'parameters.txt', 'model'])
@pytest.mark.usefixtures('no_device_work')
def test_files_that_no_training_wrote_stay(name, tmp_path, capsys):
  (tmp_path / name).write_text('mine')
  assert f'{name}: exists already; nothing is overwritten.' in refused(['--workdir', str(tmp_path)], capsys)
  assert [path.read_text() for path in tmp_path.iterdir()] == ['mine']


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (['--config.mesh.data=3'], 'A mesh of .*data.* does not fit 8 devices'),
    (['--config.training.batch_size=12'], 'batch_size must be a multiple of the 8 parts .*; got 12'),
    (['--config.data.num_fake_records=0', '--config.data.train=nowhere'], 'nowhere'),
    (['--executable', 'nowhere'], '--executable nowhere does not exist'),
    (
      ['--coordinator', 'no-such-host.invalid:1', '--num-processes', '2', '--process-id', '0'],
      "the host 'no-such-host.invalid' does not resolve",
    ),
  ],
)
@pytest.mark.usefixtures('no_device_work')
def test_what_is_refused_leaves_nothing(words, message, tmp_path, capsys):
  line = refused(['--workdir', str(tmp_path / 'run'), *words], capsys)
  assert re.search(message, line), line
  assert not (tmp_path / 'run').exists()


@pytest.mark.usefixtures('no_device_work')
def test_a_folder_of_another_configuration_is_refused(workdir, capsys):
  before = sorted(workdir.rglob('*'))
  assert 'holds a run of step 4 with another sync' in refused(
    ['--workdir', str(workdir), '--config.sync.width=16'], capsys
  )
  assert sorted(workdir.rglob('*')) == before


@pytest.mark.usefixtures('no_device_work')
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, capsys, monkeypatch):
  (tmp_path / 'file').write_text('')
  assert 'must be a folder' in refused(['--workdir', str(tmp_path / 'file')], capsys)
  # Root may write everywhere.
  monkeypatch.setattr(os, 'access', lambda path, mode: pathlib.Path(path) != tmp_path)
  assert 'cannot be written to' in refused(['--workdir', str(tmp_path / 'a' / 'b')], capsys)
  assert [path.name for path in tmp_path.iterdir()] == ['file']


def write_records(folder):
  """Makes a folder of records of the sizes that sync_synthetic wants, with latents of a tiny codec."""
  c = files.find('sync_synthetic')
  spec, num_channels = schema.clip_spec(c), schema.tiny(c).codec.num_latent_channels
  record_writer.write(folder, (fake_records.make(spec, seed, num_channels) for seed in range(8)), spec)


def test_tiny_trains_on_records_with_few_steps(tmp_path, capsys):
  write_records(tmp_path / 'data')
  words = [*TINY, '--workdir', str(tmp_path / 'run'), f'--config.data.train={tmp_path / "data"}']
  assert main.main([*words, '--config.training.num_steps=1']) == 0
  header, note, *_ = capsys.readouterr().out.splitlines()
  assert 'task sync' in header and '8 records' in header
  assert note.startswith('config.training.warmup_steps is 0, a tenth of num_steps=1: the 1 of sync_synthetic')
  c = files.load(tmp_path / 'run' / 'config.json')
  assert c.clip == files.find('sync_synthetic').clip and c.conditioning.width == 32
  assert files.load(tmp_path / 'run' / 'model' / 'config.json').training.num_steps == 1


@pytest.mark.usefixtures('no_device_work')
def test_tiny_refuses_records_of_other_rates_as_the_whole_model_would(tmp_path, capsys):
  write_records(tmp_path / 'data')
  line = refused(
    [
      '--workdir',
      str(tmp_path / 'run'),
      f'--config.data.train={tmp_path / "data"}',
      '--config.clip.frame_size=64',
    ],
    capsys,
  )
  assert 'config.clip.frame_size is 64, but the records of' in line and not (tmp_path / 'run').exists()


@pytest.mark.usefixtures('no_device_work')
@pytest.mark.parametrize('harm', ['missing', 'tampered'])
def test_shards_that_are_not_what_was_written_are_refused(tmp_path, capsys, harm):
  write_records(tmp_path / 'data')
  shard = next(path for path in (tmp_path / 'data').iterdir() if path.suffix != '.json')
  if harm == 'missing':
    shard.unlink()
  else:
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
  line = refused(
    [
      '--config.data.verify=true',
      '--workdir',
      str(tmp_path / 'run'),
      '--config.data.num_fake_records=0',
      f'--config.data.train={tmp_path / "data"}',
    ],
    capsys,
  )
  assert shard.name in line


@pytest.mark.usefixtures('no_device_work')
@pytest.mark.parametrize(
  'words',
  [
    ['--workdir', 'hdfs://bucket/run'],
    ['--workdir', 'run', '--config.data.validation=http://bucket/data'],
    ['--workdir', 'run', '--config.data.num_fake_records=0', '--config.data.train=a,hdfs://bucket/b'],
    *(['--workdir', 'run', f'--config.init_from.{part}=hdfs://bucket/a'] for part in ('model', 'codec')),
    ['--workdir', 'run', '--config.training.local_checkpoint_folder=gs://bucket/a'],
  ],
)
def test_paths_of_other_schemes_are_refused(words, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  line = refused(words, capsys)
  assert 'must be a path in the file system' in line and "got '" in line and '://bucket' in line
  assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('no_device_work')
@pytest.mark.parametrize(
  'words',
  [
    ['--workdir', 'gs://bucket/run'],
    [
      '--workdir',
      'run',
      '--config.data.num_fake_records=0',
      '--config.data.train=gs://bucket/a,gs://bucket/b',
    ],
  ],
)
def test_a_missing_package_of_a_store_is_named(words, tmp_path, capsys, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setitem(storage.PACKAGES, 'gs', 'v2a_has_no_such_package')
  line = refused(words, capsys)
  assert line.endswith("gs:// needs v2a_has_no_such_package, which is not installed: pip install 'v2a[gs]'.")
  assert not list(tmp_path.iterdir())


@pytest.mark.stores
@pytest.mark.usefixtures('no_device_work')
def test_a_bucket_that_cannot_be_written_to_is_found_before_training(s3, capsys, monkeypatch):
  def deny(path, data, is_new=False):
    raise PermissionError(f'{path}: Access Denied')

  with monkeypatch.context() as patch:
    patch.setattr(storage, 'write_object', deny)
    assert refused(['--workdir', f'{s3}/run'], capsys).endswith('Access Denied')
  storage.check_writable(s3 / 'run')
  assert storage.list_files(s3) == {}
