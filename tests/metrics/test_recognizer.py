"""Viterbi decoding of posteriors of known words."""

import numpy as np

from v2a.metrics import recognizer

TOPOLOGY = recognizer.HmmTopology(('come', 'here', 'home'), (3, 4, 2))
WORDS = [
  {'word': 'here', 'start_s': 0.2, 'end_s': 0.5},
  {'word': 'come', 'start_s': 0.5, 'end_s': 0.7},
  {'word': 'come', 'start_s': 0.9, 'end_s': 1.1},
]


def scores(words, noise=0.0, num_frames=70):
  """Returns log posteriors of the states of words spoken at their times."""
  state_J = TOPOLOGY.state_labels(words, np.arange(num_frames) / recognizer.FRAME_HZ)
  score_JS = np.full((num_frames, TOPOLOGY.num_states_total), -4.0)
  score_JS[np.arange(num_frames), state_J] = 0.0
  return score_JS + noise * np.random.default_rng(0).standard_normal(score_JS.shape)


def test_labels_split_a_word_evenly():
  state_J = TOPOLOGY.state_labels(WORDS[:1], np.arange(0.2, 0.5, 0.075) + 0.01)
  np.testing.assert_array_equal(state_J, TOPOLOGY.first_states_W[1] + np.arange(4))


def test_decode_finds_words_in_order_and_repeated_words():
  assert recognizer.decode(TOPOLOGY, scores(WORDS)) == ['here', 'come', 'come']
  assert recognizer.decode(TOPOLOGY, scores(WORDS, noise=1.0)) == ['here', 'come', 'come']


def test_decode_of_silence_or_a_truncated_word_is_empty():
  assert recognizer.decode(TOPOLOGY, scores([])) == []
  cut = [{'word': 'here', 'start_s': 1.34, 'end_s': 2.4}]
  assert recognizer.decode(TOPOLOGY, scores(cut)) == []


def test_topology_follows_the_durations_of_words():
  topology = recognizer.estimate_topology(WORDS)
  assert topology.words == ('come', 'here')
  assert topology.num_states == (3, 5)
  assert topology.num_states_total == 9
