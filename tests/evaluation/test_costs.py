"""What a whole model costs."""

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


def drawing(model, **settings):
  """Returns what a soundtrack costs."""
  return costs.sampling_costs(model, request.Request(**settings))


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
  found = costs.training_flops(costs.sampling_parts(model))
  assert found['codec'] == 5 * 2 * 7 and found['all'] == found['codec'] + found['flow']
  # Three steps of eight clips, forward and backward: of the network, and of what reads pictures and texts,
  # which is less than a soundtrack of one step with its decoding.
  each, rest = divmod(found['flow'], 3 * 8)
  assert not rest
  assert 2.5 * evaluation_flops < each < 3 * drawing(model, steps=1, guidance=1.0, solver='euler').flops
  forgotten = dataclasses.replace(model.exports['flow'], about={'step': 3})
  unknown = costs.training_flops({**costs.sampling_parts(model), 'flow': forgotten})
  assert unknown == {'codec': 70, 'flow': None, 'all': None}


def test_parameters_are_those_of_the_parts_that_draw(model):
  found = costs.num_parameters(costs.sampling_parts(model))
  assert found['all'] == found['codec'] + found['flow']
  assert found['flow'] == sum(array.size for array in model.exports['flow'].arrays.values())


def test_peak_memory_sees_what_is_held_now_and_forgets_what_was():
  before = costs.PeakMemory().read()
  # A map of its own goes back to the system when it is closed; what malloc frees may stay with the process.
  with mmap.mmap(-1, 240 << 20) as held:
    for page in range(0, 240 << 20, mmap.PAGESIZE):
      held[page] = 1
    peak = costs.PeakMemory()
    assert peak.read() >= before + 200e6
  assert peak.read() >= before + 200e6
  assert costs.PeakMemory().read() < before + 150e6
