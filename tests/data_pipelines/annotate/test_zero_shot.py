"""Labels by CLAP: probabilities, and a small network with random weights in place of the published one."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.annotate import annotator
from data_pipelines.annotate import zero_shot
from tests.models.published import clap_weights
from v2a.data import annotations as annotations_lib
from v2a.models.published import clap as network

NOTHING = annotations_lib.Annotations()
LABELS = ('A', 'B', 'C', 'D')


def tokenize(text: str) -> list[int]:
  return [ord(letter) for letter in text]


@pytest.fixture(scope='module')
def small() -> zero_shot.Clap:
  return zero_shot.Clap(clap_weights.weights(clap_weights.SMALL), tokenize, 'digest')


@pytest.fixture
def each(small, monkeypatch) -> zero_shot.ZeroShot:
  monkeypatch.setattr(zero_shot, '_load', lambda process, weights: small)
  return zero_shot.ZeroShot(labels=LABELS, min_probability=0.0)


def test_probabilities_are_a_softmax():
  found = zero_shot.probabilities(np.array([0.10, 0.11, -0.5]))
  assert found.sum() == pytest.approx(1.0) and found[1] / found[0] == pytest.approx(np.e) and found[2] < 1e-20


def test_similarities_are_those_of_the_network(small, clip):
  similarity_O = small.similarities(clip, LABELS)
  weights = clap_weights.weights(clap_weights.SMALL)
  token_BS = np.stack([network.pad_tokens(tokenize, f'This is a sound of {label}.') for label in LABELS])
  frame_JN = network.audio_frames(zero_shot.waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, 48000))
  frame_BJN = np.repeat(frame_JN[None].astype(np.float32), len(LABELS), axis=0)
  np.testing.assert_allclose(similarity_O, network.apply(weights, frame_BJN, token_BS), atol=1e-5)


def test_the_best_label_becomes_a_caption(each, small, clip):
  added = each.annotate(clip, NOTHING)
  probability_O = zero_shot.probabilities(small.similarities(clip, LABELS))
  best = int(probability_O.argmax())
  (caption,) = added.captions
  assert (caption.text, caption.style) == (LABELS[best], 'label')
  assert caption.confidence == pytest.approx(probability_O.max())
  assert dict(added.tags)['clap_labels'].startswith(f'{LABELS[best]} {probability_O[best]:.2f}; ')
  annotator.check_additions(each, added)


def test_an_uncertain_label_is_only_a_tag(each, clip):
  added = dataclasses.replace(each, min_probability=1.1).annotate(clip, NOTHING)
  assert not added.captions and added.tags


def test_silence_gets_no_label_and_a_sample_is_too_short(each, clip):
  silent = dataclasses.replace(clip, wave_NA=np.zeros((64000, 2), np.float32))
  assert each.annotate(silent, NOTHING) == NOTHING
  short = dataclasses.replace(clip, wave_NA=np.ones((1, 1), np.float32), sample_rate_hz=96000)
  with pytest.raises(annotator.AnnotationError, match='needs a sample at 48000 Hz'):
    each.annotate(short, NOTHING)


def test_the_version_follows_the_labels(each):
  assert each.version != dataclasses.replace(each, labels=LABELS[:3]).version
  assert each.version != dataclasses.replace(each, min_probability=0.5).version


def test_missing_weights_are_one_line(tmp_path, clip):
  each = zero_shot.ZeroShot(tmp_path)
  for work in (each.check, lambda: each.annotate(clip, NOTHING)):
    with pytest.raises(
      annotator.ServiceError, match=rf'^labels by CLAP: weights {network.CHECKPOINT.file} missing'
    ):
      work()
  assert network.TOKENIZER.file in zero_shot.missing(tmp_path)


@pytest.mark.parametrize('labels', [(), ('a',), ('a', 'a')])
def test_labels_that_are_no_set(labels):
  with pytest.raises(ValueError, match='labels must be at least two different ones'):
    zero_shot.ZeroShot(labels=labels)


def test_the_labels_are_different():
  assert len(set(zero_shot.LABELS)) == len(zero_shot.LABELS) > 50
