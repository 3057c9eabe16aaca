"""VGGish as an embedder, for the Frechet audio distance (FD-VGG, FAD) as in hkchengrex/av-benchmark.

Of several variants of FAD in use, this is the one on the mono mix less its mean, with the features before
the last ReLU, without PCA or quantisation. The rows of all examples of all clips form one set.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import layers
from v2a.models.published import vggish
from v2a.models.published import waveforms

NAME = 'vggish'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad')
FILES = (vggish.CHECKPOINT,)


class Vggish(embedder_lib.Embedder):
  """VGGish under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, ('audio',), METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._apply = jax.jit(vggish.apply)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns a row of features for every 0.96 s.

    Raises:
      UnsupportedClipError: the clip is shorter than that.
    """
    wave_N = waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, vggish.RATE_HZ)
    example_BJR = vggish.log_mel_examples(wave_N)
    if not len(example_BJR):
      duration_s = len(clip.wave_NA) / clip.sample_rate_hz
      raise embedder_lib.UnsupportedClipError(
        f'VGGish needs 0.975 s of audio; the clip has {duration_s:.3f} s'
      )
    rows_NF = self._apply(self._weights, jnp.asarray(example_BJR, jnp.float32))
    return {embedder_lib.EMBEDDINGS: np.asarray(rows_NF)}


def load(path: pathlib.Path) -> Vggish:
  """Returns the embedder with the weights of a file.

  Raises:
    ValueError: the file is not the published one, or does not hold this network.
  """
  digest = embedder_lib.weights_digest(NAME, VERSION, {path: vggish.CHECKPOINT})
  return Vggish(vggish.load_weights(path), digest)
