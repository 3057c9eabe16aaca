"""A compiled step as a file: written once by `v2a compile`, loaded by every process of a pod.

The file is valid for one traced step, that is for one configuration, mesh and kind of chips, and for the
versions of JAX and of the compiler that wrote it. Its fingerprint is the hash of the traced step's text.
Loading runs code of the file, as unpickling does: do not load files from untrusted sources.
"""

import hashlib
import pathlib
import pickle

import jax
from jax.experimental import serialize_executable

from v2a import files


def save(lowered: jax.stages.Lowered, compiled: jax.stages.Compiled, path: str | pathlib.Path) -> None:
  """Writes an executable."""
  payload, _, _ = serialize_executable.serialize(compiled)  # the trees are those of the lowered step
  content = {
    'about': f'{files.MARK} compile.',  # first, since it is searched near the beginning of the file
    'fingerprint': fingerprint(lowered),
    'jax': jax.__version__,
    'payload': payload,
    'device_kind': _device_kind(compiled.input_shardings),
  }
  with files.atomic_write(pathlib.Path(path)) as partial:
    partial.write_bytes(pickle.dumps(content))


def load(
  lowered: jax.stages.Lowered, mesh: jax.sharding.Mesh, path: str | pathlib.Path
) -> jax.stages.Compiled:
  """Returns the executable of a file, in place of compiling a step.

  Args:
    lowered: the step as it would be compiled here.
    mesh: of the devices.
    path: what `save` wrote.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not such a file, or was compiled for another step or by another version.
  """
  try:
    content = pickle.loads(pathlib.Path(path).read_bytes())
    saved_fingerprint, version, kind = content['fingerprint'], content['jax'], content['device_kind']
  except (
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ImportError,
  ) as error:
    raise ValueError(f'{path} holds no executable of `v2a compile --output`: {error}.') from error
  if version != jax.__version__:
    raise ValueError(f'{path} was compiled by jax {version}; this is {jax.__version__}.')
  if kind != mesh.devices.flat[0].device_kind:
    device_kind = mesh.devices.flat[0].device_kind
    raise ValueError(f'{path} was compiled for devices of kind {kind}; these are {device_kind}.')
  if saved_fingerprint != fingerprint(lowered):
    raise ValueError(f'{path} was compiled for another step: configuration, mesh or devices differ.')
  in_tree, out_tree = jax.tree.structure(lowered.args_info), lowered.out_tree
  try:
    return serialize_executable.deserialize_and_load(
      content['payload'], in_tree, out_tree, execution_devices=tuple(mesh.devices.flat)
    )
  except jax.errors.JaxRuntimeError as error:  # such as of another version of the compiler
    raise ValueError(f'{path} cannot be loaded here: {error}') from error


def _device_kind(shardings) -> str:
  first = jax.tree.leaves(shardings)[0]
  return next(iter(first.device_set)).device_kind


def fingerprint(lowered: jax.stages.Lowered) -> str:
  """Returns the SHA-256 of a step's text, without source locations."""
  return hashlib.sha256(lowered.as_text().encode()).hexdigest()
