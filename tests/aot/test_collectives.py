"""Collectives of a training step, in the program that XLA compiles."""

import collections

import jax
import pytest

from v2a.aot import hlo
from v2a.aot import program
from v2a.config import files
from v2a.config import schema
from v2a.sharding import mesh as mesh_lib

NUM_JOINT, NUM_AUDIO = 3, 4
pytestmark = pytest.mark.slow


def collectives(microbatches=1, **sizes):
  """Returns the collectives of a small flow model's step on a mesh of 8 devices, and its abstract state."""
  c = schema.tiny(files.find('flow_synthetic')).unlock()
  c.flow.update(num_joint_layers=NUM_JOINT, num_audio_layers=NUM_AUDIO)
  c.conditioning.sync.patch_width = 64  # two heads, so that `tensor` can split them
  c.training.update(batch_size=16 * microbatches, microbatches=microbatches)
  mesh = mesh_lib.make(sizes)
  traced, abstract = program.trace(c.lock(), mesh)
  return hlo.collectives(traced.lower().compile().as_text(), mesh), abstract


def num_bytes(found, kind):
  return sum(each.num_bytes * each.num_executions for each in found if each.kind == kind)


@pytest.mark.parametrize('microbatches', [1, 4])
def test_data_parallel_gathers_nothing_and_sums_each_gradient_once(microbatches):
  found, abstract = collectives(microbatches, data=8)
  assert {each.kind for each in found} == {'all-reduce'}
  gradient = sum(4 * leaf.size for leaf in jax.tree.leaves(abstract.params))
  # Eq. 2 of `hlo`; there is little else, such as the loss.
  assert num_bytes(found, 'all-reduce') == pytest.approx(2 * 7 / 8 * gradient, rel=0.01)


def test_fsdp_gathers_one_layer_at_a_time_and_shards_the_state():
  found, abstract = collectives(data=1, fsdp=8)
  parameters = sum(4 * leaf.size for leaf in jax.tree.leaves(abstract.params))
  blocks = num_parameter_arrays(abstract.params)
  gathers = collections.Counter(each.num_executions for each in found if each.kind == 'all-gather')
  # In the loop over layers, a parameter is gathered at most once in the forward and once in the backward
  # pass.
  assert 0 < gathers[NUM_AUDIO] <= 2 * blocks['audio_blocks']
  assert 0 < gathers[NUM_JOINT - 1] <= 2 * (blocks['joint_blocks'] + blocks['others'])
  assert num_bytes(found, 'all-gather') <= 2 * 7 / 8 * parameters
  # Large arrays are sharded: weights, their EMA, and both moments.
  large = [leaf for leaf in jax.tree.leaves(abstract) if leaf.size >= 32 * 32]
  assert large and not [leaf for leaf in large if leaf.sharding.is_fully_replicated]


def test_tensor_reduces_activations_gathers_modulations_and_sends_nothing_else():
  found, _ = collectives(data=4, tensor=2)
  # Shards of the columns of queries, keys and values are whole heads; otherwise activations would be
  # resharded.
  assert {each.kind for each in found if each.axes == ('tensor',)} == {'all-reduce', 'all-gather'}


def num_parameter_arrays(params):
  """Returns the number of parameter arrays in the stacks of layers, and in other blocks."""
  names = [
    jax.tree_util.keystr(path, simple=True, separator='.')
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  ]
  counts = {name: sum(f'.{name}.' in path for path in names) for name in ('audio_blocks', 'joint_blocks')}
  return counts | {'others': sum('blocks' in path for path in names) - sum(counts.values())}


@pytest.mark.parametrize('gradient_dtype', ['float32', 'bfloat16'])
def test_gradients_are_summed_over_devices_in_gradient_dtype(gradient_dtype):
  c = schema.tiny(files.find('flow_synthetic')).unlock()
  c.training.update(batch_size=16, compute_dtype='bfloat16', gradient_dtype=gradient_dtype)
  traced, _ = program.trace(c.lock(), mesh_lib.make({'data': 2, 'fsdp': 4}))
  reduces = [line for line in traced.lower().compile().as_text().splitlines() if ' all-reduce(' in line]
  of_gradients = [line for line in reduces if 'transpose(jvp' in line]
  # On CPUs, bfloat16 is summed in float32 by a computation named "promoted".
  is_rounded = lambda line: 'promoted' in line or '= bf16[' in line or '(bf16[' in line
  assert of_gradients and any(map(is_rounded, of_gradients)) == (gradient_dtype == 'bfloat16')
