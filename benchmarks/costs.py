"""Parameters of generators, and what a training step costs.

  python benchmarks/costs.py [flow_world tokens_world tokens_masked_world]

FLOPs are counted in the traced step of one clip, forward and backward, without remat: twice the
multiply-adds of every matrix product, those inside a scan times its length. (XLA's own count takes the body
of a loop once.)
"""

import argparse
import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import assembly
from v2a import config
from v2a import configfile
from v2a import records
from v2a.training import tasks


def flops(jaxpr) -> int:
  """Returns the FLOPs of the matrix products of a closed or open jaxpr."""
  jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)
  total = 0
  for equation in jaxpr.eqns:
    if equation.primitive.name == 'dot_general':
      (contracted, _), _ = equation.params['dimension_numbers']
      depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
      total += 2 * depth * math.prod(equation.outvars[0].aval.shape)
    inside = [value for value in jax.tree.leaves(
        list(equation.params.values()), is_leaf=_is_jaxpr) if _is_jaxpr(value)]
    total += equation.params.get('length', 1) * sum(flops(each) for each in inside)
  return total


def _is_jaxpr(value) -> bool:
  return hasattr(value, 'eqns') or hasattr(value, 'jaxpr')


def step_flops(c) -> int:
  """Returns the FLOPs of a training step a clip: loss and gradient."""
  task = tasks.make(c)
  spec = config.clip_spec(c)
  item = records.fake(spec, 0, c.codec.num_latent_channels, c.codec.num_codebooks, c.codec.codebook_size)
  batch = task.prepare([item], np.random.default_rng(0))
  graphdef, params, rest = nnx.split(
      nnx.eval_shape(lambda: task.build(jax.random.key(0))), nnx.Param, ...)

  def loss(params, rest, batch):
    return task.loss(nnx.merge(graphdef, params, rest), batch, jax.random.key(0), jnp.zeros((), jnp.int32))[0]

  return flops(jax.make_jaxpr(jax.grad(loss))(params, rest, batch))


def main():
  """Prints a line a configuration."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('names', nargs='*', default=['flow_world', 'tokens_world', 'tokens_masked_world'])
  first = None
  for name in parser.parse_args().names:
    c = configfile.find(name)
    task = tasks.make(c)
    parameters = assembly.num_parameters(nnx.eval_shape(lambda task=task: task.build(jax.random.key(0))))
    found = parameters, step_flops(c)
    first = first or found
    print(f'{name}: {found[0]:,} parameters ({found[0] / first[0]:.3f} of the first), '
          f'{found[1] / 1e9:.3f} GFLOPs a clip and training step ({found[1] / first[1]:.3f})')


if __name__ == '__main__':
  main()
