"""Outputs of an evaluation: tables of text, report.json, and one plot of some clips for each scene.

A plot has a column for each clip, see `example_plot`.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import json
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg

from v2a import file_names
from v2a import files
from v2a.data import examples as examples_lib
from v2a.evaluation import evaluator
from v2a.metrics import registry
from v2a.reports import example_plot
from v2a.reports import gallery_plot
from v2a.reports import metric_text

CLIPS_PER_SCENE = 4
_BOUNDS = "floor: given another clip; shifted: onsets at shifted times; ceiling: the codec's true sound."
JSON = 'report.json'
_SCENE_BYTES = 200


def _cell(value: float | None) -> str:
  return '-' if value is None else f'{value:.3f}' if abs(value) < 1000 else f'{value:.0f}'


def _rows(entries: Mapping[str, dict], footnotes: metric_text.Footnotes) -> list[str]:
  lines = [f'{"metric":<28}{"value":>9}{"floor":>9}{"shifted":>9}{"ceiling":>9}{"n":>6}  95 % interval']
  for name, entry in entries.items():
    if entry['value'] is None:
      continue
    interval = '' if entry['interval'] is None else ' .. '.join(_cell(edge) for edge in entry['interval'])
    means = f'  (mean {_cell(entry["mean"])}, truth {_cell(entry["mean_truth"])})' if 'mean' in entry else ''
    mark = footnotes.mark(entry)
    lines.append(
      f'{metric_text.arrow(name)[0]} {name:<26}{_cell(entry["value"]):>9}{_cell(entry["floor"]):>9}'
      f'{_cell(entry.get("shifted_floor")):>9}{_cell(entry["ceiling"]):>9}'
      f'{entry["n"]:>6}  {interval}{means}{mark and f"  {mark}"}'
    )
  return lines


def format_table(result: dict) -> str:
  """Returns the metrics of all groups as lines of text; those without a value below, by reason."""
  seeds = f', {result["num_seeds"]} seeds' if result['num_seeds'] > 1 else ''
  head = f'{result["model"]} on {result["data"]}, {metric_text.count(result["num_clips"], "clip")}{seeds}'
  footnotes = metric_text.Footnotes()
  groups = {key: result[key] for key in registry.GROUPS if key in result}
  names = [
    name for entries in groups.values() for name, entry in entries.items() if entry['value'] is not None
  ]
  lines = [head, *map(metric_text.wrap, [f'{metric_text.legend(names)}; {_BOUNDS}'] if names else [])]
  for key, entries in groups.items():
    if any(entry['value'] is not None for entry in entries.values()):
      lines += ['', registry.GROUPS[key], *_rows(entries, footnotes)]
  lines += ['', *footnotes.lines()] if footnotes.notes else []
  missing = metric_text.without_value(groups)
  lines += ['', 'Without a value', *map(metric_text.wrap, missing)] if missing else []
  return '\n'.join(lines)


def paths(folder: pathlib.Path, examples: Sequence[examples_lib.Example]) -> dict[str, pathlib.Path]:
  """Returns the file of the plot of each scene; names of scenes may come from files of the user."""
  return {
    scene: folder / f'{file_names.file_name(scene, _SCENE_BYTES)}.png'
    for scene in example_plot.by_scene(examples)
  }


def check(folder: pathlib.Path, examples: Sequence[examples_lib.Example] = ()) -> None:
  """Raises FileExistsError where `write` would replace a file of the user."""
  files.check_replaceable(folder / JSON, *paths(folder, examples).values())


def write(
  folder: pathlib.Path, eval_result: evaluator.EvalResult, examples: Sequence[examples_lib.Example]
) -> pathlib.Path:
  """Writes report.json and SCENE.png.

  Args:
    folder: created where it is missing.
    eval_result: of the evaluation, with ceilings.
    examples: the clips, in the order of the evaluation.

  Returns:
    The folder.

  Raises:
    FileExistsError: a file of the user is in the way.
  """
  folder = pathlib.Path(folder)
  check(folder, examples)
  folder.mkdir(parents=True, exist_ok=True)
  report = {'about': f'{files.MARK} evaluate.', **eval_result.result}
  files.write_text(folder / JSON, json.dumps(file_names.utf8(report), indent=2))
  for scene, indices in example_plot.by_scene(examples).items():
    shown = indices[:CLIPS_PER_SCENE]
    sheet = mpl_figure.Figure(
      figsize=(4.2 * len(shown), 8.5), dpi=80, facecolor=example_plot.BACKGROUND_COLOR, layout='constrained'
    )
    axes_RB = sheet.subplots(len(example_plot.ROWS) + 1, len(shown), squeeze=False, sharex='col')
    for column, i in enumerate(shown):
      example_plot.plot(list(axes_RB[:, column]), examples[i], example_plot.waves(eval_result, examples, i))
      title = file_names.printable(f'{examples[i].name}  {(examples[i].truth["annotation"] or "")[:44]}')
      axes_RB[0, column].set_title(title, color=example_plot.FOREGROUND_COLOR, fontsize=8, parse_math=False)
    backend_agg.FigureCanvasAgg(sheet)
    with files.atomic_write(paths(folder, examples)[scene]) as partial, gallery_plot.no_glyph_warnings():
      sheet.savefig(partial, facecolor=example_plot.BACKGROUND_COLOR, metadata={'Software': files.MARK})
  return folder
