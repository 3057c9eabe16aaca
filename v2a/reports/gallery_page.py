"""The gallery as a web page: players with a playhead over film strip, motion curve and spectrogram.

The page is one file (style, script and plots inside); sounds and videos are linked relative to it. It follows
the reader's light or dark setting, and works without a script (players and plots are there; the playhead is
not).
"""

from collections.abc import Sequence
import html
import os
import pathlib
import string
import urllib.parse

from v2a import files
from v2a.reports import filmstrip
from v2a.reports import gallery_entries
from v2a.reports import inline_images
from v2a.reports import spectrogram

FILM_ROWS, FILM_COLUMNS = 112, 1160
POSTER_ROWS = 256
CURVE_WIDTH, CURVE_HEIGHT = 1000, 100
TEMPLATE = pathlib.Path(__file__).parent / 'gallery_page.html'


def _poster(entry: gallery_entries.Entry) -> str:
  """Returns the first thumbnail in its own shape."""
  assert entry.thumbnail_MYX3 is not None
  columns = max(8, round(POSTER_ROWS * entry.aspect))
  return inline_images.jpeg(filmstrip.strip(entry.thumbnail_MYX3[:1], entry.aspect, POSTER_ROWS, columns))


def _curve(entry: gallery_entries.Entry) -> str:
  """Returns the motion curve as SVG, with a tick for each known event."""
  level = spectrogram.envelope(entry.motion_L, CURVE_WIDTH // 2)
  level = level / max(float(level.max()) * 1.08, 1e-3)
  points = ' '.join(
    f'{(column + 0.5) * CURVE_WIDTH / len(level):.1f},{CURVE_HEIGHT * (1 - value):.1f}'
    for column, value in enumerate(level)
  )
  events = ''.join(
    f'<line class="event" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{CURVE_HEIGHT}"/>'
    for x in (CURVE_WIDTH * time_s / entry.duration_s for time_s in entry.event_times_s)
  )
  return (
    f'<svg class="curve" viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" preserveAspectRatio="none" '
    f'role="img" aria-label="motion over time">'
    f'<polygon points="0,{CURVE_HEIGHT} {points} {CURVE_WIDTH},{CURVE_HEIGHT}"/><polyline points="{points}"/>'
    f'{events}</svg>'
  )


def _link(path: pathlib.Path, folder: pathlib.Path) -> str:
  """Returns the URL of a file relative to the folder of the page."""
  relative = os.path.relpath(path, folder)
  return html.escape(urllib.parse.quote(os.fsencode(pathlib.PurePath(relative).as_posix())), quote=True)


def _player(
  entry: gallery_entries.Entry, sample: gallery_entries.Sample, folder: pathlib.Path, is_shown: bool
) -> str:
  hidden = '' if is_shown else ' hidden'
  wav = _link(sample.wav, folder)
  if sample.video is None:
    media = f'<audio controls preload="metadata" src="{wav}"></audio>'
  else:
    poster = '' if entry.thumbnail_MYX3 is None else f'poster="{_poster(entry)}" '
    media = (
      f'<video controls playsinline preload="metadata" style="aspect-ratio:{entry.aspect:.4f}" {poster}'
      f'src="{_link(sample.video, folder)}"></video>'
    )
  files = f'<a href="{wav}" download>wav</a>'
  if sample.video is not None:
    files = f'<a href="{_link(sample.video, folder)}" download>video</a> {files}'
  return (
    f'<div class="player" data-sample="{sample.index}"{hidden}>{media}'
    f'<p class="files"><span>{" · ".join(entry.details_of(sample))}</span><span>{files}</span></p></div>'
  )


def _tabs(samples: Sequence[gallery_entries.Sample], shown: gallery_entries.Sample) -> str:
  if len(samples) == 1:
    return ''
  buttons = ''.join(
    f'<button type="button" data-sample="{sample.index}" '
    f'aria-pressed="{"true" if sample is shown else "false"}">'
    f'{sample.index}{" ★" if sample.rank == 1 else ""}</button>'
    for sample in samples
  )
  return f'<div class="tabs" role="group" aria-label="samples"><span>samples</span>{buttons}</div>'


def _plots(entry: gallery_entries.Entry, shown: gallery_entries.Sample) -> str:
  rows = []
  if entry.thumbnail_MYX3 is not None:
    strip_YX3 = filmstrip.strip(entry.thumbnail_MYX3, entry.aspect, FILM_ROWS, FILM_COLUMNS)
    rows.append(
      f'<img class="film" alt="frames of the clip over time" src="{inline_images.jpeg(strip_YX3)}">'
    )
  if len(entry.motion_L):
    rows.append(f'<div class="row"><span class="name">motion</span>{_curve(entry)}</div>')
  for sample in entry.samples:
    hidden = '' if sample is shown else ' hidden'
    rows.append(
      f'<div class="row" data-sample="{sample.index}"{hidden}><span class="name light">sound</span>'
      f'<img class="sound" alt="spectrogram of sample {sample.index}" '
      f'src="{inline_images.spectrogram(sample.mel_db_RJ)}"></div>'
    )
  times = ''.join(
    f'<span style="left:{100 * time_s / entry.duration_s:.2f}%">{gallery_entries.tick_label(time_s)}</span>'
    for time_s in gallery_entries.ticks(entry.duration_s)
    if time_s < 0.985 * entry.duration_s
  )
  return (
    f'<div class="plots" data-duration="{entry.duration_s:.6f}">{"".join(rows)}'
    f'<div class="head" hidden></div></div><div class="times">{times}<b>s</b></div>'
  )


def _card(entry: gallery_entries.Entry, folder: pathlib.Path) -> str:
  shown = entry.best
  details = ''.join(f'<li><b>{name}</b> {html.escape(text)}</li>' for name, text in entry.details)
  note = f'<p class="note">{html.escape(entry.note)}</p>' if entry.note else ''
  players = ''.join(_player(entry, sample, folder, sample is shown) for sample in entry.samples)
  return (
    f'<article><div class="left">{players}{_tabs(entry.samples, shown)}</div>'
    f'<div class="right"><h2>{html.escape(entry.title)}</h2>{note}<ul>{details}</ul>'
    f'{_plots(entry, shown)}</div></article>'
  )


def render(entries: Sequence[gallery_entries.Entry], folder: pathlib.Path, title: str, lead: str = '') -> str:
  """Returns the page.

  Args:
    entries: the entries in order.
    folder: where the page will lie; links are relative to it.
    title: the heading.
    lead: one sentence under the heading.

  Returns:
    The HTML of the page.
  """
  cards = '\n'.join(_card(entry, folder) for entry in entries)
  template = string.Template(TEMPLATE.read_text(encoding='utf-8'))
  return template.substitute(title=html.escape(title), lead=html.escape(lead), cards=cards)


def write(path: pathlib.Path, entries: Sequence[gallery_entries.Entry], title: str, lead: str = '') -> None:
  """Writes the page; the file appears only when it is complete.

  Args:
    path: the file to write.
    entries: the entries in order, at least one.
    title: the heading.
    lead: one sentence under the heading.

  Raises:
    ValueError: there are no entries.
  """
  if not entries:
    raise ValueError('a page needs at least one entry; got none.')
  files.write_text(path, render(entries, path.parent, title, lead))
