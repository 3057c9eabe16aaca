"""Likelihoods of speech, music and noise on the synthetic set, which was not used to set them."""

import functools

import numpy as np
import pytest

from data_pipelines.filters import content
from v2a.synthetic import clips

SCENES = {'speech': ('dialogue',), 'music': ('score', 'keys'), 'noise': ('rain', 'wind')}
OTHERS = ('bounce', 'strike', 'engine')


@functools.cache
def found(scene: str, index: int) -> content.Features:
  rendered = clips.render(3, index, (scene,), 'clean', 4.0, 1, 4)
  wave_NA = rendered.wave_NA
  # Stems without the music that is mixed into scenes at random.
  if scene in OTHERS or scene in SCENES['noise']:
    wave_NA = wave_NA - rendered.stems['music']
  features = content.features(wave_NA, 16000)
  assert isinstance(features, content.Features)
  return features


def area_under_roc(kind: str, likelihood) -> float:
  """Returns the probability that a clip of a kind has a higher likelihood than one of the others."""
  others = [scene for name, scenes in SCENES.items() if name != kind for scene in scenes] + list(OTHERS)
  positive_N = np.array([likelihood(found(scene, k)) for scene in SCENES[kind] for k in range(4)])
  negative_N = np.array([likelihood(found(scene, k)) for scene in others for k in range(4)])
  difference_NN = positive_N[:, None] - negative_N
  return float((difference_NN > 0).mean() + 0.5 * (difference_NN == 0).mean())


@pytest.mark.parametrize(
  'kind, likelihood, smallest',
  [
    ('speech', content.speech_likelihood, 0.9),
    ('music', content.music_likelihood, 0.85),
    ('noise', content.noise_likelihood, 0.95),
  ],
)
def test_kinds_of_sound_are_ordered(kind, likelihood, smallest):
  measured = area_under_roc(kind, likelihood)
  print(f'{kind}: area under the ROC curve {measured:.2f}')
  assert measured >= smallest


def test_likelihoods_do_not_depend_on_level_or_rate():
  wave_NA = clips.render(3, 0, ('dialogue',), 'clean', 4.0, 1, 4, 44100).wave_NA
  loud, quiet = (content.features(gain * wave_NA, 44100) for gain in (1.0, 0.1))
  for name, value in vars(loud).items():
    assert value == pytest.approx(getattr(quiet, name), rel=0.1, abs=0.03)


def test_reasons():
  assert content.features(np.zeros((16000, 1)), 16000) == content.SILENT
  assert content.features(np.ones((8000, 1)), 16000) == content.TOO_SHORT


def test_held_notes_and_white_noise():
  time_N = np.arange(48000) / 16000
  chord_N = sum(np.sin(2 * np.pi * hz * time_N) for hz in (220, 277, 330))
  held = content.features(0.2 * chord_N[:, None], 16000)
  assert content.music_likelihood(held) == 1.0 and content.noise_likelihood(held) == 0.0
  white = content.features(0.1 * np.random.default_rng(0).standard_normal((48000, 1)), 16000)
  assert content.noise_likelihood(white) > 0.9 and content.music_likelihood(white) < 0.05
  assert content.speech_likelihood(held) < 0.2 and content.speech_likelihood(white) < 0.2
