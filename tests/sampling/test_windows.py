"""Windows of long clips: their starts and words, how they continue each other, lengths and seams."""

import dataclasses

import numpy as np
import pytest

from tests.media import films
from tests.sampling import runs
from v2a import clip
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.sampling import windows


@runs.each_generator
def test_a_longer_clip_begins_as_the_shorter(model, generator):
  long, short = (
    runs.waves(runs.generate(model, 1, seconds, generator=generator))[0] for seconds in (6.0, 3.0)
  )
  np.testing.assert_allclose(long[:16000], short[:16000], atol=2e-2)


@pytest.mark.parametrize('generator', ['tokens', 'masked'])
def test_a_window_continues_the_tokens_of_the_one_before(model, monkeypatch, generator):
  seen, sample = [], model.sample
  monkeypatch.setattr(
    model,
    'sample',
    lambda inputs, *args, **kwargs: seen.append((inputs, sample(inputs, *args, **kwargs))) or seen[-1][1],
  )
  runs.generate(model, 1, 4.0, generator=generator)
  assert len(seen) == 3, 'windows of two seconds that share one'
  for (_, before_BTK), (inputs, after_BTK) in zip(seen, seen[1:]):
    assert inputs['prefix_mask_BT'][0].tolist() == [True] * 25 + [False] * 25
    np.testing.assert_array_equal(after_BTK[0, :25], before_BTK[0, 25:])
    assert np.mean(np.asarray(after_BTK[0, 25:]) == np.asarray(before_BTK[0, 25:])) < 0.5, 'the same noise'
    assert after_BTK.dtype == np.int32 and after_BTK.min() >= 0 and after_BTK.max() < 16


@pytest.mark.parametrize(
  ('duration_s', 'generator'),
  [
    (0.3, 'flow'),
    (2.0, 'flow'),
    (9.0, 'flow'),
    (61.04, 'flow'),
    (0.3, 'tokens'),
    (9.0, 'tokens'),
    (9.0, 'masked'),
  ],
)
def test_lengths_and_seams(model, duration_s, generator):
  wave_NA = runs.waves(runs.generate(model, 1, duration_s, generator=generator))[0]
  assert wave_NA.shape == (round(duration_s * 16000), 2)
  assert np.isfinite(wave_NA).all() and np.abs(wave_NA).max() <= pipeline.MAX_PEAK + 1e-6
  _assert_no_seam(wave_NA, duration_s)


def _assert_no_seam(wave_NA, duration_s):
  """Steps between samples at the seams of windows and pieces are none of the largest of the clip."""
  step_N = np.abs(np.diff(wave_NA, axis=0)).max(axis=1)
  loud = np.quantile(step_N, 0.999)
  for second in range(1, int(duration_s)):
    around = step_N[second * 16000 - 20 : second * 16000 + 20]
    assert around.max() <= 1.5 * loud + 1e-6, f'{second} s'


@pytest.mark.slow
def test_five_minutes_have_no_seam(model):
  wave_NA = runs.waves(runs.generate(model, 1, 300.0, steps=1))[0]
  assert len(wave_NA) == 300 * 16000
  _assert_no_seam(wave_NA, 300.0)


def test_windows_cover_the_clip_and_overlap():
  for duration_s in (0.5, 4.0, 4.01, 8.0, 9.7, 300.0):
    starts = windows.starts(clip.ClipSpec(), round(duration_s * 16000), 1.0)
    assert starts[0] == 0 and starts[-1] + 100 >= duration_s * 25
    assert all(25 <= b - a <= 75 for a, b in zip(starts, starts[1:]))
  with pytest.raises(ValueError, match='leaves no room'):
    windows.starts(clip.ClipSpec(clip_s=1.0), 128000, 1.0)


def test_words_fall_into_their_windows():
  words = windows.transcript_in_window('one two three four', 0.0, 4.0, 8.0)
  assert words == 'one two'
  assert windows.transcript_in_window('one two three four', 4.0, 8.0, 8.0) == 'three four'
  times_s = (-0.5, 3.9, 4.0, 8.5)
  assert windows.transcript_in_window('one two three four', 0.0, 4.0, 8.0, times_s) == 'two'
  assert windows.transcript_in_window('one two three four', 4.0, 8.0, 8.0, times_s) == 'three'
  assert (
    windows.transcript_in_window('one two three four', 4.0, 9.0, 8.0, times_s) == 'three'
  )  # not after the end


def test_words_with_times_are_in_their_windows(model):
  """Times count from the start of the video; a word is in all windows that contain it."""
  times_s = (0.5, 2.0, 3.5, 5.5)
  request = runs.request(transcript='one two three four', word_times_s=times_s)
  job = runs.job(model, request_lib.Input(None, 0.0, 4.4), request)
  assert len(job.starts) > 1 and job.transcripts[0] == 'one'
  for first, spoken in zip(job.starts, job.transcripts):
    start_s = first / 25
    inside = [start_s <= time_s < min(4.4, start_s + model.clip_spec.clip_s) for time_s in times_s]
    assert spoken == ' '.join(
      word for word, is_inside in zip(request.transcript.split(), inside) if is_inside
    )
  part = dataclasses.replace(job.source, start_s=1.5)
  assert runs.job(model, part, request).transcripts[0] == 'two'
  with pytest.raises(ValueError, match='a time for each of the 2 words of the transcript; got 4'):
    dataclasses.replace(request, transcript='one two').validate()


def test_too_many_words_for_a_window_name_the_file_and_the_time(model, tmp_path):
  path, long = films.make(tmp_path / 'film', duration_s=4.4), 'w' * 60
  request = runs.request(transcript=f'a {long} {long}', word_times_s=(0.5, 4.0, 4.1))
  found = runs.run(model, [request_lib.Input(path, 0.5, None)], request)
  spec, starts = model.clip_spec, runs.job(model, request_lib.Input(path, 0.5, None), runs.request()).starts
  late_s = 0.5 + next(each / 25 for each in starts if each / 25 + spec.clip_s > 3.6)
  assert found[0].error == (
    f'{path}: the window from {late_s:g} s to {late_s + spec.clip_s:g} s must hold at most '
    f'{spec.num_transcript_bytes} bytes of transcript; got 121.'
  )
