import json
import time

import pytest
import toy

from v2a import chips
from v2a.training import costs
from v2a.training import step_timer
from v2a.training import tasks


class Clock:
  """A clock that tests set."""

  def __init__(self, monkeypatch):
    self.now_s = 1000.0
    monkeypatch.setattr(time, 'perf_counter', lambda: self.now_s)
    monkeypatch.setattr(time, 'time', lambda: self.now_s)

  def advance(self, seconds):
    self.now_s += seconds


@pytest.fixture
def clock(monkeypatch):
  return Clock(monkeypatch)


def run_steps(clock, timer, *seconds):
  for each in seconds:
    clock.advance(each)
    timer.step()


def test_rates(clock):
  timer = step_timer.StepTimer(clips_per_step=8, tokens_per_clip=100, min_step_s=0.5)
  run_steps(clock, timer, 60.0)  # the first compiles
  assert timer.flush() == ({}, 0.0)
  timer.add_data_wait(0.5)
  run_steps(clock, timer, *[1.0] * 9, 11.0)
  rates, seconds = timer.flush()
  assert seconds == 20.0
  assert rates['steps_per_s'] == 0.5 and rates['clips_per_s'] == 4.0 and rates['tokens_per_s'] == 400.0
  assert rates['step_s_p50'] == 1.0 and rates['step_s_p99'] == pytest.approx(10.1)
  assert rates['data_wait'] == 0.025 and rates['mfu'] == 0.25
  clock.advance(500)
  timer.pause()
  timer.add_data_wait(3.0)  # of a step that is not timed
  run_steps(clock, timer, 5.0, 2.0)
  rates, seconds = timer.flush()
  assert seconds == 2.0 and rates['data_wait'] == 0.0


def test_memory_is_that_of_the_first_device(clock, monkeypatch):
  class Device:
    def memory_stats(self):
      return {'bytes_in_use': 2e9, 'peak_bytes_in_use': 3e9, 'num_allocs': 1}

  timer = step_timer.StepTimer(clips_per_step=8, tokens_per_clip=100, min_step_s=None)
  run_steps(clock, timer, 60.0, 1.0)
  monkeypatch.setattr(step_timer.jax, 'local_devices', lambda: [Device()])
  rates, _ = timer.flush()
  assert (rates['memory_gb'], rates['memory_peak_gb']) == (2.0, 3.0)


def test_goodput_counts_every_step_once_and_all_time_since_the_first_start(clock, tmp_path):
  path = tmp_path / 'goodput.jsonl'
  first = step_timer.Goodput(path, 0)
  clock.advance(20)
  assert first.add(10, 10.0) == 0.5
  clock.advance(10)
  assert first.add(20, 10.0) == pytest.approx(20 / 30)
  # A crash; half an hour later training resumes from step 15.
  clock.advance(1800)
  second = step_timer.Goodput(path, 15)
  clock.advance(10)
  assert second.add(25, 10.0) == pytest.approx((10 + 5 + 10) / 1840)
  # Resumed where it stopped: no step is lost, and none counts twice.
  third = step_timer.Goodput(path, 25)
  clock.advance(10)
  assert third.add(30, 10.0) == pytest.approx((25 + 10) / 1850)


def test_a_truncated_line_is_ignored(clock, tmp_path):
  path = tmp_path / 'goodput.jsonl'
  first = step_timer.Goodput(path, 0)
  clock.advance(10)
  first.add(10, 10.0)
  path.write_text(path.read_text() + '{"from": 10, "to')
  clock.advance(10)
  second = step_timer.Goodput(path, 10)
  assert second.add(20, 0.0) == 0.5
  lines = path.read_text().splitlines()
  assert [json.loads(line) for line in lines if not line.endswith('"to')] and len(lines) == 5


def test_peak_flops_of_devices():
  assert chips.peak_flops_per_s('TPU v5 lite') == 1.97e14 and chips.peak_flops_per_s('TPU v5') == 4.59e14
  assert chips.peak_flops_per_s('NVIDIA H100 80GB HBM3') == 9.89e14
  assert chips.peak_flops_per_s('cpu') is None


def test_minimum_time_of_a_step(monkeypatch):
  class Device:
    device_kind = 'TPU v5 lite'

  c = toy.configuration()
  monkeypatch.setattr(tasks, 'make', lambda c: toy.Task())
  # Per clip: 16 x 32, twice 32 x 32, 32 x 1; forward, and backward to weights and (but for the first) inputs.
  flops = 2 * (2 * 16 * 32 + 3 * (2 * 32 * 32 + 32))
  assert costs.flops_per_clip(c) == flops
  assert costs.min_step_s(c, [Device] * 4) == pytest.approx(flops * 8 / (4 * 1.97e14))
  Device.device_kind = 'cpu'
  assert costs.min_step_s(c, [Device]) is None
