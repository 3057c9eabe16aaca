"""Discriminators of waveforms; adversarial and feature matching losses of codec training.

Two kinds, as in DAC (Kumar et al. 2023, arXiv 2306.06546, sec. 3.4 and 3.5): multi-period discriminators see
every p-th sample (Kong et al. 2020, arXiv 2010.05646, sec. 2.3), multi-resolution ones bands of the complex
spectrogram. Each scores patches, with least-squares losses:

  L_D = mean (1 - D(x))^2 + mean D(y)^2,      L_G = mean (1 - D(y))^2                    (1)
  L_fm = sum over layers of mean |D_l(x) - D_l(y)|                                       (2)

summed over discriminators, each of one clip, over its valid steps (`v2a.masks`).

Where DAC strides by s, s neighbours are folded into channels and the kernel is shorter by s: the same reach
and number of steps. On a CPU the gradient of a strided 3 x 9 convolution took 2.8 times the processor time of
the folded 3 x 5 one (8 channels, 125 x 256).
"""

from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import masks
from v2a.codecs import loss
from v2a.codecs import stft

# Those of DAC. A window has a hop of a quarter; band edges are shares of half the sample rate.
PERIODS = (2, 3, 5, 7, 11)
WINDOWS = (2048, 1024, 512)
BAND_EDGES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
_PERIOD_GROWTH, _MAX_PERIOD_WIDTH = 4, 32
_SLOPE = 0.1


class FoldedConv(nnx.Module):
  """A 2-D convolution over (time, frequency or phase), after neighbours were folded into channels."""

  def __init__(
    self, in_features: int, out_features: int, size: tuple[int, int], fold: tuple[int, int], *, rngs: nnx.Rngs
  ):
    """Makes the layer.

    Args:
      in_features, out_features: channels before and after.
      size: of the kernel, in folded steps.
      fold: neighbours that are folded; both axes are padded with zeros to a multiple.
      rngs: for initial weights.
    """
    folded = in_features * fold[0] * fold[1]
    std = 1 / np.sqrt(size[0] * size[1] * folded)
    self.kernel_YXIO = nnx.Param(
      std * jax.random.normal(rngs.params(), (*size, folded, out_features)),
      axes=(None, None, None, 'channels'),
    )
    self.bias_O = nnx.Param(jnp.zeros(out_features), axes=('channels',))
    self.fold = fold

  def __call__(self, x_BYXC: jax.Array) -> jax.Array:
    fold_y, fold_x = self.fold
    B, Y, X, C = x_BYXC.shape
    x_BYXC = jnp.pad(x_BYXC, ((0, 0), (0, -Y % fold_y), (0, -X % fold_x), (0, 0)))
    num_y, num_x = -(-Y // fold_y), -(-X // fold_x)
    x = x_BYXC.reshape(B, num_y, fold_y, num_x, fold_x, C).transpose(0, 1, 3, 2, 4, 5)
    x_BYXI = x.reshape(B, num_y, num_x, fold_y * fold_x * C)
    y_BYXO = jax.lax.conv_general_dilated(
      x_BYXI, self.kernel_YXIO[...], (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    return y_BYXO + self.bias_O[...][None, None, None]


def _activations(convs, score: FoldedConv, x_BYXC: jax.Array) -> list[jax.Array]:
  """Returns the activations of all layers; the last ones are the scores."""
  found = []
  for conv in convs:
    x_BYXC = jax.nn.leaky_relu(conv(x_BYXC), _SLOPE)
    found.append(x_BYXC)
  return [*found, score(x_BYXC)]


class PeriodDiscriminator(nnx.Module):
  """Scores the samples of one phase of a period; layers fold 3 steps in time."""

  def __init__(self, num_channels: int, width: int, period: int, *, rngs: nnx.Rngs):
    """Makes the network.

    Args:
      num_channels: audio channels.
      width: channels of the first layer; those of the next ones are 4, 16, 32 and 32 times as many.
      period: p, in samples.
      rngs: for initial weights.
    """
    self.period = period
    growth = [min(_PERIOD_GROWTH**layer, _MAX_PERIOD_WIDTH) for layer in range(5)]
    sizes = [num_channels, *(width * each for each in growth)]
    folds = [(3, 1)] * 4 + [(1, 1)]
    self.convs = nnx.List(
      [
        FoldedConv(sizes[i], sizes[i + 1], (2 if fold[0] == 3 else 5, 1), fold, rngs=rngs)
        for i, fold in enumerate(folds)
      ]
    )
    self.score = FoldedConv(sizes[-1], 1, (3, 1), (1, 1), rngs=rngs)

  def __call__(self, wave_BNA: jax.Array) -> list[list[jax.Array]]:
    """Returns one list of activations."""
    B, N, A = wave_BNA.shape
    padded_BNA = jnp.pad(wave_BNA, ((0, 0), (0, -N % self.period), (0, 0)))
    return [_activations(self.convs, self.score, padded_BNA.reshape(B, -1, self.period, A))]


class BandDiscriminator(nnx.Module):
  """Scores patches of a band of a spectrogram; layers fold 2 bins."""

  def __init__(self, num_features: int, width: int, *, rngs: nnx.Rngs):
    """Makes the network.

    Args:
      num_features: real and imaginary parts of all audio channels.
      width: channels of the hidden layers.
      rngs: for initial weights.
    """
    sizes = [num_features] + [width] * 5
    # Size of the kernel and neighbours that are folded, of each layer.
    shapes = [((3, 9), (1, 1)), *([((3, 5), (1, 2))] * 3), ((3, 3), (1, 1))]
    self.convs = nnx.List(
      [FoldedConv(sizes[i], sizes[i + 1], *shape, rngs=rngs) for i, shape in enumerate(shapes)]
    )
    self.score = FoldedConv(width, 1, (3, 3), (1, 1), rngs=rngs)

  def __call__(self, x_BJFC: jax.Array) -> list[jax.Array]:
    """Returns the activations of every layer; the last ones are the scores."""
    return _activations(self.convs, self.score, x_BJFC)


class ResolutionDiscriminator(nnx.Module):
  """Scores bands of the complex spectrogram of one resolution."""

  def __init__(
    self, num_channels: int, width: int, n_fft: int, band_edges: Sequence[float], *, rngs: nnx.Rngs
  ):
    """Makes the networks of all bands.

    Args:
      num_channels: audio channels.
      width: channels of the hidden layers.
      n_fft: window of the STFT in samples; the hop is a quarter of it.
      band_edges: shares of half the sample rate, from 0 to 1; each band has layers of its own.
      rngs: for initial weights.
    """
    self.n_fft, self.hop_samples, self.band_edges = n_fft, n_fft // 4, tuple(band_edges)
    self.bands = nnx.List([BandDiscriminator(2 * num_channels, width, rngs=rngs) for _ in band_edges[1:]])

  def __call__(self, wave_BNA: jax.Array) -> list[list[jax.Array]]:
    """Returns the activations of each band."""
    num_samples = wave_BNA.shape[1] - wave_BNA.shape[1] % self.hop_samples
    spec_BAJF = stft.forward(wave_BNA[:, :num_samples], self.n_fft, self.hop_samples)
    x_BJFC = jnp.concatenate([spec_BAJF.real, spec_BAJF.imag], axis=1).transpose(0, 2, 3, 1)
    edges = [round(edge * x_BJFC.shape[2]) for edge in self.band_edges]
    return [
      band(x_BJFC[:, :, first:end])
      for band, first, end in zip(self.bands, edges[:-1], edges[1:], strict=True)
    ]


class Discriminators(nnx.Module):
  """One discriminator per period and per resolution."""

  def __init__(
    self,
    num_channels: int,
    width: int,
    *,
    periods: Sequence[int] = PERIODS,
    windows: Sequence[int] = WINDOWS,
    band_edges: Sequence[float] = BAND_EDGES,
    rngs: nnx.Rngs,
  ):
    """Makes the networks.

    Args:
      num_channels: audio channels.
      width: of the narrowest layers; 32 in DAC.
      periods: of the multi-period discriminators, in samples.
      windows: of the spectrograms, in samples; multiples of 4.
      band_edges: see `ResolutionDiscriminator`.
      rngs: for initial weights.
    """
    by_period = [PeriodDiscriminator(num_channels, width, period, rngs=rngs) for period in periods]
    by_window = [
      ResolutionDiscriminator(num_channels, width, n_fft, band_edges, rngs=rngs) for n_fft in windows
    ]
    self.members = nnx.List([*by_period, *by_window])

  def __call__(self, wave_BNA: jax.Array) -> list[list[jax.Array]]:
    """Returns the activations of every discriminator, a list for each period and each band.

    Every clip is scaled to a peak of 0.8 and has no offset, as in DAC: levels are the task of other losses.
    """
    wave_BNA = wave_BNA - jnp.mean(wave_BNA, axis=1, keepdims=True)
    # Constant: where a compiler computes the waveform twice, no sample may equal the peak, whose gradient is
    # then NaN.
    peak_B11 = jax.lax.stop_gradient(jnp.max(jnp.abs(wave_BNA), axis=(1, 2), keepdims=True))
    wave_BNA = wave_BNA * (0.8 / (peak_B11 + 1e-4))
    return [activations for member in self.members for activations in member(wave_BNA)]


def _mean(value: jax.Array, num_samples: int, num_valid_B: jax.Array | None) -> jax.Array:
  """Returns the mean of each clip over the steps of a layer whose centre is valid.

  Args:
    value: with an axis of steps after that of clips; they cover the waveform evenly.
    num_samples: of the waveform.
    num_valid_B: number of valid samples, from the start; None for all.
  """
  num_steps = value.shape[1]
  return masks.clip_mean(value, loss.valid_frames(num_valid_B, num_steps, num_samples / num_steps))


def discriminator_loss(
  real: list, fake: list, num_samples: int, num_valid_B: jax.Array | None = None
) -> jax.Array:
  """Returns L_D of eq. 1 of each clip (B).

  Args:
    real, fake: activations (`Discriminators`) of real and of generated waveforms.
    num_samples: of the waveforms.
    num_valid_B: number of valid samples, from the start; None for all.
  """
  terms = [
    _mean(jnp.square(1 - x[-1]) + jnp.square(y[-1]), num_samples, num_valid_B) for x, y in zip(real, fake)
  ]
  return sum(terms, start=jnp.zeros(()))


def generator_loss(
  real: list, fake: list, num_samples: int, num_valid_B: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
  """Returns L_G of eq. 1 and L_fm of eq. 2 of each clip (B).

  Args:
    real, fake, num_samples, num_valid_B: see `discriminator_loss`.
  """
  scores = [_mean(jnp.square(1 - y[-1]), num_samples, num_valid_B) for y in fake]
  matching = [
    _mean(jnp.abs(x - y), num_samples, num_valid_B)
    for real_layers, fake_layers in zip(real, fake)
    for x, y in zip(real_layers[:-1], fake_layers[:-1])
  ]
  return sum(scores, start=jnp.zeros(())), sum(matching, start=jnp.zeros(()))
