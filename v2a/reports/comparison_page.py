"""A comparison as one page: tables, plots of quality against cost, and what everybody made of some clips.

Style, pictures and sounds are inside; nothing is loaded from elsewhere, and no script runs.
"""

import base64
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import html
import io
import pathlib
import string

from matplotlib import figure as mpl_figure
from matplotlib import ticker
from matplotlib.backends import backend_agg
import numpy as np
from PIL import Image
import soundfile

import v2a
from v2a import files
from v2a.evaluation import compare
from v2a.metrics import spectra
from v2a.reports import comparison_report as report
from v2a.reports import evaluation_page
from v2a.reports import example_plot
from v2a.reports import gallery_plot

TEMPLATE = pathlib.Path(__file__).parent / 'comparison_page.html'
# Plotted where they have a value: what the world's claims hang on, and one distance to the truth.
PLOTTED = (
  ('synthetic', 'onset_f1'),
  ('synthetic', 'envelope_correlation'),
  ('synthetic', 'material_accuracy'),
  ('synthetic', 'panning_correlation'),
  ('synthetic', 'word_error_rate'),
  ('signal', 'log_mel_distance'),
)
_AXES = {
  # Tokens in turn have none to choose.
  'sampling steps': lambda entry: entry['settings'].get('steps'),
  'wall time of a soundtrack, s': lambda entry: entry['costs']['wall_s'],
  'GFLOPs of a soundtrack': lambda entry: entry['costs']['flops'] / 1e9,
}
_COLOURS = ('#5ad1c1', '#ffb454', '#c792ea', '#ff6e6e', '#82aaff', '#c3e88d', '#f78c6c', '#e8e6e1')


def render(comparison: compare.Comparison, command: str) -> str:
  """Returns the page.

  Args:
    comparison: the comparison.
    command: the command line that makes it again.
  """
  result = comparison.result
  parts = [
    _html_table(['', *result['models']], [_cost_cells(row) for row in report.cost_rows(result['models'])])
  ]
  for key, heading, names, abouts in report.tables(result):
    rows = [
      [
        f'<th scope="row">{_text(name)}<small>{_text(abouts[name])}</small></th>',
        *(_html_cell(result, model, key, name) for model in result['models']),
      ]
      for name in names
    ]
    parts.append(f'<h3>{_text(heading)}</h3>{_html_table(["figure", *result["models"]], rows)}')
  return string.Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
    style=evaluation_page.STYLE.read_text(encoding='utf-8'),
    title=_text(report.title(result)),
    facts=''.join(f'<li>{_text(fact)}</li>' for fact in report.facts(result)),
    notes=''.join(f'<li>{_text(note)}</li>' for note in report.notes(result)),
    command=_text(command),
    tables=''.join(parts),
    plots=_plots(result),
    clips=''.join(_clip(shown) for shown in comparison.shown),
    version=_text(v2a.__version__),
  )


def _text(words: str) -> str:
  return html.escape(str(words), quote=True)


def _html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  heads = ''.join(f'<th scope="col">{_text(name)}</th>' for name in head)
  body = ''.join(f'<tr>{"".join(row)}</tr>' for row in rows)
  return (
    '<div class="scroll" role="region" aria-label="Table" tabindex="0"><table>'
    f'<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
  )


def _cost_cells(row: Sequence[str]) -> list[str]:
  return [f'<th scope="row">{_text(row[0])}</th>', *(f'<td>{_text(cell)}</td>' for cell in row[1:])]


def _html_cell(result: Mapping, model: str, key: str, name: str) -> str:
  entry = result['models'][model][key][name]
  if entry['value'] is None:
    return f'<td class="reason">{_text(entry.get("reason", "-"))}</td>'
  noted = report.significance_mark(result, model, key, name)
  told = f' <i class="{noted.rstrip("*")}">{noted}</i>' if noted else ''
  edges = f'<span>{report.format_interval(entry)}</span>' if entry['interval'] else ''
  value, floor, ceiling = (report.format_value(entry[key]) for key in ('value', 'floor', 'ceiling'))
  ends = f'floor {floor}, ceiling {ceiling}, n {entry["n"]}'
  return f'<td><b>{value}</b>{told}{edges}<small>{ends}</small></td>'


def _plots(result: Mapping) -> str:
  """Returns the plots as one image: a row a figure, a column a cost; sounds made elsewhere are lines."""
  drawn = {name: entry for name, entry in result['models'].items() if entry['costs'] is not None}
  first = next(iter(result['models'].values()))
  plotted = [
    (key, name)
    for key, name in PLOTTED
    if name in first.get(key, {})
    and any(entry[key][name]['value'] is not None for entry in result['models'].values())
  ]
  if not drawn or not plotted:
    return '<p>Nothing was drawn by a model.</p>'
  sheet = mpl_figure.Figure(
    figsize=(12, 2.5 * len(plotted) + 0.6),
    dpi=90,
    facecolor=example_plot.BACKGROUND_COLOR,
    layout='constrained',
  )
  axes_KG = sheet.subplots(len(plotted), len(_AXES), squeeze=False)
  series = list(dict.fromkeys(entry['series'] for entry in result['models'].values()))
  colours = {name: _COLOURS[k % len(_COLOURS)] for k, name in enumerate(series)}
  for row, (key, name) in enumerate(plotted):
    for column, (label, cost) in enumerate(_AXES.items()):
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
  canvas = backend_agg.FigureCanvasAgg(sheet)
  with gallery_plot.no_glyph_warnings():
    canvas.draw()
  alt = f'{", ".join(name for _, name in plotted)} against {", ".join(_AXES)}'
  return _image(np.asarray(canvas.buffer_rgba())[..., :3], alt, 'PNG')


def _plot(
  axis, models: Mapping[str, Mapping], key: str, name: str, cost: Callable, colours: Mapping[str, str]
) -> None:
  for series, colour in colours.items():
    entries = [entry for entry in models.values() if entry['series'] == series]
    values = [entry[key][name] for entry in entries]
    if entries[0]['costs'] is None:
      if values[0]['value'] is not None:
        axis.axhline(values[0]['value'], color=colour, linestyle='--', linewidth=1.2, label=_math(series))
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
    axis.plot(x_N, y_N, 'o-', color=colour, markersize=4, linewidth=1.4, label=_math(series))
    for x, _, interval in points:
      if interval:
        axis.plot([x, x], interval, color=colour, linewidth=1, alpha=0.6)
  axis.set_xscale('log')
  # Costs often lie within one power of ten, where a logarithmic axis would have no number at all.
  axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axis.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
  axis.xaxis.set_minor_formatter(lambda value, _: '')
  axis.set_facecolor(example_plot.BACKGROUND_COLOR)
  axis.tick_params(colors=example_plot.FOREGROUND_COLOR, labelsize=8, which='both')
  axis.grid(alpha=0.15)
  for spine in axis.spines.values():
    spine.set_color('#444')


def _math(words: str) -> str:
  # A dollar sign would begin a formula.
  return words.replace('$', r'\$')


def _image(pixels_YX3: np.ndarray, alt: str, kind: str = 'WEBP', **options) -> str:
  buffer = io.BytesIO()
  Image.fromarray(pixels_YX3).save(buffer, kind, **options)
  code = base64.b64encode(buffer.getvalue()).decode()
  height, width = pixels_YX3.shape[:2]
  source = f'data:image/{kind.lower()};base64,{code}'
  return f'<img src="{source}" width="{width}" height="{height}" alt="{_text(alt)}">'


def audio_data_url(wave_NA: np.ndarray, sample_rate_hz: int) -> str:
  """Returns a sound as a data address, 16-bit FLAC."""
  buffer = io.BytesIO()
  soundfile.write(buffer, np.clip(wave_NA, -1.0, 1.0), sample_rate_hz, format='FLAC', subtype='PCM_16')
  return 'data:audio/flac;base64,' + base64.b64encode(buffer.getvalue()).decode()


def _clip(shown: compare.ShownExample) -> str:
  truth = shown.example.truth
  words = f'<p class="words">{_text(truth["annotation"] or "no annotation")}</p>'
  if truth['transcript']:
    words += f'<p>says: {_text(truth["transcript"])}</p>'
  cards = ''.join(
    f'<figure><figcaption>{_text(name)}</figcaption>'
    + _image(spectra.spectrogram_image(*wave), f'{shown.example.name}, {name}: spectrogram', quality=60)
    + f'<audio controls preload="none" src="{audio_data_url(*wave)}" aria-label="{_text(name)}"></audio>'
    + '</figure>'
    for name, wave in (('truth', shown.true), *shown.sounds.items())
  )
  head = f'<h3>{_text(shown.example.name)} <small>{_text(truth["scene"])}</small></h3>'
  return f'<section>{head}{words}<div class="grid">{cards}</div></section>'


def write(path: pathlib.Path, comparison: compare.Comparison, command: str) -> None:
  """Writes the page; it appears under its name only when it is whole. For the arguments see `render`."""
  files.write_text(path, render(comparison, command))
