"""Edit lists: hidden frames, sections and pauses are preserved, and audio stays in sync."""

import fractions

import av
import numpy as np
import pytest

from tests.media import copies
from tests.media import films
from tests.media import mp4boxes
from v2a.media import boxes
from v2a.media import probe
from v2a.media import read
from v2a.media import source


def test_frames_trimmed_by_an_edit_list_stay_hidden(tmp_path):
  path = films.make(tmp_path / 'trimmed', 'mp4', duration_s=3.0)
  mp4boxes.set_edit_list(path, [(0.0, 1.6)])
  out = copies.mux(path).path
  assert probe.probe(out).duration_s == pytest.approx(1.6, abs=1e-3)
  assert len(copies.decoded(out)) == len(copies.decoded(path)) == 40


@pytest.mark.parametrize(
  ('start_s', 'duration_s', 'expected'),
  [
    (0.0, None, [*range(30), *range(60, 75)]),
    (0.4, 1.2, [*range(10, 30), *range(60, 70)]),
    (1.4, None, list(range(65, 75))),
  ],
)
def test_an_edit_list_of_two_sections_is_preserved(tmp_path, start_s, duration_s, expected):
  path = films.make(tmp_path / 'sections', 'mp4', duration_s=3.0)
  mp4boxes.set_edit_list(path, [(0.0, 1.2), (2.4, 0.6)])
  out = copies.mux(path, start_s=start_s, duration_s=duration_s).path
  length_s = len(expected) / 25
  # FFmpeg shows the first frame of a second section one frame late.
  numbers_shown = [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 25, 32, 0.0, length_s)]
  assert (
    sum(a != b for a, b in zip(numbers_shown, expected)) <= 2 and len(set(numbers_shown) - set(expected)) == 0
  )
  with av.open(str(out)) as container:
    assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == pytest.approx(
      length_s, abs=1e-3
    )


def test_a_pause_in_an_edit_list_is_preserved(tmp_path):
  path = films.make(tmp_path / 'pause', 'mp4', duration_s=3.0)
  mp4boxes.set_edit_list(path, [(0.0, 1.0), (None, 0.48), (1.0, 2.0)])
  out = copies.mux(path).path
  assert boxes.edits(out, 1)[1] == boxes.Edit(fractions.Fraction(12, 25), None)
  assert probe.probe(out).duration_s == pytest.approx(3.48, abs=0.041)
  np.testing.assert_array_equal(read.frames(out, 25, 32, 0.0, 3.4), read.frames(path, 25, 32, 0.0, 3.4))


def test_an_edit_list_that_begins_within_a_frame_keeps_sync(tmp_path):
  """FFmpeg drops the partial frame and starts the next one at once, ahead of the audio."""
  path = films.make(tmp_path / 'within', 'mp4', duration_s=3.0, wave_NA=films.clicks(3.0, 44100))
  mp4boxes.set_edit_list(path, [(0.5, 2.0)])
  assert source.clock_origin_s(path) == pytest.approx(0.02, abs=1e-4)
  assert films.frame_number(read.frames(path, 25, 32, 0.0, 0.04)[0]) == 13
  audio_N = read.wave(path, 44100, 1, 0.0, 1.9)[:, 0]
  expected_N = films.clicks(3.0, 44100)[round(0.02 * 44100) :, 0]  # the audio track has no such edit
  assert abs(films.lag_s(audio_N, expected_N[: len(audio_N)], 44100)) < 1e-3
  assert probe.probe(copies.mux(path).path).duration_s == pytest.approx(1.98, abs=1e-3)
