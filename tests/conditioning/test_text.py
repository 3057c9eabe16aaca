"""The text encoder: positions, context, padding."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a.conditioning import text

NUM_BYTES, FOLD, WIDTH = 32, 4, 16


def _encoder():
  return text.TextEncoder(
    num_bytes=NUM_BYTES, bytes_per_token=FOLD, width=WIDTH, num_layers=1, num_heads=2, rngs=nnx.Rngs(0)
  )


def _tokens(encoder, string):
  token_BSD, mask_BS = encoder(*text.to_bytes([string], NUM_BYTES))
  return token_BSD[0], mask_BS[0]


def test_padding_is_never_read():
  encoder = _encoder()
  clean_SD, mask_S = _tokens(encoder, 'wood hits')
  assert mask_S.tolist() == [True] * 3 + [False] * 5
  encoder.position_SD[...] = encoder.position_SD[...].at[3:].set(jnp.nan)
  poisoned_SD, _ = _tokens(encoder, 'wood hits')
  np.testing.assert_array_equal(poisoned_SD[:3], clean_SD[:3])


def test_tokens_depend_on_their_position():
  token_SD, _ = _tokens(_encoder(), 8 * 'tick')
  assert float(jnp.abs(token_SD[3] - token_SD[4]).max()) > 0.05


def test_tokens_depend_on_other_words():
  encoder = _encoder()
  # Blocks are near the identity at initialization, so their weights are increased.
  encoder.blocks = jax.tree.map(lambda leaf: leaf + 0.3, encoder.blocks)
  rain_SD, _ = _tokens(encoder, 'soft music and then the rain')
  wind_SD, _ = _tokens(encoder, 'soft music and then the wind')
  assert float(jnp.abs(rain_SD[0] - wind_SD[0]).max()) > 1e-4


def test_an_empty_text_has_no_unmasked_token():
  token_SD, mask_S = _tokens(_encoder(), '')
  assert not mask_S.any() and bool(jnp.isfinite(token_SD).all())


def test_texts_are_truncated_to_num_bytes():
  byte_BU, length_B = text.to_bytes(['abc', ' x ' * 50, ''], 8)
  assert length_B.tolist() == [3, 8, 0]
  assert byte_BU[0].tolist() == [97, 98, 99, 0, 0, 0, 0, 0]
