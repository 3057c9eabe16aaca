"""Signal analysis on sounds whose properties are known, and the captions composed from it."""

import dataclasses
import pickle

import numpy as np
import pytest

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import apply
from data_pipelines.annotate import tagger
from v2a.data import annotations as annotations_lib
from v2a.media import transcript
from v2a.synthetic import speech

RATE_HZ = 44100
NOTHING = annotations_lib.Annotations()


def make_clip(wave_N: np.ndarray, start_s: float = 0.0) -> decoded.DecodedClip:
  wave_NA = np.stack([wave_N, wave_N], axis=1).astype(np.float32)
  frame_MYX3 = np.zeros((0, 0, 0, 3), np.uint8)
  return decoded.DecodedClip('a', frame_MYX3, wave_NA, RATE_HZ, start_s, len(wave_N) / RATE_HZ)


def tone(hz: float, amplitude: float = 0.1, seconds: float = 4.0) -> np.ndarray:
  time_N = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
  return amplitude * sum(np.sin(2 * np.pi * hz * k * time_N) / k for k in range(1, 6))


def clicks(times_s, seconds: float = 4.0, amplitude: float = 0.8) -> np.ndarray:
  rng = np.random.default_rng(0)
  wave_N = np.zeros(round(seconds * RATE_HZ))
  burst_N = rng.uniform(-1, 1, 2205) * np.exp(-np.arange(2205) / 300)
  for time_s in times_s:
    first = round(time_s * RATE_HZ)
    wave_N[first : first + 2205] += amplitude * burst_N
  return wave_N


def noise(amplitude: float, seconds: float = 4.0) -> np.ndarray:
  return amplitude * np.random.default_rng(0).uniform(-1, 1, round(seconds * RATE_HZ))


def texts(wave_N: np.ndarray, known: annotations_lib.Annotations = NOTHING) -> tuple[str, str]:
  added = tagger.Tagger().annotate(make_clip(wave_N), known)
  by_style = {each.style: each.text for each in added.captions}
  return by_style['short'], by_style['detailed']


def test_onsets_become_events_at_their_times_in_the_media():
  added = tagger.Tagger().annotate(make_clip(clicks([0.5, 1.5, 2.5, 3.5]), 10.0), NOTHING)
  np.testing.assert_allclose([each.start_s for each in added.events], [10.5, 11.5, 12.5, 13.5], atol=0.03)
  assert all(each.start_s == each.end_s and each.label == 'onset' for each in added.events)
  assert dict(added.tags)['onsets'] == '4'


@pytest.mark.parametrize(
  ('times_s', 'words'),
  [
    ([0.5, 1.5, 2.5, 3.5], 'Four distinct onsets at a regular pace, about one every 1.0 s.'),
    ([0.3, 0.5, 2.0, 3.7], 'Four distinct onsets at an irregular pace, about one every 1.1 s.'),
    ([2.0], 'One distinct onset.'),
    (np.arange(0.2, 3.8, 0.125), 'A dense series of about 8 onsets a second.'),
  ],
)
def test_the_pace_is_described(times_s, words):
  assert words in texts(clicks(times_s))[1]


@pytest.mark.parametrize(('hz', 'name'), [(220.0, 'A3'), (440.0, 'A4'), (311.1, 'E flat4')])
def test_the_pitch_is_described(hz, name):
  found = tagger.analyse(make_clip(tone(hz)).wave_NA, RATE_HZ)
  assert found.pitch_hz == pytest.approx(hz, rel=0.01) and found.music > 0.5 > found.noise
  assert f'with a pitch around {found.pitch_hz:.0f} Hz ({name})' in texts(tone(hz))[1]
  assert tagger.note(hz) == name


def test_noise_has_no_pitch_and_no_onsets():
  found = tagger.analyse(make_clip(noise(0.3)).wave_NA, RATE_HZ)
  assert found.pitch_hz is None and found.noise > 0.5 and found.music < 0.2
  short, detailed = texts(noise(0.3))
  assert short.startswith('Steady noise') and 'sharp and hissing' in detailed and 'pitch' not in detailed


def test_loudness_orders_the_words():
  words = ['very quiet', 'quiet', 'moderately loud', 'loud', 'very loud']
  levels = [tone(300.0, 10 ** (db / 20)) for db in (-55, -38, -27, -17, -8)]
  assert [texts(wave_N)[0].split(', ')[-1] for wave_N in levels] == [f'{word}.' for word in words]
  tags = dict(tagger.Tagger().annotate(make_clip(levels[0]), NOTHING).tags)
  louder = dict(tagger.Tagger().annotate(make_clip(2 * levels[0]), NOTHING).tags)
  assert float(louder['loudness_lufs']) - float(tags['loudness_lufs']) == pytest.approx(6.02, abs=0.11)


def test_brightness_orders_the_words():
  found = [tagger.analyse(make_clip(tone(hz)).wave_NA, RATE_HZ).brightness_hz for hz in (100, 400, 1500)]
  assert found == sorted(found) and 100 < found[0] < 400 < found[1] < 1500 < found[2] < 2800
  assert all(word in texts(tone(hz))[1] for hz, word in ((100, ' deep'), (400, ' low'), (1500, ' bright')))


def test_changes_are_described():
  wave_N = np.concatenate([tone(300.0, seconds=2.0), 0.1 * tone(300.0, seconds=2.0)])
  assert 'much quieter in the second half' in texts(wave_N)[1]
  assert 'much louder in the second half' in texts(wave_N[::-1])[1]
  assert 'second half' not in texts(tone(300.0))[1]
  half = np.concatenate([tone(300.0, seconds=2.0), np.zeros(2 * RATE_HZ)])
  assert 'About 50 percent of the time is silent.' in texts(half)[1]


def test_a_voice_is_no_noise_and_no_music():
  wave_N = speech.synthesize('the old man walked down the street to buy some bread and milk', 140, RATE_HZ)[0]
  found = tagger.analyse(make_clip(wave_N).wave_NA, RATE_HZ)
  assert found.speech > 0.5 and found.speech > max(found.music, found.noise)
  assert texts(wave_N)[0].startswith('A voice')


def test_silence_is_described_and_a_clip_without_sound_gets_nothing():
  silent = tagger.Tagger().annotate(make_clip(np.zeros(RATE_HZ)), NOTHING)
  assert [(each.style, each.text, each.confidence) for each in silent.captions] == [
    ('short', 'Silence.', 0.9),
    ('detailed', 'Nothing is audible.', 0.9),
  ]
  without = dataclasses.replace(make_clip(np.zeros(10)), wave_NA=np.zeros((0, 1), np.float32))
  assert tagger.Tagger().annotate(without, NOTHING) == NOTHING
  assert tagger.Tagger().annotate(make_clip(tone(440.0)[:4000]), NOTHING) == NOTHING


def test_labels_and_words_are_part_of_the_captions():
  labels = (
    annotations_lib.Caption('cat meowing', 'label', 'clap@1', 0.9),
    annotations_lib.Caption('dog barking', 'label'),
    annotations_lib.Caption('A dog.', 'short'),
  )
  known = annotations_lib.Annotations(captions=labels, transcript=transcript.Transcript('sit down ' * 10))
  clip = make_clip(clicks([0.5, 1.5]))
  result = apply.annotate(clip, known, [tagger.Tagger()])
  short, detailed = (each for each in result.annotations.captions if each.origin == 'signal-analysis@1')
  assert short.text.startswith('Dog barking, with two distinct onsets, ')
  assert short.text.endswith('a voice says "' + 'sit down ' * 6 + '...".')
  assert detailed.text.startswith('Dog barking. Separate sounds. Two distinct onsets.')
  assert detailed.text.endswith('A voice says: "' + ('sit down ' * 10).strip() + '".')
  assert short.confidence == tagger.LABELLED_CONFIDENCE
  only_clap = dataclasses.replace(known, captions=labels[:1], transcript=transcript.Transcript())
  assert texts(clicks([0.5, 1.5]), only_clap)[0].startswith('Cat meowing')
  assert not result.failures and result.annotations.captions[:3] == labels


def test_every_field_has_an_origin_and_a_low_confidence():
  each = tagger.Tagger()
  added = each.annotate(make_clip(clicks([0.5, 1.5])), NOTHING)
  annotator.check_additions(each, added)
  assert all(caption.confidence == 0.2 for caption in added.captions)
  assert all(field.confidence is not None for field in added.provenance)
  assert pickle.loads(pickle.dumps(each)).annotate(make_clip(clicks([0.5, 1.5])), NOTHING) == added


def test_a_short_sound_has_no_likelihoods_but_a_level():
  found = tagger.analyse(make_clip(tone(440.0, seconds=0.6)).wave_NA, RATE_HZ)
  assert (found.speech, found.music, found.noise) == (0.0, 0.0, 0.0) and found.loudness_lufs > -40
