"""Calls of codecs in tests."""

from collections.abc import Callable
import functools

from flax import nnx
import jax


def compiled(codec: nnx.Module) -> Callable:
  """Returns (name of a method, *args) -> its result, compiled."""
  graph, state = nnx.split(codec)
  call = lambda name, state, *args: getattr(nnx.merge(graph, state), name)(*args)
  return lambda name, *args: jax.jit(functools.partial(call, name))(state, *args)
