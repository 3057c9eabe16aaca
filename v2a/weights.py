"""Exported models: one .safetensors file of weights with flat names, and the configuration of the model.

A name is the path of a variable in its module, joined by dots: `blocks.attention.query.kernel`. The folder
holds `model.safetensors` and `config.json`; unlike a checkpoint it has no optimizer state and no sharding.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import pathlib
from typing import Any

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import safetensors
import safetensors.numpy

from v2a import files
from v2a import storage
from v2a.config import files as files_lib

WEIGHTS = 'model.safetensors'
CONFIG = 'config.json'
DTYPES = ('float16', 'float32')

# Configuration keys that determine a codec's latents, together with its weights.
_CODEC_RATES = ('sample_rate_hz', 'num_channels', 'hop_samples', 'patch_frames')
_CODEC_SIZES = ('bottleneck', 'n_fft', 'num_latent_channels', 'num_codebooks', 'codebook_size')

# The exported model in a training folder.
EXPORT_FOLDER = 'model'
# Exported codecs that come with the package, by name.
CODECS_FOLDER = pathlib.Path(__file__).parent / 'assets' / 'codecs'


@dataclasses.dataclass(frozen=True)
class Export:
  """An exported model.

  Attributes:
    arrays: float32 (and integer) NumPy arrays by flat name.
    config: the configuration that the model was trained with.
    about: metadata that was saved with it.
    folder: that it was read from; None for a model in memory.
  """

  arrays: dict[str, np.ndarray]
  config: ml_collections.ConfigDict
  about: dict
  folder: storage.Path | None = None


def _is_variable(leaf) -> bool:
  return isinstance(leaf, nnx.Variable)


def _value(leaf):
  return leaf.get_value() if _is_variable(leaf) else leaf


def flatten(tree: Any) -> dict:
  """Returns the arrays of a pytree by flat name; of an nnx.Variable its value."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_variable)
  return {jax.tree_util.keystr(path, simple=True, separator='.'): _value(leaf) for path, leaf in leaves}


def unflatten(arrays: Mapping, like: Any, source: str | storage.Path = '') -> Any:
  """Returns arrays in the structure of a pytree: the inverse of `flatten`.

  Args:
    arrays: by flat name.
    like: a pytree with the same names and shapes.
    source: where the arrays come from, for errors.

  Raises:
    ValueError: names or shapes differ from those of `like`.
  """
  wanted = flatten(like)
  check(arrays, wanted, source)
  values = iter([arrays[name] for name in wanted])
  return jax.tree.map(
    lambda leaf: leaf.replace(next(values)) if _is_variable(leaf) else next(values),
    like,
    is_leaf=_is_variable,
  )


def check(arrays: Mapping, wanted: Mapping, source: str | storage.Path = '') -> None:
  """Checks that two sets of arrays have the same names and shapes.

  Args:
    arrays: by flat name.
    wanted: by flat name.
    source: where the arrays come from, for errors.

  Raises:
    ValueError: they differ.
  """
  what = f'The weights of {source} do' if source else 'The weights do'
  missing, extra = [n for n in wanted if n not in arrays], [n for n in arrays if n not in wanted]
  if missing or extra:
    raise ValueError(f'{what} not fit the model: missing {_some(missing)}, unknown {_some(extra)}.')
  for name, array in wanted.items():
    if tuple(arrays[name].shape) != tuple(array.shape):
      raise ValueError(
        f'{what} not fit the model: {name} has shape {tuple(arrays[name].shape)}, '
        f'wanted {tuple(array.shape)}.'
      )


def _some(names: list[str]) -> str:
  return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '') or 'none'


def export(
  tree: Any,
  path: str | storage.Path,
  c: ml_collections.ConfigDict,
  dtype: str = 'float16',
  about: dict | None = None,
) -> None:
  """Writes the weights of a model.

  Args:
    tree: an nnx.Module, nnx.State or any pytree of arrays.
    path: folder, created if it does not exist; files of an earlier export are replaced.
    c: the configuration of the model.
    dtype: of floating-point arrays in the file, float16 or float32.
    about: metadata that can be written as JSON: step, data (`data.licences`), metrics.

  Raises:
    ValueError: a weight is not finite, or too large for float16.
  """
  if dtype not in DTYPES:
    raise ValueError(f'dtype must be one of {DTYPES}; got {dtype!r}.')
  tree = nnx.state(tree) if isinstance(tree, nnx.Module) else tree
  arrays = {}
  for name, value in flatten(tree).items():
    array = np.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.floating):
      with np.errstate(over='ignore'):
        array = array.astype(dtype)
      if not np.isfinite(array).all():
        raise ValueError(
          f'{name} holds values that are not finite in {dtype}; nothing was written to {path}.'
        )
    arrays[name] = np.asarray(array, order='C')
  path = storage.parse(path)
  storage.make_folder(path)
  with files.atomic_write(path / WEIGHTS) as partial:
    # Not save_file, which writes files that only their owner may read.
    partial.write_bytes(safetensors.numpy.save(arrays, metadata={'about': json.dumps(about or {})}))
  files_lib.save(c, path / CONFIG)


def packaged_codecs() -> list[str]:
  """Returns the names of the codecs that come with the package."""
  return sorted(file.parent.name for file in CODECS_FOLDER.glob(f'*/{WEIGHTS}'))


def is_packaged(name: str) -> bool:
  """Whether a codec of this name comes with the package."""
  return (CODECS_FOLDER / name / WEIGHTS).is_file()


def locate(path: str | storage.Path) -> storage.Path:
  """Returns the folder of an exported model.

  Args:
    path: that folder, or the training folder that it belongs to; or the name of a packaged codec, where there
      is nothing of that name in the working directory.

  Raises:
    FileNotFoundError: there is none.
  """
  path = storage.parse(path, 'a model')
  is_name = len(path.parts) == 1 and not storage.exists(path)
  if is_name and is_packaged(path.name):
    return CODECS_FOLDER / path.name
  for folder in (path, path / EXPORT_FOLDER):
    if storage.is_file(folder / WEIGHTS) and storage.is_file(folder / CONFIG):
      return folder
  names = ', '.join(packaged_codecs())
  raise FileNotFoundError(
    f'No model at {path}: wanted {WEIGHTS} and {CONFIG} in it or in {EXPORT_FOLDER}/'
    + (f'; packaged codecs are {names}.' if is_name and names else '.')
  )


def load_export(path: str | storage.Path) -> Export:
  """Returns an exported model, read from its folder.

  Args:
    path: see `locate`.

  Raises:
    FileNotFoundError: there is no model.
    ValueError: a file is damaged.
  """
  folder = locate(path)
  file = folder / WEIGHTS
  try:
    with (
      storage.local_file(file) as local,
      safetensors.safe_open(local, framework='numpy') as handle,
    ):
      about = json.loads((handle.metadata() or {}).get('about', '{}'))
      arrays = {name: handle.get_tensor(name) for name in handle.keys()}
  except safetensors.SafetensorError as error:
    raise ValueError(f'{file} is damaged: {error}.') from error
  for name, array in arrays.items():
    if array.dtype == np.float16:
      arrays[name] = array.astype(np.float32)
  return Export(arrays, files_lib.load(folder / CONFIG), about, folder)


def read_about(path: str | storage.Path) -> dict:
  """Returns the metadata of an exported model without its weights.

  Args:
    path: see `locate`.

  Raises:
    FileNotFoundError: there is no model.
    ValueError: its file is damaged.
  """
  file = locate(path) / WEIGHTS
  try:
    with storage.local_file(file) as local, safetensors.safe_open(local, framework='numpy') as handle:
      return json.loads((handle.metadata() or {}).get('about', '{}'))
  except safetensors.SafetensorError as error:
    raise ValueError(f'{file} is damaged: {error}.') from error


def array_hash(*arrays: np.ndarray) -> str:
  """Returns the hash of arrays, their types and shapes, as hexadecimal digits."""
  digest = hashlib.sha256()
  for array in arrays:
    digest.update(f'{array.dtype} {array.shape} '.encode())
    digest.update(np.ascontiguousarray(array).data)
  return digest.hexdigest()


def codec_digest(export: Export) -> str:
  """Returns the SHA-256 of all that determines the latents or codes of a codec.

  Weights are rounded to float16, so that a codec and its copy in a bundle have the same digest.
  """
  rates = {key: export.config.clip[key] for key in _CODEC_RATES}
  sizes = {key: export.config.codec[key] for key in _CODEC_SIZES}
  digest = hashlib.sha256(json.dumps([rates, sizes], sort_keys=True).encode())
  for name, array in sorted(export.arrays.items()):
    array = np.asarray(array)
    if np.issubdtype(array.dtype, np.floating):
      with np.errstate(over='ignore'):
        array = array.astype(np.float16)
    digest.update(f'{name} {array_hash(array)} '.encode())
  return digest.hexdigest()


def assign(module: nnx.Module, arrays: Mapping, prefix: str = '', source: str | storage.Path = '') -> None:
  """Sets the variables of a module from flat arrays.

  Args:
    module: changed in place.
    arrays: by flat name.
    prefix: selects arrays by the beginning of their names, such as 'codec' in a larger model; others are
      ignored.
    source: where the arrays come from, for errors.

  Raises:
    ValueError: names or shapes differ.
  """
  if prefix:
    prefix += '.'
    arrays = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
  state = nnx.state(module)
  like = flatten(state)
  check(arrays, like, source)
  nnx.update(module, unflatten({name: jnp.asarray(arrays[name], like[name].dtype) for name in like}, state))
