"""Tables of metrics and facts of an evaluation, as HTML, for its page (`evaluation_page`)."""

from collections.abc import Callable
from collections.abc import Mapping
import html
from typing import Any

from v2a.metrics import registry
from v2a.reports import metric_text

# Label and unit of a setting or a property of the clips, by its key in the report.
_LABELS = {
  'num_clips': ('clips', ''),
  'seed': ('first seed', ''),
  'num_seeds': ('seeds', ''),
  'silent': ('silent soundtracks', ''),
  'num_trained_on': ('clips that the model was trained on', ''),
  'set_hash': ('content hash of the clips', ''),
  'clip_s': ('length of a clip', ' s'),
  'sample_rate_hz': ('sample rate', ' Hz'),
  'num_channels': ('channels', ''),
  'measured_at_hz': ('metrics are computed at', ' Hz'),
  'semantic_fps': ('semantic frames', ' per second'),
  'sync_fps': ('sync frames', ' per second'),
  'frame_size': ('frame size', ' pixels'),
  'captions': ('captions given', ''),
  'transcripts': ('transcripts given', ''),
}
_BOUNDS = (
  'Floor: mismatched-condition baseline, the same model given another clip, measured against this clip. '
  'Shifted floor: the same soundtracks against onsets at shifted times. '
  "Ceiling: codec upper bound, the true sound through the model's codec. n: clips with a score."
)


def metric_tables(result: Mapping) -> str:
  """Returns a table for each group of metrics that has values, and below them what has none."""
  groups = {group: result[group] for group in registry.GROUPS if group in result}
  measured = {
    group: {name: entry for name, entry in entries.items() if entry['value'] is not None}
    for group, entries in groups.items()
  }
  missing = metric_text.without_value(groups)
  names = [name for entries in measured.values() for name in entries]
  parts = [f'<p class="legend">{html.escape(metric_text.legend(names))}</p><p>{_BOUNDS}</p>'] if names else []
  for group, entries in measured.items():
    if entries:
      parts.append(f'<h3>{html.escape(registry.GROUPS[group])}</h3>{_table(entries)}')
  if missing:
    lines = ''.join(f'<li>{html.escape(line)}</li>' for line in missing)
    parts.append(f'<h3>Without a value</h3><ul class="missing">{lines}</ul>')
  return ''.join(parts)


def _table(entries: Mapping[str, dict]) -> str:
  """Returns a table of metrics with values; columns that none of them has are left out."""
  columns = [name for name, read in _COLUMNS.items() if any(read(entry) for entry in entries.values())]
  rows = []
  for name, entry in entries.items():
    mark, meaning = metric_text.arrow(name)
    note = f'<small class="note">{html.escape(entry["note"])}</small>' if entry.get('note') else ''
    cells = ''.join(f'<td>{_COLUMNS[column](entry)}</td>' for column in columns)
    rows.append(
      f'<tr><th scope="row"><abbr title="{meaning}">{mark}</abbr> {metric_text.breakable(name)}'
      f'<small>{html.escape(metric_text.quantity(name))}</small></th>'
      f'<td><b>{metric_text.format_value(entry["value"])}</b>{note}</td>{cells}</tr>'
    )
  heads = ''.join(f'<th scope="col">{name}</th>' for name in ('metric', 'value', *columns))
  return (
    '<div class="scroll" role="region" aria-label="Metrics" tabindex="0"><table>'
    f'<thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
  )


def _optional(key: str) -> Callable[[Mapping], str]:
  """Returns a formatter of a value of an entry; a missing value gives ''."""
  return lambda entry: '' if entry.get(key) is None else metric_text.format_value(entry[key])


# Text of a column of the tables, by its name, from the entry of a metric.
_COLUMNS: dict[str, Callable[[Mapping], str]] = {
  '95 % interval': lambda entry: metric_text.format_interval(entry['interval']),
  'floor': _optional('floor'),
  'shifted floor': _optional('shifted_floor'),
  'ceiling': _optional('ceiling'),
  'n': lambda entry: str(entry['n']),
}


def facts(result: Mapping) -> str:
  """Returns how the evaluation was run."""
  groups = (*registry.GROUPS, 'settings', 'protocol')
  facts = {name: value for name, value in result.items() if name not in groups and value != []}
  facts |= {name: value for name, value in result['protocol'].items() if not isinstance(value, dict)}
  settings = result.get('settings', {})
  facts |= {name: value for name, value in settings.items() if value is not None}
  defaults = [name.replace('_', ' ') for name, value in settings.items() if value is None]
  rows = [
    (_LABELS.get(name, (name.replace('_', ' '),))[0], _fact(name, value)) for name, value in facts.items()
  ]
  rows += [('defaults of the model', ', '.join(defaults))] if defaults else []
  lines = ''.join(f'<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>' for name, value in rows)
  return f'<dl>{lines}</dl>'


def _fact(name: str, value: Any) -> str:
  """Returns a value of the report as text, with its unit."""
  if value is None:
    return 'not known'
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  words = ', '.join(map(str, value)) if isinstance(value, list) else str(value)
  return words + _LABELS.get(name, ('', ''))[1]
