import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import execution
from v2a.models import attention
from v2a.sharding import mesh as mesh_lib


def inputs(num_queries, num_keys, head_size, dtype=jnp.float32, num_clips=2, num_heads=2):
  keys, sizes = jax.random.split(jax.random.key(0), 3), (num_queries, num_keys, num_keys)
  qkv = [
    jax.random.normal(key, (num_clips, size, num_heads, head_size), dtype) for key, size in zip(keys, sizes)
  ]
  mask_BS = np.ones((num_clips, num_keys), bool)
  mask_BS[0, num_keys // 2 : num_keys - 3] = False
  return qkv, jnp.asarray(mask_BS)


def by_hand(q, k, v, mask_BS, mask_QS):
  """Eq. 1 of the paper, in float64, one clip and head at a time."""
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  out = np.zeros(q.shape)
  for b in range(q.shape[0]):
    for h in range(q.shape[2]):
      logits_QS = q[b, :, h] @ k[b, :, h].T / q.shape[3] ** 0.5
      read_QS = np.ones(logits_QS.shape, bool)
      if mask_BS is not None:
        read_QS &= np.asarray(mask_BS)[b][None]
      if mask_QS is not None:
        read_QS &= mask_QS
      weight_QS = np.where(read_QS, np.exp(logits_QS - logits_QS.max()), 0)
      out[b, :, h] = weight_QS / weight_QS.sum(axis=1, keepdims=True) @ v[b, :, h]
  return out


@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize(('kernel', 'head_size'), [('einsum', 16), ('splash', 128)])
def test_kernels_equal_plain_attention(kernel, head_size, masked, causal):
  (q, k, v), mask_BS = inputs(40, 53, head_size)
  mask_BS = mask_BS if masked else None
  mask_QS = np.tri(40, 53, 13, dtype=bool) if causal else None
  found = attention.attend(q, k, v, mask_BS, mask_QS, kernel=kernel)
  np.testing.assert_allclose(found, by_hand(q, k, v, mask_BS, mask_QS), atol=2e-5)


def test_gradients_of_the_splash_kernel():
  qkv, mask_BS = inputs(1100, 140, 128, num_clips=1, num_heads=1)  # several blocks of queries
  loss = lambda qkv, kernel: jnp.sum(jnp.sin(attention.attend(*qkv, mask_BS, kernel=kernel)))
  wanted, found = (jax.grad(loss)(qkv, kernel) for kernel in ('einsum', 'splash'))
  for a, b in zip(wanted, found):
    np.testing.assert_allclose(a, b, atol=2e-5, rtol=1e-5)


def test_masked_positions_may_be_nan():
  (q, k, v), mask_BS = inputs(4, 8, 16)
  hurt = lambda x: jnp.where(mask_BS[:, :, None, None], x, jnp.nan)
  found = attention.attend(q, hurt(k), hurt(v), mask_BS)
  np.testing.assert_array_equal(found, attention.attend(q, k, v, mask_BS))


class Device:
  def __init__(self, platform, device_kind):
    self.platform, self.device_kind = platform, device_kind


@pytest.mark.parametrize(
  ('device', 'head_size', 'dtype', 'num_queries', 'kernel'),
  [
    (('gpu', 'NVIDIA H200'), 64, jnp.bfloat16, 300, 'cudnn'),
    (('gpu', 'NVIDIA H200'), 64, jnp.float32, 300, 'einsum'),
    (('gpu', 'NVIDIA H200'), 64, jnp.bfloat16, 1, 'einsum'),
    (('gpu', 'AMD MI300X'), 64, jnp.bfloat16, 300, 'einsum'),
    (('tpu', 'TPU v5 lite'), 128, jnp.bfloat16, 300, 'splash'),
    (('tpu', 'TPU v5 lite'), 64, jnp.bfloat16, 300, 'einsum'),
    (('tpu', 'TPU v5 lite'), 128, jnp.bfloat16, 1, 'einsum'),
    (('cpu', 'cpu'), 128, jnp.bfloat16, 300, 'einsum'),
  ],
)
def test_fastest_kernel_of_each_platform(monkeypatch, device, head_size, dtype, num_queries, kernel):
  monkeypatch.setattr(jax, 'devices', lambda: [Device(*device)])
  assert attention._fastest(jnp.zeros((1, num_queries, 2, head_size), dtype), None) == kernel


def test_execution_config_sets_the_kernel(monkeypatch):
  monkeypatch.setattr(jax, 'devices', lambda: [Device('gpu', 'NVIDIA H200')])
  (q, k, v), _ = inputs(6, 6, 64, jnp.bfloat16)
  traced = lambda: str(jax.make_jaxpr(attention.attend)(q, k, v))
  with execution.use(attention_kernel='einsum'):
    assert 'dot_general' in traced() and 'fused' not in traced()
  assert attention._fastest(q, None) == 'cudnn'


# Queries, keys, whether causal, whether masked.
CUDNN_SIZES = [
  (320, 448, False, True),
  (384, 384, False, False),
  (391, 391, True, False),
  (391, 519, True, True),
  (190, 301, False, False),
]


def cudnn_inputs(num_queries, num_keys, causal, masked, head_size, dtype):
  qkv, mask_BS = inputs(num_queries, num_keys, head_size, dtype)
  mask_QS = np.tri(num_queries, num_keys, num_keys - num_queries, bool) if causal else None
  return qkv, mask_BS if masked else None, mask_QS


@pytest.mark.parametrize('sizes', CUDNN_SIZES)
def test_arguments_of_cudnn_equal_plain_attention(monkeypatch, sizes):
  original = jax.nn.dot_product_attention
  calls = []

  def plain(q, k, v, *, mask=None, is_causal=False, implementation):
    calls.append((q.shape[1], k.shape[1], implementation))
    return original(q, k, v, mask=mask, is_causal=is_causal)

  monkeypatch.setattr(jax.nn, 'dot_product_attention', plain)
  qkv, mask_BS, mask_QS = cudnn_inputs(*sizes, 16, jnp.float32)
  found = attention.attend(*qkv, mask_BS, mask_QS, kernel='cudnn')
  np.testing.assert_allclose(found, by_hand(*qkv, mask_BS, mask_QS), atol=2e-5)
  [(num_queries, num_keys, implementation)] = calls
  assert implementation == 'cudnn' and num_queries % 2 == num_keys % 2 == 0


@pytest.mark.skipif(jax.default_backend() != 'gpu', reason='needs an NVIDIA GPU')
@pytest.mark.parametrize('sizes', CUDNN_SIZES)
def test_cudnn_and_its_gradient_equal_plain_attention(sizes):
  qkv, mask_BS, mask_QS = cudnn_inputs(*sizes, 128, jnp.bfloat16)

  def loss(qkv, kernel):
    y = attention.attend(*qkv, mask_BS, mask_QS, kernel=kernel)
    return jnp.sum(jnp.sin(3 * y.astype(jnp.float32))), y

  exact = [x.astype(jnp.float32) for x in qkv]
  with jax.default_matmul_precision('highest'):
    wanted, y_wanted = jax.grad(loss, has_aux=True)(exact, 'einsum')
  found, y_found = jax.grad(loss, has_aux=True)(qkv, 'cudnn')
  for a, b in zip([y_found, *found], [y_wanted, *wanted]):
    assert np.linalg.norm(np.asarray(a, np.float32) - b) < 0.01 * np.linalg.norm(b)


@pytest.mark.parametrize('sizes', [{'data': 2, 'tensor': 2, 'context': 2}, {'data': 1, 'context': 8}])
def test_sharded_sequences_equal_plain_attention(sizes):
  mesh = mesh_lib.make(sizes)
  (q, k, v), mask_BS = inputs(64, 80, 16)

  def attend(q, k, v):
    with execution.use(mesh=mesh):
      return attention.attend(q, k, v, mask_BS)

  compiled = jax.jit(attend).lower(q, k, v).compile()
  np.testing.assert_allclose(compiled(q, k, v), by_hand(q, k, v, mask_BS, None), atol=2e-5)
  # Logits are the large ones: no device holds more than its part of them.
  part = 2 // sizes['data'], 2 // sizes.get('tensor', 1), 64 // sizes['context'], 80
  assert f'f32[{",".join(map(str, part))}]' in compiled.as_text()
