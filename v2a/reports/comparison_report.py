"""A comparison as Markdown, and the rows of its tables."""

from collections.abc import Mapping
from collections.abc import Sequence

from v2a.evaluation import scoring
from v2a.metrics import bootstrap
from v2a.metrics import registry
from v2a.reports import metric_text

UNKNOWN = 'not known'


def _large(value: float | None, unit: str = '') -> str:
  if value is None:
    return UNKNOWN
  for size, prefix in ((1e18, 'E'), (1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if value >= size:
      return f'{value / size:.3g} {prefix}{unit}'
  return f'{value:.3g} {unit}'.strip()


def _seconds(value: float | None) -> str:
  return UNKNOWN if value is None else f'{value:.3g} s'


# Text of a row, by its name, from an entry's costs.
COSTS = {
  'parameters': lambda costs: _large(costs['num_parameters']['all']),
  'training FLOPs, last training of each part': lambda costs: _large(costs['training_flops']['all'], 'FLOP'),
  'network evaluations a soundtrack': lambda costs: str(costs['network_evaluations']),
  'FLOPs a soundtrack': lambda costs: _large(costs['flops'], 'FLOP'),
  'wall time a soundtrack': lambda costs: _seconds(costs['wall_s']),
  'real-time factor': lambda costs: (
    UNKNOWN if costs['real_time_factor'] is None else f'{costs["real_time_factor"]:.3g} x'
  ),
  'peak memory': lambda costs: _large(costs['peak_memory_bytes'], 'B'),
  'device': lambda costs: f'{costs["num_devices"]} x {costs["device"]}',
}


def tables(result: Mapping) -> list[tuple[str, str, list[str]]]:
  """Returns key, title and names of the metrics of every group.

  Metrics that no model has for the same reason are left to `notes`.
  """
  first = next(iter(result['models'].values()))
  return [
    (group, title, [name for name in first[group] if _missing_reason(result, group, name) is None])
    for group, title in registry.GROUPS.items()
    if group in first
  ]


def _missing_reason(result: Mapping, key: str, name: str) -> str | None:
  """Returns why no model has a metric, None where one has it or their reasons differ."""
  entries = [entry[key][name] for entry in result['models'].values()]
  reasons = {entry.get('reason') for entry in entries}
  return reasons.pop() if len(reasons) == 1 and all(entry['value'] is None for entry in entries) else None


def significance_mark(result: Mapping, model: str, key: str, metric: str) -> str:
  """Returns the mark of a model's metric against the reference, '' for none."""
  difference = result['differences'].get(model, {}).get(key, {}).get(metric)
  return '' if difference is None else difference['mark']


def markdown(result: Mapping) -> str:
  """Returns the comparison as Markdown."""
  models = result['models']
  lines = [f'# {title(result)}', '', *(f'- {fact}' for fact in facts(result)), '']
  lines += _markdown_table(['', *models], cost_rows(models))
  footnotes = metric_text.Footnotes()
  for key, heading, names in tables(result):
    lines += ['', f'## {heading}', '']
    rows = []
    for name in names:
      cells = [_markdown_cell(result, model, key, name, footnotes) for model in models]
      rows.append([f'`{name}`: {metric_text.describe(name)}', *cells])
    lines += _markdown_table(['metric', *models], rows)
  listed = [*notes(result), *footnotes.lines()]
  if listed:
    lines += ['', '## Notes', '', *(f'- {note}' for note in listed)]
  return '\n'.join(lines) + '\n'


def _markdown_cell(result: Mapping, model: str, key: str, name: str, footnotes: metric_text.Footnotes) -> str:
  entry = result['models'][model][key][name]
  if entry['value'] is None:
    return entry.get('reason', '-')
  mark = significance_mark(result, model, key, name)
  # Stars would make Markdown bold.
  value = f'**{metric_text.format_value(entry["value"])}**' + (f' {mark}'.replace('*', '\\*') if mark else '')
  noted = footnotes.mark(entry)
  value += f' {noted}' if noted else ''
  edges = f' ({metric_text.format_interval(entry["interval"])})' if entry['interval'] else ''
  return f'{value}{edges}; {metric_text.format_bounds(entry)}, n {entry["n"]}'


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  lines = ['| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |' for row in (head, *rows)]
  return [lines[0], '|' + '---|' * len(head), *lines[1:]]


def cost_rows(models: Mapping[str, Mapping]) -> list[list[str]]:
  """Returns the costs of each model, a row for each kind of cost, its name first."""
  return [
    [name, *('external' if entry['costs'] is None else text_of(entry['costs']) for entry in models.values())]
    for name, text_of in COSTS.items()
  ]


def title(result: Mapping) -> str:
  """Returns what is compared on what."""
  return f'{" against ".join(result["models"])} on {result["data"]}'


def facts(result: Mapping) -> list[str]:
  """Returns sentences on how the comparison was run."""
  protocol = next(iter(result['models'].values()))['protocol']
  seeds = f'seeds {result["seed"]} to {result["seed"] + result["num_seeds"] - 1}'
  if result['num_seeds'] == 1:
    seeds = f'seed {result["seed"]}'
  return [
    f'{result["num_clips"]} clips of {protocol["clip_s"]:g} s, {seeds}, '
    f'captions {"given" if result["captions"] else "not given"}; content hash {protocol["set_hash"][:16]}.',
    'Value with its 95 % interval over clips and seeds (distribution metrics: over clips, first seed); floor '
    '(mismatched-condition baseline): the same soundtracks against other clips; shifted floor: against '
    f'onsets shifted in time, mean of {scoring.NUM_SHIFTS} circular shifts; ceiling (codec upper bound): '
    'the true sound through the codec, or itself where there is none.',
    f'Marks: difference to {result["reference"]}, paired by clip, p corrected for the number of metrics and '
    'systems (Holm): * below 0.05, ** below 0.01, *** below 0.001; differences below the smallest effect of '
    'the metric (smallest_effect in report.json) have no mark; fewer than '
    f'{bootstrap.MIN_TEST_CLIPS} clips are not tested; of distribution metrics only KL divergences and '
    'Frechet distances of up to 256 features are.',
    f'Measured at {protocol["measured_at_hz"]} Hz ({protocol["resampler"]}), v2a '
    f'{protocol["versions"]["v2a"]}, JAX {protocol["versions"]["jax"]}.',
  ]


def notes(result: Mapping) -> list[str]:
  """Returns what a reader must know of each model to interpret its metrics."""
  found = []
  hashes = {name: entry['protocol']['set_hash'] for name, entry in result['models'].items()}
  for name, entry in result['models'].items():
    if entry['held_out'] is False:
      found.append(f'{name} was trained on clips of this set: its metrics are not held-out ones.')
    elif entry['held_out'] is None:
      found.append(f'{name}: it is not known whether it was trained on clips of this set.')
    if hashes[name] != hashes[result['reference']]:
      found.append(f'{name} is given these clips at other rates or sizes than {result["reference"]}.')
    if entry['silent']:
      listed = ', '.join(entry['silent'][:8])
      found.append(
        f'{name}: {len(entry["silent"])} silent soundtracks, which count like all others: {listed}.'
      )
    if entry.get('length_adjusted'):
      found.append(
        f'{name}: {len(entry["length_adjusted"])} soundtracks were cut to the length of their clips, or '
        'padded by at most 50 ms.'
      )
    if entry.get('num_unused_files'):
      found.append(f'{name}: {entry["num_unused_files"]} files belong to no clip of the set.')
  found += [f'{num} clips left out: {reason}.' for reason, num in result['left_out'].items()]
  missing: dict[str, list[str]] = {}
  first = result['models'][result['reference']]
  for group in registry.GROUPS:
    for name in first.get(group, {}):
      reason = _missing_reason(result, group, name)
      if reason is not None:
        missing.setdefault(reason, []).append(name)
  return found + [f'{", ".join(names)}: {reason.rstrip(".")}.' for reason, names in missing.items()]
