"""Training on clips of five minutes, whose sequence is split over devices."""

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
def test_clips_of_five_minutes_train_on_eight_devices(tmp_path):
  c = schema.tiny(files.find('flow_synthetic')).unlock()
  c.clip.clip_s = 304.0  # 7,600 latents, a multiple of eight devices; 300 s have 7,500
  c.training.update(batch_size=1, num_steps=2)
  c.data.num_fake_records = 2
  c.mesh.update(data=1, context=8)
  c = c.lock()
  temporaries_bytes = {}
  for num_devices in (1, 8):
    traced, _ = program.trace(c, mesh_lib.make({'context': num_devices}, jax.devices()[:num_devices]))
    temporaries_bytes[num_devices] = traced.lower().compile().memory_analysis().temp_size_in_bytes
  # Attention logits dominate: queries are split, keys are not.
  assert temporaries_bytes[8] < temporaries_bytes[1] / 4, temporaries_bytes
  path = loop.train(c, tmp_path, tasks.make(c))
  assert all(np.isfinite(array).all() for array in weights.load_export(path).arrays.values())
