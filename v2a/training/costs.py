"""What training costs."""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import config
from v2a import flops
from v2a import records
from v2a.training import tasks


def flops_per_clip(c: ml_collections.ConfigDict) -> int:
  """Returns the operations of a training step on one clip: loss and gradient."""
  task = tasks.make(c)
  spec = config.clip_spec(c)
  item = records.fake(spec, 0, c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size)
  batch = task.prepare([item], np.random.default_rng(0))
  graphdef, params, rest = nnx.split(nnx.eval_shape(lambda: task.build(jax.random.key(0))), nnx.Param, ...)

  def loss(params, rest, batch):
    model = nnx.merge(graphdef, params, rest)
    return task.loss(model, batch, jax.random.key(0), jnp.zeros((), jnp.int32))[0]

  return flops.count(jax.make_jaxpr(jax.grad(loss))(params, rest, batch))
