"""An evaluation as one web page.

The page shows the clips of each scene, with players (`players`), a plot (`example_plot`) and scores; those of
videos, whose events are not known, in the order of their distance to the true sound. Of the synthetic set it
shows for each metric the clips with the worst scores, with their likely cause (`error_analysis`). Style and
images are inlined, videos and audio are in a folder beside the page; nothing is loaded from elsewhere, and
there are no scripts.
"""

import base64
from collections.abc import Mapping
from collections.abc import Sequence
import html
import io
import math
import pathlib
import string

from matplotlib import figure as mpl_figure
import numpy as np
from PIL import Image

import v2a
from v2a import files
from v2a.data import examples as examples_lib
from v2a.evaluation import evaluator
from v2a.metrics import classifiers
from v2a.metrics import registry
from v2a.metrics import synthetic
from v2a.reports import error_analysis
from v2a.reports import evaluation_tables
from v2a.reports import example_plot
from v2a.reports import metric_text
from v2a.reports import players
from v2a.synthetic import truth as truth_lib

NUM_WORST = 10
TEMPLATE = pathlib.Path(__file__).parent / 'evaluation_page.html'
# Of all pages of evaluations.
STYLE = pathlib.Path(__file__).parent / 'style.css'
_WIDTH_IN, _CURVE_IN, _ROW_IN, _DPI = 4.8, 0.62, 0.78, 100
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN, _GAP_IN = 0.24, 0.08, 0.05, 0.22, 0.05
_QUALITY = 50
_WORST_LEAD = (
  'Each card has the soundtrack that was scored, the frames that it was generated for, and their motion. '
  'Metrics of a corruption or of the negative prompt show the soundtrack of that variant. '
  'The cause is the first of a fixed list that applies to the clip; it is not proven.'
)
# Scores on the cards of videos; their cards are ordered by ORDERED_BY, the worst first.
ORDERED_BY = 'log_mel_distance'
_VIDEO_METRICS = ('onset_flux_f1', ORDERED_BY, 'loudness_error_lu')
_CURVES_LEAD = (
  'The <i class="motion">filled curve</i> is how much the video changes from frame to frame{known}. Below it,'
  " over seconds, low sounds at the bottom: the true sound, its round trip through the codec, the model's "
  "soundtrack, and as the floor the model's soundtrack for another clip."
)
_KNOWN = (
  '; the <i class="known">thin curve</i> is the known mouth opening or level, and <i class="known">lines</i> '
  'are the known impacts or notes'
)


def check(path: pathlib.Path) -> None:
  """Checks that a page can be written there, before an evaluation is spent on it.

  Raises:
    ValueError: the path is a folder, or its folder is a file.
    FileExistsError: a file of the user is in the way, or in the folder of the players.
  """
  if path.is_dir():
    raise ValueError(f'--page must be a file; {path} is a folder.')
  nearest = next(parent for parent in path.absolute().parents if parent.exists())
  if not nearest.is_dir():
    raise ValueError(f'--page must be in a folder; {nearest} is a file.')
  files.check_replaceable(path)
  players.check(path)


def worst_scores(
  metric: synthetic.SyntheticMetric,
  scores: Sequence[evaluator.ClipScore],
  examples: Sequence[examples_lib.Example],
) -> list[evaluator.ClipScore]:
  """Returns the scores that are not perfect, the worst first; ties alternate between scenes."""
  rank = {i: k for indices in example_plot.by_scene(examples).values() for k, i in enumerate(indices)}
  faulty = []
  for score in scores:
    error = 0.0 if score.value is None else error_analysis.score_error(metric, score.value)
    if error > 0:
      faulty.append((-error, rank[score.index], score.index, score))
  return [score for *_, score in sorted(faulty, key=lambda row: row[:3])]


def write(
  path: pathlib.Path,
  eval_result: evaluator.EvalResult,
  examples: Sequence[examples_lib.Example],
  command: str,
) -> None:
  """Writes the page and its media files, atomically: they appear under their names when they are complete.

  Args:
    path: the file to write.
    eval_result: of the evaluation, with ceilings.
    examples: the clips, in the order of the evaluation.
    command: the command line that makes the page again.
  """
  scenes = example_plot.by_scene(examples)
  if truth_lib.VIDEO_SCENE in scenes:
    scenes[truth_lib.VIDEO_SCENE] = _in_order(scenes[truth_lib.VIDEO_SCENE], eval_result)
  with players.writer(path) as media:
    text = string.Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
      style=STYLE.read_text(encoding='utf-8'),
      title=html.escape(f'Evaluation: {eval_result.result["model"]} on {eval_result.result["data"]}'),
      metrics=evaluation_tables.metric_tables(eval_result.result),
      command=html.escape(command),
      facts=evaluation_tables.facts(eval_result.result),
      lead=_lead(scenes, eval_result),
      contents=_contents(scenes, eval_result),
      scenes=_scenes(scenes, eval_result, examples, media),
      worst=_worst(eval_result, examples, media),
      version=html.escape(v2a.__version__),
    )
  files.write_text(path, text)


def _scored_metrics(eval_result: evaluator.EvalResult) -> list[synthetic.SyntheticMetric]:
  """Returns the metrics of the synthetic set that scored a clip."""
  return [
    metric
    for name, metric in synthetic.METRICS.items()
    if any(score.value is not None for score in eval_result.scores.get(name, ()))
  ]


def _lead(scenes: Mapping[str, Sequence[int]], eval_result: evaluator.EvalResult) -> str:
  """Returns what the page shows."""
  shown = []
  if set(scenes) - {truth_lib.VIDEO_SCENE}:
    shown.append('the clips of each scene with their scores')
  if truth_lib.VIDEO_SCENE in scenes:
    shown.append('all videos with their scores, those that differ most from the true sound first')
  if _scored_metrics(eval_result):
    shown.append('for each metric of the synthetic set the clips with the worst scores and the likely cause')
  return f'Soundtracks that a model generated for silent clips: {"; ".join(shown)}.'


def _contents(scenes: Mapping[str, Sequence[int]], eval_result: evaluator.EvalResult) -> str:
  """Returns links to the parts of the page, '' where there is a single one."""
  metrics = _scored_metrics(eval_result)
  if len(scenes) + len(metrics) < 2:
    return ''
  links = ''.join(
    f'<li><a href="#scene-{number}">{html.escape(scene)}</a></li>' for number, scene in enumerate(scenes)
  )
  worst = ''.join(
    f'<li><a href="#worst-{metric.name}">{html.escape(metric.label)}</a></li>' for metric in metrics
  )
  worst = f'<b>worst clips by metric</b><ul>{worst}</ul>' if worst else ''
  return (
    f'<h2 id="contents">Contents</h2><nav aria-label="Contents"><b>scenes</b><ul>{links}</ul>{worst}</nav>'
  )


def _clip_value(name: str, index: int, eval_result: evaluator.EvalResult) -> float | None:
  """Returns the value of a metric on one clip alone; None where it has none."""
  for score in eval_result.scores.get(name, ()):
    if score.index == index and score.value is not None:
      return registry.get(name).combine([score.value])
  return None


def _in_order(indices: Sequence[int], eval_result: evaluator.EvalResult) -> list[int]:
  """Returns clips by ORDERED_BY, the worst first, and those without a value last."""

  def distance(index: int) -> float:
    value = _clip_value(ORDERED_BY, index, eval_result)
    return -math.inf if value is None else value

  return sorted(indices, key=distance, reverse=True)


def _scenes(
  scenes: Mapping[str, Sequence[int]],
  eval_result: evaluator.EvalResult,
  examples: Sequence[examples_lib.Example],
  media: players.Writer,
) -> str:
  """Returns the clips of all scenes."""
  has_known = set(scenes) != {truth_lib.VIDEO_SCENE}
  lead = _CURVES_LEAD.format(known=_KNOWN if has_known else '')
  if truth_lib.VIDEO_SCENE in scenes:
    lead += (
      f' Videos are ordered by {ORDERED_BY} ({html.escape(metric_text.quantity(ORDERED_BY))}), largest first.'
    )
  parts = [f'<h2 id="scenes">{"Scenes" if has_known else "Clips"}</h2><p>{lead}</p>']
  for number, (scene, indices) in enumerate(scenes.items()):
    cards = f'<div class="grid">{_cards(indices, eval_result, examples, media)}</div>'
    label = f'scene-{number}'
    parts.append(
      f'<section aria-labelledby="{label}"><h3 id="{label}">{html.escape(scene)}</h3>{cards}</section>'
      if has_known
      else f'<section aria-labelledby="scenes">{cards}</section>'
    )
  return '\n'.join(parts)


def _cards(
  indices: Sequence[int],
  eval_result: evaluator.EvalResult,
  examples: Sequence[examples_lib.Example],
  media: players.Writer,
) -> str:
  cards = []
  for i in indices:
    sounds = example_plot.waves(eval_result, examples, i)
    alt = f'{examples[i].name}: motion, and spectrograms of {", ".join(sounds)}'
    played = {'model': eval_result.sounds[i], 'truth': eval_result.references[i].true_sound}
    elements = ''.join(
      _labelled(label, media.player(examples[i], sound, label)) for label, sound in played.items()
    )
    cards.append(
      f'<figure id="clip-{i}"><div class="players">{elements}</div>{_plot(examples[i], sounds, alt)}'
      f'<figcaption>{_names(examples[i])}{_scores(i, eval_result)}</figcaption></figure>'
    )
  return ''.join(cards)


def _labelled(label: str, player: players.Player) -> str:
  return (
    f'<div class="player"><p><span>{html.escape(label)}</span>{player.download}</p>{player.element}</div>'
  )


def _names(example: examples_lib.Example, address: str = '') -> str:
  name = f'<a href="{address}">{html.escape(example.name)}</a>' if address else html.escape(example.name)
  words = f'<p class="name">{name}</p>'
  if example.truth['annotation']:
    words += f'<p class="words">{html.escape(example.truth["annotation"])}</p>'
  if example.truth['transcript']:
    words += f'<p>says: {html.escape(example.truth["transcript"])}</p>'
  return words


def _scores(index: int, eval_result: evaluator.EvalResult) -> str:
  lines = []
  for metric in _scored_metrics(eval_result):
    for score in eval_result.scores[metric.name]:
      if score.index == index:
        words = 'no score' if score.value is None else error_analysis.format_score(metric, score.value)
        lines.append(f'<li>{html.escape(metric.label)}: {html.escape(words)}</li>')
  if not eval_result.references[index].is_synthetic:
    values = {name: _clip_value(name, index, eval_result) for name in _VIDEO_METRICS}
    lines += [
      f'<li>{name}: {metric_text.format_value(value)}</li>'
      for name, value in values.items()
      if value is not None
    ]
  return f'<ul>{"".join(lines)}</ul>' if lines else ''


def _worst(
  eval_result: evaluator.EvalResult, examples: Sequence[examples_lib.Example], media: players.Writer
) -> str:
  """Returns the worst clips by each metric of the synthetic set, '' where none of them scored a clip."""
  sections = '\n'.join(
    _worst_section(metric, eval_result, examples, media) for metric in _scored_metrics(eval_result)
  )
  return f'<h2 id="worst">Worst clips by metric</h2><p>{_WORST_LEAD}</p>{sections}' if sections else ''


def _worst_section(
  metric: synthetic.SyntheticMetric,
  eval_result: evaluator.EvalResult,
  examples: Sequence[examples_lib.Example],
  media: players.Writer,
) -> str:
  scores = eval_result.scores[metric.name]
  faulty = worst_scores(metric, scores, examples)
  num_measured = sum(score.value is not None for score in scores)
  label = f'worst-{metric.name}'
  description = metric_text.describe(metric.name)
  head = f'<h3 id="{label}">{html.escape(metric.label)}</h3><p>{html.escape(description)}. '
  head += f'Not perfect: {len(faulty)} of {num_measured}'
  head += f', of which the worst {NUM_WORST} are shown.</p>' if len(faulty) > NUM_WORST else '.</p>'
  cards = ''.join(_worst_card(metric, score, eval_result, examples, media) for score in faulty[:NUM_WORST])
  grid = f'<div class="grid">{cards}</div>' if cards else ''
  return f'<section aria-labelledby="{label}">{head}{grid}</section>'


def _worst_card(
  metric: synthetic.SyntheticMetric,
  score: evaluator.ClipScore,
  eval_result: evaluator.EvalResult,
  examples: Sequence[examples_lib.Example],
  media: players.Writer,
) -> str:
  assert score.value is not None  # by worst_scores
  example, clean = examples[score.index], None
  if metric.relative_to:
    same = (other.value for other in eval_result.scores[metric.relative_to] if other.index == score.index)
    clean = next(same, None)
  variant = metric.variant
  sound = eval_result.sounds_by_variant[variant][score.index]
  wave_NA = sound.resampled_NA
  explanation = error_analysis.explain(
    metric, example.truth, score.value, score.ceiling, wave_NA, classifiers.load(), clean
  )
  name, frame_LYX3 = 'model', None
  if variant.corruption != 'clean':
    name, frame_LYX3 = variant.corruption, example.corrupted_frames(variant.corruption)[1]
  elif variant.negative_text:
    name = f'no {variant.negative_text}'
  alt = f'{example.name}: motion, and spectrogram of the soundtrack'
  return (
    f'<figure>{_labelled(name, media.player(example, sound, name, variant.corruption))}'
    f'{_plot(example, {name: wave_NA}, alt, frame_LYX3)}<figcaption>'
    f'{_names(example, f"#clip-{score.index}")}<p>{html.escape(metric.label)}: '
    f'{html.escape(error_analysis.format_score(metric, score.value))}</p>'
    f'<p class="words">{html.escape(explanation)}</p></figcaption></figure>'
  )


def _plot(
  example: examples_lib.Example,
  sounds: Mapping[str, np.ndarray],
  alt: str,
  frame_LYX3: np.ndarray | None = None,
) -> str:
  """Returns an image element. The layout is fixed, since computing it takes longer than plotting."""
  height_in = _TOP_IN + _CURVE_IN + len(sounds) * (_GAP_IN + _ROW_IN) + _BOTTOM_IN
  sheet = mpl_figure.Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, facecolor=example_plot.BACKGROUND_COLOR)
  axes, top_in = [], height_in - _TOP_IN
  for row_in in [_CURVE_IN] + [_ROW_IN] * len(sounds):
    left, width = _LEFT_IN / _WIDTH_IN, (_WIDTH_IN - _LEFT_IN - _RIGHT_IN) / _WIDTH_IN
    axes.append(sheet.add_axes((left, (top_in - row_in) / height_in, width, row_in / height_in)))
    top_in -= row_in + _GAP_IN
  example_plot.plot(axes, example, sounds, frame_LYX3)
  for axis in axes[:-1]:
    axis.tick_params(labelbottom=False, bottom=False)
  pixels_YX3 = example_plot.to_pixels(sheet)
  buffer = io.BytesIO()
  Image.fromarray(pixels_YX3).save(buffer, 'WEBP', quality=_QUALITY, method=4)
  code = base64.b64encode(buffer.getvalue()).decode()
  height, width = pixels_YX3.shape[:2]
  return (
    f'<img src="data:image/webp;base64,{code}" width="{width}" height="{height}" loading="lazy" '
    f'alt="{html.escape(alt)}">'
  )
