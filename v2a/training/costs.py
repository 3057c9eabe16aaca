"""Operations and least time of a training step."""

from collections.abc import Sequence

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import chips
from v2a import execution
from v2a import flops
from v2a.data import loader
from v2a.training import task as task_lib
from v2a.training import tasks


def flops_per_clip(c: ml_collections.ConfigDict) -> int:
  """Returns the FLOPs of a training step on one clip: loss and gradient, without rematerialization."""
  task = tasks.make(c)
  return task_flops(task, task.collate([loader.fake(c)], np.random.default_rng(0)))


def task_flops(task: task_lib.Task, batch: dict) -> int:
  """Returns the FLOPs of a task's loss and gradient on a batch."""
  graphdef, params, rest = nnx.split(nnx.eval_shape(lambda: task.build(jax.random.key(0))), nnx.Param, ...)

  def loss(params, rest, batch):
    model = nnx.merge(graphdef, params, rest)
    return task_lib.sampled_loss(task, model, batch, jax.random.key(0), jnp.zeros((), jnp.int32)).loss

  with execution.use(attention_kernel='einsum'):  # the matmuls of fused kernels are not in the jaxpr
    return flops.count(jax.make_jaxpr(jax.grad(loss))(params, rest, batch))


def min_step_s(c: ml_collections.ConfigDict, devices: Sequence[jax.Device]) -> float | None:
  """Returns the seconds of a step at the devices' peak FLOP/s; None if `chips` does not list the device."""
  peak_flops_per_s = chips.peak_flops_per_s(devices[0].device_kind)
  if peak_flops_per_s is None:
    return None
  return flops_per_clip(c) * c.training.batch_size / (len(devices) * peak_flops_per_s)
