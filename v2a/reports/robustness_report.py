"""Outputs of a robustness sweep: sweep.json, a table in Markdown, and plots of metrics by severity."""

from collections.abc import Mapping
import json
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg

from v2a import file_names
from v2a import files
from v2a.reports import example_plot

JSON, TABLE, PLOTS = 'sweep.json', 'sweep.md', 'sweep.png'
# Metrics of the columns, where the sweep has them.
PLOTTED_METRICS = (
  'onset_f1',
  'envelope_correlation',
  'material_accuracy',
  'panning_correlation',
  'word_error_rate',
)


def plotted_metrics(result: Mapping) -> list[str]:
  """Returns the metrics of the table: those of PLOTTED_METRICS that the clean videos have."""
  return [name for name in PLOTTED_METRICS if name in result['clean']['synthetic']]


def format_table(result: Mapping) -> str:
  """Returns the sweep as Markdown: a row for each severity, a column for each metric, the OOD score last."""
  names = plotted_metrics(result)
  lines = [
    f'{result["model"]} ({result["generator"]}) on {result["data"]}, {result["num_clips"]} clips, seed '
    f'{result["seed"]}; 95 % intervals over clips.',
    '',
    '| corruption | severity | '
    + ' | '.join(f'`{name}`' for name in names)
    + ' | OOD score, median | above |',
    '|---' * (len(names) + 4) + '|',
    _row('clean', '', result['clean'], names),
  ]
  for kind, found in result['corruptions'].items():
    lines += [_row(kind, f'{point["severity"]:g}', point, names) for point in found['points']]
  lines += ['', *(f'- {kind}: {found["about"]}' for kind, found in result['corruptions'].items())]
  return '\n'.join(lines) + '\n'


def _row(kind: str, severity: str, point: Mapping, names: list[str]) -> str:
  cells = [_cell(point['synthetic'].get(name)) for name in names]
  ood = point['ood']
  ood_cells = ['-', '-'] if ood is None else [f'{ood["median"]:.2f}', f'{ood["share_above_threshold"]:.2f}']
  return '| ' + ' | '.join([kind, severity, *cells, *ood_cells]) + ' |'


def _cell(entry: Mapping | None) -> str:
  if entry is None:
    return '-'
  edges = '' if entry['interval'] is None else ' ({:.2f} .. {:.2f})'.format(*entry['interval'])
  return f'{entry["value"]:.2f}{edges}'


def plot(result: Mapping) -> mpl_figure.Figure:
  """Returns a plot for each corruption: metrics by severity, the clean value first."""
  kinds, names = result['corruptions'], plotted_metrics(result)
  sheet = mpl_figure.Figure(
    figsize=(3.6 * len(kinds), 3.4), dpi=90, facecolor=example_plot.BACKGROUND_COLOR, layout='constrained'
  )
  axes_K = sheet.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
  for axis, (kind, found) in zip(axes_K, kinds.items()):
    points = [result['clean'], *found['points']]
    ticks = ['clean', *(f'{point["severity"]:g}' for point in found['points'])]
    for name in names:
      values = [point['synthetic'].get(name, {'value': None})['value'] for point in points]
      positions = [k for k, value in enumerate(values) if value is not None]
      axis.plot(positions, [values[k] for k in positions], 'o-', markersize=4, linewidth=1.4, label=name)
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set_title(kind, color=example_plot.FOREGROUND_COLOR, fontsize=10)
    axis.set_xlabel(found['about'], color=example_plot.FOREGROUND_COLOR, fontsize=8)
    axis.set_facecolor(example_plot.BACKGROUND_COLOR)
    axis.tick_params(colors=example_plot.FOREGROUND_COLOR, labelsize=8)
    axis.grid(alpha=0.15)
  lines, labels = axes_K[0].get_legend_handles_labels()
  legend = sheet.legend(lines, labels, loc='outside upper center', ncols=5, fontsize=9, frameon=False)
  for text in legend.get_texts():
    text.set_color(example_plot.FOREGROUND_COLOR)
  return sheet


def check(folder: pathlib.Path) -> None:
  """Raises FileExistsError where `write` would replace a file of the user."""
  files.check_replaceable(*(folder / name for name in (JSON, TABLE, PLOTS)))


def write(folder: pathlib.Path, result: Mapping) -> list[pathlib.Path]:
  """Writes all three files; returns their paths."""
  folder.mkdir(parents=True, exist_ok=True)
  paths = [folder / name for name in (JSON, TABLE, PLOTS)]
  check(folder)
  report = {'about': f'{files.MARK} evaluate.', **result}
  files.write_text(paths[0], json.dumps(file_names.utf8(report), indent=1) + '\n')
  files.write_text(paths[1], f'<!-- {files.MARK} evaluate. -->\n\n{format_table(result)}')
  sheet = plot(result)
  backend_agg.FigureCanvasAgg(sheet)
  with files.atomic_write(paths[2]) as partial:
    sheet.savefig(partial, facecolor=example_plot.BACKGROUND_COLOR, metadata={'Software': files.MARK})
  return paths
