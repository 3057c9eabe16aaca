"""Byte-level text encoder: UTF-8 bytes -> tokens, with padding masks.

Needs no vocabulary and handles any language (Xue et al. 2021, arXiv 2105.13626). Several bytes are folded
into one token to keep sequences short (Clark et al. 2021, arXiv 2103.06874, sec. 3.2).
"""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import shapes
from v2a.models import layers
from v2a.models import stack


def to_bytes(texts: list[str], num_bytes: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns UTF-8 bytes byte_BU of texts, zero-padded, and their lengths length_B.

  Args:
    texts: any texts; white space around them is removed.
    num_bytes: U, to which longer texts are truncated.
  """
  byte_BU = np.zeros((len(texts), num_bytes), np.uint8)
  length_B = np.zeros(len(texts), np.int32)
  for row, text in enumerate(texts):
    raw = text.strip().encode('utf-8')[:num_bytes]
    byte_BU[row, : len(raw)] = np.frombuffer(raw, np.uint8)
    length_B[row] = len(raw)
  return byte_BU, length_B


class TextEncoder(nnx.Module):
  """Encodes bytes as contextual tokens."""

  def __init__(
    self,
    *,
    num_bytes: int,
    bytes_per_token: int,
    width: int,
    num_layers: int,
    num_heads: int,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the encoder.

    Args:
      num_bytes: U, bytes of a text.
      bytes_per_token: bytes folded into a token.
      width: of tokens.
      num_layers, num_heads: of the transformer.
      rngs: for initial weights.
      dtype: of products.

    Raises:
      ValueError: bytes_per_token does not divide num_bytes.
    """
    if num_bytes % bytes_per_token:
      raise ValueError(
        f'the number of bytes must be a multiple of bytes_per_token={bytes_per_token}; got {num_bytes}.'
      )
    self.bytes_per_token = bytes_per_token
    self.byte_VD = nnx.Param(0.5 * jax.random.normal(rngs.params(), (256, width)), axes=('vocab', 'embed'))
    self.context = layers.DepthwiseConv(width, 5, rngs=rngs)
    self.fold = layers.Linear(bytes_per_token * width, width, ('patch', 'embed'), rngs=rngs, dtype=dtype)
    self.position_SD = nnx.Param(
      0.3 * jax.random.normal(rngs.params(), (num_bytes // bytes_per_token, width)), axes=(None, 'embed')
    )
    self.blocks = stack.make(
      lambda rngs: layers.EncoderBlock(width, num_heads, rngs=rngs, dtype=dtype), num_layers, rngs
    )

  def __call__(self, byte_BU: jax.Array, length_B: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns tokens BSD and their mask BS (True where a token holds text).

    Args:
      byte_BU: byte values; those beyond the length are ignored.
      length_B: bytes of each text; 0 gives an all-False mask.
    """
    shapes.check(byte_BU=byte_BU, length_B=length_B)
    B, U = byte_BU.shape
    is_text_BU = jnp.arange(U)[None] < length_B[:, None]
    x_BUD = jnp.where(is_text_BU[..., None], self.byte_VD[...][byte_BU.astype(jnp.int32)], 0.0)
    x_BSD = self.fold(self.context(x_BUD).reshape(B, U // self.bytes_per_token, -1))
    mask_BS = is_text_BU[:, :: self.bytes_per_token]
    x_BSD = stack.scan(self.blocks, x_BSD + self.position_SD[...][None], mask_BS)
    return layers.layer_norm(x_BSD), mask_BS
