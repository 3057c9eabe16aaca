"""How fast training goes, and how much of the time since it first began went into steps that count."""

import contextlib
import json
import pathlib
import time

import jax
import numpy as np


class StepTimer:
  """Times of the steps since the last line.

  A step's time is that between its end and the end of the step before, as the host sees it. The first after a
  start or a pause has none: it compiles, or follows something else.
  """

  def __init__(self, clips_per_step: int, tokens_per_clip: int, min_step_s: float | None = None):
    """Starts with no step timed.

    Args:
      clips_per_step: of the global batch.
      tokens_per_clip: steps of the codec that a clip lasts.
      min_step_s: what a step would take if all devices ran at their peak; None where that is unknown.
    """
    self._clips_per_step, self._tokens_per_clip = clips_per_step, tokens_per_clip
    self._least_step_s = min_step_s
    self._step_s: list[float] = []
    self._data_s = 0.0
    self._last_s: float | None = None

  def step(self) -> float | None:
    """Says that a step has ended; returns its time in seconds, None where it has none."""
    now_s, last_s = time.perf_counter(), self._last_s
    self._last_s = now_s
    if last_s is None:
      return None
    self._step_s.append(now_s - last_s)
    return now_s - last_s

  def pause(self) -> None:
    """Says that something else is done before the next step."""
    self._last_s = None

  def add_data_wait(self, seconds: float) -> None:
    """Adds what training waited for a batch."""
    if self._last_s is not None:
      self._data_s += seconds

  def flush(self) -> tuple[dict[str, float], float]:
    """Returns the rates since the last line and the seconds they rest on, and starts anew.

    Rates: `steps_per_s`, `clips_per_s`, `tokens_per_s`; `step_s_p50` and `step_s_p99` (of the line's steps);
    `data_wait`, the share of the time in which the next batch was not there; `mfu`, the share of the devices'
    peak (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), where it is known; `memory_gb` and
    `memory_peak_gb`, what the first device holds now and held at most, where it tells. Empty where no step
    was timed.
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
    if self._least_step_s is not None:
      rates['mfu'] = self._least_step_s * steps_per_s
    memory = jax.local_devices()[0].memory_stats() or {}
    names = {'bytes_in_use': 'memory_gb', 'peak_bytes_in_use': 'memory_peak_gb'}
    rates |= {names[key]: memory[key] / 1e9 for key in names if key in memory}
    return rates, total_s


class Goodput:
  """The share of all time since the first start that went into steps which count, across restarts.

  A file of JSON lines keeps what was done: `{"start": step, "at_s": t}` for each start, `{"from": a, "to": b,
  "seconds": s, "at_s": t}` for steps made; t is Unix time. Steps made again after a crash count once.
  """

  def __init__(self, path: str | pathlib.Path, start: int):
    """Args: path: the file; may be there already. start: the step that training goes on from."""
    self._path, self._done = pathlib.Path(path), start
    self._first_s = time.time()
    self._made: list[tuple[int, int, float]] = []  # from, to, seconds
    text = self._path.read_text() if self._path.exists() else ''
    for line in text.splitlines():
      self._read(line)
    self._lose_beyond(start)
    # A crash may have cut the last line short; what follows must not be glued to it.
    self._write({'start': start}, before='\n' if text and not text.endswith('\n') else '')

  def _read(self, text: str) -> None:
    try:
      line = json.loads(text)
      if 'start' in line:
        self._lose_beyond(line['start'])
      else:
        self._made.append((line['from'], line['to'], line['seconds']))
      self._first_s = min(self._first_s, line['at_s'])
    except (ValueError, KeyError, TypeError):
      return  # cut short

  def _lose_beyond(self, step: int) -> None:
    """Takes away what was made after a step from which training began again."""
    self._made = [
      (begin, min(end, step), seconds * (min(end, step) - begin) / (end - begin))
      for begin, end, seconds in self._made
      if begin < step
    ]

  def _write(self, line: dict, before: str = '') -> None:
    # A full disk costs a line of this file, not the training.
    with contextlib.suppress(OSError), self._path.open('a') as file:
      file.write(f'{before}{json.dumps(line | {"at_s": round(time.time(), 3)})}\n')

  def add(self, step: int, seconds: float) -> float:
    """Notes the steps made since the last call, up to `step`, and what they took; returns the share."""
    self._write({'from': self._done, 'to': step, 'seconds': round(seconds, 3)})
    self._made.append((self._done, step, seconds))
    self._done = step
    made_s = sum(seconds for _, _, seconds in self._made)
    return min(made_s / max(time.time() - self._first_s, 1e-9), 1.0)
