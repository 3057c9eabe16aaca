"""A comparison as Markdown, and the rows of its tables."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses

from v2a.evaluation import evaluate
from v2a.evaluation import scoring
from v2a.metrics import bootstrap
from v2a.metrics import registry
from v2a.reports import metric_text

UNKNOWN = 'not known'
MAX_TITLE_MODELS = 3  # that a title names
_NUM_NAMED = 8  # clips in a note
_LABEL_WIDTH = 24  # of a column of text; systems with longer names are numbered
_INTERVAL = 'Value with its 95 % interval over clips.'
_INTERVAL_OF_SEEDS = 'Value with its 95 % interval over clips and seeds (distribution metrics: first seed).'
_BOUNDS = (
  'Floor (mismatched-condition baseline): the same soundtracks against other clips; shifted floor: against '
  f'onsets shifted in time, mean of {scoring.NUM_SHIFTS} circular shifts. n: clips with a score.'
)
_CEILING = 'Ceiling (codec upper bound): the true sound through the codec of the model.'
_FOLDERS = 'Folders of audio have none, since their codec is not known.'


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


@dataclasses.dataclass(frozen=True)
class Table:
  """The part of a group of metrics that has values.

  Attributes:
    group: of registry.GROUPS.
    title: its heading.
    metrics: names of those that a system has.
    models: names of the systems that have any of them.
  """

  group: str
  title: str
  metrics: list[str]
  models: list[str]


def tables(result: Mapping) -> list[Table]:
  """Returns a table for each group of metrics that has values; `notes` lists what is left out."""
  models = result['models']
  found = []
  for group, title in registry.GROUPS.items():
    first = next(iter(models.values())).get(group, {})
    has_value = lambda model, name, group=group: models[model][group][name]['value'] is not None
    metrics = [name for name in first if any(has_value(model, name) for model in models)]
    if metrics:
      measured = [model for model in models if any(has_value(model, name) for name in metrics)]
      found.append(Table(group, title, metrics, measured))
  return found


def significance_mark(result: Mapping, model: str, key: str, metric: str) -> str:
  """Returns the mark of a model's metric against the reference, '' for none.

  Args:
    result: of a comparison.
    model: name of the system.
    key: group of metrics, of registry.GROUPS.
    metric: name of the metric.
  """
  difference = result['differences'].get(model, {}).get(key, {}).get(metric)
  return '' if difference is None else difference['mark']


def markdown(result: Mapping) -> str:
  """Returns the comparison as Markdown."""
  models = result['models']
  lines = [f'# {title(result)}', '', *(f'- {fact}' for fact in facts(result))]
  costs, priced = cost_rows(models)
  if costs:
    lines += ['', '## Costs', '', *_markdown_table(['', *priced], costs)]
  footnotes = metric_text.Footnotes()
  for table in tables(result):
    lines += ['', f'## {table.title}', '']
    rows = []
    for name in table.metrics:
      cells = [_markdown_cell(result, model, table.group, name, footnotes) for model in table.models]
      effect = smallest_effect(result, table.group, name)
      rows.append([f'`{name}`: {metric_text.describe(name)}{effect and f"; {effect}"}', *cells])
    lines += _markdown_table(['metric', *table.models], rows)
  listed = [*notes(result), *footnotes.lines()]
  if listed:
    lines += ['', '## Notes', '', *(f'- {note}' for note in listed)]
  return '\n'.join(lines) + '\n'


def format_table(result: Mapping) -> str:
  """Returns the values and marks of all systems, costs and notes as lines of text for a terminal.

  Intervals, floors and ceilings are left out; `markdown` has them.
  """
  labels = {
    name: name if len(name) <= _LABEL_WIDTH else f'({number})'
    for number, name in enumerate(result['models'], 1)
  }
  lines = [title(result), metric_text.wrap(_measured(result)), metric_text.wrap(_tests(result))]
  lines += [f'{label}: {name}' for name, label in labels.items() if label != name]
  costs, priced = cost_rows(result['models'])
  if costs:
    lines += ['', 'Costs', *_text_table(['', *(labels[name] for name in priced)], costs)]
  footnotes = metric_text.Footnotes()
  for table in tables(result):
    rows = [
      [name, *(_text_cell(result, model, table.group, name, footnotes) for model in table.models)]
      for name in table.metrics
    ]
    lines += ['', table.title, *_text_table(['metric', *(labels[model] for model in table.models)], rows)]
  listed = [*notes(result), *footnotes.lines()]
  lines += ['', 'Notes', *(metric_text.wrap(f'- {note}') for note in listed)] if listed else []
  return '\n'.join(lines)


def _text_cell(result: Mapping, model: str, key: str, name: str, footnotes: metric_text.Footnotes) -> str:
  entry = result['models'][model][key][name]
  if entry['value'] is None:
    return f'- {footnotes.mark({"note": entry.get("reason", "")})}'.strip()
  words = metric_text.format_value(entry['value']), significance_mark(result, model, key, name)
  return ' '.join(filter(None, (*words, footnotes.mark(entry))))


def _text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  """Returns lines of at most metric_text.LINE_WIDTH characters; further columns are in a table below."""
  widths = [max(map(len, column)) + 2 for column in zip(head, *rows)]
  blocks: list[list[int]] = [[]]
  for column in range(1, len(head)):
    used = widths[0] + sum(widths[k] for k in blocks[-1])
    if blocks[-1] and used + widths[column] > metric_text.LINE_WIDTH:
      blocks.append([])
    blocks[-1].append(column)
  lines = []
  for block in blocks:
    lines += [''] if lines else []
    for row in (head, *rows):
      lines.append(''.join(f'{row[k]:<{widths[k]}}' for k in (0, *block)).rstrip())
  return lines


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
  bounds = ', '.join([*metric_text.bounds(entry), f'n {entry["n"]}'])
  return f'{value}{edges}; {bounds}'


def smallest_effect(result: Mapping, group: str, name: str) -> str:
  """Returns the smallest difference of a metric that can be significant; '' where it is not tested."""
  is_tested = any(name in tested.get(group, {}) for tested in result['differences'].values())
  return f'smallest effect {metric_text.smallest_effect(name)}' if is_tested else ''


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  lines = ['| ' + ' | '.join(cell.replace('|', '\\|') for cell in row) + ' |' for row in (head, *rows)]
  return [lines[0], '|' + '---|' * len(head), *lines[1:]]


def cost_rows(models: Mapping[str, Mapping]) -> tuple[list[list[str]], list[str]]:
  """Returns a row for each kind of cost, its name first, and the systems whose costs are known."""
  priced = {name: entry['costs'] for name, entry in models.items() if entry['costs'] is not None}
  rows = [[name, *(text_of(costs) for costs in priced.values())] for name, text_of in COSTS.items()]
  return [row for row in rows if set(row[1:]) - {UNKNOWN}], list(priced)


def title(result: Mapping) -> str:
  """Returns what is compared on what."""
  models = list(result['models'])
  named = ' and '.join(models) if len(models) <= MAX_TITLE_MODELS else f'{len(models)} systems'
  return f'{named} on {result["data"]}'


def facts(result: Mapping) -> list[str]:
  """Returns sentences on how the comparison was run."""
  return [_measured(result), *_bounds(result), _tests(result)]


def _measured(result: Mapping) -> str:
  """Returns a sentence on clips, protocol and versions of the measurement."""
  protocol = next(iter(result['models'].values()))['protocol']
  return (
    f'{metric_text.count(result["num_clips"], "clip")} of {protocol["clip_s"]:g} s{_generated(result)}; '
    f'content hash {protocol["set_hash"][:16]}; measured at {protocol["measured_at_hz"]} Hz '
    f'({protocol["resampler"]}; level and bandwidth at the own rate of each sound), '
    f'v2a {protocol["versions"]["v2a"]}, JAX {protocol["versions"]["jax"]}.'
  )


def _generated(result: Mapping) -> str:
  """Returns the seeds and whether captions were given, '' where no system is a model."""
  if not _has_models(result):
    return ''
  seeds = f'seed {result["seed"]}'
  if result['num_seeds'] > 1:
    seeds = f'seeds {result["seed"]} to {result["seed"] + result["num_seeds"] - 1}'
  return f', {seeds}, captions {"given" if result["captions"] else "not given"}'


def _has_models(result: Mapping) -> bool:
  return any(entry['costs'] is not None for entry in result['models'].values())


def _bounds(result: Mapping) -> list[str]:
  """Returns the legend of interval, floor and ceiling."""
  if not _has_models(result):
    return [f'{_INTERVAL} {_BOUNDS}']
  interval = _INTERVAL if result['num_seeds'] == 1 else _INTERVAL_OF_SEEDS
  is_each_model = all(entry['costs'] is not None for entry in result['models'].values())
  return [f'{interval} {_BOUNDS}', _CEILING if is_each_model else f'{_CEILING} {_FOLDERS}']


def _tests(result: Mapping) -> str:
  """Returns a sentence on the significance tests and their marks."""
  if not any(tested for groups in result['differences'].values() for tested in groups.values()):
    return f'Differences are not tested: no metric has the {bootstrap.MIN_TEST_CLIPS} clips that tests need.'
  return (
    f'Marks: difference to {result["reference"]}, paired by clip, p corrected for the number of metrics and '
    'systems (Holm-Bonferroni): * below 0.05, ** below 0.01, *** below 0.001; differences below the smallest '
    'effect of the metric (beside its name) have no mark; fewer than '
    f'{bootstrap.MIN_TEST_CLIPS} clips are not tested; of distribution metrics only KL divergences and '
    'Frechet distances of up to 256 features are.'
  )


def notes(result: Mapping) -> list[str]:
  """Returns caveats of the metrics of each system, and what is left out."""
  found = []
  models = result['models']
  hashes = {name: entry['protocol']['set_hash'] for name, entry in models.items()}
  trained = [name for name, entry in models.items() if entry['held_out'] is False]
  unknown = [name for name, entry in models.items() if entry['held_out'] is None]
  if trained:
    found.append(f'Trained on clips of this set, which is therefore not held out: {", ".join(trained)}.')
  if unknown:
    found.append(f'Not known whether trained on clips of this set: {", ".join(unknown)}.')
  external = [name for name, entry in models.items() if entry['costs'] is None]
  if external:
    found.append(f'Folders of audio, without known costs: {", ".join(external)}.')
  for name, entry in models.items():
    if hashes[name] != hashes[result['reference']]:
      found.append(f'{name} is given these clips at other rates or sizes than {result["reference"]}.')
    if entry['silent']:
      num = metric_text.count(len(entry['silent']), 'silent soundtrack')
      found.append(f'{name}: {num}, included in all metrics: {_some(entry["silent"])}.')
    if adjusted := entry.get('length_adjusted'):
      num = metric_text.count(len(adjusted), 'soundtrack')
      found.append(
        f'{name}: {num} cut to the length of the clip, or padded by at most 50 ms: {_some(adjusted)}.'
      )
    if entry.get('num_unused_files'):
      num = metric_text.count(entry['num_unused_files'], 'wav file')
      found.append(f'{name}: {num} without a clip in the set.')
    if entry.get('num_files_of_left_out_clips'):
      num = metric_text.count(entry['num_files_of_left_out_clips'], 'wav file')
      found.append(f'{name}: {num} not evaluated, since the clip was left out.')
  found += _formats(models)
  found += [
    f'{metric_text.count(len(names), "clip")} left out ({evaluate.some(names)}): {reason}.'
    for reason, names in result['left_out'].items()
  ]
  return found + _missing(result)


def _formats(models: Mapping[str, Mapping]) -> list[str]:
  """Returns notes where the sounds of the systems differ in sample rate or number of channels."""
  found = []
  rates_hz = {name: entry['sample_rate_hz'] for name, entry in models.items()}
  channels = {name: ' and '.join(map(str, entry['num_channels'])) for name, entry in models.items()}
  if len(set(rates_hz.values())) > 1:
    listed = ', '.join(f'{name} {rate_hz} Hz' for name, rate_hz in rates_hz.items())
    found.append(f'Sample rates differ, which level and bandwidth depend on: {listed}.')
  if len(set(channels.values())) > 1:
    listed = ', '.join(f'{name} {num}' for name, num in channels.items())
    found.append(f'Numbers of channels differ; files are mixed to that of the clips: {listed}.')
  return found


def _some(names: Sequence[str]) -> str:
  more = len(names) - _NUM_NAMED
  return ', '.join(names[:_NUM_NAMED]) + (f' and {more} more' if more > 0 else '')


def _missing(result: Mapping) -> list[str]:
  """Returns which metrics and systems are in no table, a line for each reason."""
  models = result['models']
  by_group = {table.group: table for table in tables(result)}
  metrics: list[tuple[str, str]] = []
  systems = []
  for group, title in registry.GROUPS.items():
    table = by_group.get(group)
    for name in models[result['reference']].get(group, {}):
      if table is None or name not in table.metrics:
        for reason, names in _by_reason(models, group, [name], models).items():
          without = '' if len(names) == len(models) else f' ({", ".join(names)})'
          metrics.append((name + without, reason))
    for model in models if table else ():
      if table and model not in table.models:
        reasons = ', '.join(_by_reason(models, group, table.metrics, [model]))
        systems.append(f'{title}: {model} has no values: {reasons}.')
  return systems + metric_text.by_reason(metrics)


def _by_reason(
  models: Mapping[str, Mapping], group: str, metrics: Iterable[str], systems: Iterable[str]
) -> dict[str, list[str]]:
  """Returns which systems lack metrics, by the reason."""
  found: dict[str, list[str]] = {}
  for system in systems:
    for name in metrics:
      reason = models[system][group][name].get('reason', 'no value').rstrip('.')
      found.setdefault(reason, []).append(system)
  return found
