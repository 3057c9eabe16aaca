"""What an evaluation leaves behind: a table, report.json, and one picture a scene for listening by looking.

A picture has a column a clip: what moves (frame difference, and mouth, level or events where the truth has
them), then the spectrograms of the true sound, its round trip through the codec, the model's sound, and the
floor's, which is the model's sound for another clip.
"""

from collections.abc import Sequence
import json
import pathlib

from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg
import numpy as np

from v2a import records
from v2a.evaluation import cases as cases_lib
from v2a.evaluation import runner
from v2a.evaluation import spectra

CLIPS_A_SCENE = 4
_BACK, _INK, _MOTION, _TRUTH = '#101218', '#e8e6e1', '#5ad1c1', '#ffb454'
_ROWS = ('truth', 'codec', 'model', 'floor')


def table(result: dict) -> str:
  """Returns the figures as lines of text."""

  def cell(value) -> str:
    return '-' if value is None else f'{value:.3f}'

  lines = [
    f'{result["model"]} on {result["data"]}, {result["num_clips"]} clips',
    f'{"figure":<26}{"value":>9}{"floor":>9}{"ceiling":>9}{"n":>6}  95 % interval',
  ]
  for name, entry in result['figures'].items():
    interval = '' if entry['interval'] is None else ' .. '.join(f'{edge:.3f}' for edge in entry['interval'])
    lines.append(
      f'{name:<26}{cell(entry["value"]):>9}{cell(entry["floor"]):>9}{cell(entry["ceiling"]):>9}'
      f'{entry["n"]:>6}  {entry.get("reason", interval)}'
    )
  return '\n'.join(lines)


def write(
  folder: pathlib.Path, outcome: runner.Outcome, cases: Sequence[cases_lib.Case], sample_rate_hz: int
) -> pathlib.Path:
  """Writes report.json and SCENE.png.

  Args:
    folder: made where it is absent.
    outcome: of the evaluation.
    cases: the clips, in the order of the evaluation.
    sample_rate_hz: rate of their waves.

  Returns:
    The folder.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  _rename_into(folder / 'report.json', json.dumps(outcome.result, indent=2).encode())
  scenes: dict[str, list[int]] = {}
  for i, case in enumerate(cases):
    scenes.setdefault(case.truth['scene'], []).append(i)
  for scene, indices in scenes.items():
    shown = indices[:CLIPS_A_SCENE]
    sheet = mpl_figure.Figure(figsize=(4.2 * len(shown), 8.5), dpi=80, facecolor=_BACK, layout='constrained')
    axes_RB = sheet.subplots(len(_ROWS) + 1, len(shown), squeeze=False, sharex='col')
    for column, i in enumerate(shown):
      other = indices[(column + 1) % len(indices)]
      truth_NA = spectra.prepare(records.wave_to_float(cases[i].wave_NA), sample_rate_hz)
      waves = (truth_NA, outcome.reconstructed[i], outcome.generated[i], outcome.generated[other])
      _column(axes_RB[:, column], cases[i], waves)
    backend_agg.FigureCanvasAgg(sheet)
    beside = folder / f'.{scene}.partial.png'
    sheet.savefig(beside, facecolor=_BACK)
    beside.replace(folder / f'{scene}.png')
  return folder


def _rename_into(path: pathlib.Path, data: bytes):
  beside = path.with_name(f'.{path.name}.partial')
  beside.write_bytes(data)
  beside.replace(path)


def _column(axes, case: cases_lib.Case, waves: Sequence[np.ndarray]):
  truth, duration_s = case.truth, len(waves[0]) / spectra.RATE_HZ
  frame_LYX3 = case.frames[1].astype(np.int16)
  motion_L = np.abs(np.diff(frame_LYX3, axis=0, prepend=frame_LYX3[:1])).mean(axis=(1, 2, 3))
  time_L = np.arange(len(motion_L)) * duration_s / len(motion_L)
  axes[0].fill_between(time_L, motion_L / max(motion_L.max(), 1e-6), color=_MOTION, alpha=0.6, linewidth=0)
  for track in (truth['mouth'], truth['envelope']):
    if track:
      axes[0].plot(np.arange(len(track)) * duration_s / len(track), track, color=_TRUTH, linewidth=1)
  axes[0].set_title(f'{case.name}  {truth["annotation"][:44]}', color=_INK, fontsize=8)
  axes[0].set_xlim(0, duration_s)
  for axis, name, wave_NA in zip(axes[1:], _ROWS, waves):
    axis.imshow(
      spectra.log_mel(wave_NA.mean(axis=1)).T,
      origin='lower',
      aspect='auto',
      vmin=-9.5,
      vmax=-2.5,
      extent=(0, duration_s, 0, 1),
      cmap='magma',
    )
    axis.set_ylabel(name, color=_INK, fontsize=8)
  for axis in axes:
    for event in truth['events']:
      axis.axvline(event['time_s'], color=_TRUTH, linewidth=0.6, alpha=0.7)
    axis.set_yticks([])
    axis.tick_params(colors=_INK, labelsize=7)
