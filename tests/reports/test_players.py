"""Players show the frames of their clip beside its sound, from files beside the page, replacing no others."""

import dataclasses
import fractions
import json
import pathlib
import urllib.parse

import av
import numpy as np
import pytest
import soundfile

from tests import pages
from tests.media import films
from v2a.data import examples as examples_lib
from v2a.media import preview
from v2a.media import probe
from v2a.metrics import metric as metric_lib
from v2a.reports import players

RATE_HZ, CLIP_S = 16000, 1.0
FRAME_LYX3 = np.stack([films.numbered_frame(k, 32, 32) for k in range(25)])


def example(name: str = 'a', frame_LYX3: np.ndarray = FRAME_LYX3, **more) -> examples_lib.Example:
  """Returns a clip of one second."""
  wave_NA = np.zeros((RATE_HZ, 2), np.int16)
  return examples_lib.Example(name, {}, wave_NA, None, (frame_LYX3, frame_LYX3), None, **more)


def sound(seed: int = 0) -> metric_lib.Sound:
  """Returns clicks at irregular times."""
  return metric_lib.Sound(films.clicks(CLIP_S, RATE_HZ, seed=seed), RATE_HZ)


def write(page: pathlib.Path, *clips: tuple) -> pages.Reader:
  """Writes a page that plays clips (example, sound, label, ...)."""
  with players.writer(page) as media:
    page.write_text(
      ''.join(found.element + found.download for found in (media.player(*clip) for clip in clips))
    )
  return pages.read(page)


def sources(reader: pages.Reader, page: pathlib.Path, tag: str) -> list[pathlib.Path]:
  """Returns the files that elements play."""
  urls = [attributes['src'] for found, attributes in reader.tags if found == tag]
  assert not any(urllib.parse.urlsplit(url).scheme or url.startswith('/') for url in urls)
  return [page.parent / urllib.parse.unquote(url) for url in urls]


def test_a_video_has_the_sound_and_the_frames_at_their_times(tmp_path):
  page, clicks = tmp_path / 'page.html', sound()
  (video,) = sources(write(page, (example(), clicks, 'x')), page, 'video')
  with av.open(str(video)) as container:
    frames = [(float(frame.time), frame.to_ndarray(format='rgb24')) for frame in container.decode(video=0)]
  assert [films.frame_number(frame_YX3) for _, frame_YX3 in frames] == list(range(25))
  np.testing.assert_allclose([time_s for time_s, _ in frames], np.arange(25) / 25, atol=1e-4)
  with av.open(str(video)) as container:
    blocks = [block.to_ndarray().T for block in container.decode(audio=0)]
  decoded_NA = np.concatenate(blocks)
  assert abs(films.lag_s(decoded_NA[:, 0], clicks.wave_NA[:, 0], RATE_HZ)) < 0.002
  assert probe.probe(video).duration_s == pytest.approx(CLIP_S, abs=1e-3)


def test_frames_of_a_file_are_shown_at_its_own_size(tmp_path):
  film = tmp_path / 'film.mp4'
  frames = ((k / fractions.Fraction(25), films.numbered_frame(k, 240, 320)) for k in range(50))
  preview.write(film, frames, fractions.Fraction(2))
  page = tmp_path / 'page.html'
  (video,) = sources(write(page, (example(video=film), sound(), 'x')), page, 'video')
  info = probe.probe(video)
  assert (info.width, info.height) == (320, 240) and info.duration_s == pytest.approx(CLIP_S, abs=1e-3)


def test_variants_show_their_own_frames(tmp_path):
  other_LYX3 = np.stack([films.numbered_frame(100 + k, 32, 32) for k in range(25)])
  clip = dataclasses.replace(example(), paired_variant=lambda corruption: (other_LYX3, other_LYX3))
  page = tmp_path / 'page.html'
  reader = write(page, (clip, sound(), 'clean'), (clip, sound(), 'old', 'archive'))
  numbers = []
  for path in sources(reader, page, 'video'):
    with av.open(str(path)) as container:
      numbers.append(films.frame_number(next(container.decode(video=0)).to_ndarray(format='rgb24')))
  assert numbers == [0, 100]


def test_without_frames_there_is_audio_alone(tmp_path):
  page, clicks = tmp_path / 'page.html', sound()
  reader = write(page, (example(frame_LYX3=np.zeros_like(FRAME_LYX3)), clicks, 'x'))
  assert sources(reader, page, 'video') == []
  (flac,) = sources(reader, page, 'audio')
  wave_NA, rate_hz = soundfile.read(flac)
  assert rate_hz == RATE_HZ
  np.testing.assert_allclose(wave_NA, clicks.wave_NA, atol=2 / 32767)


def test_names_are_text_and_links_lead_to_files(tmp_path):
  page = tmp_path / 'a "page" #1.html'
  reader = write(page, (example('50 % <b> #?'), sound(), '"x" <i>'), (example('A'), sound(), 'x'))
  assert {tag for tag, _ in reader.tags} == {'video', 'a'}
  links = [
    attributes[name]
    for _, attributes in reader.tags
    for name in ('src', 'href', 'poster')
    if name in attributes
  ]
  assert len(links) == 6
  found = {tmp_path / urllib.parse.unquote(link) for link in links}
  folder = players.folder_of(page)
  assert found | {folder / players.LISTING} == set(folder.iterdir()) and 'silent' not in str(found)


def test_a_sound_that_is_played_twice_is_written_once(tmp_path):
  page, clip, clicks = tmp_path / 'page.html', example(), sound()
  reader = write(page, (clip, clicks, 'x'), (clip, clicks, 'x'), (clip, sound(1), 'y'))
  assert len(set(sources(reader, page, 'video'))) == 2 < len(sources(reader, page, 'video'))


def test_clips_of_one_name_have_their_own_frames(tmp_path):
  page, other_LYX3 = (
    tmp_path / 'page.html',
    np.stack([films.numbered_frame(100 + k, 32, 32) for k in range(25)]),
  )
  reader = write(page, (example('a'), sound(), 'x'), (example('a', other_LYX3), sound(), 'x'))
  numbers = []
  for path in sources(reader, page, 'video'):
    with av.open(str(path)) as container:
      numbers.append(films.frame_number(next(container.decode(video=0)).to_ndarray(format='rgb24')))
  assert numbers == [0, 100]


def test_a_later_run_replaces_its_own_files_alone(tmp_path):
  page = tmp_path / 'page.html'
  write(page, (example('a'), sound(), 'x'), (example('b'), sound(), 'x'))
  write(page, (example('c'), sound(), 'x'))
  folder = players.folder_of(page)
  assert len(list(folder.iterdir())) == 4 and not any(' a ' in path.name for path in folder.iterdir())
  (folder / 'mine.wav').write_text('mine')
  with pytest.raises(FileExistsError, match='mine.wav: exists and was not written by v2a'):
    write(page, (example('d'), sound(), 'x'))
  assert (folder / 'mine.wav').read_text() == 'mine' and len(list(folder.iterdir())) == 5
  (folder / 'mine.wav').unlink()
  write(page)
  assert not folder.exists()


def test_a_file_that_appears_meanwhile_stays(tmp_path):
  page = tmp_path / 'page.html'
  write(page, (example('a'), sound(), 'x'))
  folder = players.folder_of(page)
  with pytest.raises(FileExistsError, match='mine.wav: exists'), players.writer(page) as media:
    media.player(example('b'), sound(), 'x')
    (folder / 'mine.wav').write_text('mine')
  assert (folder / 'mine.wav').read_text() == 'mine' and len(list(folder.iterdir())) == 5
  assert sorted(path.name for path in tmp_path.iterdir()) == ['page.html', 'page_media']


@pytest.mark.parametrize('listing', [None, '{}', 'no JSON', json.dumps({'files': ['mine.wav']})])
def test_a_folder_of_the_user_stays(listing, tmp_path):
  folder = tmp_path / 'page_media'
  folder.mkdir()
  (folder / 'mine.wav').write_text('mine')
  if listing is not None:
    (folder / players.LISTING).write_text(listing)
  with pytest.raises(FileExistsError, match='was not written by v2a'):
    players.check(tmp_path / 'page.html')


def test_a_failure_leaves_nothing_and_keeps_the_earlier_files(tmp_path):
  page = tmp_path / 'page.html'
  write(page, (example('a'), sound(), 'x'))
  before = sorted(players.folder_of(page).iterdir())
  with pytest.raises(RuntimeError), players.writer(page) as media:
    media.player(example('b'), sound(), 'x')
    raise RuntimeError
  assert sorted(players.folder_of(page).iterdir()) == before
  assert sorted(path.name for path in tmp_path.iterdir()) == ['page.html', 'page_media']
