"""Classifiers behind the metrics of the synthetic set: onsets of impacts, material, music, words.

Small networks on windows of log mel, trained on the ground truth of the synthetic set by `python -m
scripts.train_classifiers` and shipped in `v2a/assets/classifiers/`. They are valid for sounds of the
synthetic set only; `docs/evaluation.md` has their accuracy on held-out clips.
"""

import dataclasses
import functools
import json
import pathlib
import re
from typing import Any

import numpy as np
from scipy import ndimage
from scipy import special

from v2a import files
from v2a.metrics import classifier_networks
from v2a.metrics import recognizer
from v2a.metrics import spectra

FOLDER = pathlib.Path(__file__).parents[1] / 'assets' / 'classifiers'
NAMES = ('onset', 'material', 'music', 'words')
FRAME_HZ = spectra.RATE_HZ / spectra.HOP_SAMPLES
# Length and stride of the windows that a network classifies, in frames.
WINDOW_FRAMES = {'onset': 15, 'music': 25, 'words': 13}
STRIDE_FRAMES = {'onset': 1, 'music': 4, 'words': 2}
# The window of an impact: 20 ms before its onset, for the background level, to 300 ms after it.
FRAMES_BEFORE_ONSET, FRAMES_AFTER_ONSET = 2, 30
# Impacts of the synthetic set are at least 125 ms apart; peaks closer than this are one onset.
MIN_ONSET_GAP_S = 0.08
ONSET_THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True)
class Network:
  """One trained network: weights, and metadata such as labels (see `scripts.train_classifiers`)."""

  params: classifier_networks.Params
  about: dict

  def __call__(self, window_BSR: np.ndarray) -> np.ndarray:
    """Returns the logits of each window."""
    return classifier_networks.apply(self.params, window_BSR.astype(np.float32), np)


@dataclasses.dataclass(frozen=True)
class Classifiers:
  """The trained classifiers; every method takes a waveform at spectra.RATE_HZ."""

  networks: dict[str, Network]

  def onset_frames(self, mel_JR: np.ndarray) -> np.ndarray:
    """Returns the frames of a log mel at which impacts begin, ascending."""
    logit_J = self.networks['onset'](classifier_networks.windows(mel_JR, WINDOW_FRAMES['onset']))[:, 0]
    # A mean over three frames: the targets are three frames wide, so the onset is the middle of a plateau.
    probability_J = np.convolve(
      np.pad(special.expit(logit_J), 1, mode='edge'), np.full(3, 1 / 3), mode='valid'
    )
    peak_J = ndimage.maximum_filter1d(probability_J, int(2 * MIN_ONSET_GAP_S * FRAME_HZ) | 1, mode='nearest')
    # Saturated outputs tie over several frames, of which the middle one is taken.
    group_J, num_groups = ndimage.label((probability_J == peak_J) & (probability_J > ONSET_THRESHOLD))
    return np.array([int(np.flatnonzero(group_J == group).mean()) for group in range(1, num_groups + 1)], int)

  def onsets(self, wave_NA: np.ndarray) -> np.ndarray:
    """Returns the times in seconds of detected impacts, ascending; music and wind have none."""
    return self.onset_frames(log_mel(wave_NA)) / FRAME_HZ

  def material(self, wave_NA: np.ndarray) -> str | None:
    """Returns the material classified from the windows at all onsets; None where there is no onset."""
    mel_JR = log_mel(wave_NA)
    window_BSR = impact_windows(mel_JR, self.onset_frames(mel_JR))
    if not len(window_BSR):
      return None
    network = self.networks['material']
    log_probability_O = np.log(classifier_networks.softmax(network(window_BSR)) + 1e-4).mean(axis=0)
    return network.about['labels'][int(log_probability_O.argmax())]

  def music_score(self, wave_NA: np.ndarray) -> float:
    """Returns the log odds of music, averaged over windows."""
    window_BSR = classifier_networks.windows(log_mel(wave_NA), WINDOW_FRAMES['music'], STRIDE_FRAMES['music'])
    return float(self.networks['music'](window_BSR)[:, 0].mean())

  def has_music(self, wave_NA: np.ndarray) -> bool:
    """Returns whether music is detected."""
    return self.music_score(wave_NA) > self.networks['music'].about['threshold']

  def words(self, wave_NA: np.ndarray) -> list[str]:
    """Returns the recognized words in order."""
    network = self.networks['words']
    logits_JS = network(
      classifier_networks.windows(log_mel(wave_NA), WINDOW_FRAMES['words'], STRIDE_FRAMES['words'])
    )
    topology = recognizer.HmmTopology(tuple(network.about['words']), tuple(network.about['num_states']))
    score_JS = np.log(classifier_networks.softmax(logits_JS) + 1e-6) - network.params['log_prior_S']
    return recognizer.decode(topology, score_JS)


def log_mel(wave_NA: np.ndarray) -> np.ndarray:
  """Returns mel_JR of the mean of the channels, the input of every network."""
  return spectra.log_mel(wave_NA.mean(axis=1))


def impact_windows(mel_JR: np.ndarray, frames: np.ndarray) -> np.ndarray:
  """Returns windows of a log mel at the given frames as window_BSR, each minus its maximum."""
  padded_JR = np.pad(mel_JR, ((FRAMES_BEFORE_ONSET, FRAMES_AFTER_ONSET), (0, 0)), mode='edge')
  num_frames = FRAMES_BEFORE_ONSET + FRAMES_AFTER_ONSET
  if not len(frames):
    return np.zeros((0, num_frames, spectra.NUM_MELS), np.float32)
  window_BSR = np.array([padded_JR[frame : frame + num_frames] for frame in frames], np.float32)
  return window_BSR - window_BSR.max(axis=(1, 2), keepdims=True)


def split_words(text: str) -> list[str]:
  """Returns the words of a text in lower case, without punctuation, as the word error rate counts them."""
  return re.findall(r"[a-z']+", text.lower())


@functools.lru_cache(maxsize=4)
def load(folder: pathlib.Path = FOLDER) -> Classifiers:
  """Returns the trained classifiers of a folder; see `load_some`."""
  return load_some(folder, NAMES)


def load_some(folder: pathlib.Path, names: tuple[str, ...]) -> Classifiers:
  """Returns some of the trained classifiers.

  Args:
    folder: contains NAME.npz for each name.
    names: some of NAMES.

  Raises:
    FileNotFoundError: weights are missing.
  """
  loaded = {}
  for name in names:
    path = pathlib.Path(folder) / f'{name}.npz'
    if not path.is_file():
      raise FileNotFoundError(f'no classifier at {path}; `python -m scripts.train_classifiers` trains it.')
    with np.load(path) as archive:
      about = json.loads(str(archive['about']))
      params = {key: archive[key].astype(np.float32) for key in archive.files if key != 'about'}
    loaded[name] = Network(params, about)
  return Classifiers(loaded)


def save(folder: pathlib.Path, name: str, params: classifier_networks.Params, about: dict) -> None:
  """Writes one network in float16.

  Args:
    folder: created if it does not exist.
    name: one of NAMES.
    params: its weights.
    about: JSON-able metadata, such as the labels of its outputs.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  arrays: dict[str, Any] = {'about': json.dumps(about)}
  arrays |= {key: np.asarray(value, np.float16) for key, value in params.items()}
  with files.atomic_write(folder / f'{name}.npz') as partial:
    np.savez_compressed(partial, **arrays)
