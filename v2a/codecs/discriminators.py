"""Multi-resolution spectrogram discriminators; adversarial and feature matching losses of codec training.

Each applies strided 2-D convolutions to the log-magnitude spectrogram of one resolution, and scores patches
(Jang et al. 2021, arXiv 2106.07889, sec. 2.3). Hinge losses:

  L_D = mean max(0, 1 - D(x)) + mean max(0, 1 + D(y)),      L_G = -mean D(y)            (1)
  L_fm = mean over layers of |D_l(x) - D_l(y)| / mean |D_l(x)|                           (2)

each of one clip, over its valid frames (`v2a.masks`).
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import masks
from v2a.codecs import loss

RESOLUTIONS = ((1024, 256), (512, 128), (256, 64))
NUM_LAYERS = 4


class Conv2D(nnx.Module):
  """A 2-D convolution over time and frequency, without bias."""

  def __init__(self, in_features: int, out_features: int, strides: tuple[int, int], *, rngs: nnx.Rngs):
    """Makes the layer, with a kernel of 3 x 3.

    Args:
      in_features, out_features: channels before and after.
      strides: steps over time and frequency.
      rngs: for initial weights.
    """
    std = 1 / np.sqrt(9 * in_features)
    self.kernel_YXIO = nnx.Param(
      std * jax.random.normal(rngs.params(), (3, 3, in_features, out_features)),
      axes=(None, None, None, 'channels'),
    )
    self.strides = strides

  def __call__(self, x: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
      x, self.kernel_YXIO[...], self.strides, 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


class Discriminator(nnx.Module):
  """Scores patches of the spectrogram of one resolution."""

  def __init__(self, num_channels: int, width: int, n_fft: int, hop_samples: int, *, rngs: nnx.Rngs):
    """Makes the network.

    Args:
      num_channels: audio channels.
      width: channels of the hidden layers.
      n_fft: window of the STFT in samples.
      hop_samples: hop of the STFT.
      rngs: for initial weights.
    """
    self.n_fft, self.hop_samples = n_fft, hop_samples
    sizes = [num_channels] + [width] * NUM_LAYERS
    self.convs = nnx.List([Conv2D(sizes[i], sizes[i + 1], (1, 2), rngs=rngs) for i in range(NUM_LAYERS)])
    self.score = Conv2D(width, 1, (1, 1), rngs=rngs)

  def __call__(self, wave_BNA: jax.Array) -> list[jax.Array]:
    """Returns the activations of every layer; the last ones are the scores."""
    x = jnp.log(loss.magnitude(wave_BNA, self.n_fft, self.hop_samples) + loss.MAGNITUDE_FLOOR)
    x = x.transpose(0, 2, 3, 1)
    activations = []
    for conv in self.convs:
      x = jax.nn.leaky_relu(conv(x), 0.1)
      activations.append(x)
    return activations + [self.score(x)]


class Discriminators(nnx.Module):
  """One discriminator per resolution."""

  def __init__(self, num_channels: int, width: int, *, rngs: nnx.Rngs):
    self.members = nnx.List(
      [Discriminator(num_channels, width, n_fft, hop, rngs=rngs) for n_fft, hop in RESOLUTIONS]
    )

  def __call__(self, wave_BNA: jax.Array) -> list[list[jax.Array]]:
    """Returns the activations of every discriminator."""
    return [member(wave_BNA) for member in self.members]


def _valid(real: list, num_valid_B: jax.Array | None) -> list[jax.Array | None]:
  """Returns the valid frames for each discriminator; all of its layers have the frames of its spectrogram."""
  return [
    loss.valid_frames(num_valid_B, layers[-1].shape[1], hop) for layers, (_, hop) in zip(real, RESOLUTIONS)
  ]


def discriminator_loss(real: list, fake: list, num_valid_B: jax.Array | None = None) -> jax.Array:
  """Returns L_D of eq. 1 of each clip (B).

  Args:
    real, fake: activations (`Discriminators`) of real and of generated waveforms.
    num_valid_B: number of valid samples, from the start; None for all.
  """
  terms = [
    masks.clip_mean(jax.nn.relu(1 - x[-1]) + jax.nn.relu(1 + y[-1]), is_valid_BJ)
    for x, y, is_valid_BJ in zip(real, fake, _valid(real, num_valid_B))
  ]
  return sum(terms, start=jnp.zeros(())) / len(terms)


def generator_loss(
  real: list, fake: list, num_valid_B: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """Returns L_G of eq. 1 and L_fm of eq. 2 of each clip (B); see `discriminator_loss`."""
  valid = _valid(real, num_valid_B)
  scores = [masks.clip_mean(y[-1], mask) for y, mask in zip(fake, valid)]
  adversarial_B = -sum(scores, start=jnp.zeros(())) / len(fake)
  matching = [
    masks.clip_mean(jnp.abs(x - y), mask) / (masks.clip_mean(jnp.abs(x), mask) + 1e-6)
    for real_layers, fake_layers, mask in zip(real, fake, valid)
    for x, y in zip(real_layers[:-1], fake_layers[:-1])
  ]
  return adversarial_B, sum(matching, start=jnp.zeros(())) / len(matching)
