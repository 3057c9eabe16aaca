"""Floating-point operations of a traced computation.

Counted are two operations per multiply-add of every matrix product and convolution: those inside a scan times
its length, those of one device times the number of devices. (The cost analysis of XLA counts the body of a
loop once.) Other operations are not counted; in these networks they are a few per cent. The body of a loop
without a known length counts once, so that the count is a lower bound. The body of a Pallas kernel counts
once per point of its grid, including those that it skips; a cuDNN kernel counts nothing, since its operations
are not in the trace.
"""

import math

import jax
from jax.extend import core as jex_core


def count(jaxpr: jex_core.Jaxpr | jex_core.ClosedJaxpr) -> int:
  """Returns the number of floating-point operations of an open or closed jaxpr."""
  jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)
  # Where a remat policy saved all results of a function, an equation without results remains: XLA removes it.
  return sum(_of_equation(equation) for equation in jaxpr.eqns if equation.outvars or equation.effects)


def _of_equation(equation) -> int:
  name, params = equation.primitive.name, equation.params
  if name == 'dot_general':
    (contracted, _), _ = params['dimension_numbers']
    depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
    return 2 * depth * math.prod(equation.outvars[0].aval.shape)
  if name == 'conv_general_dilated':
    kernel = equation.invars[1].aval.shape
    num_outputs = kernel[params['dimension_numbers'].rhs_spec[0]]
    return 2 * math.prod(kernel) // num_outputs * math.prod(equation.outvars[0].aval.shape)
  leaves = jax.tree.leaves(list(params.values()), is_leaf=_is_jaxpr)
  inside = [count(leaf) for leaf in leaves if _is_jaxpr(leaf)]
  if name == 'cond':
    return max(inside)
  return _times(name, params) * sum(inside)


def _times(name: str, params: dict) -> int:
  """Returns how often an equation executes the jaxprs inside it."""
  if name == 'shard_map':
    return params['mesh'].size
  if name == 'pallas_call':
    return math.prod(params['grid_mapping'].grid)
  return params.get('length', 1)


def _is_jaxpr(value) -> bool:
  return hasattr(value, 'eqns') or hasattr(value, 'jaxpr')
