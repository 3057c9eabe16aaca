"""Clips of five minutes train with their sequence in parts."""

import jax
import numpy as np
import pytest

from v2a import weights
from v2a.aot import program
from v2a.config import files
from v2a.config import schema
from v2a.sharding import mesh as mesh_lib
from v2a.training import loop
from v2a.training import tasks


@pytest.mark.slow
def test_five_minutes_in_eight_parts(tmp_path):
  c = schema.tiny(files.find('flow_synthetic')).unlock()
  c.clip.clip_s = 304.0  # 7,600 latents, which eight devices can share out; 300 s have 7,500
  c.training.update(batch_size=1, num_steps=2)
  c.data.num_fake_records = 2
  c.mesh.update(data=1, context=8)
  c = c.lock()
  held = {}
  for num_devices in (1, 8):
    traced, _ = program.trace(c, mesh_lib.make({'context': num_devices}, jax.devices()[:num_devices]))
    held[num_devices] = traced.lower().compile().memory_analysis().temp_size_in_bytes
  # The logits are what counts: queries of a part, keys of the whole.
  assert held[8] < held[1] / 4, held
  path = loop.train(c, tmp_path, tasks.make(c))
  assert all(np.isfinite(array).all() for array in weights.load_export(path).arrays.values())
