"""Listening by looking: an evaluation as one web page.

For every scene its clips, each as a picture of `columns` with its scores in words, and for every figure the
clips that it judges worst, each with its reason. The page is one file: style and pictures are inside, nothing
is loaded from elsewhere, and no script runs.
"""

import base64
from collections.abc import Mapping
from collections.abc import Sequence
import html
import io
import pathlib
import string

from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg
import numpy as np
from PIL import Image

import v2a
from v2a import files
from v2a.data import examples
from v2a.evaluation import evaluator
from v2a.metrics import classifiers
from v2a.metrics import synthetic
from v2a.reports import error_analysis
from v2a.reports import example_plot

NUM_WORST = 10
TEMPLATE = pathlib.Path(__file__).parent / 'evaluation_page.html'
# Of all pages of evaluations.
STYLE = pathlib.Path(__file__).parent / 'style.css'
METRIC_LABELS = {
  'onset_f1': ('onsets', 'impacts heard within 50 ms of being seen, F1'),
  'envelope_correlation': ('level', 'loudness of engine, rain, wind, what flies past follows the picture'),
  'pitch_correlation': ('pitch', 'pitch of the engine follows its speed'),
  'material_accuracy': ('material', 'the material of what is hit is heard'),
  'panning_correlation': ('place', 'left and right follow the place'),
  'music_rate': ('music', 'off-screen music heard where the annotation leaves it open'),
  'music_rate_negative': ('music, negative prompt', 'the same with negative prompt "music"; less is better'),
  'word_error_rate': ('words', 'errors a word of the dialogue; less is better'),
  'lip_lag_ms': ('lips', 'median lag between mouth and sound in ms; less is better'),
  'onset_f1_archive_ratio': ('onsets, archive look', 'onset F1 on archive-look twins over clean'),
  'onset_f1_degraded_ratio': ('onsets, degraded look', 'onset F1 on degraded twins over clean'),
}
_WIDTH_IN, _CURVE_IN, _ROW_IN, _DPI = 4.8, 0.62, 0.78, 100
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN, _GAP_IN = 0.24, 0.08, 0.05, 0.22, 0.05
_QUALITY = 50


def check(path: pathlib.Path) -> None:
  """Checks that a page can be written there, before an evaluation is spent on it.

  Raises:
    ValueError: the path is a folder.
    FileNotFoundError: its folder is missing.
    FileExistsError: a file of the user is in the way.
  """
  if path.is_dir():
    raise ValueError(f'--page must be a file; {path} is a folder.')
  if not path.parent.is_dir():
    raise FileNotFoundError(f'--page needs an existing folder; there is no {path.parent}.')
  files.check_replaceable(path)


def worst_scores(
  figure: synthetic.SyntheticMetric, scores: Sequence[evaluator.ClipScore], cases: Sequence[examples.Example]
) -> list[evaluator.ClipScore]:
  """Returns the scores that are not perfect, the worst first; equals take turns by scene."""
  place = {i: k for indices in example_plot.by_scene(cases).values() for k, i in enumerate(indices)}
  faulty = [
    score
    for score in scores
    if score.value is not None and error_analysis.score_error(figure, score.value) > 0
  ]
  return sorted(
    faulty,
    key=lambda score: (-error_analysis.score_error(figure, score.value), place[score.index], score.index),
  )


def write(
  path: pathlib.Path,
  outcome: evaluator.EvalResult,
  cases: Sequence[examples.Example],
  sample_rate_hz: int,
  command: str,
  tools: classifiers.Classifiers | None = None,
) -> None:
  """Writes the page; it appears under its name only when it is whole.

  Args:
    path: the file to write.
    outcome: of the evaluation.
    cases: the clips, in the order of the evaluation.
    sample_rate_hz: rate of their waves.
    command: the command line that makes the page again.
    tools: the learned instruments that the evaluation used; those that ship by default.
  """
  tools = tools or classifiers.load()
  text = string.Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
    style=STYLE.read_text(encoding='utf-8'),
    title=_text(f'Listening by looking: {outcome.result["model"]} on {outcome.result["data"]}'),
    metrics=_tables(outcome.result),
    command=_text(command),
    facts=_facts(outcome.result),
    contents=_contents(outcome, cases),
    scenes='\n'.join(
      _scene(number, scene, indices, outcome, cases, sample_rate_hz)
      for number, (scene, indices) in enumerate(example_plot.by_scene(cases).items())
    ),
    worst='\n'.join(_worst_section(figure, outcome, cases, tools) for figure in _judging(outcome)),
    version=_text(v2a.__version__),
  )
  files.write_text(path, text)


def _text(words: str) -> str:
  return html.escape(str(words), quote=True)


def _judging(outcome: evaluator.EvalResult) -> list[synthetic.SyntheticMetric]:
  """Returns the figures that judged a clip."""
  return [
    figure
    for name, figure in synthetic.METRICS.items()
    if any(score.value is not None for score in outcome.scores[name])
  ]


def _tables(result: Mapping) -> str:
  """Returns the figures of the world and the further tables."""
  parts = [_table(result['synthetic'], {name: about for name, (_, about) in METRIC_LABELS.items()})]
  parts.append(
    '<p>Floor: the same model given another clip, measured against this clip. Ceiling: the true sound '
    "through the model's codec. n: clips that the figure counts.</p>"
  )
  for table in (table for table in evaluator.TABLES if table.key in result):
    abouts = {name: figure.about for name, figure in table.metrics.items()}
    parts.append(f'<h3>{_text(table.title.capitalize())}</h3>{_table(result[table.key], abouts)}')
  return ''.join(parts)


def _table(entries: Mapping[str, dict], abouts: Mapping[str, str]) -> str:
  def cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}' if abs(value) < 10 else f'{value:.0f}'

  rows = []
  for name, entry in entries.items():
    head = f'<th scope="row">{_text(name)}<small>{_text(abouts[name])}</small></th>'
    if entry['value'] is None:
      rows.append(f'<tr>{head}<td class="reason" colspan="5">{_text(entry["reason"])}</td></tr>')
      continue
    interval = '-' if entry['interval'] is None else ' .. '.join(cell(edge) for edge in entry['interval'])
    others = ''.join(f'<td>{cell(entry[key])}</td>' for key in ('floor', 'ceiling'))
    rows.append(
      f'<tr>{head}<td><b>{cell(entry["value"])}</b></td><td>{interval}</td>{others}<td>{entry["n"]}</td></tr>'
    )
  heads = ''.join(
    f'<th scope="col">{name}</th>' for name in ('figure', 'value', '95 % interval', 'floor', 'ceiling', 'n')
  )
  return (
    '<div class="scroll" role="region" aria-label="Figures" tabindex="0"><table>'
    f'<thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
  )


def _facts(result: Mapping) -> str:
  """Returns all that the result says of its making."""
  tables = ('synthetic', 'settings', 'protocol', *(table.key for table in evaluator.TABLES))
  facts = {name: value for name, value in result.items() if name not in tables}
  facts |= {name: value for name, value in result['protocol'].items() if not isinstance(value, dict)}
  settings = result.get('settings', {})
  rows = [(name, 'not known' if value is None else value) for name, value in facts.items()]
  rows += [(name, "the model's own" if value is None else value) for name, value in settings.items()]
  cells = (f'<dt>{_text(name.replace("_", " "))}</dt><dd>{_text(value)}</dd>' for name, value in rows)
  return f'<dl>{"".join(cells)}</dl>'


def _contents(outcome: evaluator.EvalResult, cases: Sequence[examples.Example]) -> str:
  scenes = ''.join(
    f'<li><a href="#scene-{number}">{_text(scene)}</a></li>'
    for number, scene in enumerate(example_plot.by_scene(cases))
  )
  judged = ''.join(
    f'<li><a href="#worst-{figure.name}">{_text(METRIC_LABELS[figure.name][0])}</a></li>'
    for figure in _judging(outcome)
  )
  return f'<b>scenes</b><ul>{scenes}</ul><b>the worst by figure</b><ul>{judged}</ul>'


def _scene(
  number: int,
  scene: str,
  indices: Sequence[int],
  outcome: evaluator.EvalResult,
  cases: Sequence[examples.Example],
  sample_rate_hz: int,
) -> str:
  cards = []
  for i in indices:
    sounds = example_plot.waves(outcome, cases, i, sample_rate_hz)
    alt = f'{cases[i].name}: motion, and spectrograms of {", ".join(sounds)}'
    cards.append(
      f'<figure id="clip-{i}">{_picture(cases[i], sounds, alt)}<figcaption>{_names(cases[i])}'
      f'{_scores(i, outcome)}</figcaption></figure>'
    )
  return (
    f'<section aria-labelledby="scene-{number}"><h3 id="scene-{number}">{_text(scene)}</h3>'
    f'<div class="grid">{"".join(cards)}</div></section>'
  )


def _names(case: examples.Example, address: str = '') -> str:
  name = f'<a href="{address}">{_text(case.name)}</a>' if address else _text(case.name)
  annotation = case.truth['annotation'] or 'no annotation'
  words = f'<p class="name">{name}</p><p class="words">{_text(annotation)}</p>'
  if case.truth['transcript']:
    words += f'<p>says: {_text(case.truth["transcript"])}</p>'
  return words


def _scores(index: int, outcome: evaluator.EvalResult) -> str:
  lines = []
  for figure in _judging(outcome):
    for score in outcome.scores[figure.name]:
      if score.index == index:
        told = (
          'cannot be measured here'
          if score.value is None
          else error_analysis.format_score(figure, score.value)
        )
        lines.append(f'<li>{_text(METRIC_LABELS[figure.name][0])}: {_text(told)}</li>')
  return f'<ul>{"".join(lines)}</ul>' if lines else ''


def _worst_section(
  figure: synthetic.SyntheticMetric,
  outcome: evaluator.EvalResult,
  cases: Sequence[examples.Example],
  tools: classifiers.Classifiers,
) -> str:
  scores = outcome.scores[figure.name]
  faulty = worst_scores(figure, scores, cases)
  num_measured = sum(score.value is not None for score in scores)
  label = f'worst-{figure.name}'
  head = (
    f'<h3 id="{label}">{_text(METRIC_LABELS[figure.name][0])}</h3><p>{_text(METRIC_LABELS[figure.name][1])}. '
  )
  head += f'Not perfect: {len(faulty)} of {num_measured}'
  head += f', of which the worst {NUM_WORST} are shown.</p>' if len(faulty) > NUM_WORST else '.</p>'
  cards = ''.join(_worst_card(figure, score, outcome, cases, tools) for score in faulty[:NUM_WORST])
  grid = f'<div class="grid">{cards}</div>' if cards else ''
  return f'<section aria-labelledby="{label}">{head}{grid}</section>'


def _worst_card(
  figure: synthetic.SyntheticMetric,
  score: evaluator.ClipScore,
  outcome: evaluator.EvalResult,
  cases: Sequence[examples.Example],
  tools: classifiers.Classifiers,
) -> str:
  case, clean = cases[score.index], None
  if figure.relative_to:
    same = (other.value for other in outcome.scores[figure.relative_to] if other.index == score.index)
    clean = next(same, None)
  wave_NA = outcome.waves_by_variant[evaluator.Variant(figure.corruption, figure.negative_text)][score.index]
  told = error_analysis.explain(figure, case.truth, score.value, score.ceiling, wave_NA, tools, clean)
  frame_LYX3 = None if figure.corruption == 'clean' else case.paired_variant(figure.corruption)[1]
  given = figure.corruption if figure.corruption != 'clean' else f'no {figure.negative_text}'
  name = given if given != 'no ' else 'model'
  alt = f'{case.name}: motion, and spectrogram of the soundtrack that was judged'
  return (
    f'<figure>{_picture(case, {name: wave_NA}, alt, frame_LYX3)}<figcaption>'
    f'{_names(case, f"#clip-{score.index}")}<p>{_text(METRIC_LABELS[figure.name][0])}: '
    f'{_text(error_analysis.format_score(figure, score.value))}</p>'
    f'<p class="words">{_text(told)}</p></figcaption></figure>'
  )


def _picture(
  case: examples.Example,
  sounds: Mapping[str, np.ndarray],
  alt: str,
  frame_LYX3: np.ndarray | None = None,
) -> str:
  """Returns an image element. The layout is fixed: finding one for every clip would take longest of all."""
  height_in = _TOP_IN + _CURVE_IN + len(sounds) * (_GAP_IN + _ROW_IN) + _BOTTOM_IN
  sheet = mpl_figure.Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor=example_plot.BACKGROUND_COLOR)
  axes, top_in = [], height_in - _TOP_IN
  for row_in in [_CURVE_IN] + [_ROW_IN] * len(sounds):
    box_in = (_LEFT_IN, top_in - row_in, _WIDTH_IN - _LEFT_IN - _RIGHT_IN, row_in)
    scale = (_WIDTH_IN, height_in, _WIDTH_IN, height_in)
    axes.append(sheet.add_axes([part / whole for part, whole in zip(box_in, scale)]))
    top_in -= row_in + _GAP_IN
  example_plot.plot(axes, case, sounds, frame_LYX3)
  for axis in axes[:-1]:
    axis.tick_params(labelbottom=False, bottom=False)
  canvas = backend_agg.FigureCanvasAgg(sheet)
  canvas.draw()
  pixels_YX3 = np.asarray(canvas.buffer_rgba())[..., :3]
  buffer = io.BytesIO()
  Image.fromarray(pixels_YX3).save(buffer, 'WEBP', quality=_QUALITY, method=4)
  code = base64.b64encode(buffer.getvalue()).decode()
  height, width = pixels_YX3.shape[:2]
  return (
    f'<img src="data:image/webp;base64,{code}" width="{width}" height="{height}" loading="lazy" '
    f'alt="{_text(alt)}">'
  )
