"""PaSST as an embedder, for FD-PaSST, KL and IS as in hkchengrex/av-benchmark.

The mono mix less its mean, at 32 kHz, zero-padded or cut to 10 s, gives one row of features and the logits
of 527 classes.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import layers
from v2a.models.published import passt
from v2a.models.published import waveforms

NAME = 'passt'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad', 'kl', 'is')
FILES = (passt.CHECKPOINT,)


class Passt(embedder_lib.Embedder):
  """PaSST-S under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('audio',), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._apply = jax.jit(passt.apply)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns one row of features and the logits of 527 classes."""
    wave_N = waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, passt.RATE_HZ)[: passt.NUM_SAMPLES]
    mel_RJ = passt.log_mel(np.pad(wave_N, (0, passt.NUM_SAMPLES - len(wave_N))))
    rows_NF, logits_BO = self._apply(self._weights, jnp.asarray(mel_RJ[None], jnp.float32))
    return {embedder_lib.EMBEDDINGS: np.asarray(rows_NF), embedder_lib.LOGITS: np.asarray(logits_BO[0])}


def load(path: pathlib.Path) -> Passt:
  """Returns the embedder with the weights of a file.

  Raises:
    ValueError: the file is not the published one, or does not hold this network.
  """
  digest = embedder_lib.weights_digest(NAME, VERSION, {path: passt.CHECKPOINT})
  return Passt(passt.load_weights(path), digest)
