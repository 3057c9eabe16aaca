"""The limit of requests over processes: killed processes hold no slot, and foreign folders are refused."""

import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from data_pipelines.annotate import rate_limit

ROOT = pathlib.Path(__file__).parents[3]
HOLD = """
import sys, time, pathlib
from data_pipelines.annotate import rate_limit
with rate_limit.RateLimit(pathlib.Path(sys.argv[1]), None, 1).request():
  print('held', flush=True)
  time.sleep(600)
"""


def test_a_process_that_is_killed_frees_its_slot(tmp_path):
  folder = tmp_path / 'limit'
  environment = os.environ | {'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
  holder = subprocess.Popen(
    [sys.executable, '-c', HOLD, str(folder)], stdout=subprocess.PIPE, env=environment, text=True
  )
  assert holder.stdout.readline() == 'held\n'
  started = threading.Event()

  def request():
    with rate_limit.RateLimit(folder, None, 1).request():
      started.set()

  thread = threading.Thread(target=request)
  thread.start()
  assert not started.wait(0.3)
  holder.kill()
  holder.communicate()
  assert started.wait(10.0)
  thread.join()


def test_an_error_frees_the_slot(tmp_path):
  limit = rate_limit.RateLimit(tmp_path / 'limit', None, 1)
  for _ in range(2):
    with pytest.raises(KeyError), limit.request():
      raise KeyError('x')


def test_requests_are_spread_evenly_and_pauses_save_none(tmp_path):
  limit = rate_limit.RateLimit(tmp_path / 'limit', 300.0, 4)

  def seconds_of_two() -> float:
    start_s = time.monotonic()
    for _ in range(2):
      with limit.request():
        end_s = time.monotonic()
    return end_s - start_s

  assert seconds_of_two() > 0.19
  time.sleep(1.0)
  assert seconds_of_two() > 0.19


def test_a_truncated_state_is_as_none(tmp_path):
  limit = rate_limit.RateLimit(tmp_path / 'limit', 600.0, 1)
  limit.postpone(0.0)
  (tmp_path / 'limit' / 'turns').write_bytes(b'abc')
  with limit.request():
    pass


def test_the_folder_of_another_user_is_refused(tmp_path, monkeypatch):
  target = tmp_path / 'target'
  target.mkdir()
  (tmp_path / 'link').symlink_to(target)
  with pytest.raises(PermissionError, match=r'link: belongs to another user'):
    rate_limit.RateLimit(tmp_path / 'link', None, 1).postpone(1.0)
  monkeypatch.setattr(os, 'getuid', lambda: -1)
  with (
    pytest.raises(PermissionError, match=r'target: belongs to another user'),
    rate_limit.RateLimit(target, None, 1).request(),
  ):
    pass
  assert not list(target.iterdir())
