"""The page and the plot: what they hold, where their links lead, and that text cannot break them."""

import dataclasses
import pathlib
import urllib.parse

import numpy as np
from PIL import Image
import pytest

from tests import pages
from v2a.reports import filmstrip
from v2a.reports import gallery_entries
from v2a.reports import gallery_page
from v2a.reports import gallery_plot


def entry(
  folder: pathlib.Path, title: str = 'A ball', num_samples: int = 2, has_video: bool = True
) -> gallery_entries.Entry:
  """Returns an entry whose files exist."""
  rng = np.random.default_rng(0)
  samples = []
  for index in range(num_samples):
    wav = folder / f'a #{index}?.wav'
    wav.write_bytes(b'RIFF')
    video = folder / f'a #{index}?.mp4' if has_video else None
    if video:
      video.write_bytes(b'mp4')
    level_RJ = -80 * rng.random((8, 100))
    samples.append(
      gallery_entries.Sample(index, level_RJ, wav, video, 0.1 * index, num_samples - index, -20.0)
    )
  frame_MYX3 = rng.integers(0, 255, (6, 32, 32, 3)).astype(np.uint8) if has_video else None
  motion_L = rng.random(25).astype(np.float32) if has_video else np.zeros(0, np.float32)
  return gallery_entries.Entry(
    title,
    1.0,
    tuple(samples),
    prompt='wood & <b>glass</b> "quoted" $x$ ${title}',
    motion_L=motion_L,
    thumbnail_MYX3=frame_MYX3,
    aspect=16 / 9,
    event_times_s=(0.5,),
  )


def test_links_lead_to_the_files(tmp_path):
  (tmp_path / 'sounds').mkdir()
  gallery_page.write(tmp_path / 'index.html', [entry(tmp_path / 'sounds')], 'Title', 'Lead')
  reader = pages.read(tmp_path / 'index.html')
  links = [
    attributes.get('src') or attributes.get('href')
    for tag, attributes in reader.tags
    if tag in ('video', 'a')
  ]
  assert len(links) == 2 + 4
  for link in links:
    assert (tmp_path / urllib.parse.unquote(urllib.parse.urlsplit(link).path)).is_file()
  sources = [attributes['src'] for tag, attributes in reader.tags if tag == 'img']
  assert len(sources) == 3 and all(source.startswith('data:image/jpeg;base64,') for source in sources)


def test_nothing_is_loaded_from_elsewhere(tmp_path):
  gallery_page.write(tmp_path / 'index.html', [entry(tmp_path)], 'Title')
  assert 'http' not in (tmp_path / 'index.html').read_text(encoding='utf-8')


def test_markup_in_texts_is_escaped(tmp_path):
  title = '</article><script>alert(1)</script> $lead'
  gallery_page.write(tmp_path / 'index.html', [entry(tmp_path, title)], 'Title', 'Lead')
  reader = pages.read(tmp_path / 'index.html')
  assert [tag for tag, _ in reader.tags].count('script') == 1
  words = ''.join(reader.text_parts)
  assert title in words and 'wood & <b>glass</b> "quoted" $x$ ${title}' in words


def test_the_best_sample_is_shown(tmp_path):
  shown = entry(tmp_path, num_samples=3)
  assert shown.best.index == 2
  gallery_page.write(tmp_path / 'index.html', [shown], 'Title')
  players = [
    attributes
    for tag, attributes in pages.read(tmp_path / 'index.html').tags
    if tag == 'div' and attributes.get('class') == 'player'
  ]
  assert [player['data-sample'] for player in players if 'hidden' not in player] == ['2']


def test_sound_alone(tmp_path):
  gallery_page.write(tmp_path / 'index.html', [entry(tmp_path, num_samples=1, has_video=False)], 'Title')
  tags = [tag for tag, _ in pages.read(tmp_path / 'index.html').tags]
  assert 'audio' in tags and 'video' not in tags and 'svg' not in tags
  gallery_plot.write(tmp_path / 'index.png', [entry(tmp_path, num_samples=1, has_video=False)])


def test_the_plot_grows_with_what_it_shows(tmp_path):
  heights = []
  for shown, max_samples in (([entry(tmp_path)], 1), ([entry(tmp_path)], 2), ([entry(tmp_path)] * 2, 2)):
    gallery_plot.write(tmp_path / 'x.png', shown, 'Title $x$', max_samples)
    with Image.open(tmp_path / 'x.png') as image:
      assert image.width == round(gallery_plot.WIDTH_IN * gallery_plot.DPI)
      heights.append(image.height)
  assert heights == sorted(set(heights))
  assert [path.name for path in tmp_path.glob('.*')] == []


def test_empty_is_refused(tmp_path):
  with pytest.raises(ValueError, match='at least one entry'):
    gallery_page.write(tmp_path / 'index.html', [], 'Title')
  with pytest.raises(ValueError, match='at least one entry'):
    gallery_plot.write(tmp_path / 'index.png', [])
  with pytest.raises(ValueError, match='has no samples'):
    gallery_entries.Entry('x', 1.0, ())
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ('duration_s', 'wanted'),
  [
    (0.35, [0.0, 0.1, 0.2, 0.3]),
    (4.0, [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]),
    (8.0, list(range(9))),
    (61.0, [0, 10, 20, 30, 40, 50, 60]),
    (300.0, [0, 60, 120, 180, 240, 300]),
  ],
)
def test_ticks_are_at_round_times(duration_s, wanted):
  assert gallery_entries.ticks(duration_s) == wanted


@pytest.mark.parametrize(('time_s', 'words'), [(0.5, '0.5'), (2.0, '2'), (90, '1:30')])
def test_tick_labels_are_seconds_or_minutes(time_s, words):
  assert gallery_entries.tick_label(time_s) == words


@pytest.mark.parametrize('aspect', [0.5, 1.0, 2.4, 3.8])
def test_a_film_strip_keeps_the_aspect_ratio(aspect):
  frame_YX3 = np.zeros((60, 60, 3), np.uint8)
  frame_YX3[20:40, 20:40] = 255
  strip_YX3 = filmstrip.strip(np.stack([frame_YX3] * 9), aspect, 60, 600)
  assert strip_YX3.shape == (60, 600, 3)
  num_cells = round(600 / (60 * aspect)) if round(600 / (60 * aspect)) < 9 else 9
  column = int(300 / num_cells) if num_cells > 1 else 300
  white = strip_YX3[:, :, 0] > 127
  rows = white[:, column].sum()
  columns = white[30, : 600 // num_cells].sum()
  assert columns / rows == pytest.approx(aspect, rel=0.12)


def test_a_sample_in_words(tmp_path):
  sample = gallery_entries.Sample(0, np.zeros((8, 100)), tmp_path / 'a.wav', None, 0.25, 3, -66.98)
  assert sample.details == ['rank 3', 'score 0.250', '-67 dB RMS']
  assert gallery_entries.Sample(0, np.zeros((8, 100)), tmp_path / 'a.wav').details == []
  others = dataclasses.replace(sample, index=1, rank=1), dataclasses.replace(sample, index=2, rank=2)
  for samples, words in (((sample, *others), '>rank 3 · score'), ((sample,), '>score')):
    entry = gallery_entries.Entry('A ball', 1.0, samples)
    gallery_page.write(tmp_path / 'index.html', [entry], 'Title', 'Lead')
    # A single sample has no rank.
    assert f'{words} 0.250 · -67 dB RMS' in (tmp_path / 'index.html').read_text()
