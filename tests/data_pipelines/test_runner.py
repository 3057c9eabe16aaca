"""Shards on several workers by Apache Beam: the same bytes, and a worker that is killed fails one shard."""

import functools
import os
import pathlib
import signal

import pytest

from data_pipelines import runner
from tests.data_pipelines import test_pipeline

needs_beam = pytest.mark.skipif(
  not runner.is_beam_installed(), reason=f'apache-beam is not installed ({runner.INSTALL_COMMAND})'
)
videos = pytest.fixture(name='videos', scope='module')(test_pipeline.make_videos.__wrapped__)


def work(folder: pathlib.Path, split: str, index: int) -> None:
  if index == 1:
    os.kill(os.getpid(), signal.SIGKILL)
  (folder / f'{split}{index}').touch()


def is_done(folder: pathlib.Path, split: str, index: int) -> bool:
  return (folder / f'{split}{index}').exists()


@needs_beam
def test_a_killed_worker_fails_its_shard_and_no_other(tmp_path):
  stage = runner.Stage(
    'analysis', functools.partial(work, tmp_path), functools.partial(is_done, tmp_path), tmp_path / 'errors'
  )
  with pytest.raises(
    runner.ShardError, match=r'1 of 3 shards failed .* train-00001: .* signal 9 .out of memory'
  ):
    runner.run(stage, [('train', index) for index in range(3)], runner.Options(num_workers=2))
  assert is_done(tmp_path, 'train', 0) and is_done(tmp_path, 'train', 2)


@needs_beam
def test_any_number_of_workers_gives_the_same_bytes(videos, tmp_path):
  settings = test_pipeline.make_settings(videos)
  for count in (1, 2):
    options = runner.Options(num_workers=count)
    test_pipeline.pipeline.build(settings, tmp_path / str(count), options, report=lambda line: None)
  one, two = (test_pipeline.digests(tmp_path / str(count)) for count in (1, 2))
  assert one == two and any('array_record' in name for name in one)


def test_without_beam_one_line_says_how_to_install_it(monkeypatch):
  monkeypatch.setattr(runner.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match=r"needs Apache Beam: pip install 'v2a\[data\]'"):
    runner.Options(num_workers=2).check()
  runner.LOCAL.check()
