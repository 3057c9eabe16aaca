"""A progress bar on stderr: what is done, the rate, and the time left."""

import sys
import time
from typing import TextIO

BAR_WIDTH = 24
REFRESH_S = 0.1


def format_duration(seconds: float) -> str:
  """Returns a duration as m:ss, or h:mm:ss from an hour on."""
  minutes, second = divmod(int(round(seconds)), 60)
  hours, minute = divmod(minutes, 60)
  return f'{hours}:{minute:02d}:{second:02d}' if hours else f'{minute}:{second:02d}'


def line(label: str, done: float, total: float, unit: str, elapsed_s: float) -> str:
  """Returns one line of progress.

  Args:
    label: what is being done.
    done: units done so far.
    total: units in all, positive.
    unit: the name of a unit, in the plural.
    elapsed_s: seconds since the start.
  """
  fraction = min(done / total, 1.0)
  filled = round(fraction * BAR_WIDTH)
  bar = '█' * filled + '░' * (BAR_WIDTH - filled)
  text = f'{label} {bar} {done:.4g}/{total:.4g} {unit}'
  if done and elapsed_s > 0:
    rate = done / elapsed_s
    text += f', {rate:.3g} {unit}/s, {format_duration(max(total - done, 0) / rate)} left'
  return text


class Progress:
  """A progress bar; silent where stderr is no terminal, so that logs stay clean.

  Use as a context; call `update(done, total)` with counts so far (it is the `progress` callable that
  v2a.sampling.pipeline takes).
  """

  def __init__(self, label: str, unit: str, is_quiet: bool = False, stream: TextIO | None = None):
    """Starts the clock.

    Args:
      label: what is being done.
      unit: the name of a unit, in the plural.
      is_quiet: never shown.
      stream: to write to; None is stderr.
    """
    self._label = label
    self._unit = unit
    self._stream = sys.stderr if stream is None else stream
    self._is_shown = not is_quiet and self._stream.isatty()
    self._start_s = time.monotonic()
    self._shown_s = -REFRESH_S
    self._width = 0

  def __enter__(self) -> 'Progress':
    """Returns itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Clears the line."""
    self.clear()

  def clear(self) -> None:
    """Clears the line for other output; the next update shows it again."""
    if self._width:
      self._stream.write('\r' + ' ' * self._width + '\r')
      self._stream.flush()
      self._width = 0

  def update(self, done: float, total: float) -> None:
    """Shows the bar, at most every REFRESH_S.

    Args:
      done: units done so far.
      total: units in all.
    """
    now_s = time.monotonic() - self._start_s
    if not self._is_shown or total <= 0 or (now_s - self._shown_s < REFRESH_S and done < total):
      return
    self._shown_s = now_s
    text = line(self._label, done, total, self._unit, now_s)
    self._stream.write('\r' + text.ljust(self._width))
    self._stream.flush()
    self._width = len(text)
