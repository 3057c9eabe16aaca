"""Costs of a model."""

import dataclasses
import functools
import mmap

import pytest

from v2a.evaluation import costs
from v2a.sampling import bundle
from v2a.sampling import request


@pytest.fixture(scope='module')
def model(tiny_bundle):
  return bundle.load(tiny_bundle)


def sampling_costs(model, **settings):
  """Returns the costs of a soundtrack."""
  return costs.sampling_costs(model, request.Request(**settings))


@pytest.fixture(scope='module')
def evaluation_flops(model):
  """Returns the FLOPs of one network evaluation."""
  two, three = (sampling_costs(model, steps=steps, guidance=1.0, solver='euler').flops for steps in (2, 3))
  return three - two


def test_sampling_costs_are_proportional_to_steps_and_guidance_branches(model, evaluation_flops):
  of = functools.partial(sampling_costs, model)
  found = {steps: of(steps=steps, guidance=1.0, solver='euler') for steps in (3, 5)}
  assert [each.network_evaluations for each in found.values()] == [3, 5]
  step = evaluation_flops
  assert step > 1e5 and found[5].flops - found[3].flops == 2 * step
  guided = of(steps=3, guidance=2.0, solver='euler')
  assert guided.network_evaluations == 6
  # One more branch per step; conditions are encoded once but are attended to twice.
  assert guided.flops > found[3].flops + 2.5 * step
  assert of(steps=3, guidance=1.0, solver='heun').network_evaluations == 5


def test_training_flops_are_steps_times_batch_size_times_flops_per_clip(model, evaluation_flops):
  found = costs.training_flops(costs.sampling_parts(model))
  assert found['codec'] == 5 * 2 * 7 and found['all'] == found['codec'] + found['flow']
  # Three steps of eight clips, forward and backward: the network and the encoders of the conditions, which
  # cost less than sampling with one step and decoding.
  each, rest = divmod(found['flow'], 3 * 8)
  assert not rest
  assert (
    2.5 * evaluation_flops < each < 3 * sampling_costs(model, steps=1, guidance=1.0, solver='euler').flops
  )
  incomplete = dataclasses.replace(model.exports['flow'], about={'step': 3})
  unknown = costs.training_flops({**costs.sampling_parts(model), 'flow': incomplete})
  assert unknown == {'codec': 70, 'flow': None, 'all': None}


def test_parameters_are_those_of_the_sampling_parts(model):
  found = costs.num_parameters(costs.sampling_parts(model))
  assert found['all'] == found['codec'] + found['flow']
  assert found['flow'] == sum(array.size for array in model.exports['flow'].arrays.values())


def test_peak_memory_is_since_construction():
  before = costs.PeakMemory().read()
  # Memory of a closed map is returned to the system; memory freed by malloc may stay with the process.
  with mmap.mmap(-1, 240 << 20) as held:
    for page in range(0, 240 << 20, mmap.PAGESIZE):
      held[page] = 1
    peak = costs.PeakMemory()
    assert peak.read() >= before + 200e6
  assert peak.read() >= before + 200e6
  assert costs.PeakMemory().read() < before + 150e6
