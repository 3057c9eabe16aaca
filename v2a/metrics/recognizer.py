"""Speech recognizer of the synthetic voice: a hybrid of a neural network and a hidden Markov model (HMM).

Each word of the vocabulary is a left-to-right HMM with states of about STATE_S each; one more state is
silence and anything else. The network gives posteriors p(s | x_t) at FRAME_HZ; with the priors p(s) of the
training set the Viterbi path maximises

  sum_t [log p(s_t | x_t) - log p(s_t)] - penalty * (number of words)                                  (1)

over paths that stay in a state, continue to the next state of the word, or leave the last state of a word
for any word or silence (Bourlard and Morgan 1994, "Connectionist speech recognition"). With a closed
vocabulary and a single voice, the recognizer is valid for the synthetic voice only.
"""

import dataclasses

import numpy as np

STATE_S = 0.06
FRAME_HZ = 50
WORD_INSERTION_PENALTY = 6.0
# Scale of the log priors in eq. 1.
PRIOR_SCALE = 0.7


@dataclasses.dataclass(frozen=True)
class HmmTopology:
  """The states of all words, concatenated; state 0 is silence and anything that is not a word.

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
    """Returns the state at each time; the interval of a word, start_s to end_s, is split evenly."""
    state_J = np.zeros(len(time_J), np.int32)
    for entry in spoken:
      word = self.words.index(entry['word'])
      part_J = (time_J - entry['start_s']) / max(entry['end_s'] - entry['start_s'], 1e-3)
      inside_J = (part_J >= 0) & (part_J < 1)
      state_J[inside_J] = self.first_states_W[word] + (part_J[inside_J] * self.num_states[word]).astype(int)
    return state_J


def estimate_topology(spoken: list[dict]) -> HmmTopology:
  """Returns the topology with as many states per word as its mean duration takes.

  Args:
    spoken: words with start_s and end_s.
  """
  lengths: dict[str, list[float]] = {}
  for entry in spoken:
    lengths.setdefault(entry['word'], []).append(entry['end_s'] - entry['start_s'])
  names = tuple(sorted(lengths))
  return HmmTopology(names, tuple(max(2, round(float(np.mean(lengths[name])) / STATE_S)) for name in names))


def decode(topology: HmmTopology, score_JS: np.ndarray, penalty: float = WORD_INSERTION_PENALTY) -> list[str]:
  """Returns the words of the best path of eq. 1.

  Args:
    topology: of the states.
    score_JS: log p(s | x) - log p(s) of each frame and state.
    penalty: word insertion penalty.
  """
  starts_W = topology.first_states_W
  ends_W = starts_W + np.array(topology.num_states) - 1
  is_start_S = np.zeros(topology.num_states_total, bool)
  is_start_S[starts_W] = True
  best_S = np.full(topology.num_states_total, -np.inf)
  best_S[0] = score_JS[0, 0]
  best_S[starts_W] = score_JS[0, starts_W] - penalty
  backpointer_JS = np.zeros(score_JS.shape, np.int32)
  state_S = np.arange(topology.num_states_total)
  for j in range(1, len(score_JS)):
    # A word or silence starts from silence or from the best last state of a word.
    last = ends_W[best_S[ends_W].argmax()]
    exit_state = last if best_S[last] > best_S[0] else 0
    step_S = np.concatenate([[-np.inf], best_S[:-1]])
    step_S[is_start_S] = best_S[exit_state] - penalty
    step_S[0] = best_S[exit_state]
    from_S = np.where(is_start_S | (state_S == 0), exit_state, state_S - 1)
    stays_S = best_S >= step_S
    backpointer_JS[j] = np.where(stays_S, state_S, from_S)
    best_S = np.where(stays_S, best_S, step_S) + score_JS[j]
  # The path must end in silence or in the last state of a word: truncated words do not count.
  finals = np.concatenate([[0], ends_W])
  state = int(finals[best_S[finals].argmax()])
  path = [state]
  for j in range(len(score_JS) - 1, 0, -1):
    state = int(backpointer_JS[j, state])
    path.append(state)
  path.reverse()
  entered = [s for j, s in enumerate(path) if is_start_S[s] and (j == 0 or path[j - 1] != s)]
  return [topology.words[int(np.flatnonzero(starts_W == s)[0])] for s in entered]
