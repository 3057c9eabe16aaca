"""PANNs Cnn14 as an embedder, for FD-PANNs, KL and IS as in hkchengrex/av-benchmark.

The mono mix less its mean, at 16 kHz and at full length, gives one row of features and the logits of 527
classes.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import layers
from v2a.models.published import panns
from v2a.models.published import waveforms

NAME = 'panns'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad', 'kl', 'is')
FILES = (panns.CHECKPOINT,)


class Panns(embedder_lib.Embedder):
  """Cnn14 under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('audio',), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._apply = jax.jit(panns.apply)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns one row of features and the logits of 527 classes.

    Raises:
      UnsupportedClipError: the clip is too short for the network's poolings.
    """
    wave_N = waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, panns.RATE_HZ)
    if len(wave_N) < (panns.MIN_FRAMES - 1) * panns.HOP_SAMPLES:
      raise embedder_lib.UnsupportedClipError(
        f'Cnn14 needs 0.31 s of audio; the clip has {len(wave_N) / panns.RATE_HZ:.3f} s'
      )
    rows_NF, logits_BO = self._apply(self._weights, jnp.asarray(panns.frame(wave_N)[None]))
    return {embedder_lib.EMBEDDINGS: np.asarray(rows_NF), embedder_lib.LOGITS: np.asarray(logits_BO[0])}


def load(path: pathlib.Path) -> Panns:
  """Returns the embedder with the weights of a file.

  Raises:
    ValueError: the file is not the published one, or does not hold this network.
  """
  digest = embedder_lib.weights_digest(NAME, VERSION, {path: panns.CHECKPOINT})
  return Panns(panns.load_weights(path), digest)
