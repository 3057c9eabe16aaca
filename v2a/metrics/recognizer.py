"""Recognizer of the synthetic voice: words as chains of HMM states, a network for their posteriors, Viterbi.

Each word of the dialogue's vocabulary is a chain of states of about STATE_S each; one more state is anything
else. The network gives posteriors p(s | x_t) at FRAME_HZ; with the priors p(s) of the training set the best
path maximises

  sum_t [log p(s_t | x_t) - log p(s_t)] - penalty * (number of words)                                  (1)

over paths that stay in a state, go on to the next of the word, or leave a word's last state for any word or
silence (a hybrid hidden Markov model: Bourlard and Morgan 1994, "Connectionist speech recognition"). The
vocabulary is closed and the voice is one: the recognizer measures the synthetic voice and no other speech.
"""

import dataclasses

import numpy as np

STATE_S = 0.06
FRAME_HZ = 50
WORD_INSERTION_PENALTY = 6.0
# What is likely in the whole training set must not drown what is rare.
PRIOR_SCALE = 0.7


@dataclasses.dataclass(frozen=True)
class HmmTopology:
  """The states of all words, one after the other; state 0 is silence and all that is no word.

  Attributes:
    words: in the order of their states.
    num_states: of each word.
  """

  words: tuple[str, ...]
  num_states: tuple[int, ...]

  @property
  def first_states_W(self) -> np.ndarray:
    """First state of each word."""
    return 1 + np.concatenate([[0], np.cumsum(self.num_states)[:-1]]).astype(int)

  @property
  def num_states_total(self) -> int:
    """Number of states, silence included."""
    return 1 + sum(self.num_states)

  def state_labels(self, spoken: list[dict], time_J: np.ndarray) -> np.ndarray:
    """Returns the state at each time, from words with start_s and end_s: a word's time is cut evenly."""
    state_J = np.zeros(len(time_J), np.int32)
    for entry in spoken:
      word = self.words.index(entry['word'])
      part_J = (time_J - entry['start_s']) / max(entry['end_s'] - entry['start_s'], 1e-3)
      inside_J = (part_J >= 0) & (part_J < 1)
      state_J[inside_J] = self.first_states_W[word] + (part_J[inside_J] * self.num_states[word]).astype(int)
    return state_J


def estimate_topology(spoken: list[dict]) -> HmmTopology:
  """Returns chains as long as the words are spoken on average.

  Args:
    spoken: words with start_s and end_s.
  """
  lengths: dict[str, list[float]] = {}
  for entry in spoken:
    lengths.setdefault(entry['word'], []).append(entry['end_s'] - entry['start_s'])
  names = tuple(sorted(lengths))
  return HmmTopology(names, tuple(max(2, round(float(np.mean(lengths[name])) / STATE_S)) for name in names))


def decode(chains: HmmTopology, score_JS: np.ndarray, penalty: float = WORD_INSERTION_PENALTY) -> list[str]:
  """Returns the words of the best path of eq. 1.

  Args:
    chains: the states.
    score_JS: log p(s | x) - log p(s) of each frame and state.
    penalty: cost of a word.
  """
  starts_W = chains.first_states_W
  ends_W = starts_W + np.array(chains.num_states) - 1
  is_start_S = np.zeros(chains.num_states_total, bool)
  is_start_S[starts_W] = True
  best_S = np.full(chains.num_states_total, -np.inf)
  best_S[0] = score_JS[0, 0]
  best_S[starts_W] = score_JS[0, starts_W] - penalty
  came_JS = np.zeros(score_JS.shape, np.int32)
  state_S = np.arange(chains.num_states_total)
  for j in range(1, len(score_JS)):
    # Everything that may begin now comes from silence or from the best finished word.
    last = ends_W[best_S[ends_W].argmax()]
    exit_state = last if best_S[last] > best_S[0] else 0
    step_S = np.concatenate([[-np.inf], best_S[:-1]])
    step_S[is_start_S] = best_S[exit_state] - penalty
    step_S[0] = best_S[exit_state]
    from_S = np.where(is_start_S | (state_S == 0), exit_state, state_S - 1)
    stays_S = best_S >= step_S
    came_JS[j] = np.where(stays_S, state_S, from_S)
    best_S = np.where(stays_S, best_S, step_S) + score_JS[j]
  # The clip may end within a word; a word cut off halfway is no word.
  finals = np.concatenate([[0], ends_W])
  state = int(finals[best_S[finals].argmax()])
  path = [state]
  for j in range(len(score_JS) - 1, 0, -1):
    state = int(came_JS[j, state])
    path.append(state)
  path.reverse()
  entered = [s for j, s in enumerate(path) if is_start_S[s] and (j == 0 or path[j - 1] != s)]
  return [chains.words[int(np.flatnonzero(starts_W == s)[0])] for s in entered]
