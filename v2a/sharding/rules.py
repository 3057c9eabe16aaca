"""One table: logical axis of a parameter or an activation -> axes of the mesh.

A parameter names the logical axes of its dimensions: `nnx.Param(value, axes=('embed', 'mlp'))`, with None for
a dimension that is never sharded. A stack of layers (`models.stack`) has one more dimension in front than its
`axes` name; that one is 'layers'. `constrain` applies the table to activations.
"""

from collections.abc import Sequence
from typing import Any

from flax import nnx
import jax

from v2a import execution
from v2a.sharding import mesh as mesh_lib

RULES = {
  'batch': mesh_lib.BATCH_AXES,  # clips: each device sees other ones
  'time': ('context',),  # steps of the audio sequence: sharded where clips are long
  'embed': ('fsdp',),  # model width: parameters are stored sharded
  'mlp': ('tensor',),  # hidden units of a feed-forward layer: each device computes its own
  'heads': ('tensor',),  # attention heads: likewise
  'vocab': ('tensor',),  # rows of an embedding table or a codebook, columns of logits
  'head': (),  # inside one head: sharding it would split the attention product
  'latent': (),  # latent channels: too few
  'patch': (),  # values of one image or spectrum patch: the input side of a small matrix
  'layers': (),  # stacked layers: the scan iterates over it
  'channels': (),  # audio channels and other small counts
  'kernel': (),  # taps of a convolution
}


def partition_spec(
  axes: Sequence[str | None], shape: Sequence[int], mesh: jax.sharding.Mesh
) -> jax.sharding.PartitionSpec:
  """Returns the PartitionSpec of one parameter.

  Args:
    axes: logical names of the last dimensions, None for one that is never sharded; a single dimension more in
      front is 'layers'.
    shape: of the parameter. A dimension that the mesh axes do not divide is not sharded.
    mesh: see `v2a.sharding.mesh`.

  Raises:
    ValueError: an unknown name, a wrong number of names, or two dimensions on one mesh axis.
  """
  names = tuple(axes)
  if len(names) == len(shape) - 1:
    names = ('layers', *names)
  if len(names) != len(shape):
    raise ValueError(
      f'axes={tuple(axes)} names {len(axes)} dimensions of a parameter of shape {tuple(shape)}.'
    )
  entries, used_by = [], {}
  for name, size in zip(names, shape):
    if name is not None and name not in RULES:
      raise ValueError(f'Unknown logical axis {name!r} in axes={tuple(axes)}; known are {tuple(RULES)}.')
    mesh_axes = RULES[name] if name is not None else ()
    mesh_axes = tuple(axis for axis in mesh_axes if axis not in execution.current().manual_axes)
    for mesh_axis in mesh_axes:
      if mesh_axis in used_by:
        raise ValueError(
          f'axes={tuple(axes)}: {used_by[mesh_axis]!r} and {name!r} are both sharded over mesh '
          f'axis {mesh_axis!r}; name one of them None.'
        )
      used_by[mesh_axis] = name
    num_shards = 1
    for mesh_axis in mesh_axes:
      num_shards *= mesh.shape[mesh_axis]
    entries.append(mesh_axes if mesh_axes and size % num_shards == 0 else None)
  return jax.sharding.PartitionSpec(*[entry[0] if entry and len(entry) == 1 else entry for entry in entries])


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
  """Returns an activation with a sharding constraint for the mesh in use (see `execution`), if there is one.

  Args:
    x: any array.
    *axes: one logical name per dimension, None for one that is not sharded.
  """
  mesh = execution.current().mesh
  if mesh is None or mesh.size == 1:
    return x
  spec = partition_spec(axes, x.shape, mesh)
  return jax.lax.with_sharding_constraint(x, jax.sharding.NamedSharding(mesh, spec))


def shardings(tree: Any, mesh: jax.sharding.Mesh) -> Any:
  """Returns the NamedSharding of every array of a pytree, in the same structure.

  Args:
    tree: nnx.State, optimizer state or any pytree of them; of arrays or of jax.ShapeDtypeStruct. Variables
      with `axes` metadata follow the table, all else is replicated.
    mesh: see `v2a.sharding.mesh`.
  """

  def one(path, leaf):
    if not isinstance(leaf, nnx.Variable):
      return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    axes = leaf.get_metadata().get('axes')
    spec = jax.sharding.PartitionSpec()
    if axes is not None:
      try:
        spec = partition_spec(axes, leaf.get_value().shape, mesh)
      except ValueError as error:
        raise ValueError(f'{jax.tree_util.keystr(path, simple=True, separator=".")}: {error}') from error
    return leaf.replace(jax.sharding.NamedSharding(mesh, spec))

  return jax.tree_util.tree_map_with_path(one, tree, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable))
