"""LAION-CLAP as an embedder, for the CLAP score as in hkchengrex/av-benchmark.

The mono mix less its mean, and the prompt; their features are those of v2a.models.published.clap, and the
CLAP score is its eq. 1. The 512 audio features also give distances between sets, which av-benchmark does
not compute; fadtk and kadtk compute them with other weights of CLAP, on windows of 10 s every second.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import clap
from v2a.models.published import layers
from v2a.models.published import waveforms

NAME = 'clap'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad', 'clap')
READS = ('audio', 'text')
FILES = (clap.CHECKPOINT, clap.TOKENIZER)
PACKAGES = {'tokenizers': "pip install 'v2a[clap]'"}
TEXT = 'text_F'


class Clap(embedder_lib.Embedder):
  """LAION-CLAP under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, READS, METRICS

  def __init__(self, weights: layers.Weights, tokenize: clap.Tokenize, digest: str):
    self.digest = digest
    self._weights = weights
    self._tokenize = tokenize
    self._encode_audio, self._encode_text = jax.jit(clap.encode_audio), jax.jit(clap.encode_text)
    # Many clips share one prompt.
    self._embed_text_once = functools.lru_cache(maxsize=4096)(self._embed_text)

  def _embed_text(self, text: str) -> np.ndarray:
    token_S = clap.pad_tokens(self._tokenize, text)
    return np.asarray(self._encode_text(self._weights, token_S[None]))[0]

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns one row of features of the audio, and those of the prompt.

    Raises:
      UnsupportedClipError: the prompt is empty, or the audio is shorter than a sample at 48 kHz.
    """
    text = clip.text or ''
    if not text.strip():
      raise embedder_lib.UnsupportedClipError('the text of the clip is empty')
    wave_N = waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, clap.RATE_HZ)
    if not len(wave_N):
      raise embedder_lib.UnsupportedClipError(f'CLAP needs a sample at {clap.RATE_HZ} Hz; the clip has none')
    frame_BJN = jnp.asarray(clap.audio_frames(wave_N)[None], jnp.float32)
    rows_NF = np.asarray(self._encode_audio(self._weights, frame_BJN))
    return {embedder_lib.EMBEDDINGS: rows_NF, TEXT: self._embed_text_once(text)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns the CLAP score: cosine similarity of audio and prompt; higher is better."""
    return {'clap': float(arrays[embedder_lib.EMBEDDINGS][0] @ arrays[TEXT])}


def load(path: pathlib.Path, tokenizer_path: pathlib.Path) -> Clap:
  """Returns the embedder with the weights and the tokenizer of two files.

  Raises:
    ValueError: a file is not the published one, or does not hold what it should.
  """
  files = {path: clap.CHECKPOINT, tokenizer_path: clap.TOKENIZER}
  digest = embedder_lib.weights_digest(NAME, VERSION, files)
  weights = clap.load_weights(path)
  return Clap(weights, clap.load_tokenizer(tokenizer_path, clap.vocabulary_size(weights)), digest)
