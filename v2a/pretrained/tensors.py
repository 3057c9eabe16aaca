"""Tensors of published files as variables of a module, and back: of float32 files bit for bit.

A tensor is a variable whose axes are in another order, with axes of size 1 in between. Other floating-point
types become float32.
"""

from collections.abc import Mapping
import dataclasses
import json
import pathlib
from typing import Any

from flax import nnx
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from v2a import files
from v2a import weights
from v2a.codecs import convolution_layers
from v2a.models.published import torchfile

WEIGHTS, CONFIG = 'model.safetensors', 'config.json'
# Suffixes of the scale and of the direction of weight normalization: of torch.nn.utils.weight_norm, and of
# torch.nn.utils.parametrizations.weight_norm. Kernels without it are called `weight`.
WEIGHT_NORM_NAMES = {
  'hook': ('weight_g', 'weight_v'),
  'parametrization': ('parametrizations.weight.original0', 'parametrizations.weight.original1'),
}


@dataclasses.dataclass(frozen=True)
class Slot:
  """Where a published tensor is in a module.

  Attributes:
    variable: with the values.
    order: axes of the variable in the order of the tensor; None stands for an axis of size 1.
  """

  variable: nnx.Variable
  order: tuple[int | None, ...]

  @property
  def shape(self) -> tuple[int, ...]:
    """Shape of the published tensor."""
    sizes = self.variable.get_value().shape
    return tuple(1 if axis is None else sizes[axis] for axis in self.order)

  def assign(self, published: np.ndarray) -> None:
    """Sets the variable, in float32, from the published tensor."""
    order = [axis for axis in self.order if axis is not None]
    squeezed = published.reshape(
      [size for size, axis in zip(published.shape, self.order) if axis is not None]
    )
    self.variable.set_value(jnp.asarray(squeezed.transpose(np.argsort(order)), jnp.float32))

  def published(self) -> np.ndarray:
    """Returns the published tensor."""
    value = np.asarray(self.variable.get_value())
    ordered = value.transpose([axis for axis in self.order if axis is not None])
    return np.ascontiguousarray(ordered.reshape(self.shape))


Slots = dict[str, Slot]


def vector(variable: nnx.Variable) -> Slot:
  """Returns the slot of a variable that is stored as it is."""
  return Slot(variable, tuple(range(variable.get_value().ndim)))


def conv(name: str, module: convolution_layers.Conv, weight_norm: str | None) -> Slots:
  """Returns the slots of a convolution under the names of torch.nn.Conv1d or ConvTranspose1d.

  Args:
    name: of the layer.
    module: the layer.
    weight_norm: key of WEIGHT_NORM_NAMES, if the kernel is normalized.
  """
  # torch has (outputs, inputs, taps), and (inputs, outputs, taps) where the convolution is transposed.
  order = (1, 2, 0) if isinstance(module, convolution_layers.Transposed) else (2, 1, 0)
  if not module.use_weight_norm:
    kernels = {'weight': Slot(module.kernel_SIO, order)}
  else:
    scale, direction = WEIGHT_NORM_NAMES[weight_norm or 'hook']
    kernels = {scale: Slot(module.g_O, (0, None, None)), direction: Slot(module.v_SIO, order)}
  return {f'{name}.{part}': slot for part, slot in {**kernels, 'bias': vector(module.bias_O)}.items()}


def weight_norm_of(names: Mapping[str, Any]) -> str | None:
  """Returns which of WEIGHT_NORM_NAMES a file has; None for no weight normalization."""
  for kind, (scale, _) in WEIGHT_NORM_NAMES.items():
    if any(name.endswith(f'.{scale}') for name in names):
      return kind
  return None


def assign(
  module: nnx.Module, slots: Slots, tensors: Mapping[str, torchfile.Tensor], source: pathlib.Path
) -> None:
  """Sets all variables of a module from the tensors of a file.

  Args:
    module: changed in place; its variables may be without values (`nnx.eval_shape`).
    slots: of all variables, by published name.
    tensors: of the file.
    source: the file, for errors.

  Raises:
    ValueError: a tensor is missing, unknown or of another shape.
  """
  num_variables = len(weights.flatten(nnx.state(module)))
  assert len(slots) == num_variables, f'{len(slots)} slots of {num_variables} variables'
  weights.check(tensors, slots, source)
  for name, slot in slots.items():
    slot.assign(tensors[name].array())


def read_folder(path: pathlib.Path, model_type: str) -> tuple[str, dict[str, torchfile.Tensor]]:
  """Returns the text of the configuration and the tensors of a folder of `transformers`.

  Args:
    path: folder with WEIGHTS and CONFIG.
    model_type: that the configuration must have.

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: it has another model, or is damaged.
  """
  if not (path / CONFIG).is_file():
    raise FileNotFoundError(f'{path} has no {CONFIG}.')
  text = (path / CONFIG).read_text()
  try:
    found = json.loads(text).get('model_type')
  except (json.JSONDecodeError, AttributeError) as error:
    raise ValueError(f'{path / CONFIG} is damaged: {error}.') from error
  if found != model_type:
    raise ValueError(f'{path / CONFIG} must have model_type {model_type!r}; got {found!r}.')
  return text, torchfile.load(path / WEIGHTS)


def write_folder(path: pathlib.Path, config: str, slots: Slots) -> None:
  """Writes a folder of `transformers`.

  Args:
    path: of the folder; created if it does not exist.
    config: text of the configuration.
    slots: by published name.
  """
  path.mkdir(parents=True, exist_ok=True)
  arrays = {name: slot.published() for name, slot in slots.items()}
  with files.atomic_write(path / WEIGHTS) as partial:
    partial.write_bytes(safetensors.numpy.save(arrays, metadata={'format': 'pt'}))
  with files.atomic_write(path / CONFIG) as partial:
    partial.write_text(config)


def number(config: Mapping[str, Any], key: str, source: pathlib.Path) -> int:
  """Returns a positive whole number of a configuration.

  Args:
    config: of the file.
    key: of the number.
    source: the file, for errors.

  Raises:
    ValueError: there is none.
  """
  value = config.get(key)
  if not isinstance(value, int) or isinstance(value, bool) or value < 1:
    raise ValueError(f'{source}: {key} must be a positive whole number; got {value!r}.')
  return value


def numbers(config: Mapping[str, Any], key: str, source: pathlib.Path) -> tuple[int, ...]:
  """Returns positive whole numbers of a configuration.

  Args:
    config: of the file.
    key: of the list.
    source: the file, for errors.

  Raises:
    ValueError: there are none.
  """
  values = config.get(key)
  is_list = isinstance(values, list | tuple) and values
  if not is_list or not all(isinstance(value, int) and value > 0 for value in values):
    raise ValueError(f'{source}: {key} must be a list of positive whole numbers; got {values!r}.')
  return tuple(values)
