"""Floating-point operations, counted in the traced computation.

Not in the compiled one, whose own count takes the body of a loop once: twice the multiply-adds of every
matrix product and convolution, those inside a scan times its length, those of one device times the devices.
What is not a product is not counted; in these networks that is a few per cent. Of a loop without a known
length the body counts once, and the count is a lower bound. A kernel of Pallas counts as often as its grid
has places, those that it skips included; one of cuDNN does not show what it does.
"""

import math
from typing import Any

import jax


def count(jaxpr: Any) -> int:
  """Returns the operations of an open or closed jaxpr."""
  jaxpr = getattr(jaxpr, 'jaxpr', jaxpr)
  # A function whose results a policy has kept leaves one without results to be computed again: XLA drops it.
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
  """How often an equation does what is inside it."""
  if name == 'shard_map':
    return params['mesh'].size
  if name == 'pallas_call':
    return math.prod(params['grid_mapping'].grid)
  return params.get('length', 1)


def _is_jaxpr(value) -> bool:
  return hasattr(value, 'eqns') or hasattr(value, 'jaxpr')
