"""LAION-CLAP audio and text encoders (Wu et al. 2023, arXiv 2211.06687).

"Large-scale contrastive language-audio pretraining with feature fusion and keyword-to-caption
augmentation"; the checkpoint `music_speech_audioset_epoch_15_esc_89.98` (HTS-AT base without fusion,
RoBERTa base). Audio is 48 kHz mono, without quantisation: shorter than 10 s, it is repeated as often as it
fits whole, then padded with zeros; of longer audio the first 10 s are encoded, where the published code
takes a random part. Text is at most 77 tokens of RoBERTa. Each encoder ends in a linear layer, a ReLU and a
linear layer to 512 features of unit norm:

  similarity = audio features . text features                                                         (1)

The networks are JAX functions on the published file; Hugging Face's `tokenizers` tokenizes.
"""

from collections.abc import Callable
import importlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.models.published import checkpoints
from v2a.models.published import htsat
from v2a.models.published import layers
from v2a.models.published import roberta
from v2a.models.published import spectrograms
from v2a.models.published import torchfile

RATE_HZ = htsat.RATE_HZ
MAX_TOKENS = 77
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
# Layers that only training uses, and position ids, which `roberta` computes.
IGNORED = (
  'audio_transform.',
  'text_transform.',
  'logit_scale',
  f'{_TEXT}embeddings.position_ids',
  *(_AUDIO + name for name in htsat.IGNORED),
)
# Frames of one waveform, tokens of one text.
INPUTS = (
  jax.ShapeDtypeStruct((1, htsat.NUM_FRAMES, htsat.WINDOW_SAMPLES), np.float32),
  jax.ShapeDtypeStruct((1, MAX_TOKENS), np.int32),
)

Tokenize = Callable[[str], list[int]]


def audio_frames(wave_N: np.ndarray) -> np.ndarray:
  """Returns frame_JN of 10 s of a mono waveform at RATE_HZ, repeated and padded, or cut."""
  wave_N = np.tile(wave_N, max(1, htsat.NUM_SAMPLES // len(wave_N)))[: htsat.NUM_SAMPLES]
  wave_N = np.pad(wave_N, (0, htsat.NUM_SAMPLES - len(wave_N)))
  padded_N = np.pad(wave_N, htsat.WINDOW_SAMPLES // 2, mode='reflect')
  return spectrograms.frames(padded_N, htsat.WINDOW_SAMPLES, htsat.HOP_SAMPLES)


def pad_tokens(tokenize: Tokenize, text: str) -> np.ndarray:
  """Returns token_S of MAX_TOKENS: the start token, those of the text, the end token, and padding.

  Args:
    tokenize: returns the tokens of a text without start and end.
    text: the prompt; a longer one is truncated.
  """
  tokens = [roberta.START, *tokenize(text)[: MAX_TOKENS - 2], roberta.END]
  return np.pad(np.array(tokens, np.int32), (0, MAX_TOKENS - len(tokens)), constant_values=roberta.PADDING)


def _project(weights: layers.Weights, name: str, feature_BF: jax.Array) -> jax.Array:
  hidden_BF = jax.nn.relu(layers.linear(weights, f'{name}.0', feature_BF))
  feature_BF = layers.linear(weights, f'{name}.2', hidden_BF)
  return feature_BF / jnp.maximum(jnp.linalg.norm(feature_BF, axis=-1, keepdims=True), 1e-12)


def encode_audio(weights: layers.Weights, frame_BJN: jax.Array) -> jax.Array:
  """Returns feature_BF of unit norm of audio, see `audio_frames`."""
  return _project(weights, 'audio_projection', htsat.apply(weights, frame_BJN, _AUDIO))


def encode_text(weights: layers.Weights, token_BS: jax.Array) -> jax.Array:
  """Returns feature_BF of unit norm of texts, see `pad_tokens`."""
  return _project(weights, 'text_projection', roberta.apply(weights, token_BS, _TEXT))


def apply(weights: layers.Weights, frame_BJN: jax.Array, token_BS: jax.Array) -> jax.Array:
  """Returns similarity_B of eq. 1."""
  return jnp.einsum('BF,BF->B', encode_audio(weights, frame_BJN), encode_text(weights, token_BS))


def load_tokenizer(path: pathlib.Path, num_tokens: int) -> Tokenize:
  """Returns a function that tokenizes with a file of Hugging Face's tokenizers.

  Args:
    path: of the file.
    num_tokens: size of the network's vocabulary.

  Raises:
    ValueError: the file is not a tokenizer, or not that of RoBERTa.
  """
  try:
    vocabulary = json.loads(path.read_text(encoding='utf-8'))['model']['vocab']
    special = tuple(vocabulary[name] for name in ('<s>', '<pad>', '</s>'))
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f'{path} is not a tokenizer of RoBERTa ({error!r}); get it from {TOKENIZER.url}.'
    ) from error
  num = max(vocabulary.values()) + 1
  if special != (roberta.START, roberta.PADDING, roberta.END) or num != num_tokens:
    raise ValueError(
      f'{path} is not the tokenizer of this network: {num} tokens, <s> <pad> </s> are {special}; '
      f'wanted {num_tokens} and {(roberta.START, roberta.PADDING, roberta.END)}.'
    )
  tokenizer = importlib.import_module('tokenizers').Tokenizer.from_file(str(path))
  tokenizer.no_truncation()
  tokenizer.no_padding()
  return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def vocabulary_size(weights: layers.Weights) -> int:
  """Returns the number of tokens of the text encoder."""
  return len(weights[f'{_TEXT}embeddings.word_embeddings.weight'])


def _prefix(path: pathlib.Path) -> str:
  """Returns the prefix of the weights' names in a training checkpoint."""
  marker = 'logit_scale_a'
  found = [name for name in torchfile.load(path) if name.split('.')[-1] == marker]
  if not found:
    raise ValueError(f'{path} does not hold CLAP: it has no weight {marker}.')
  return found[0].removesuffix(marker)


def load_weights(path: pathlib.Path) -> layers.Weights:
  """Returns the weights that `apply` reads from a file.

  Raises:
    ValueError: the file does not hold this network.
  """
  return layers.load(path, apply, INPUTS, prefix=_prefix(path), ignored=IGNORED)
