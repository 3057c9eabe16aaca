"""The choice of a caption: a pure function of its key, with the given shares."""

import collections
import itertools

import pytest

from v2a.data import annotations as annotations_lib
from v2a.data import caption_choice

CAPTIONS = (
  annotations_lib.Caption('dog', 'label'),
  annotations_lib.Caption('A dog barks.', 'short', 'a@1', 0.9),
  annotations_lib.Caption('A cat meows.', 'short', 'b@1', 0.3),
  annotations_lib.Caption('A small dog barks twice', 'detailed', 'a@1', None),
  annotations_lib.Caption('No music.', 'negative', 'a@1', 0.9),
)
KEYS = [(seed, step, position) for seed in range(2) for step in range(200) for position in range(5)]


def shares(captions=CAPTIONS, keys=KEYS, **changes) -> dict[str, float]:
  texts = collections.Counter(caption_choice.choose(captions, key, **changes).text for key in keys)
  return {text: count / len(keys) for text, count in texts.items()}


def test_the_shares_are_those_of_the_styles_and_confidences():
  found = shares(negative_share=0.0)
  expected = {
    'dog': 0.2,
    'A dog barks.': 0.4 * 0.9 / 1.2,
    'A cat meows.': 0.4 * 0.3 / 1.2,
    'A small dog barks twice': 0.4,
  }
  assert found == pytest.approx(expected, abs=0.03)


def test_the_choice_depends_on_every_part_of_the_key_and_on_nothing_else():
  first = [caption_choice.choose(CAPTIONS, key) for key in KEYS]
  assert first == [caption_choice.choose(CAPTIONS, key) for key in KEYS]
  for order in itertools.permutations(CAPTIONS):
    assert [caption_choice.choose(order, key) for key in KEYS[:20]] == first[:20]
  for part in range(3):
    keys = [tuple(value if index == part else 1 for index in range(3)) for value in range(50)]
    assert len({caption_choice.choose(CAPTIONS, key).text for key in keys}) >= 4
  weights = dict(reversed(caption_choice.STYLE_WEIGHTS.items()))
  assert [caption_choice.choose(CAPTIONS, key, weights) for key in KEYS] == first


# Golden: a change of these changes the captions of every training that is resumed.
EXPECTED = [
  'A small dog barks twice. No music.',
  'A dog barks.',
  'A small dog barks twice. No music.',
  'A cat meows. No music.',
  'A small dog barks twice. No music.',
  'A small dog barks twice',
  'A dog barks.',
  'A cat meows.',
]


def test_choices_of_a_release_stay():
  keys = [(0, step, 0) for step in range(8)]
  assert [caption_choice.choose(CAPTIONS, key, negative_share=0.5).text for key in keys] == EXPECTED


def test_negative_captions_are_appended_to_a_share():
  found = shares(negative_share=0.25)
  assert sum(share for text, share in found.items() if text.endswith(' No music.')) == pytest.approx(
    0.25, abs=0.04
  )
  assert {'dog. No music.', 'A dog barks. No music.', 'A small dog barks twice. No music.'} <= set(found)
  assert not any('..' in text for text in found)
  assert 'No music.' not in found


def test_what_a_clip_lacks_is_not_chosen():
  assert caption_choice.choose((), (0, 0, 0)) is None
  assert caption_choice.choose(CAPTIONS[4:], (0, 0, 0)) is None
  assert set(shares(CAPTIONS[:1])) == {'dog'}
  assert set(shares(negative_share=0.0, style_weights={'label': 0.0, 'short': 1.0})) == {
    'A dog barks.',
    'A cat meows.',
  }
  assert caption_choice.choose(CAPTIONS, (0, 0, 0), {'label': 0.0}) is None


def test_captions_of_low_confidence_can_be_left_out():
  assert set(shares(negative_share=0.0, min_confidence=0.4)) == {
    'dog',
    'A dog barks.',
    'A small dog barks twice',
  }
  assert set(shares(negative_share=1.0, min_confidence=0.95)) == {'dog'}
  zero = (
    annotations_lib.Caption('a', 'short', 'x@1', 0.0),
    annotations_lib.Caption('b', 'short', 'x@1', 0.0),
  )
  assert shares(zero) == pytest.approx({'a': 0.5, 'b': 0.5}, abs=0.03)


@pytest.mark.parametrize(
  'changes', [{'style_weights': {'label': -1.0}}, {'negative_share': 1.5}, {'negative_share': -0.1}]
)
def test_shares_that_cannot_be(changes):
  with pytest.raises(ValueError, match='weights must not be negative'):
    caption_choice.choose(CAPTIONS, (0, 0, 0), **changes)
