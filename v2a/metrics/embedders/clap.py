"""LAION-CLAP: how well a sound fits its prompt, and 512 features of a sound.

Wu et al. 2023, "Large-scale contrastive language-audio pretraining with feature fusion and keyword-to-caption
augmentation", arXiv 2211.06687; the weights `music_speech_audioset_epoch_15_esc_89.98` (HTS-AT base without
fusion, RoBERTa base). As hkchengrex/av-benchmark takes it: the mono mix at 48 kHz, not quantised; a shorter
sound is repeated as often as it fits into 10 s, the rest is silence; the prompt in at most 77 tokens of
RoBERTa's. Each half goes through a matrix, a ReLU and a matrix to 512 features of length 1:

  clap = features of the sound . features of the prompt                                                (1)

Of longer sounds the first 10 s are heard, where the published code draws 10 s at random. Distances of sets
of the features are no figures of av-benchmark; fadtk and kadtk have them of other weights of CLAP, in windows
of 10 s every second. The networks are JAX functions of the published file, which `transformers` would run in
torch; the tokens are made by Hugging Face's `tokenizers`.
"""

from collections.abc import Callable
import functools
import importlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import waves
from v2a.models.published import checkpoints
from v2a.models.published import htsat
from v2a.models.published import layers
from v2a.models.published import roberta
from v2a.models.published import spectrograms
from v2a.models.published import torchfile

NAME = 'clap'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad', 'clap')
PACKAGES = {'tokenizers': "pip install 'v2a[clap]'"}
MAX_TOKENS = 77
TEXT = 'text_F'
CHECKPOINT = checkpoints.Checkpoint(
  'music_speech_audioset_epoch_15_esc_89.98.pt',
  'https://huggingface.co/lukewys/laion_clap/resolve/main/music_speech_audioset_epoch_15_esc_89.98.pt',
  'sha256:51c68f12f9d7ea25fdaaccf741ec7f81e93ee594455410f3bca4f47f88d8e006',
  'CC0-1.0',
)
TOKENIZER = checkpoints.Checkpoint(
  'roberta-base/tokenizer.json',
  'https://huggingface.co/FacebookAI/roberta-base/resolve/main/tokenizer.json',
  None,
  'MIT',
)
_AUDIO, _TEXT = 'audio_branch.', 'text_branch.'
# Layers on top of the features that only training compares, and places that roberta counts itself.
IGNORED = (
  'audio_transform.',
  'text_transform.',
  'logit_scale',
  f'{_TEXT}embeddings.position_ids',
  *(_AUDIO + name for name in htsat.IGNORED),
)

# A sound's frames and a text's tokens.
INPUTS = (
  jax.ShapeDtypeStruct((1, htsat.NUM_FRAMES, htsat.WINDOW_SAMPLES), np.float32),
  jax.ShapeDtypeStruct((1, MAX_TOKENS), np.int32),
)

Tokenize = Callable[[str], list[int]]


def audio_frames(wave_N: np.ndarray) -> np.ndarray:
  """Returns frame_JN of 10 s of a mono wave at htsat.RATE_HZ, repeated, filled up or cut."""
  wave_N = np.tile(wave_N, max(1, htsat.NUM_SAMPLES // len(wave_N)))[: htsat.NUM_SAMPLES]
  wave_N = np.pad(wave_N, (0, htsat.NUM_SAMPLES - len(wave_N)))
  padded_N = np.pad(wave_N, htsat.WINDOW_SAMPLES // 2, mode='reflect')
  return spectrograms.frames(padded_N, htsat.WINDOW_SAMPLES, htsat.HOP_SAMPLES)


def pad_tokens(tokenize: Tokenize, text: str) -> np.ndarray:
  """Returns token_S of MAX_TOKENS, the text's between its start and its end, filled up.

  Args:
    tokenize: gives the tokens of a text, without those two.
    text: the prompt; of a longer one the end is cut off.
  """
  found = [roberta.START, *tokenize(text)[: MAX_TOKENS - 2], roberta.END]
  return np.pad(np.array(found, np.int32), (0, MAX_TOKENS - len(found)), constant_values=roberta.PADDING)


def _projected(weights: layers.Weights, name: str, feature_BF: jax.Array) -> jax.Array:
  hidden_BF = jax.nn.relu(layers.linear(weights, f'{name}.0', feature_BF))
  feature_BF = layers.linear(weights, f'{name}.2', hidden_BF)
  return feature_BF / jnp.maximum(jnp.linalg.norm(feature_BF, axis=-1, keepdims=True), 1e-12)


def encode_audio(weights: layers.Weights, frame_BJN: jax.Array) -> jax.Array:
  """Returns feature_BF of sounds, of length 1; see `frames`."""
  return _projected(weights, 'audio_projection', htsat.apply(weights, frame_BJN, _AUDIO))


def encode_text(weights: layers.Weights, token_BS: jax.Array) -> jax.Array:
  """Returns feature_BF of texts, of length 1; see `tokens`."""
  return _projected(weights, 'text_projection', roberta.apply(weights, token_BS, _TEXT))


def apply(weights: layers.Weights, frame_BJN: jax.Array, token_BS: jax.Array) -> jax.Array:
  """Returns eq. 1 as score_B."""
  return jnp.einsum('BF,BF->B', encode_audio(weights, frame_BJN), encode_text(weights, token_BS))


class Clap(embedder_lib.Embedder):
  """LAION-CLAP under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('wave', 'text'), METRICS

  def __init__(self, weights: layers.Weights, tokenize: Tokenize, digest: str):
    self.digest = digest
    self._weights = weights
    self._tokenize = tokenize
    self._encode_audio, self._encode_text = jax.jit(encode_audio), jax.jit(encode_text)
    # A prompt comes with every soundtrack that is drawn for it.
    self._text = functools.lru_cache(maxsize=4096)(self._embed_text)

  def _embed_text(self, text: str) -> np.ndarray:
    return np.asarray(self._encode_text(self._weights, pad_tokens(self._tokenize, text)[None]))[0]

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns one row of features of the sound, and those of the prompt as text_F.

    Raises:
      Refusal: the prompt is empty, or the sound has no sample at 48 kHz.
    """
    if not clip.text.strip():
      raise embedder_lib.UnsupportedClipError('the text of the clip is empty')
    wave_N = waves.mono(clip.wave_NA, clip.sample_rate_hz, htsat.RATE_HZ)
    if not len(wave_N):
      raise embedder_lib.UnsupportedClipError(f'CLAP needs a sample at {htsat.RATE_HZ} Hz; a clip has none')
    row_BF = np.asarray(
      self._encode_audio(self._weights, jnp.asarray(audio_frames(wave_N)[None], jnp.float32))
    )
    return {embedder_lib.EMBEDDINGS: row_BF, TEXT: self._text(clip.text)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns eq. 1, from -1 to 1; more is better."""
    return {'clap': float(arrays[embedder_lib.EMBEDDINGS][0] @ arrays[TEXT])}


def load_tokenizer(path: pathlib.Path, num_tokens: int) -> Tokenize:
  """Returns what tokenizes with a file of Hugging Face's tokenizers.

  Args:
    path: of the file.
    num_tokens: that the network knows.

  Raises:
    ValueError: the file is none, or not RoBERTa's.
  """
  try:
    vocabulary = json.loads(path.read_text(encoding='utf-8'))['model']['vocab']
    special = tuple(vocabulary[name] for name in ('<s>', '<pad>', '</s>'))
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{path} is no tokenizer of RoBERTa ({error!r}); get it from {TOKENIZER.url}.'
    ) from error
  num = max(vocabulary.values()) + 1
  if special != (roberta.START, roberta.PADDING, roberta.END) or num != num_tokens:
    raise ValueError(
      f'{path} is not the tokenizer of this network: {num} tokens, <s> <pad> </s> are {special}; '
      f'wanted {num_tokens} and {(roberta.START, roberta.PADDING, roberta.END)}.'
    )
  found = importlib.import_module('tokenizers').Tokenizer.from_file(str(path))
  found.no_truncation()
  found.no_padding()
  return lambda text: found.encode(text, add_special_tokens=False).ids


def _prefix(path: pathlib.Path) -> str:
  """Returns what stands before the names of the weights in a checkpoint of training."""
  last = 'logit_scale_a'
  found = [name for name in torchfile.load(path) if name.split('.')[-1] == last]
  if not found:
    raise ValueError(f'{path} holds no CLAP: it has no weight {last}.')
  return found[0].removesuffix(last)


def load(path: pathlib.Path, tokens_path: pathlib.Path) -> Clap:
  """Returns the network with the weights of a file and the tokens of another.

  Raises:
    ValueError: one of them is not what it should be.
  """
  digest = checkpoints.embedder_digest(NAME, VERSION, {path: CHECKPOINT, tokens_path: TOKENIZER})
  weights = layers.load(path, apply, INPUTS, prefix=_prefix(path), ignored=IGNORED)
  num_tokens = len(weights[f'{_TEXT}embeddings.word_embeddings.weight'])
  return Clap(weights, load_tokenizer(tokens_path, num_tokens), digest)
