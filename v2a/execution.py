"""How a traced computation is executed: mesh, unrolled layers, rematerialization, attention kernel.

These settings do not change what a network computes, except for rounding, and every layer depends on some of
them. So they are not arguments of every network; they are one `ExecutionConfig`, held in a context variable:

  with execution.use(mesh=mesh, remat='dots'):
    gradient = jax.grad(loss)(params)

The config is read while a function is traced. A function compiled by `jax.jit` keeps the config that it was
first traced with; to change it, compile another function.
"""

from collections.abc import Generator
import contextlib
import contextvars
import dataclasses
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
  """Settings of what is traced.

  Attributes:
    mesh: devices that sharding constraints of activations refer to (`sharding.rules.constrain`); None for no
      constraints.
    manual_axes: axes of the mesh that are mapped over from outside (jax.vmap with spmd_axis_name); nothing
      inside is sharded over them.
    unrolled: whether stacks of layers are unrolled instead of scanned (`models.stack`): faster on CPUs and
      GPUs, but compile time grows with depth.
    remat: what the backward pass of a stack recomputes, a key of `models.stack.REMAT_POLICIES`.
    attention_kernel: the kernel of every attention that names none (`models.attention`); None for the fastest
      that platform, types and sizes allow.
  """

  mesh: jax.sharding.Mesh | None = None
  manual_axes: tuple[str, ...] = ()
  unrolled: bool = False
  remat: str = 'none'
  attention_kernel: str | None = None

  def device(self) -> jax.Device:
    """Returns one of the devices that the computation is traced for."""
    return jax.devices()[0] if self.mesh is None else self.mesh.devices.flat[0]

  def mesh_size(self, axis: str) -> int:
    """Returns the number of devices along an axis of the mesh; 1 without a mesh."""
    return 1 if self.mesh is None else self.mesh.shape[axis]


_DEFAULT = ExecutionConfig()
_CONFIG: contextvars.ContextVar[ExecutionConfig] = contextvars.ContextVar('execution', default=_DEFAULT)


def current() -> ExecutionConfig:
  """Returns the config in use."""
  return _CONFIG.get()


@contextlib.contextmanager
def use(**changes: Any) -> Generator[ExecutionConfig, None, None]:
  """Changes the config for what is traced inside.

  Args:
    **changes: attributes of `ExecutionConfig`; the others stay as they are.

  Yields:
    The config in use inside.

  Raises:
    TypeError: an unknown attribute.
  """
  config = dataclasses.replace(current(), **changes)
  token = _CONFIG.set(config)
  try:
    yield config
  finally:
    _CONFIG.reset(token)
