"""The best path through words, on posteriors whose words are known."""

import numpy as np

from v2a.metrics import recognizer

CHAINS = recognizer.HmmTopology(('come', 'here', 'home'), (3, 4, 2))
WORDS = [
  {'word': 'here', 'start_s': 0.2, 'end_s': 0.5},
  {'word': 'come', 'start_s': 0.5, 'end_s': 0.7},
  {'word': 'come', 'start_s': 0.9, 'end_s': 1.1},
]


def scores(words, noise=0.0, num_frames=70):
  """Returns log posteriors of the states of words spoken at their times."""
  state_J = CHAINS.state_labels(words, np.arange(num_frames) / recognizer.FRAME_HZ)
  score_JS = np.full((num_frames, CHAINS.num_states_total), -4.0)
  score_JS[np.arange(num_frames), state_J] = 0.0
  return score_JS + noise * np.random.default_rng(0).standard_normal(score_JS.shape)


def test_labels_cut_a_word_evenly():
  state_J = CHAINS.state_labels(WORDS[:1], np.arange(0.2, 0.5, 0.075) + 0.01)
  np.testing.assert_array_equal(state_J, CHAINS.first_states_W[1] + np.arange(4))


def test_decode_finds_the_words_in_order_and_a_word_said_twice():
  assert recognizer.decode(CHAINS, scores(WORDS)) == ['here', 'come', 'come']
  assert recognizer.decode(CHAINS, scores(WORDS, noise=1.0)) == ['here', 'come', 'come']


def test_decode_of_silence_is_empty_and_a_cut_off_word_is_none():
  assert recognizer.decode(CHAINS, scores([])) == []
  cut = [{'word': 'here', 'start_s': 1.34, 'end_s': 2.4}]
  assert recognizer.decode(CHAINS, scores(cut)) == []


def test_chains_are_as_long_as_the_words():
  chains = recognizer.estimate_topology(WORDS)
  assert chains.words == ('come', 'here')
  assert chains.num_states == (3, 5)
  assert chains.num_states_total == 9
