"""Labels by CLAP without training: the similarity of a sound with the texts of labels.

  p_k = softmax_k(100 a . t_k),   a audio features, t_k text features of "This is a sound of LABEL."      (1)

The scale 100 is the limit to which CLAP clips the one that it learns (Wu et al. 2023, arXiv 2211.06687). The
labels are a closed set, so p is relative to it: a sound that is none of them still gets one.
"""

import dataclasses
import functools
import hashlib
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from v2a.data import annotations as annotations_lib
from v2a.media import audio_reader
from v2a.metrics.embedders import clap as clap_embedder
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import checkpoints
from v2a.models.published import clap
from v2a.models.published import layers
from v2a.models.published import waveforms

PROMPT = 'This is a sound of {}.'
SCALE = 100.0
LABELS = (
  *('speech', 'singing', 'crowd noise', 'laughter', 'baby crying', 'coughing', 'footsteps', 'applause'),
  *('dog barking', 'cat meowing', 'birds singing', 'sheep bleating', 'horse hooves', 'insects', 'whale song'),
  *(
    'rain',
    'wind',
    'thunder',
    'waterfall',
    'stream of water',
    'ocean waves',
    'water splashing',
    'fire crackling',
  ),
  *('car engine', 'motorcycle', 'truck', 'train', 'airplane', 'helicopter', 'siren', 'car horn', 'boat'),
  *('hammering', 'drilling', 'sawing wood', 'typing', 'door closing', 'glass breaking', 'metal impact'),
  *('wood impact', 'chopping food', 'frying food', 'gunshot', 'explosion', 'fireworks', 'ball bouncing'),
  *('drum kit', 'hand drums', 'piano', 'guitar', 'violin', 'double bass', 'harp', 'flute', 'orchestra'),
  *('electronic music', 'beep', 'alarm', 'bell', 'clock ticking', 'machine hum', 'white noise'),
)
_NUM_TAGGED = 3


@dataclasses.dataclass(frozen=True)
class ZeroShot:
  """See the module.

  Attributes:
    weights: folder of published weights, see checkpoints.folder.
    labels: the closed set.
    min_probability: of a label that becomes a caption.
  """

  weights: pathlib.Path | None = None
  labels: tuple[str, ...] = LABELS
  min_probability: float = 0.3

  def __post_init__(self):
    if len(set(self.labels)) != len(self.labels) or len(self.labels) < 2:
      raise ValueError(f'labels must be at least two different ones; got {", ".join(self.labels) or "none"}.')

  @property
  def name(self) -> str:
    """See `Annotator`."""
    return 'clap-zero-shot'

  @property
  def version(self) -> str:
    """Hash of the weights, the prompt and the labels."""
    digest = _load(os.getpid(), self.weights).digest
    settings = f'{digest} {PROMPT} {SCALE} {self.labels} {self.min_probability}'
    return hashlib.sha256(settings.encode()).hexdigest()[:12]

  @property
  def reads(self) -> tuple[str, ...]:
    """Nothing."""
    return ()

  def check(self) -> None:
    """See `Annotator`.

    Raises:
      ServiceError: weights or a package are missing.
    """
    if reason := missing(self.weights):
      raise annotator.ServiceError(f'labels by CLAP: {reason}.')

  def annotate(
    self, clip: decoded.DecodedClip, known: annotations_lib.Annotations
  ) -> annotations_lib.Annotations:
    """See `Annotator`: adds a label, and the three most probable ones as a tag.

    Raises:
      AnnotationError: the sound is too short.
    """
    del known
    if not clip.has_audio or audio_reader.is_silent(clip.wave_NA):
      return annotations_lib.Annotations()
    try:
      similarity_O = _load(os.getpid(), self.weights).similarities(clip, self.labels)
    except embedder_lib.UnsupportedClipError as error:
      raise annotator.AnnotationError(str(error)) from error
    probability_O = probabilities(similarity_O)
    order = np.argsort(-probability_O, kind='stable')[:_NUM_TAGGED]
    best = float(probability_O[order[0]])
    text = '; '.join(f'{self.labels[index]} {probability_O[index]:.2f}' for index in order)
    added = annotator.tags(self, [('clap_labels', text, best)])
    if best < self.min_probability:
      return added
    label = annotations_lib.Caption(self.labels[order[0]], 'label', annotator.origin(self), best)
    return dataclasses.replace(added, captions=(label,))


def probabilities(similarity_O: np.ndarray) -> np.ndarray:
  """Returns p of eq. 1 from the similarities with the labels."""
  scaled_O = SCALE * (similarity_O - similarity_O.max())
  return np.exp(scaled_O) / np.exp(scaled_O).sum()


class Clap:
  """CLAP with the features of labels.

  Attributes:
    digest: of the weights.
  """

  def __init__(self, weights: layers.Weights, tokenize: clap.Tokenize, digest: str):
    self.digest = digest
    self._weights, self._tokenize = weights, tokenize
    self._encode_audio, self._encode_text = jax.jit(clap.encode_audio), jax.jit(clap.encode_text)
    self._text_features = functools.lru_cache(maxsize=4)(self._encode_labels)

  def similarities(self, clip: decoded.DecodedClip, labels: tuple[str, ...]) -> np.ndarray:
    """Returns the similarity of the sound of a clip with each label.

    Raises:
      UnsupportedClipError: the sound is shorter than a sample at 48 kHz.
    """
    wave_N = waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, clap.RATE_HZ)
    if not len(wave_N):
      raise embedder_lib.UnsupportedClipError(f'CLAP needs a sample at {clap.RATE_HZ} Hz; the clip has none')
    frame_BJN = jnp.asarray(clap.audio_frames(wave_N)[None], jnp.float32)
    return self._text_features(labels) @ np.asarray(self._encode_audio(self._weights, frame_BJN))[0]

  def _encode_labels(self, labels: tuple[str, ...]) -> np.ndarray:
    tokens = [clap.pad_tokens(self._tokenize, PROMPT.format(label))[None] for label in labels]
    return np.concatenate([np.asarray(self._encode_text(self._weights, token_BS)) for token_BS in tokens])


def missing(weights: pathlib.Path | str | None = None) -> str:
  """Returns which weights and packages are missing, or ''.

  Args:
    weights: folder of published weights, see checkpoints.folder.
  """
  absent = [file.missing_reason for file in clap_embedder.FILES if checkpoints.find(file, weights) is None]
  for package, command in clap_embedder.PACKAGES.items():
    absent += checkpoints.missing_package(package, command)
  return ', '.join(absent)


@functools.lru_cache(maxsize=1)
def _load(process: int, weights: pathlib.Path | None) -> Clap:
  """Loads CLAP once for a process."""
  del process  # part of the key: compiled functions do not survive a fork
  if reason := missing(weights):
    raise annotator.ServiceError(f'labels by CLAP: {reason}.')
  path, tokenizer_path = (checkpoints.find(file, weights) for file in clap_embedder.FILES)
  assert path is not None and tokenizer_path is not None  # `missing` found both
  files = {path: clap.CHECKPOINT, tokenizer_path: clap.TOKENIZER}
  digest = embedder_lib.weights_digest(clap_embedder.NAME, clap_embedder.VERSION, files)
  loaded = clap.load_weights(path)
  return Clap(loaded, clap.load_tokenizer(tokenizer_path, clap.vocabulary_size(loaded)), digest)
