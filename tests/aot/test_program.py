"""The roofline of a compiled step, against hand calculations."""

import types

import numpy as np
import pytest

from v2a.aot import hlo
from v2a.aot import program
from v2a.aot import topologies
from v2a.sharding import mesh as mesh_lib

# FLOPs are of all devices; rematerialization is a fifth of them.
ABOUT = {
  'config': 'c',
  'topology': 't',
  'mesh': {},
  'batch_size': 256,
  'remat': 'full',
  'microbatches': 1,
  'hbm_bytes': 0,
  'num_parameters': 1,
  'compile_s': 0.0,
}


def pod(num_slices, x, y):
  """Returns a mesh of fake v5e chips: data along x, fsdp along y, replica across slices."""
  devices = np.empty((num_slices, x, y, 1, 1), object)
  for index in np.ndindex(devices.shape):
    devices[index] = types.SimpleNamespace(coords=(index[1], index[2], 0))
  return types.SimpleNamespace(devices=devices, axis_names=mesh_lib.AXES)


def report(monkeypatch, sent, *, num_slices=1, x=16, y=16, flops=0.0, temporaries=0, batch_bytes=0):
  """Returns the report of a step that sends these bytes per chip, by axes."""
  sizes = {'argument': 410, 'output': 10, 'alias': 10, 'temp': temporaries}
  memory = types.SimpleNamespace(
    **{f'{name}_size_in_bytes': size for name, size in sizes.items()},
    generated_code_size_in_bytes=5,
    host_temp_size_in_bytes=10**6,
  )
  compiled = types.SimpleNamespace(memory_analysis=lambda: memory, as_text=lambda: '')
  monkeypatch.setattr(hlo, 'collectives', lambda text, mesh: [])
  monkeypatch.setattr(hlo, 'bytes_by_axes', lambda found: sent)
  assert mesh_lib.AXES[:3] == ('replica', 'data', 'fsdp')
  topology = topologies.parse(f'{num_slices}*v5e:{x}x{y}')
  about = ABOUT | {'flops': flops, 'model_flops': 0.8 * flops}
  return program._report(compiled, about, topology, pod(num_slices, x, y), batch_bytes)


def test_a_step_with_little_traffic_is_compute_bound(monkeypatch):
  found = report(monkeypatch, {'fsdp': 9e6}, flops=256 * 1.97e14, temporaries=100)
  assert found.times_s['compute'] == pytest.approx(1.0)
  assert found.times_s['HBM'] == pytest.approx((410 + 10 + 2 * 100) / 8.2e11)
  assert found.bound == 'compute' and found.highest_mfu == pytest.approx(0.8)
  assert program.used_bytes(found) == 410 + 10 - 10 + 100 + 5


def test_prefetched_batches_take_memory(monkeypatch):
  left = topologies.parse('v5e:16x16').chip.hbm_bytes - (410 + 10 - 10 + 100 + 5)
  assert report(monkeypatch, {}, temporaries=100, batch_bytes=left // 3).fits
  found = report(monkeypatch, {}, temporaries=100, batch_bytes=left // 3 + 1)
  assert not found.fits and found.reason == '15.75 GiB are used, 15.75 of them by prefetched batches'


@pytest.mark.parametrize(
  ('axes', 'x', 'y', 'num_links'),
  [
    ('fsdp', 16, 16, 2),
    ('fsdp', 16, 8, 1),
    ('data+fsdp', 16, 16, 4),
    ('data+fsdp', 8, 8, 2),
    ('data', 16, 2, 2),
  ],
)
def test_a_mesh_axis_has_one_link_per_torus_axis_and_two_with_wraparound(monkeypatch, axes, x, y, num_links):
  found = report(monkeypatch, {axes: 4.5e10}, x=x, y=y, flops=x * y * 1.97e13)
  assert found.times_s['ICI'] == pytest.approx(1 / num_links)
  assert found.bound == 'ICI' and found.highest_mfu == pytest.approx(0.08 * num_links)


@pytest.mark.parametrize(
  ('name', 'size', 'has_wraparound'),
  [
    ('v5p:4x4x4', 4, True),
    ('v5p:4x4x8', 8, True),
    ('v5p:2x4x4', 4, False),
    ('v6e:8x16', 16, True),
    ('v6e:8x16', 8, False),
  ],
)
def test_a_3d_torus_of_whole_cubes_has_wraparound(name, size, has_wraparound):
  assert program._has_wraparound(size, topologies.parse(name)) == has_wraparound


def test_traffic_along_replica_is_between_slices_if_there_are_several(monkeypatch):
  sent = {'replica': 3.125e9, 'data+replica': 6.25e9, 'fsdp': 9e9}
  found = report(monkeypatch, sent, num_slices=2)
  assert found.times_s['DCN'] == pytest.approx(3.0) and found.times_s['ICI'] == pytest.approx(0.1)
  assert found.bound == 'DCN'
  assert report(monkeypatch, {'fsdp': 9e9}).times_s['DCN'] == 0
