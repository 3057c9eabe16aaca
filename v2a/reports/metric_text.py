"""How reports name metrics and print their values."""

from collections.abc import Mapping

from v2a.metrics import registry

_DIRECTIONS = {'higher': 'higher is better', 'lower': 'lower is better'}


class Footnotes:
  """Numbers notes, so that each stands once in a report, with its number beside the values."""

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
  unit = f' in {metric.unit}' if metric.unit else ''
  direction = f'; {_DIRECTIONS[metric.direction]}' if metric.direction else ''
  return f'{metric.description}{unit}{direction}'


def format_value(value: float | None) -> str:
  """Returns a value with three significant places, '-' for none."""
  if value is None:
    return '-'
  return f'{value:.3f}' if abs(value) < 10 else f'{value:.1f}' if abs(value) < 1000 else f'{value:.0f}'


def format_bounds(entry: Mapping, separator: str = ', ') -> str:
  """Returns floors and ceiling of an entry."""
  names = {'floor': 'floor', 'shifted_floor': 'shifted floor', 'ceiling': 'ceiling'}
  return separator.join(f'{name} {format_value(entry[key])}' for key, name in names.items() if key in entry)


def format_interval(interval: list[float] | None) -> str:
  """Returns an interval, '' for none."""
  return '' if interval is None else ' .. '.join(format_value(edge) for edge in interval)
