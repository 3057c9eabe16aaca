"""Collectives of compiled programs: kind, axes, bytes and number of executions."""

import jax
import jax.numpy as jnp
import pytest

from v2a.aot import hlo
from v2a.aot import topologies
from v2a.sharding import mesh as mesh_lib

P = jax.sharding.PartitionSpec


def compiled(run, mesh, specs, *shapes):
  """Returns the text of a program for a mesh, with arguments of these shapes and partition specs."""
  arguments = [
    jax.ShapeDtypeStruct(shape, jnp.float32, sharding=jax.sharding.NamedSharding(mesh, spec))
    for shape, spec in zip(shapes, specs)
  ]
  return jax.jit(run, out_shardings=mesh_lib.replicated(mesh)).lower(*arguments).compile().as_text()


def test_a_sum_over_clips_is_one_all_reduce_along_data():
  mesh = mesh_lib.make({'data': 4, 'tensor': 2})
  text = compiled(lambda x_BD: jnp.sum(x_BD, axis=0), mesh, [P('data')], (8, 6))
  found = hlo.collectives(text, mesh)
  assert found == [hlo.Collective('all-reduce', ('data',), 2 * 6 * 4 * 3 / 4, 1)]
  assert hlo.bytes_by_axes(found) == {'data': 36.0}


def test_a_collective_in_a_loop_is_multiplied_by_the_trip_count():
  mesh = mesh_lib.make({'data': 2, 'fsdp': 4})

  def run(x_BD, w_ZDD):
    return jax.lax.scan(lambda x_BD, w_DD: (jnp.tanh(x_BD @ w_DD), None), x_BD, w_ZDD)[0]

  text = compiled(run, mesh, [P(), P(None, 'fsdp')], (3, 16), (5, 16, 16))
  found = hlo.collectives(text, mesh)
  assert found and {each.axes for each in found} == {('fsdp',)}
  assert sorted(each.num_executions for each in found) == [1, 5]  # each layer, and the result once


def test_trip_count_of_a_loop_without_annotation():
  mesh = mesh_lib.make({'data': 2, 'fsdp': 2, 'tensor': 2})
  text = """
%cond.1 (wide.param.4: (s32[], f32[8])) -> pred[] {
  %constant.7.clone.3 = s32[]{:T(128)} constant(4)
  %wide.param.4 = (s32[]{:T(128)}, f32[8]{0:T(8)}) parameter(0)
  %get-tuple-element.5 = s32[]{:T(128)} get-tuple-element(%wide.param.4), index=0
  ROOT %lt.3 = pred[]{:T(512)} compare(%get-tuple-element.5, %constant.7.clone.3), direction=LT
}

%body.1 (wide.param.5: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = f32[8]{0} reduce-scatter(%p), replica_groups={{0,2},{1,3}}, to_apply=%add
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %while.2 = (s32[]{:T(128)}, f32[8]{0}) while(%tuple.1), condition=%cond.1, body=%body.1
}
"""
  assert [each.num_executions for each in hlo.collectives(text, mesh)] == [4]


def test_a_collective_overlapped_with_several_matmuls_counts_once():
  mesh = mesh_lib.make({'data': 2, 'fsdp': 4})
  part = (
    '%a = bf16[8,4]{{1,0}} all-gather(%p), replica_groups=[2,4]<=[8], frontend_attributes={{chain_id="{}"}}'
  )
  text, calls = '', ''
  for k, chain in enumerate((7, 7, 7, 8)):
    text += f'%fusion.{k} (p: bf16[2,4]) -> bf16[8,4] {{\n  {part.format(chain)}\n}}\n\n'
    calls += f'  %f.{k} = bf16[8,4]{{1,0}} fusion(%p), calls=%fusion.{k}\n'
  text += f'ENTRY %main (p: bf16[2,4]) -> bf16[8,4] {{\n{calls}}}\n'
  assert hlo.collectives(text, mesh) == 2 * [hlo.Collective('all-gather', ('fsdp',), 48.0, 1)]


@pytest.mark.parametrize(
  ('line', 'axes', 'num_bytes'),
  [
    ('%a = bf16[64,32]{1,0} all-gather(%p), replica_groups=[4,2]<=[8], dimensions={0}', ('tensor',), 2048.0),
    ('%a = bf16[64,32]{1,0} all-gather(%p), replica_groups=[2,4]<=[4,2]T(1,0)', ('data', 'fsdp'), 3072.0),
    ('%a = (f32[8]{0}, f32[16]{0}) all-gather-start(%p), replica_groups={{0,4},{1,5}}', ('data',), 32.0),
    ('%a = f32[8]{0} reduce-scatter(%p), replica_groups={{0,2},{1,3}}, to_apply=%add', ('fsdp',), 32.0),
    (
      "%a = f32[8]{0} all-gather(%p), replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'b'}",
      ('data', 'fsdp'),
      24.0,
    ),
    ("%a = f32[8]{0} all-gather(%p), replica_groups=mesh['a'=8] {'a':(2)2}", ('fsdp',), 16.0),
    ('%a = f32[8]{0} collective-permute(%p), source_target_pairs={{0,1},{1,0}}', ('tensor',), 32.0),
  ],
)
def test_collectives_have_axes_and_bytes(line, axes, num_bytes):
  mesh = mesh_lib.make({'data': 2, 'fsdp': 2, 'tensor': 2})
  found = hlo.collectives(f'ENTRY %main (p: f32[8]) -> f32[8] {{\n  {line}\n}}\n', mesh)
  assert [(each.axes, each.num_bytes, each.num_executions) for each in found] == [(axes, num_bytes, 1)]


@pytest.mark.parametrize(
  ('transfer', 'kind', 'num_bytes'),
  [
    ('ALL_REDUCE', 'all-reduce', 2 * 24 * 3 / 4),
    ('ALL_GATHER', 'all-gather', 24 * 3),
    ('REDUCE_SCATTER', 'reduce-scatter', 24 * 3 / 4),
  ],
)
def test_traffic_between_slices_is_along_replica(transfer, kind, num_bytes):
  line = (
    '%send = (f32[1,6]{1,0:T(8,128)}, u32[], token[]) send(%x, %after), channel_id=8, '
    'frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_megascale_target="{1,2}x{0:15}",'
    f'_xla_megascale_transfer_type="{transfer}"}}'
  )
  mesh = mesh_lib.make({'replica': 4, 'fsdp': 2})
  found = hlo.collectives(f'ENTRY %main (p: f32[8]) -> f32[8] {{\n  {line}\n}}\n', mesh)
  assert found == [hlo.Collective(kind, ('replica',), num_bytes, 1)]


@pytest.mark.parametrize(
  ('text', 'slices', 'message'),
  [
    ('v9:4x4', 1, 'must look like v5e:16x16'),
    ('v5e:4', 1, 'must look like'),
    ('v5e:4x4x4', 1, 'torus of 2 axes'),
    ('v5e:32x16', 1, 'at most 256 chips'),
    ('v5e:3x4', 1, 'hosts of 2x2'),
    ('v5e:4x4', 0, 'at least 1; got 0'),
  ],
)
def test_unknown_topologies_are_refused(text, slices, message):
  with pytest.raises(ValueError, match=message):
    topologies.parse(text, slices)


def test_topologies():
  found = topologies.parse('v6e:16x16', 4)
  assert (found.name, found.num_chips, found.chip.device_kind) == ('4*v6e:16x16', 1024, 'TPU v6 lite')
  assert topologies.parse(found.name) == found
  assert topologies.parse('v5p:4x4x4').num_chips == 64
