"""A compact map from texts to numbers."""

import random

from data_pipelines.sources import hash_index


def test_it_is_a_map():
  index, expected = hash_index.HashIndex(), {}
  generator = random.Random(0)
  for number in range(20_000):
    text = str(generator.randrange(10_000))
    assert index.get(text) == expected.get(text, -1)
    index.set(text, number)
    expected[text] = number
  assert all(index.get(text) == number for text, number in expected.items())
  assert index.get('none') == -1


def test_texts_with_equal_slots_are_apart(monkeypatch):
  monkeypatch.setattr(hash_index, '_hash', lambda text: 5 + 1024 * int(text))
  index = hash_index.HashIndex()
  for number in range(600):
    index.set(str(number), number)
  assert [index.get(str(number)) for number in range(601)] == [*range(600), -1]
