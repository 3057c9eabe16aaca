"""Players show the part of a video that is its clip, with its sound."""

import base64
import fractions
import io

import av
import numpy as np
import pytest

from data_pipelines.reporting import players
from tests.media import films
from v2a.data import media_records
from v2a.media import audio_file
from v2a.media import preview

RATE_HZ = 16000


def decoded(media: str) -> tuple[list[tuple[float, int]], np.ndarray]:
  """Returns time and number of the frames of a data URL, and its sound."""
  content = base64.b64decode(media.partition(',')[2])
  with av.open(io.BytesIO(content)) as container:
    frames = [
      (float(frame.time), films.frame_number(frame.to_ndarray(format='rgb24')))
      for frame in container.decode(video=0)
    ]
  with av.open(io.BytesIO(content)) as container:
    blocks = [block.to_ndarray().T for block in container.decode(audio=0)]
  return frames, np.concatenate(blocks)


@pytest.mark.parametrize('height', [192, 360])
@pytest.mark.parametrize(('start_s', 'first'), [(0.0, 0), (0.4, 10), (0.41, 10)])
def test_the_clip_starts_where_the_record_says(start_s, first, height, tmp_path):
  frames = ((k / fractions.Fraction(25), films.numbered_frame(k, height, 320)) for k in range(50))
  preview.write(tmp_path / 'video.mp4', frames, fractions.Fraction(2))
  wave_NA = films.clicks(1.0, RATE_HZ, seed=0)
  record = media_records.MediaRecord(
    'a',
    'a',
    1.0,
    (tmp_path / 'video.mp4').read_bytes(),
    '.mp4',
    start_s,
    audio_file.flac_bytes(wave_NA, RATE_HZ),
  )
  player = players.make(record, 10**7)
  assert (player.problem, player.height) == ('', min(height, 240)) and player.duration_s == 1.0
  found, sound_NA = decoded(player.media)
  numbers = [number for _, number in found]
  assert numbers == list(range(first, first + len(numbers))) and 25 <= len(numbers) <= 26
  wanted_s = [max(0.0, number / 25 - start_s) for number in numbers]
  np.testing.assert_allclose([time_s for time_s, _ in found], wanted_s, atol=1e-3)
  assert abs(films.lag_s(sound_NA[:, 0], wave_NA[:, 0], RATE_HZ)) < 0.002


def test_media_without_room_are_left_out():
  wave_NA = films.clicks(1.0, RATE_HZ, seed=0)
  record = media_records.MediaRecord('a', 'a', 1.0, audio=audio_file.flac_bytes(wave_NA, RATE_HZ))
  size = len(players.make(record, 10**7).media)
  assert players.make(record, size).media and not players.make(record, size - 1).media
