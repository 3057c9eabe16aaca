"""Properties of all synthetic clips: determinism, ground truth, stems, corruptions, durations."""

import hashlib
import json
import multiprocessing

import numpy as np
import pytest

from v2a.synthetic import annotations
from v2a.synthetic import clips
from v2a.synthetic import dialogue
from v2a.synthetic import random_streams

SMALL = {'fps': 5, 'frame_size': 16}
TRUTH_KEYS = {
  'seed',
  'index',
  'scene',
  'look',
  'severity',
  'clip_s',
  'fps',
  'sample_rate_hz',
  'track_hz',
  'annotation',
  'transcript',
  'events',
  'material',
  'is_material_hidden',
  'envelope',
  'pitch_hz',
  'x',
  'has_music',
  'has_wind',
  'is_music_named',
  'notes',
  'tempo_bpm',
  'words',
  'phonemes',
  'mouth',
}
# Only these keys may differ between corruptions.
CORRUPTION_KEYS = {'look', 'severity'}


def digest(index: int) -> str:
  """Returns a hash of a whole clip; at module level, since a spawned process runs it."""
  clip = clips.render(3, index, ('dialogue',) if index % 2 else None, **SMALL)
  data = clip.frame_LYX3.tobytes() + clip.wave_NA.tobytes() + json.dumps(clip.truth, sort_keys=True).encode()
  return hashlib.sha256(data).hexdigest()


def test_clips_are_the_same_in_any_process_and_order():
  local = [digest(index) for index in range(12)]
  assert len(set(local)) == 12
  with multiprocessing.get_context('spawn').Pool(1) as pool:
    remote = pool.map(digest, reversed(range(12)))
  assert local == remote[::-1]


@pytest.mark.parametrize('scene', clips.SCENES)
def test_truth_stems_and_level_are_consistent(scene):
  for index in range(3):
    clip = clips.render(1, index, (scene,), **SMALL)
    truth = json.loads(json.dumps(clip.truth))
    assert set(truth) == TRUTH_KEYS and truth['scene'] == scene
    assert clip.frame_LYX3.shape == (20, 16, 16, 3) and clip.frame_LYX3.dtype == np.uint8
    assert clip.wave_NA.shape == (64000, 2) and clip.wave_NA.dtype == np.float32
    assert set(clip.stems) == {'effects', 'ambience', 'music', 'speech'}
    np.testing.assert_allclose(sum(clip.stems.values()), clip.wave_NA, atol=1e-6)
    assert np.isfinite(clip.wave_NA).all() and np.abs(clip.wave_NA).max() <= clips.PEAK
    assert (np.abs(clip.wave_NA).max() > 0.02) == (
      scene != 'still' and bool(scene != 'cut' or truth['events'] or truth['envelope'])
    )
    for track in ('envelope', 'pitch_hz', 'x', 'mouth'):
      assert truth[track] is None or len(truth[track]) == 400
    assert truth['has_music'] == bool(clip.stems['music'].any())
    assert truth['has_wind'] == bool(clip.stems['ambience'].any())
    times = [entry['time_s'] for entry in truth['events']]
    assert times == sorted(times) and (len(times) < 2 or np.diff(times).min() >= 0.12)


@pytest.mark.parametrize('corruption', ('archive', 'degraded'))
@pytest.mark.parametrize('scene', ('bounce', 'dialogue', 'rain'))
def test_a_corruption_changes_the_frames_only(scene, corruption):
  clean = clips.render(2, 4, (scene,), corruption='clean', fps=25, frame_size=24)
  other = clips.render(2, 4, (scene,), corruption=corruption, fps=25, frame_size=24)
  np.testing.assert_array_equal(clean.wave_NA, other.wave_NA)
  assert {key: clean.truth[key] for key in TRUTH_KEYS - CORRUPTION_KEYS} == {
    key: other.truth[key] for key in TRUTH_KEYS - CORRUPTION_KEYS
  }
  assert clean.truth['severity'] == 0 and 0 < other.truth['severity'] <= 1
  difference = np.abs(clean.frame_LYX3.astype(int) - other.frame_LYX3).mean()
  assert 1 < difference < 110


def test_archive_repeats_frames_and_is_grey():
  found = clips.render(2, 3, ('engine',), corruption='archive', fps=50, frame_size=24)
  repeated = (found.frame_LYX3[1:] == found.frame_LYX3[:-1]).all((1, 2, 3)).mean()
  assert 0.6 < repeated < 0.7  # 16 to 18 frames per second shown at 50
  spread = found.frame_LYX3.astype(int).max(-1) - found.frame_LYX3.astype(int).min(-1)
  assert spread.mean() < 25  # grey, or a warm print


@pytest.mark.parametrize('scene', ('bounce', 'strike', 'engine', 'keys'))
def test_audio_and_truth_do_not_depend_on_frame_rate_and_size(scene):
  one = clips.render(5, 2, (scene,), fps=12, frame_size=16)
  other = clips.render(5, 2, (scene,), fps=60, frame_size=40)
  np.testing.assert_array_equal(one.wave_NA, other.wave_NA)
  assert one.truth['events'] == other.truth['events'] and one.truth['annotation'] == other.truth['annotation']
  small = one.frame_LYX3.reshape(48, 4, 4, 4, 4, 3).mean((2, 4))
  large = other.frame_LYX3[::5].reshape(48, 4, 10, 4, 10, 3).mean((2, 4))
  assert np.abs(small - large).mean() < 6


@pytest.mark.parametrize('scene', clips.SCENES)
def test_other_durations_and_sample_rates(scene):
  for clip_s, sample_rate_hz in ((2.0, 48000), (9.0, 8000)):
    clip = clips.render(
      6, 1, (scene,), corruption='clean', clip_s=clip_s, fps=4, frame_size=12, sample_rate_hz=sample_rate_hz
    )
    assert clip.wave_NA.shape == (clip_s * sample_rate_hz, 2) and len(clip.frame_LYX3) == 4 * clip_s
    late = [entry['time_s'] for entry in clip.truth['events'] if entry['time_s'] > clip_s / 2]
    assert late or scene not in ('bounce', 'collide', 'strike', 'hidden', 'keys')


def test_annotations_are_varied_and_name_hidden_materials():
  texts = []
  for index in range(160):
    truth = clips.render(8, index, fps=1, frame_size=4, sample_rate_hz=8000).truth
    text = truth['annotation']
    texts.append(text)
    assert text.isascii() and 1 <= len(text) <= annotations.MAX_BYTES
    if truth['is_material_hidden']:
      assert truth['material'] in ('wood', 'metal', 'glass')
      assert truth['material'] in text.lower() or 'wooden' in text.lower()
    if truth['scene'] in clips.WITH_MUSIC:
      names = any(word in text.lower() for word in ('music', 'chords', 'melody'))
      assert names == truth['is_music_named']
  assert len(set(texts)) > 120


def test_half_of_the_clips_have_music_and_half_of_those_name_it():
  truths = [
    clips.render(9, index, ('strike',), fps=1, frame_size=4, sample_rate_hz=8000).truth
    for index in range(150)
  ]
  music = np.array([truth['has_music'] for truth in truths])
  named = np.array([truth['is_music_named'] for truth in truths])
  assert 0.43 < music.mean() < 0.67
  assert 0.36 < named[music].mean() < 0.68 and not named[~music].any()
  assert 0.1 < np.mean([truth['has_wind'] for truth in truths]) < 0.32


def test_the_grammar_has_enough_words():
  assert len(dialogue.VOCABULARY) >= 40
  rng = np.random.default_rng(0)
  for _ in range(200):
    words = dialogue.random_sentence(rng).split()
    assert 1 <= len(words) <= 5 and set(words) <= dialogue.VOCABULARY


def test_streams_are_independent():
  streams = random_streams.RandomStreams(1, 2)
  first = streams.rng('a').random(4)
  streams.rng('b').random(100)
  np.testing.assert_array_equal(first, streams.rng('a').random(4))
  assert not np.array_equal(first, random_streams.RandomStreams(1, 3).rng('a').random(4))


@pytest.mark.parametrize(
  'arguments, message',
  (
    ({'scenes': ('bounce', 'explode')}, 'explode'),
    ({'scenes': ()}, 'none'),
    ({'corruption': 'sepia'}, "'sepia'"),
    ({'clip_s': 1.0}, '2..30'),
    ({'fps': 0}, 'fps'),
    ({'frame_size': 3}, '4..1080'),
    ({'index': -1}, 'at least 0'),
  ),
)
def test_bad_arguments_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message.replace('.', r'\.')):
    clips.render(**{'seed': 0, 'index': 0, **arguments})


@pytest.mark.parametrize('scene', ('bounce', 'engine', 'rain', 'wind', 'dialogue'))
def test_large_frames_downscaled_have_the_motion_of_small_ones(scene):
  small, large = (
    clips.render(5, 0, (scene,), corruption='clean', clip_s=2, fps=12, frame_size=size).frame_LYX3.astype(
      float
    )
    for size in (32, 128)
  )
  downscaled = large.reshape(len(large), 32, 4, 32, 4, 3).mean((2, 4))
  motion, expected = (np.abs(np.diff(each, axis=0)).mean() for each in (downscaled, small))
  assert 0.8 * expected < motion < 1.1 * expected
