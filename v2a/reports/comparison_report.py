"""A comparison in words and numbers: what its tables show, and the Markdown of it."""

from collections.abc import Mapping
from collections.abc import Sequence

from v2a.evaluation import distribution_metrics
from v2a.evaluation import evaluator
from v2a.metrics import bootstrap
from v2a.reports import evaluation_page

UNKNOWN = 'not known'


def format_value(value: float | None) -> str:
  """Returns a figure for people."""
  if value is None:
    return '-'
  return f'{value:.3f}' if abs(value) < 10 else f'{value:.1f}' if abs(value) < 1000 else f'{value:.0f}'


def _large(value: float | None, unit: str = '') -> str:
  if value is None:
    return UNKNOWN
  for size, prefix in ((1e18, 'E'), (1e15, 'P'), (1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
    if value >= size:
      return f'{value / size:.3g} {prefix}{unit}'
  return f'{value:.3g} {unit}'.strip()


def _seconds(value: float | None) -> str:
  return UNKNOWN if value is None else f'{value:.3g} s'


# Row -> what of an entry's costs it shows.
COSTS = {
  'parameters': lambda told: _large(told['num_parameters']['all']),
  'training FLOPs, last training of each part': lambda told: _large(told['training_flops']['all'], 'FLOP'),
  'network evaluations a soundtrack': lambda told: str(told['network_evaluations']),
  'FLOPs a soundtrack': lambda told: _large(told['flops'], 'FLOP'),
  'wall time a soundtrack': lambda told: _seconds(told['wall_s']),
  'real-time factor': lambda told: (
    UNKNOWN if told['real_time_factor'] is None else f'{told["real_time_factor"]:.3g} x'
  ),
  'peak memory': lambda told: _large(told['peak_memory_bytes'], 'B'),
  'device': lambda told: f'{told["num_devices"]} x {told["device"]}',
}


def tables(result: Mapping) -> list[tuple[str, str, list[str], dict[str, str]]]:
  """Returns key, title, names of the figures and what each measures, of every table that was reported.

  What could not be had for the same reason of all models is left to `notes`.
  """
  abouts = {name: about for name, (_, about) in evaluation_page.METRIC_LABELS.items()}
  first = next(iter(result['models'].values()))
  found = [('synthetic', 'Figures of the world', list(first['synthetic']), abouts)]
  for table in evaluator.TABLES:
    if table.key in first:
      about = {name: figure.about for name, figure in table.metrics.items()}
      found.append((table.key, table.title.capitalize(), list(first[table.key]), about))
  if distribution_metrics.KEY in first:
    names = list(first[distribution_metrics.KEY])
    about = {name: distribution_metrics.about(name) for name in names}
    found.append((distribution_metrics.KEY, distribution_metrics.TITLE, names, about))
  return [
    (key, title, [name for name in names if _absent(result, key, name) is None], about)
    for key, title, names, about in found
  ]


def _absent(result: Mapping, key: str, name: str) -> str | None:
  """Returns why no model has a figure, None where one has it or their reasons differ."""
  entries = [entry[key][name] for entry in result['models'].values()]
  reasons = {entry.get('reason') for entry in entries}
  return reasons.pop() if len(reasons) == 1 and all(entry['value'] is None for entry in entries) else None


def significance_mark(result: Mapping, model: str, key: str, metric: str) -> str:
  """Returns the mark of a model's figure against the reference, '' for none."""
  told = result['differences'].get(model, {}).get(key, {}).get(metric)
  return '' if told is None else told['mark']


def format_interval(entry: Mapping) -> str:
  """Returns a figure's interval for people, '' where there is none."""
  return '' if entry['interval'] is None else ' .. '.join(format_value(edge) for edge in entry['interval'])


def markdown(result: Mapping) -> str:
  """Returns the comparison as Markdown."""
  models = result['models']
  lines = [f'# {title(result)}', '', *(f'- {fact}' for fact in facts(result)), '']
  lines += _markdown_table(['', *models], cost_rows(models))
  for key, heading, names, abouts in tables(result):
    lines += ['', f'## {heading}', '']
    rows = []
    for name in names:
      cells = [_markdown_cell(result, model, key, name) for model in models]
      rows.append([f'`{name}`: {abouts[name]}', *cells])
    lines += _markdown_table(['figure', *models], rows)
  told = notes(result)
  if told:
    lines += ['', '## Notes', '', *(f'- {note}' for note in told)]
  return '\n'.join(lines) + '\n'


def _markdown_cell(result: Mapping, model: str, key: str, name: str) -> str:
  entry = result['models'][model][key][name]
  if entry['value'] is None:
    return entry.get('reason', '-')
  noted = significance_mark(result, model, key, name)
  # Stars would make Markdown bold.
  value = f'**{format_value(entry["value"])}**' + (f' {noted}'.replace('*', '\\*') if noted else '')
  edges = f' ({format_interval(entry)})' if entry['interval'] else ''
  floor, ceiling = format_value(entry['floor']), format_value(entry['ceiling'])
  return f'{value}{edges}; floor {floor}, ceiling {ceiling}, n {entry["n"]}'


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  lines = ['| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |' for row in (head, *rows)]
  return [lines[0], '|' + '---|' * len(head), *lines[1:]]


def cost_rows(models: Mapping[str, Mapping]) -> list[list[str]]:
  """Returns what each model costs, a row a kind of cost, its name first."""
  return [
    [name, *('made elsewhere' if entry['costs'] is None else of(entry['costs']) for entry in models.values())]
    for name, of in COSTS.items()
  ]


def title(result: Mapping) -> str:
  """Returns what is compared on what."""
  return f'{" against ".join(result["models"])} on {result["data"]}'


def facts(result: Mapping) -> list[str]:
  """Returns sentences on how the comparison was made."""
  protocol = next(iter(result['models'].values()))['protocol']
  seeds = f'seeds {result["seed"]} to {result["seed"] + result["num_seeds"] - 1}'
  if result['num_seeds'] == 1:
    seeds = f'seed {result["seed"]}'
  return [
    f'{result["num_clips"]} clips of {protocol["clip_s"]:g} s, {seeds}, '
    f'captions {"given" if result["captions"] else "not given"}; content hash {protocol["set_hash"][:16]}.',
    'Value with its 95 % interval over clips and seeds (distances of sets: over clips, of the first seed); '
    'floor: the same soundtracks against other clips; ceiling: the true sound through the codec, or itself '
    'where there is none.',
    f'Marks: difference to {result["reference"]}, paired by clip, p corrected for the number of figures '
    '(Holm): * below 0.05, ** below 0.01, *** below 0.001; fewer than '
    f'{bootstrap.MIN_TEST_CLIPS} clips are not tested, nor are distances of sets but divergences and '
    'Frechet distances of up to 256 features.',
    f'Measured at {protocol["measured_at_hz"]} Hz ({protocol["resampler"]}), v2a '
    f'{protocol["versions"]["v2a"]}, JAX {protocol["versions"]["jax"]}.',
  ]


def notes(result: Mapping) -> list[str]:
  """Returns what of each model a reader must know to believe its figures."""
  found = []
  hashes = {name: entry['protocol']['set_hash'] for name, entry in result['models'].items()}
  for name, entry in result['models'].items():
    if entry['held_out'] is False:
      found.append(f'{name} was trained on clips of this set: its figures are not held out.')
    elif entry['held_out'] is None:
      found.append(f'{name}: whether it was trained on clips of this set is not known.')
    if hashes[name] != hashes[result['reference']]:
      found.append(f'{name} is given these clips at other rates or sizes than {result["reference"]}.')
    if entry['silent']:
      listed = ', '.join(entry['silent'][:8])
      found.append(
        f'{name}: {len(entry["silent"])} silent soundtracks, which count like all others: {listed}.'
      )
    if entry.get('length_adjusted'):
      found.append(
        f'{name}: {len(entry["fitted"])} soundtracks were cut to their clips, or filled up by at most 50 ms.'
      )
    if entry.get('num_unused_files'):
      found.append(f'{name}: {entry["num_unused_files"]} files are of no clip here.')
  found += [f'{num} clips left out: {reason}.' for reason, num in result['left_out'].items()]
  lacking: dict[str, list[str]] = {}
  first = result['models'][result['reference']]
  for key in ('synthetic', *(table.key for table in evaluator.TABLES), distribution_metrics.KEY):
    for name in first.get(key, {}):
      reason = _absent(result, key, name)
      if reason is not None:
        lacking.setdefault(reason, []).append(name)
  return found + [f'{", ".join(names)}: {reason.rstrip(".")}.' for reason, names in lacking.items()]
