"""The fused attention kernel for TPUs compiles forward and backward, for one chip and for a mesh."""

import importlib.util
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import execution
from v2a.aot import topologies
from v2a.models import attention
from v2a.sharding import mesh as mesh_lib

B, H, E = 8, 2, 128


def loss(q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS):
  y_BQHE = attention.attend(q_BQHE, k_BSHE, v_BSHE, mask_BS, mask_QS)
  return jnp.sum(y_BQHE.astype(jnp.float32) ** 2)


@pytest.mark.tpu
@pytest.mark.skipif(importlib.util.find_spec('libtpu') is None, reason="needs libtpu: pip install 'v2a[tpu]'")
@pytest.mark.parametrize(
  ('chip', 'sizes', 'num_queries', 'num_keys', 'is_causal'),
  [
    ('v5e', {'data': 1}, 300, 428, False),
    ('v6e', {'data': 2, 'context': 2}, 300, 428, False),
    ('v6e', {'data': 2, 'tensor': 2}, 256, 256, True),
  ],
)
def test_the_fused_kernel_compiles_for_a_tpu(chip, sizes, num_queries, num_keys, is_causal):
  devices = topologies.devices(topologies.parse(f'{chip}:2x2'))
  mesh = mesh_lib.make(sizes, devices[: math.prod(sizes.values())])
  replicated = jax.NamedSharding(mesh, jax.sharding.PartitionSpec())
  heads = lambda num: jax.ShapeDtypeStruct((B, num, H, E), jnp.bfloat16, sharding=replicated)
  mask_BS = jax.ShapeDtypeStruct((B, num_keys), bool, sharding=replicated)
  mask_QS = np.tri(num_queries, dtype=bool) if is_causal else None
  with execution.use(mesh=mesh):
    gradient = jax.jit(lambda *x: jax.grad(loss, argnums=(0, 1, 2))(*x, mask_QS))
    compiled = gradient.lower(heads(num_queries), heads(num_keys), heads(num_keys), mask_BS).compile()
  assert compiled.as_text().count('tpu_custom_call') >= 2
