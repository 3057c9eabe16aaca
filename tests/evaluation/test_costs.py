"""Operations counted where the answer is known, and of a whole model."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import generate
from v2a.evaluation import costs
from v2a.sharding import mesh as mesh_lib


def count(function, *shapes):
  """Returns the operations of a function of arrays of these shapes."""
  return costs.flops(jax.make_jaxpr(function)(*(np.zeros(shape, np.float32) for shape in shapes)))


def test_products_count_twice_their_multiply_adds():
  assert count(lambda a, b: a @ b, (3, 5), (5, 7)) == 2 * 3 * 5 * 7
  assert count(lambda a, b: jnp.einsum('bij,bjk->bik', a, b), (2, 3, 5), (2, 5, 7)) == 2 * 2 * 3 * 5 * 7
  assert count(lambda a, b: jnp.tanh(a) + b, (3, 5), (3, 5)) == 0


def test_convolutions_count_by_outputs():
  def convolve(x, kernel, groups):
    return jax.lax.conv_general_dilated(
      x, kernel, (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC'), feature_group_count=groups
    )

  assert count(lambda x, k: convolve(x, k, 1), (2, 10, 3), (5, 3, 4)) == 2 * 5 * 3 * 2 * 10 * 4
  assert count(lambda x, k: convolve(x, k, 3), (2, 10, 3), (5, 1, 3)) == 2 * 5 * 2 * 10 * 3


def test_loops_count_by_their_length_and_branches_by_the_dearer_one():
  def scanned(a, b):
    return jax.lax.scan(lambda carry, _: (carry @ b, None), a, None, length=11)[0]

  assert count(scanned, (3, 5), (5, 5)) == 11 * 2 * 3 * 5 * 5
  assert count(jax.jit(scanned), (3, 5), (5, 5)) == 11 * 2 * 3 * 5 * 5
  assert count(lambda a, b: jax.lax.fori_loop(0, 4, lambda _, x: x @ b, a), (3, 5), (5, 5)) == 4 * 150
  branch = lambda a, b: jax.lax.cond(a.sum() > 0, lambda: a @ b, lambda: a @ b @ b)
  assert count(branch, (3, 5), (5, 5)) == 2 * 150


def test_devices_count_together():
  mesh = mesh_lib.make({'data': 4, 'fsdp': 1, 'tensor': 1}, jax.devices()[:4])
  spec = jax.sharding.PartitionSpec
  run = jax.shard_map(lambda a, b: a @ b, mesh=mesh, in_specs=(spec('data'), spec()), out_specs=spec('data'))
  assert count(run, (8, 5), (5, 7)) == 2 * 8 * 5 * 7


@pytest.fixture(scope='module')
def model(tiny_bundle):
  return generate.load(tiny_bundle)


def drawing(model, **settings):
  """Returns what a soundtrack costs."""
  return costs.drawing(model, generate.Request(**settings))


@pytest.fixture(scope='module')
def evaluation_flops(model):
  """Returns what one evaluation of the network costs."""
  two, three = (drawing(model, steps=steps, guidance=1.0, solver='euler').flops for steps in (2, 3))
  return three - two


def test_a_soundtrack_costs_by_its_steps_and_branches(model, evaluation_flops):
  of = functools.partial(drawing, model)
  found = {steps: of(steps=steps, guidance=1.0, solver='euler') for steps in (3, 5)}
  assert [each.network_evaluations for each in found.values()] == [3, 5]
  step = evaluation_flops
  assert step > 1e5 and found[5].flops - found[3].flops == 2 * step
  guided = of(steps=3, guidance=2.0, solver='euler')
  assert guided.network_evaluations == 6
  # A branch more, a step; conditions are encoded once but take part in attention twice.
  assert guided.flops > found[3].flops + 2.5 * step
  assert of(steps=3, guidance=1.0, solver='heun').network_evaluations == 5


def test_training_is_steps_times_clips_times_operations(model, evaluation_flops):
  found = costs.training_flops(costs.parts(model))
  assert found['codec'] == 5 * 2 * 7 and found['all'] == found['codec'] + found['flow']
  # Three steps of eight clips, forward and backward: of the network, and of what reads pictures and texts,
  # which is less than a soundtrack of one step with its decoding.
  each, rest = divmod(found['flow'], 3 * 8)
  assert not rest
  assert 2.5 * evaluation_flops < each < 3 * drawing(model, steps=1, guidance=1.0, solver='euler').flops
  forgotten = dataclasses.replace(model.exports['flow'], about={'step': 3})
  unknown = costs.training_flops({**costs.parts(model), 'flow': forgotten})
  assert unknown == {'codec': 70, 'flow': None, 'all': None}


def test_parameters_are_those_of_the_parts_that_draw(model):
  found = costs.num_parameters(costs.parts(model))
  assert found['all'] == found['codec'] + found['flow']
  assert found['flow'] == sum(array.size for array in model.exports['flow'].arrays.values())


def test_peak_memory_sees_what_is_held_now_and_forgets_what_was():
  before = costs.PeakMemory().read()
  held = np.ones(30_000_000)
  peak = costs.PeakMemory()
  assert peak.read() >= before + 200e6
  del held
  assert peak.read() >= before + 200e6
  assert costs.PeakMemory().read() < before + 150e6
