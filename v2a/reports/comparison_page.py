"""A comparison as one web page: tables, plots of quality against cost, and soundtracks of some clips.

Style and images are inside; videos and sounds are in a folder beside the page (`players`). Nothing is loaded
from elsewhere, and no script runs.
"""

import base64
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import html
import io
import pathlib
import string
from typing import Any

from matplotlib import figure as mpl_figure
from matplotlib import ticker
import numpy as np
from PIL import Image

import v2a
from v2a import files
from v2a.data import examples as examples_lib
from v2a.evaluation import compare
from v2a.metrics import metric as metric_lib
from v2a.metrics import spectra
from v2a.reports import comparison_report as report
from v2a.reports import evaluation_page
from v2a.reports import example_plot
from v2a.reports import gallery_plot
from v2a.reports import metric_text
from v2a.reports import players
from v2a.synthetic import truth as truth_lib

TEMPLATE = pathlib.Path(__file__).parent / 'comparison_page.html'
TRUTH = 'true sound'
_CLIPS_LEAD = (
  '<p>Each soundtrack with the frames of its clip, and its spectrogram over time, low sounds at the bottom. '
  'FLAC: the sound alone, lossless.</p>'
)
# Plotted where they have a value: the main metrics of the synthetic set, and one distance to the true sound.
PLOTTED = (
  ('synthetic', 'onset_f1'),
  ('synthetic', 'envelope_correlation'),
  ('synthetic', 'material_accuracy'),
  ('synthetic', 'panning_correlation'),
  ('synthetic', 'word_error_rate'),
  ('signal', 'log_mel_distance'),
)
_AXES = {
  # Autoregressive decoding has none to choose.
  'sampling steps': lambda entry: entry['settings'].get('steps'),
  'wall time of a soundtrack, s': lambda entry: entry['costs']['wall_s'],
  'GFLOPs of a soundtrack': lambda entry: entry['costs']['flops'] / 1e9,
}
_COLOURS = ('#5ad1c1', '#ffb454', '#c792ea', '#ff6e6e', '#82aaff', '#c3e88d', '#f78c6c', '#e8e6e1')


def render(comparison: compare.Comparison, command: str, media: players.Writer) -> str:
  """Returns the page.

  Args:
    comparison: the comparison.
    command: the command line that makes the page again.
    media: writes what the page plays.
  """
  result = comparison.result
  clips = ''.join(_clip(shown, media) for shown in comparison.shown)
  return string.Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
    style=evaluation_page.STYLE.read_text(encoding='utf-8'),
    title=_text(report.title(result)),
    facts=''.join(f'<li>{_text(fact)}</li>' for fact in report.facts(result)),
    metrics=_metric_tables(result),
    clips=f'<h2 id="clips">Clips</h2>{_CLIPS_LEAD}{clips}' if clips else '',
    costs=_costs(result),
    notes=''.join(f'<li>{_text(note)}</li>' for note in report.notes(result)),
    command=_text(command),
    version=_text(v2a.__version__),
  )


def _text(words: str) -> str:
  return html.escape(str(words), quote=True)


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  heads = ''.join(f'<th scope="col">{metric_text.breakable(name)}</th>' for name in head)
  body = ''.join(f'<tr>{"".join(row)}</tr>' for row in rows)
  return (
    '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>'
    f'<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
  )


def _metric_tables(result: Mapping) -> str:
  """Returns a table for each group of metrics that has values, below a legend of directions."""
  tables = report.tables(result)
  if not tables:
    return '<p>No metric has a value; see the notes.</p>'
  names = [name for table in tables for name in table.metrics]
  parts = [f'<p class="legend">{_text(metric_text.legend(names))}</p>']
  for table in tables:
    rows = [_metric_row(result, table, name) for name in table.metrics]
    parts.append(f'<h3>{_text(table.title)}</h3>{_html_table(["metric", *table.models], rows)}')
  return ''.join(parts)


def _metric_row(result: Mapping, table: report.Table, name: str) -> list[str]:
  """Returns the cells of a metric: its name with all that the systems share, then one for each system."""
  entries = {model: result['models'][model][table.group][name] for model in table.models}
  shared = {key: _shared_value(entries.values(), key) for key in ('n', 'ceiling', 'note')}
  facts = [f'ceiling {metric_text.format_value(shared["ceiling"])}'] if shared['ceiling'] is not None else []
  facts += [f'n {shared["n"]}'] if shared['n'] is not None else []
  effect = report.smallest_effect(result, table.group, name)
  facts += [effect] if effect else []
  lines = [f'<small>{_text(metric_text.quantity(name))}</small>']
  lines += [f'<small>{", ".join(facts)}</small>'] if facts else []
  lines += [f'<small class="note">{_text(shared["note"])}</small>'] if shared['note'] else []
  mark, meaning = metric_text.arrow(name)
  arrow = f'<abbr title="{meaning}">{mark}</abbr>'
  head = f'<th scope="row">{arrow} {metric_text.breakable(name)}{"".join(lines)}</th>'
  own = {key for key, value in shared.items() if value is None}
  return [
    head,
    *(_cell(entry, report.significance_mark(result, model, table.group, name), own)
      for model, entry in entries.items()),
  ]  # fmt: skip


def _shared_value(entries: Iterable[Mapping], key: str) -> Any:
  """Returns what all entries with a value have under a key, None where they differ or have none."""
  values = [entry.get(key) for entry in entries if entry['value'] is not None]
  return values[0] if all(value == values[0] for value in values) else None


def _cell(entry: Mapping, mark: str, own: Collection[str]) -> str:
  """Returns the cell of one system.

  Args:
    entry: of the metric.
    mark: of its difference to the reference, '' for none.
    own: which of n, ceiling and note are not in the head of the row.
  """
  if entry['value'] is None:
    return f'<td class="reason">{_text(entry.get("reason", "-"))}</td>'
  lines = [f'<b>{metric_text.format_value(entry["value"])}</b>']
  lines[0] += f' <i class="{mark.rstrip("*")}">{mark}</i>' if mark else ''
  lines += [f'<span>{metric_text.format_interval(entry["interval"])}</span>'] if entry['interval'] else []
  hidden = {'ceiling'} - set(own)
  bounds = {key: value for key, value in entry.items() if key not in hidden}
  lines += [f'<small>{words}</small>' for words in metric_text.bounds(bounds)]
  lines += [f'<small>n {entry["n"]}</small>'] if 'n' in own else []
  if 'note' in own and entry.get('note'):
    lines.append(f'<small class="note">{_text(entry["note"])}</small>')
  return f'<td>{"".join(lines)}</td>'


def _costs(result: Mapping) -> str:
  """Returns the table of costs and the plots of quality against them, '' where no costs are known."""
  rows, models = report.cost_rows(result['models'])
  if not rows:
    return ''
  table = _html_table(
    ['', *models],
    [
      [f'<th scope="row">{_text(row[0])}</th>', *(f'<td>{_text(cell)}</td>' for cell in row[1:])]
      for row in rows
    ],
  )
  plots = _plots(result)
  return f'<h2 id="costs">Costs</h2>{table}' + (f'<div class="plots">{plots}</div>' if plots else '')


def _plots(result: Mapping) -> str:
  """Returns an image of metrics (rows) against costs (columns), '' where there is nothing to plot."""
  models = result['models'].values()
  plotted = [
    (key, name)
    for key, name in PLOTTED
    if any(entry.get(key, {}).get(name, {}).get('value') is not None for entry in models)
  ]
  priced = [entry for entry in models if entry['costs'] is not None]
  costs = {label: cost for label, cost in _AXES.items() if any(cost(entry) is not None for entry in priced)}
  if not costs or not plotted:
    return ''
  sheet = mpl_figure.Figure(
    figsize=(12, 2.5 * len(plotted) + 0.6),
    dpi=90,
    facecolor=example_plot.BACKGROUND_COLOR,
    layout='constrained',
  )
  axes_KG = sheet.subplots(len(plotted), len(costs), squeeze=False)
  series = list(dict.fromkeys(entry['series'] for entry in result['models'].values()))
  colours = {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(series)}
  for row, (key, name) in enumerate(plotted):
    for column, (label, cost) in enumerate(costs.items()):
      axis = axes_KG[row, column]
      _plot(axis, result['models'], key, name, cost, colours)
      axis.set_xlabel(
        label if row == len(plotted) - 1 else '', color=example_plot.FOREGROUND_COLOR, fontsize=9
      )
      axis.set_ylabel(name if not column else '', color=example_plot.FOREGROUND_COLOR, fontsize=9)
  pairs = [zip(*axis.get_legend_handles_labels()) for axis in axes_KG.flat]
  by_label = {label: line for part in pairs for line, label in part}
  legend = sheet.legend(
    by_label.values(), by_label, loc='outside upper center', ncols=4, fontsize=9, frameon=False
  )
  for text in legend.get_texts():
    text.set_color(example_plot.FOREGROUND_COLOR)
  alt = f'{", ".join(name for _, name in plotted)} against {", ".join(costs)}'
  with gallery_plot.no_glyph_warnings():
    return _image(example_plot.to_pixels(sheet), alt, 'PNG')


def _plot(
  axis, models: Mapping[str, Mapping], key: str, name: str, cost: Callable, colours: Mapping[str, str]
) -> None:
  for series, colour in colours.items():
    entries = [entry for entry in models.values() if entry['series'] == series]
    values = [entry[key][name] for entry in entries]
    if entries[0]['costs'] is None:
      if values[0]['value'] is not None:
        axis.axhline(
          values[0]['value'], color=colour, linestyle='--', linewidth=1.2, label=_escape_math(series)
        )
      continue
    points = [
      (cost(entry), value['value'], value['interval'])
      for entry, value in zip(entries, values)
      if value['value'] is not None and cost(entry) is not None
    ]
    points.sort(key=lambda point: point[0])
    if not points:
      continue
    x_N, y_N = (np.array([point[k] for point in points], float) for k in (0, 1))
    axis.plot(x_N, y_N, 'o-', color=colour, markersize=4, linewidth=1.4, label=_escape_math(series))
    for x, _, interval in points:
      if interval:
        axis.plot([x, x], interval, color=colour, linewidth=1, alpha=0.6)
  axis.set_xscale('log')
  # Costs often span less than one power of ten, where a logarithmic axis would have no number at all.
  axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axis.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
  axis.xaxis.set_minor_formatter(lambda value, _: '')
  axis.set_facecolor(example_plot.BACKGROUND_COLOR)
  axis.tick_params(colors=example_plot.FOREGROUND_COLOR, labelsize=8, which='both')
  axis.grid(alpha=0.15)
  for spine in axis.spines.values():
    spine.set_color('#444')


def _escape_math(words: str) -> str:
  # Matplotlib reads a dollar sign as the beginning of a formula.
  return words.replace('$', r'\$')


def _image(pixels_YX3: np.ndarray, alt: str, kind: str = 'WEBP', **options) -> str:
  buffer = io.BytesIO()
  Image.fromarray(pixels_YX3).save(buffer, kind, **options)
  code = base64.b64encode(buffer.getvalue()).decode()
  height, width = pixels_YX3.shape[:2]
  source = f'data:image/{kind.lower()};base64,{code}'
  return f'<img src="{source}" width="{width}" height="{height}" alt="{_text(alt)}">'


def _clip(shown: compare.ShownExample, media: players.Writer) -> str:
  truth = shown.example.truth
  words = f'<p class="words">{_text(truth["annotation"])}</p>' if truth['annotation'] else ''
  if truth['transcript']:
    words += f'<p>says: {_text(truth["transcript"])}</p>'
  sounds = {TRUTH: shown.true, **shown.sounds}
  cards = ''.join(_card(shown.example, name, sound, media) for name, sound in sounds.items())
  scene = '' if truth['scene'] == truth_lib.VIDEO_SCENE else f' <small>{_text(truth["scene"])}</small>'
  return (
    f'<section><h3>{_text(shown.example.name)}{scene}</h3>{words}<div class="grid">{cards}</div></section>'
  )


def _card(example: examples_lib.Example, name: str, sound: metric_lib.Sound, media: players.Writer) -> str:
  player = media.player(example, sound, name)
  image_YX3 = spectra.spectrogram_image(sound.wave_NA, sound.sample_rate_hz)
  image = _image(image_YX3, f'{example.name}, {name}: spectrogram', quality=60)
  caption = f'<span>{metric_text.breakable(name)}</span>{player.download}'
  return f'<figure><figcaption>{caption}</figcaption>{player.element}{image}</figure>'


def check(path: pathlib.Path) -> None:
  """Raises FileExistsError where `write` would replace a file of the user."""
  files.check_replaceable(path)
  players.check(path)


def write(path: pathlib.Path, comparison: compare.Comparison, command: str) -> None:
  """Writes the page and what it plays, see `players`; they appear when they are complete.

  Args:
    path: the file, in an existing folder.
    comparison: the comparison.
    command: the command line that makes the page again.

  Raises:
    FileExistsError: a file of the user is in the way.
  """
  with players.writer(path) as media:
    text = render(comparison, command, media)
  files.write_text(path, text)
