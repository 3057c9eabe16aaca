"""EnCodec (Defossez et al. 2022, arXiv 2210.13438) with published weights, at 24 kHz and, stereo, at 48 kHz.

The folder of EncodecModel of `transformers` is read and written; that of MusicGen's codec at 32 kHz, too.

  model = encodec.load('encodec_24khz')
  codes_BTK = model.encode(wave_BNA, num_codebooks=8)
  wave_BNA = model.decode(codes_BTK)

The model of 48 kHz codes chunks of a second on their own, each with its scale, the root mean square of its
mono sum:

  chunks = model.encode_chunks(wave_BNA)
  wave_BNA = model.decode_chunks(chunks)

A chunk overlaps the next by 1 %. The decoded chunks are added with weights that rise linearly from their ends
to their middle, and divided by the sum of the weights.
"""

from collections.abc import Sequence
import dataclasses
import json
import math
import os
import pathlib

from flax import nnx
from flax import struct
import jax
import jax.numpy as jnp
import numpy as np

from v2a import shapes
from v2a.codecs import encodec
from v2a.codecs import euclidean_quantizer
from v2a.pretrained import tensors as tensors_lib

MODEL_TYPE = 'encodec'
_MIN_SCALE = 1e-8
_Layer = encodec.PaddedConv | encodec.TransposedConv | encodec.ResidualUnit | encodec.Lstm


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes of a model.

  Attributes:
    sample_rate_hz: of the waveform.
    architecture: of the networks.
    num_codebooks, codebook_size: of `euclidean_quantizer.EuclideanQuantizer`.
    bandwidths_kbps: bit rates that the model was trained for.
    is_normalized: whether a sound, or each chunk, is divided by its scale.
    chunk_samples, chunk_hop_samples: length and distance of chunks; None if a sound is coded as a whole.
  """

  sample_rate_hz: int
  architecture: encodec.Architecture
  num_codebooks: int
  codebook_size: int
  bandwidths_kbps: tuple[float, ...]
  is_normalized: bool
  chunk_samples: int | None
  chunk_hop_samples: int | None


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a model was stored.

  Attributes:
    weight_norm: key of `tensors.WEIGHT_NORM_NAMES`; None for another norm.
    config: text of the configuration, JSON.
  """

  weight_norm: str | None
  config: str


@struct.dataclass
class Chunk:
  """An encoded chunk.

  Attributes:
    codes_BTK: its codes.
    scale_B: by which the decoded chunk is multiplied; None in models without.
  """

  codes_BTK: jax.Array
  scale_B: jax.Array | None


class Encodec(nnx.Module):
  """Encodes waveforms as latents or codes, and decodes them."""

  def __init__(self, config: Config, layout: Layout, *, rngs: nnx.Rngs):
    self.config, self.layout = config, layout
    self.encoder = encodec.Encoder(config.architecture, rngs=rngs)
    self.quantizer = euclidean_quantizer.EuclideanQuantizer(
      config.num_codebooks, config.codebook_size, config.architecture.num_latent_channels, rngs=rngs
    )
    self.decoder = encodec.Decoder(config.architecture, rngs=rngs)

  @property
  def sample_rate_hz(self) -> int:
    """Of the waveforms."""
    return self.config.sample_rate_hz

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return self.config.architecture.hop_samples

  def num_codebooks_at(self, bandwidth_kbps: float) -> int:
    """Returns the number of codebooks of a bit rate.

    Raises:
      ValueError: the model was not trained for it.
    """
    if bandwidth_kbps not in self.config.bandwidths_kbps:
      raise ValueError(f'bandwidth_kbps must be one of {self.config.bandwidths_kbps}; got {bandwidth_kbps}.')
    bits = math.log2(self.config.codebook_size) * _steps_per_second(self.sample_rate_hz, self.hop_samples)
    return max(1, int(bandwidth_kbps * 1000 // bits))

  def encode_latents(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns continuous latents BTC, before quantization, of a waveform that is not scaled."""
    return self.encoder(wave_BNA)

  def decode_latents(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns wave_BNA of latents, quantized or not; not scaled."""
    return self.decoder(latent_BTC)

  def encode(self, wave_BNA: jax.Array, num_codebooks: int | None = None) -> jax.Array:
    """Returns codes_BTK of ceil(N / `hop_samples`) steps.

    Args:
      wave_BNA: at the rate and with the channels of the model.
      num_codebooks: K, from the first; None for all; see `num_codebooks_at`.

    Raises:
      ValueError: the model has chunks or scales.
    """
    self._check_whole('encode')
    return self.quantizer.encode(self.encoder(wave_BNA), num_codebooks)

  def decode(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns wave_BNA of T `hop_samples` samples, of the codes of the first K codebooks.

    Raises:
      ValueError: the model has chunks or scales.
    """
    self._check_whole('decode')
    return self.decoder(self.quantizer.decode(codes_BTK))

  def _check_whole(self, method: str) -> None:
    if self.config.is_normalized or self.config.chunk_samples:
      raise ValueError(f'this model codes chunks with a scale each; use {method}_chunks.')

  def encode_chunks(self, wave_BNA: jax.Array, num_codebooks: int | None = None) -> list[Chunk]:
    """Returns the codes and the scale of each chunk; one chunk if the model has none.

    Args:
      wave_BNA: at the rate and with the channels of the model.
      num_codebooks: K, from the first; None for all; see `num_codebooks_at`.
    """
    shapes.check(wave_BNA=wave_BNA)
    num_samples = wave_BNA.shape[1]
    size, hop = self.config.chunk_samples or num_samples, self.config.chunk_hop_samples or num_samples
    chunks = []
    for start in range(0, num_samples, hop):
      chunk_BNA, scale_B = wave_BNA[:, start : start + size], None
      if self.config.is_normalized:
        power_B = jnp.mean(jnp.square(jnp.mean(chunk_BNA, axis=2)), axis=1)
        scale_B = jnp.sqrt(power_B) + _MIN_SCALE
        chunk_BNA = chunk_BNA / scale_B[:, None, None]
      chunks.append(Chunk(self.quantizer.encode(self.encoder(chunk_BNA), num_codebooks), scale_B))
    return chunks

  def decode_chunks(self, chunks: Sequence[Chunk]) -> jax.Array:
    """Returns wave_BNA of chunks; it may have up to a hop more samples than what was encoded.

    Args:
      chunks: at least one, in their order.

    Raises:
      ValueError: there are no chunks.
    """
    if not chunks:
      raise ValueError('there are no chunks to decode.')
    parts = []
    for chunk in chunks:
      part_BNA = self.decoder(self.quantizer.decode(chunk.codes_BTK))
      parts.append(part_BNA if chunk.scale_B is None else part_BNA * chunk.scale_B[:, None, None])
    return _overlap_add(parts, self.config.chunk_hop_samples or 0)


def _overlap_add(parts: list[jax.Array], hop: int) -> jax.Array:
  """Returns the weighted mean of overlapping chunks BNA.

  Args:
    parts: all as long as the first, or shorter.
    hop: samples between the starts of two chunks.
  """
  B, size, A = parts[0].shape
  total = max(hop * i + part.shape[1] for i, part in enumerate(parts))
  ramp_N = np.linspace(0, 1, size + 2, dtype=np.float32)[1:-1]
  weight_N = 0.5 - np.abs(ramp_N - 0.5)
  sum_BNA, weight_sum_N = jnp.zeros((B, total, A)), np.zeros(total, np.float32)
  for i, part_BNA in enumerate(parts):
    start, stop = hop * i, hop * i + part_BNA.shape[1]
    sum_BNA = sum_BNA.at[:, start:stop].add(part_BNA * weight_N[None, : stop - start, None])
    weight_sum_N[start:stop] += weight_N[: stop - start]
  return sum_BNA / weight_sum_N[None, :, None]


def load(path: str | os.PathLike) -> Encodec:
  """Returns a model with its weights, float32.

  Args:
    path: folder with config.json and model.safetensors.

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: it does not hold this model, or is damaged.
  """
  path = pathlib.Path(path)
  text, tensors = tensors_lib.read_folder(path, MODEL_TYPE)
  layout = Layout(tensors_lib.weight_norm_of(tensors), text)
  model = empty(config_of(json.loads(text), path / tensors_lib.CONFIG), layout)
  tensors_lib.assign(model, slots(model), tensors, path)
  return model


def save(model: Encodec, path: str | os.PathLike) -> None:
  """Writes a model in the layout that it was read from.

  Args:
    model: the model.
    path: of the folder.
  """
  tensors_lib.write_folder(pathlib.Path(path), model.layout.config, slots(model))


def empty(config: Config, layout: Layout) -> Encodec:
  """Returns a model whose variables have shapes, but no values."""
  return nnx.eval_shape(lambda: Encodec(config, layout, rngs=nnx.Rngs(0)))


def config_of(config: dict, source: pathlib.Path) -> Config:
  """Returns the sizes in a configuration of EncodecModel.

  Args:
    config: contents of config.json.
    source: the file, for errors.

  Raises:
    ValueError: a value is missing or not supported.
  """
  number = lambda key: tensors_lib.number(config, key, source)
  try:
    arch = encodec.Architecture(
      num_channels=number('audio_channels'),
      width=number('num_filters'),
      strides=tensors_lib.numbers(config, 'upsampling_ratios', source),
      num_latent_channels=number('hidden_size'),
      is_causal=config['use_causal_conv'],
      norm=config['norm_type'],
      pad_mode=config['pad_mode'],
      size=number('kernel_size'),
      last_size=number('last_kernel_size'),
      unit_size=number('residual_kernel_size'),
      num_units=number('num_residual_layers'),
      dilation_growth=number('dilation_growth_rate'),
      compression=number('compress'),
      has_shortcut=config['use_conv_shortcut'],
      num_lstm_layers=number('num_lstm_layers'),
      trim_right_ratio=config['trim_right_ratio'],
    )
    rate, size = number('sampling_rate'), number('codebook_size')
    bandwidths = tuple(config['target_bandwidths'])
    chunk_s, overlap = config['chunk_length_s'], config['overlap']
    is_normalized = config['normalize']
  except KeyError as error:
    raise ValueError(f'{source} has no {error.args[0]}.') from error
  except ValueError as error:
    raise ValueError(f'{source}: {error}') from error
  if config.get('codebook_dim') not in (None, arch.num_latent_channels):
    raise ValueError(f'{source}: codebook_dim must be hidden_size; got {config["codebook_dim"]}.')
  if (chunk_s is None) != (overlap is None):
    raise ValueError(f'{source}: chunk_length_s and overlap must both be given or both be null.')
  # Rounded as published: bits of a code and steps of a second are whole numbers.
  bits = math.ceil(math.log2(size)) * _steps_per_second(rate, arch.hop_samples)
  chunk_samples = None if chunk_s is None else int(chunk_s * rate)
  return Config(
    sample_rate_hz=rate,
    architecture=arch,
    num_codebooks=int(1000 * bandwidths[-1] // bits),
    codebook_size=size,
    bandwidths_kbps=bandwidths,
    is_normalized=is_normalized,
    chunk_samples=chunk_samples,
    chunk_hop_samples=None if chunk_samples is None else max(1, int((1.0 - overlap) * chunk_samples)),
  )


def _steps_per_second(sample_rate_hz: int, hop_samples: int) -> int:
  return math.ceil(sample_rate_hz / hop_samples)


def slots(model: Encodec) -> tensors_lib.Slots:
  """Returns all variables of a model by their published names."""
  found: tensors_lib.Slots = {}
  # Layers are numbered with the activations before convolutions, which have no parameters.
  encoder, decoder, kind = model.encoder, model.decoder, model.layout.weight_norm
  layers: list[_Layer | None] = [encoder.conv_in]
  for block in encoder.blocks:
    layers += [*block.units, None, block.conv]
  layers += [encoder.lstm, None, encoder.conv_out]
  found |= _layer_slots('encoder.layers', layers, kind)
  layers = [decoder.conv_in, decoder.lstm]
  for block in decoder.blocks:
    layers += [None, block.conv, *block.units]
  layers += [None, decoder.conv_out]
  found |= _layer_slots('decoder.layers', layers, kind)
  for k, codebook in enumerate(model.quantizer.codebooks):
    parts = {
      'embed': codebook.entry_VC,
      'embed_avg': codebook.sum_VC,
      'cluster_size': codebook.size_V,
      'inited': codebook.is_initialized_1,
    }
    for part, variable in parts.items():
      found[f'quantizer.layers.{k}.codebook.{part}'] = tensors_lib.vector(variable)
  return found


def _layer_slots(prefix: str, layers: Sequence[_Layer | None], kind: str | None) -> tensors_lib.Slots:
  """Returns the variables of numbered layers; None is a layer without variables."""
  found: tensors_lib.Slots = {}
  for i, layer in enumerate(layers):
    name = f'{prefix}.{i}'
    if isinstance(layer, encodec.Lstm):
      found |= _lstm_slots(f'{name}.lstm', layer)
    elif isinstance(layer, encodec.ResidualUnit):
      found |= _conv_slots(f'{name}.block.1', layer.conv1, kind)
      found |= _conv_slots(f'{name}.block.3', layer.conv2, kind)
      if layer.shortcut is not None:
        found |= _conv_slots(f'{name}.shortcut', layer.shortcut, kind)
    elif layer is not None:
      found |= _conv_slots(name, layer, kind)
  return found


def _conv_slots(
  name: str, layer: encodec.PaddedConv | encodec.TransposedConv, kind: str | None
) -> tensors_lib.Slots:
  found = tensors_lib.conv(f'{name}.conv', layer.conv, kind)
  if layer.norm is not None:
    found[f'{name}.norm.weight'] = tensors_lib.vector(layer.norm.scale_D)
    found[f'{name}.norm.bias'] = tensors_lib.vector(layer.norm.bias_D)
  return found


def _lstm_slots(name: str, lstm: encodec.Lstm) -> tensors_lib.Slots:
  """Returns the variables of an LSTM by the names of torch.nn.LSTM."""
  found = {}
  for i, layer in enumerate(lstm.layers):
    for kind, kernel_IO, bias_O in (
      ('ih', layer.input_IO, layer.input_bias_O),
      ('hh', layer.hidden_IO, layer.hidden_bias_O),
    ):
      found[f'{name}.weight_{kind}_l{i}'] = tensors_lib.Slot(kernel_IO, (1, 0))
      found[f'{name}.bias_{kind}_l{i}'] = tensors_lib.vector(bias_O)
  return found
