"""How reports name metrics and print their values."""

from collections.abc import Iterable
from collections.abc import Mapping
import html
import re
import textwrap

from v2a.metrics import metric as metric_lib
from v2a.metrics import registry

LINE_WIDTH = 100  # of text for a terminal
_DIRECTIONS = {'higher': 'higher is better', 'lower': 'lower is better'}
# Direction of a metric -> its arrow on pages, and what that means.
_ARROWS = {
  'higher': ('\u2191', 'higher is better'),
  'lower': ('\u2193', 'lower is better'),
  None: ('\u2248', 'closer to the reference is better'),
}


class Footnotes:
  """Numbers notes, so that each is printed once in a report, with its number beside the values."""

  def __init__(self):
    self.notes: list[str] = []

  def mark(self, entry: Mapping) -> str:
    """Returns the mark of the note of a metric's entry, '' where it has none."""
    note = entry.get('note', '')
    if not note:
      return ''
    if note not in self.notes:
      self.notes.append(note)
    return f'[{self.notes.index(note) + 1}]'

  def lines(self) -> list[str]:
    """Returns the notes with their marks."""
    return [f'[{k}] {note}' for k, note in enumerate(self.notes, 1)]


def describe(name: str) -> str:
  """Returns what a metric measures, its unit and its direction."""
  metric = registry.get(name)
  direction = f'; {_DIRECTIONS[metric.direction]}' if metric.direction else ''
  return f'{quantity(name)}{direction}'


def quantity(name: str) -> str:
  """Returns what a metric measures, and its unit."""
  metric = registry.get(name)
  return f'{metric.description} in {metric.unit}' if metric.unit else metric.description


def smallest_effect(name: str) -> str:
  """Returns the smallest difference of two systems in a metric that has a mark, with its unit."""
  metric = registry.get(name)
  if metric.smallest_effect is None:
    return f'{100 * metric_lib.SMALLEST_RELATIVE_EFFECT:g} % of the reference'
  return f'{metric.smallest_effect:g} {metric.unit}'.strip()


def arrow(name: str) -> tuple[str, str]:
  """Returns the arrow of a metric's direction, and what it means."""
  return _ARROWS[registry.get(name).direction]


def breakable(name: str) -> str:
  """Returns the HTML of a name that may be broken after its separators."""
  return re.sub(r'([_/:,.-])', r'\1<wbr>', html.escape(name, quote=True))


def count(num: int, noun: str) -> str:
  """Returns a number with its noun: '1 clip', '2 clips'."""
  return f'{num} {noun}' if num == 1 else f'{num} {noun}s'


def by_reason(missing: Iterable[tuple[str, str]]) -> list[str]:
  """Returns a line for each reason, with the metrics that have no value for it.

  Args:
    missing: metrics without a value, and why.
  """
  names_by_reason: dict[str, list[str]] = {}
  for name, reason in missing:
    names_by_reason.setdefault(reason.rstrip('.'), []).append(name)
  return [f'{", ".join(names)}: {reason}.' for reason, names in names_by_reason.items()]


def without_value(groups: Mapping[str, Mapping[str, Mapping]]) -> list[str]:
  """Returns which metrics of an evaluation have no value, a line for each reason.

  Args:
    groups: entries of metrics by group and name.
  """
  return by_reason(
    (name, entry['reason'])
    for entries in groups.values()
    for name, entry in entries.items()
    if entry['value'] is None
  )


def wrap(line: str) -> str:
  """Returns a line for a terminal, continued on indented lines of at most LINE_WIDTH characters."""
  return textwrap.fill(
    line, LINE_WIDTH, subsequent_indent='  ', break_long_words=False, break_on_hyphens=False
  )


def legend(names: Iterable[str]) -> str:
  """Returns what the arrows of some metrics mean."""
  used = {registry.get(name).direction for name in names}
  return ', '.join(f'{mark} {words}' for direction, (mark, words) in _ARROWS.items() if direction in used)


def format_value(value: float | None) -> str:
  """Returns a value with three decimals, fewer for large and five for small ones; '-' for none."""
  if value is None:
    return '-'
  if 1e-5 <= abs(value) < 1e-3:
    return f'{value:.5f}'
  return f'{value:.3f}' if abs(value) < 10 else f'{value:.1f}' if abs(value) < 1000 else f'{value:.0f}'


def bounds(entry: Mapping) -> list[str]:
  """Returns the floors and the ceiling that an entry has, by name and value."""
  names = {'floor': 'floor', 'shifted_floor': 'shifted floor', 'ceiling': 'ceiling'}
  known = {key: entry[key] for key in names if entry.get(key) is not None}
  return [f'{names[key]} {format_value(value)}' for key, value in known.items()]


def format_interval(interval: list[float] | None) -> str:
  """Returns an interval, '' for none."""
  return '' if interval is None else ' .. '.join(format_value(edge) for edge in interval)
