"""Throughput of training, and goodput: the share of time since the first start spent in productive steps."""

import contextlib
import json
import pathlib
import time

import jax
import numpy as np

GOODPUT_FILE = 'goodput.jsonl'


class StepTimer:
  """Times of the steps since the last log line.

  The time of a step is from the end of the step before to its own end, as seen by the host. The first step
  after a start or a pause is not timed: it compiles, or follows other work.
  """

  def __init__(self, clips_per_step: int, tokens_per_clip: int, min_step_s: float | None = None):
    """Starts with no step timed.

    Args:
      clips_per_step: clips of the global batch.
      tokens_per_clip: latent steps of a clip.
      min_step_s: time of a step if all devices ran at their peak FLOP/s; None if that is unknown.
    """
    self._clips_per_step, self._tokens_per_clip = clips_per_step, tokens_per_clip
    self._min_step_s = min_step_s
    self._step_s: list[float] = []
    self._data_s = 0.0
    self._last_s: float | None = None

  def step(self) -> float | None:
    """Marks the end of a step; returns its time in seconds, None if it is not timed."""
    now_s, last_s = time.perf_counter(), self._last_s
    self._last_s = now_s
    if last_s is None:
      return None
    self._step_s.append(now_s - last_s)
    return now_s - last_s

  def pause(self) -> None:
    """Excludes the next step, since other work is done before it."""
    self._last_s = None

  def add_data_wait(self, seconds: float) -> None:
    """Adds time that training waited for a batch."""
    if self._last_s is not None:
      self._data_s += seconds

  def flush(self) -> tuple[dict[str, float], float]:
    """Returns the rates since the last call and the seconds that they cover, and resets.

    Rates: `steps_per_s`, `clips_per_s`, `tokens_per_s`; `step_s_p50` and `step_s_p99`, percentiles of the
    step time; `data_wait`, the share of the time spent waiting for the next batch; `mfu`, model FLOPs
    utilization (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), if the devices' peak is known;
    `memory_gb` and `memory_peak_gb`, memory of the first device in use and its peak, if the device reports
    them. Empty if no step was timed.
    """
    step_s, data_s = np.asarray(self._step_s), self._data_s
    self._step_s, self._data_s = [], 0.0
    if not step_s.size:
      return {}, 0.0
    total_s = float(step_s.sum())
    steps_per_s = step_s.size / max(total_s, 1e-9)
    rates = {
      'steps_per_s': steps_per_s,
      'clips_per_s': steps_per_s * self._clips_per_step,
      'tokens_per_s': steps_per_s * self._clips_per_step * self._tokens_per_clip,
      'step_s_p50': float(np.percentile(step_s, 50)),
      'step_s_p99': float(np.percentile(step_s, 99)),
      'data_wait': min(data_s / max(total_s, 1e-9), 1.0),
    }
    if self._min_step_s is not None:
      rates['mfu'] = self._min_step_s * steps_per_s
    memory = jax.local_devices()[0].memory_stats() or {}
    names = {'bytes_in_use': 'memory_gb', 'peak_bytes_in_use': 'memory_peak_gb'}
    rates |= {names[key]: memory[key] / 1e9 for key in names if key in memory}
    return rates, total_s


class Goodput:
  """Share of the time since the first start that was spent in productive steps, across restarts.

  A file of JSON lines records it: `{"start": step, "at_s": t}` for each start, `{"from": a, "to": b,
  "seconds": s, "at_s": t}` for steps that were run; t is Unix time. Steps repeated after a crash count once.
  """

  def __init__(self, path: str | pathlib.Path, start: int):
    """Args: path: the file; may exist. start: number of the first step."""
    self._path, self._num_done = pathlib.Path(path), start
    self._first_s = time.time()
    self._spans: list[tuple[int, int, float]] = []  # from, to, seconds
    text = self._path.read_text() if self._path.exists() else ''
    for line in text.splitlines():
      self._read(line)
    self._discard_after(start)
    # A crash may have truncated the last line; the next one must not be appended to it.
    self._write({'start': start}, before='\n' if text and not text.endswith('\n') else '')

  def _read(self, text: str) -> None:
    try:
      line = json.loads(text)
      if 'start' in line:
        self._discard_after(line['start'])
      else:
        self._spans.append((line['from'], line['to'], line['seconds']))
      self._first_s = min(self._first_s, line['at_s'])
    except (ValueError, KeyError, TypeError):
      return  # truncated

  def _discard_after(self, step: int) -> None:
    """Discards steps after the one that training resumed from: they are repeated."""
    self._spans = [
      (begin, min(end, step), seconds * (min(end, step) - begin) / (end - begin))
      for begin, end, seconds in self._spans
      if begin < step
    ]

  def _write(self, line: dict, before: str = '') -> None:
    # A full disk loses a line of this file and does not stop training.
    with contextlib.suppress(OSError), self._path.open('a') as file:
      file.write(f'{before}{json.dumps(line | {"at_s": round(time.time(), 3)})}\n')

  def add(self, step: int, seconds: float) -> float:
    """Records the steps since the last call, up to `step`, and their time in seconds; returns the share."""
    self._write({'from': self._num_done, 'to': step, 'seconds': round(seconds, 3)})
    self._spans.append((self._num_done, step, seconds))
    self._num_done = step
    productive_s = sum(seconds for _, _, seconds in self._spans)
    return min(productive_s / max(time.time() - self._first_s, 1e-9), 1.0)
