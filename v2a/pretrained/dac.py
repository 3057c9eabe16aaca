"""DAC (Kumar et al. 2023, arXiv 2306.06546) with published weights, mono at 16, 24 or 44.1 kHz.

Two layouts are read and written: the folder of DacModel of `transformers`, whose kernels are stored without
weight normalization, and the `.pth` file of descript-audio-codec, with it.

  model = dac.load('dac_44khz')
  codes_BTK = model.encode(wave_BNA)
  wave_BNA = model.decode(codes_BTK)
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp

from v2a import shapes
from v2a.codecs import convolution_layers
from v2a.codecs import convolutional
from v2a.codecs import factorized_quantizer
from v2a.models.published import torchfile
from v2a.pretrained import tensors as tensors_lib

MODEL_TYPE = 'dac'
# Where descript-audio-codec's file has the tensors.
_STATE = 'state_dict'


@dataclasses.dataclass(frozen=True)
class Config:
  """Sizes of a model.

  Attributes:
    sample_rate_hz: of the waveform.
    encoder_width, encoder_strides: of `convolutional.Encoder`.
    decoder_width, decoder_strides: of `convolutional.Decoder`.
    num_latent_channels: C.
    num_codebooks, codebook_size, codebook_width: of `factorized_quantizer.FactorizedQuantizer`.
  """

  sample_rate_hz: int
  encoder_width: int
  encoder_strides: tuple[int, ...]
  decoder_width: int
  decoder_strides: tuple[int, ...]
  num_latent_channels: int
  num_codebooks: int
  codebook_size: int
  codebook_width: int


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a model was stored.

  Attributes:
    is_original: whether in the file of descript-audio-codec, not in a folder of `transformers`.
    weight_norm: key of `tensors.WEIGHT_NORM_NAMES`; None if kernels are stored without weight normalization.
    config: JSON text of the configuration; of what is beside the tensors in the file.
  """

  is_original: bool
  weight_norm: str | None
  config: str


class Dac(nnx.Module):
  """Encodes mono waveforms as latents or codes, and decodes them."""

  def __init__(self, config: Config, layout: Layout, *, rngs: nnx.Rngs):
    self.config, self.layout = config, layout
    options: dict[str, Any] = {'use_weight_norm': layout.weight_norm is not None, 'rngs': rngs}
    self.encoder = convolutional.Encoder(
      1,
      config.encoder_width,
      config.encoder_strides,
      num_latent_channels=config.num_latent_channels,
      **options,
    )
    self.quantizer = factorized_quantizer.FactorizedQuantizer(
      config.num_codebooks,
      config.codebook_size,
      config.codebook_width,
      config.num_latent_channels,
      **options,
    )
    self.decoder = convolutional.Decoder(
      1,
      config.decoder_width,
      config.decoder_strides,
      num_latent_channels=config.num_latent_channels,
      keep_length=False,
      **options,
    )

  @property
  def sample_rate_hz(self) -> int:
    """Of the waveforms."""
    return self.config.sample_rate_hz

  @property
  def hop_samples(self) -> int:
    """Samples of a latent step."""
    return self.encoder.hop_samples

  def encode_latents(self, wave_BNA: jax.Array) -> jax.Array:
    """Returns continuous latents BTC, before quantization.

    Args:
      wave_BNA: mono; zeros are added up to a multiple of `hop_samples`.
    """
    shapes.check(wave_BNA=wave_BNA)
    padding = -wave_BNA.shape[1] % self.hop_samples
    return self.encoder(jnp.pad(wave_BNA, ((0, 0), (0, padding), (0, 0))))

  def decode_latents(self, latent_BTC: jax.Array) -> jax.Array:
    """Returns wave_BNA of latents, quantized or not; see `decode`."""
    return self.decoder(latent_BTC)

  def encode(self, wave_BNA: jax.Array, num_codebooks: int | None = None) -> jax.Array:
    """Returns codes_BTK.

    Args:
      wave_BNA: see `encode_latents`.
      num_codebooks: K, from the first; None for all.
    """
    return self.quantizer.encode(self.encode_latents(wave_BNA), num_codebooks)

  def decode(self, codes_BTK: jax.Array) -> jax.Array:
    """Returns wave_BNA of the codes of the first K codebooks.

    It has T `hop_samples` samples, less 8 at the end in the models of 16 and 24 kHz, for their odd stride.
    """
    return self.decoder(self.quantizer.decode(codes_BTK))


def load(path: str | os.PathLike) -> Dac:
  """Returns a model with its weights, float32.

  Args:
    path: folder with config.json and model.safetensors, or file of descript-audio-codec
      (weights_16khz.pth, ...).

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: it does not hold this model, or is damaged.
  """
  path = pathlib.Path(path)
  if path.is_dir():
    text, tensors = tensors_lib.read_folder(path, MODEL_TYPE)
    config = config_of(json.loads(text), path / tensors_lib.CONFIG)
    layout = Layout(False, tensors_lib.weight_norm_of(tensors), text)
  else:
    tensors, values = torchfile.load(path), torchfile.load_values(path)
    tensors = {name.removeprefix(f'{_STATE}.'): tensor for name, tensor in tensors.items()}
    config = config_of_file(values, path)
    layout = Layout(True, tensors_lib.weight_norm_of(tensors), json.dumps(values))
  model = empty(config, layout)
  tensors_lib.assign(model, slots(model), tensors, path)
  return model


def save(model: Dac, path: str | os.PathLike) -> None:
  """Writes a model in the layout that it was read from.

  Args:
    model: the model.
    path: of the folder, or of the file.
  """
  if not model.layout.is_original:
    tensors_lib.write_folder(pathlib.Path(path), model.layout.config, slots(model))
    return
  arrays = {name: slot.published() for name, slot in slots(model).items()}
  torchfile.save(pathlib.Path(path), {_STATE: arrays, **json.loads(model.layout.config)})


def empty(config: Config, layout: Layout) -> Dac:
  """Returns a model whose variables have shapes, but no values."""
  return nnx.eval_shape(lambda: Dac(config, layout, rngs=nnx.Rngs(0)))


def config_of(config: dict, source: pathlib.Path) -> Config:
  """Returns the sizes in a configuration of DacModel.

  Args:
    config: contents of config.json.
    source: the file, for errors.

  Raises:
    ValueError: a value is missing or wrong.
  """
  strides = tensors_lib.numbers(config, 'downsampling_ratios', source)
  width = tensors_lib.number(config, 'encoder_hidden_size', source)
  return Config(
    sample_rate_hz=tensors_lib.number(config, 'sampling_rate', source),
    encoder_width=width,
    encoder_strides=strides,
    decoder_width=tensors_lib.number(config, 'decoder_hidden_size', source),
    decoder_strides=strides[::-1],
    num_latent_channels=width * 2 ** len(strides),
    num_codebooks=tensors_lib.number(config, 'n_codebooks', source),
    codebook_size=tensors_lib.number(config, 'codebook_size', source),
    codebook_width=tensors_lib.number(config, 'codebook_dim', source),
  )


def config_of_file(values: dict, source: pathlib.Path) -> Config:
  """Returns the sizes in a file of descript-audio-codec: the arguments of its model.

  Args:
    values: of the file, without tensors.
    source: the file, for errors.

  Raises:
    ValueError: a value is missing or wrong.
  """
  config = values.get('metadata', {}).get('kwargs', {})
  return Config(
    sample_rate_hz=tensors_lib.number(config, 'sample_rate', source),
    encoder_width=tensors_lib.number(config, 'encoder_dim', source),
    encoder_strides=tensors_lib.numbers(config, 'encoder_rates', source),
    decoder_width=tensors_lib.number(config, 'decoder_dim', source),
    decoder_strides=tensors_lib.numbers(config, 'decoder_rates', source),
    num_latent_channels=tensors_lib.number(config, 'latent_dim', source),
    num_codebooks=tensors_lib.number(config, 'n_codebooks', source),
    codebook_size=tensors_lib.number(config, 'codebook_size', source),
    codebook_width=tensors_lib.number(config, 'codebook_dim', source),
  )


def slots(model: Dac) -> tensors_lib.Slots:
  """Returns all variables of a model by their published names."""
  found = _original_slots(model) if model.layout.is_original else _transformers_slots(model)
  for k, codebook in enumerate(model.quantizer.codebooks):
    name, kind = f'quantizer.quantizers.{k}', model.layout.weight_norm
    found |= tensors_lib.conv(f'{name}.in_proj', codebook.project_in, kind)
    found |= tensors_lib.conv(f'{name}.out_proj', codebook.project_out, kind)
    found[f'{name}.codebook.weight'] = tensors_lib.vector(codebook.entry_VF)
  return found


def _transformers_slots(model: Dac) -> tensors_lib.Slots:
  """Returns the variables of encoder and decoder by the names of DacModel."""
  kind, found = model.layout.weight_norm, {}
  for side, network in (('encoder', model.encoder), ('decoder', model.decoder)):
    found |= tensors_lib.conv(f'{side}.conv1', network.conv_in, kind)
    for i, block in enumerate(network.blocks):
      name = f'{side}.block.{i}'
      found |= _snake(f'{name}.snake1', block.activation)
      found |= tensors_lib.conv(f'{name}.{"conv1" if side == "encoder" else "conv_t1"}', block.conv, kind)
      for j, unit in enumerate(block.units, 1):
        parts = ('snake1', 'conv1', 'snake2', 'conv2')
        found |= _unit_slots([f'{name}.res_unit{j}.{part}' for part in parts], unit, kind)
    found |= _snake(f'{side}.snake1', network.activation)
    found |= tensors_lib.conv(f'{side}.conv2', network.conv_out, kind)
  return found


def _original_slots(model: Dac) -> tensors_lib.Slots:
  """Returns the variables of encoder and decoder by the names of descript-audio-codec."""
  kind, found = model.layout.weight_norm, {}
  for side, network in (('encoder.block', model.encoder), ('decoder.model', model.decoder)):
    # Layers are numbered: first convolution, blocks, activation, last convolution; likewise in a block.
    found |= tensors_lib.conv(f'{side}.0', network.conv_in, kind)
    for i, block in enumerate(network.blocks, 1):
      num_units, is_encoder = len(block.units), network is model.encoder
      first_unit, activation = (0, num_units) if is_encoder else (2, 0)
      found |= _snake(f'{side}.{i}.block.{activation}', block.activation)
      found |= tensors_lib.conv(f'{side}.{i}.block.{activation + 1}', block.conv, kind)
      for j, unit in enumerate(block.units, first_unit):
        found |= _unit_slots([f'{side}.{i}.block.{j}.block.{part}' for part in range(4)], unit, kind)
    num_blocks = len(network.blocks)
    found |= _snake(f'{side}.{num_blocks + 1}', network.activation)
    found |= tensors_lib.conv(f'{side}.{num_blocks + 2}', network.conv_out, kind)
  return found


def _unit_slots(
  names: list[str], unit: convolution_layers.ResidualUnit, kind: str | None
) -> tensors_lib.Slots:
  """Returns the variables of a residual unit, by the names of its four layers."""
  return {
    **_snake(names[0], unit.activation1),
    **tensors_lib.conv(names[1], unit.conv1, kind),
    **_snake(names[2], unit.activation2),
    **tensors_lib.conv(names[3], unit.conv2, kind),
  }


def _snake(name: str, activation) -> tensors_lib.Slots:
  return {f'{name}.alpha': tensors_lib.Slot(activation.alpha_D, (None, 0, None))}
