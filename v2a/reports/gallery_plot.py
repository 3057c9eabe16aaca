"""The gallery as one PNG: for each clip a film strip, the motion curve and spectrograms on one time axis."""

from collections.abc import Generator
import contextlib
import pathlib
import textwrap
import warnings

from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg
import numpy as np

from v2a import file_names
from v2a import files
from v2a.reports import filmstrip
from v2a.reports import gallery_entries
from v2a.reports import spectrogram

BACKGROUND_COLOR, TEXT_COLOR, MUTED_COLOR, MOTION_COLOR, EVENT_COLOR = (
  '#101218',
  '#e8e6e1',
  '#8b90a0',
  '#5ad1c1',
  '#ffb454',
)
WIDTH_IN, DPI = 12.0, 110
MARGIN_IN, HEAD_IN, FILM_IN, MOTION_IN, SOUND_IN, AXIS_IN, GAP_IN = 0.35, 0.62, 0.85, 0.5, 1.15, 0.3, 0.06
TITLE_IN = 0.75
MAX_CHARACTERS = 130


@contextlib.contextmanager
def no_glyph_warnings() -> Generator[None]:
  """Silences the warning for each letter that the font lacks and shows as a box, while a plot is rendered."""
  with warnings.catch_warnings():
    warnings.filterwarnings('ignore', 'Glyph .* missing from font')
    yield


class _Layout:
  """Positions axes from the top of a sheet down, in inches."""

  def __init__(self, height_in: float):
    self.sheet = mpl_figure.Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor=BACKGROUND_COLOR)
    self._height_in = height_in
    self._top_in = 0.0

  def skip(self, height_in: float) -> None:
    """Leaves room."""
    self._top_in += height_in

  def text(self, words: str, size: float, colour: str, **more) -> None:
    """Writes a line at the left margin."""
    y = 1.0 - self._top_in / self._height_in
    self.sheet.text(
      MARGIN_IN / WIDTH_IN, y, words, size=size, color=colour, va='top', parse_math=False, **more
    )

  def axes(self, height_in: float, duration_s: float):
    """Returns axes over the full width, whose x is seconds."""
    bottom_in = self._height_in - self._top_in - height_in
    box = (
      MARGIN_IN / WIDTH_IN,
      bottom_in / self._height_in,
      1 - 2 * MARGIN_IN / WIDTH_IN,
      height_in / self._height_in,
    )
    axes = self.sheet.add_axes(box, facecolor=BACKGROUND_COLOR)
    axes.set_xlim(0.0, duration_s)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
      side.set_visible(False)
    self._top_in += height_in + GAP_IN
    return axes


def _plain(text: str) -> str:
  """Returns text as one line of bounded length."""
  return textwrap.shorten(file_names.printable(text), MAX_CHARACTERS, placeholder=' ...')


def _height_in(entry: gallery_entries.Entry, num_samples: int) -> float:
  rows = [HEAD_IN] + [SOUND_IN + GAP_IN] * num_samples + [AXIS_IN]
  rows += [FILM_IN + GAP_IN] if entry.thumbnail_MYX3 is not None else []
  rows += [MOTION_IN + GAP_IN] if len(entry.motion_L) else []
  return sum(rows)


def _film(axes, entry: gallery_entries.Entry) -> None:
  assert entry.thumbnail_MYX3 is not None
  columns = round((WIDTH_IN - 2 * MARGIN_IN) * DPI)
  strip_YX3 = filmstrip.strip(entry.thumbnail_MYX3, entry.aspect, round(FILM_IN * DPI), columns)
  axes.imshow(strip_YX3, aspect='auto', extent=(0.0, entry.duration_s, 0.0, 1.0))


def _motion(axes, entry: gallery_entries.Entry) -> None:
  level = spectrogram.envelope(entry.motion_L, spectrogram.MAX_COLUMNS)
  time_s = (np.arange(len(level)) + 0.5) * entry.duration_s / len(level)
  axes.fill_between(time_s, level, color=MOTION_COLOR, alpha=0.25, lw=0)
  axes.plot(time_s, level, color=MOTION_COLOR, lw=1.2)
  axes.set_ylim(0.0, max(float(level.max()) * 1.1, 1e-3))
  axes.text(0.004, 0.9, 'motion', transform=axes.transAxes, color=MOTION_COLOR, size=8, va='top')
  axes.vlines(entry.event_times_s, *axes.get_ylim(), color=EVENT_COLOR, lw=0.8, alpha=0.8)


def _sound(axes, entry: gallery_entries.Entry, sample: gallery_entries.Sample) -> None:
  axes.imshow(
    sample.mel_db_RJ,
    origin='lower',
    aspect='auto',
    cmap='magma',
    vmin=spectrogram.FLOOR_DB,
    vmax=0.0,
    extent=(0.0, entry.duration_s, 0.0, 1.0),
    interpolation='bilinear',
  )
  words = '   '.join((f'sample {sample.index}', *entry.details_of(sample)))
  dark = {
    'facecolor': BACKGROUND_COLOR,
    'alpha': 0.6,
    'linewidth': 0,
    'pad': 1.5,
  }  # behind the label, since loud sound is bright
  axes.text(0.004, 0.95, words, transform=axes.transAxes, color='white', size=8, va='top', bbox=dark)


def _entry(layout: _Layout, entry: gallery_entries.Entry, samples: list[gallery_entries.Sample]) -> None:
  layout.text(_plain(entry.title), 13, TEXT_COLOR, weight='bold')
  words = ' · '.join(f'{name}: {text}' for name, text in entry.details) or entry.note
  layout.skip(0.27)
  layout.text(_plain(words), 9, MUTED_COLOR)
  layout.skip(HEAD_IN - 0.27)
  if entry.thumbnail_MYX3 is not None:
    _film(layout.axes(FILM_IN, entry.duration_s), entry)
  if len(entry.motion_L):
    _motion(layout.axes(MOTION_IN, entry.duration_s), entry)
  for sample in samples:
    axes = layout.axes(SOUND_IN, entry.duration_s)
    _sound(axes, entry, sample)
  times_s = gallery_entries.ticks(entry.duration_s)
  axes.set_xticks(
    times_s, [gallery_entries.tick_label(time_s) + (' s' if not time_s else '') for time_s in times_s]
  )
  axes.tick_params(colors=MUTED_COLOR, labelsize=8, length=3)
  layout.skip(AXIS_IN)


def write(
  path: pathlib.Path, entries: list[gallery_entries.Entry], title: str = '', max_samples: int = 4
) -> None:
  """Plots entries below each other into a PNG; the file appears only when it is complete.

  Args:
    path: the file to write.
    entries: the entries, at least one.
    title: a heading over all of them; '' for none.
    max_samples: spectrograms per entry, best first.

  Raises:
    ValueError: there are no entries.
  """
  if not entries:
    raise ValueError('a plot needs at least one entry; got none.')
  chosen = [
    sorted(entry.samples, key=lambda sample: (sample.rank or 0, sample.index))[:max_samples]
    for entry in entries
  ]
  height_in = 2 * MARGIN_IN + (TITLE_IN if title else 0.0)
  height_in += sum(_height_in(entry, len(samples)) for entry, samples in zip(entries, chosen))
  layout = _Layout(height_in)
  layout.skip(MARGIN_IN)
  if title:
    layout.text(_plain(title), 20, TEXT_COLOR, weight='bold')
    layout.skip(TITLE_IN)
  for entry, samples in zip(entries, chosen):
    _entry(layout, entry, samples)
  with files.atomic_write(path) as partial, no_glyph_warnings():
    backend_agg.FigureCanvasAgg(layout.sheet).print_png(str(partial), metadata={'Software': files.MARK})
