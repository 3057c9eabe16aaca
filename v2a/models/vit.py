"""A vision transformer over the patches of one image (Dosovitskiy et al. 2020, arXiv 2010.11929)."""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a.models import layers
from v2a.models import stack


def patchify(frame_BLYX3: jax.Array, patch: int) -> jax.Array:
  """Returns non-overlapping square patches (BLPI, I = patch * patch * 3).

  Args:
    frame_BLYX3: images.
    patch: side of a patch in pixels.

  Raises:
    ValueError: the sides of the images are no multiples of `patch`.
  """
  B, L, Y, X, _ = frame_BLYX3.shape
  if Y % patch or X % patch:
    raise ValueError(f'image sides must be multiples of patch={patch}; got {Y}x{X}.')
  split = frame_BLYX3.reshape(B, L, Y // patch, patch, X // patch, patch, 3)
  return split.transpose(0, 1, 2, 4, 3, 5, 6).reshape(B, L, (Y // patch) * (X // patch), -1)


class VisionTransformer(nnx.Module):
  """Patches -> transformer -> one feature vector per image (mean over its patches)."""

  def __init__(
    self,
    frame_size: int,
    patch: int,
    width: int,
    num_layers: int,
    num_heads: int,
    out_features: int,
    *,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the network.

    Args:
      frame_size: height and width of the images in pixels, a multiple of `patch`.
      patch: side of a patch in pixels.
      width: of the tokens of the patches.
      num_layers: number of transformer blocks.
      num_heads: heads of attention, each of width / num_heads features.
      out_features: size of the feature vector.
      rngs: for initial weights.
      dtype: of products.
    """
    num_patches = (frame_size // patch) ** 2
    self.patch = patch
    self.embed = layers.Linear(patch * patch * 3, width, ('patch', 'embed'), rngs=rngs, dtype=dtype)
    self.position_PD = nnx.Param(
      0.3 * jax.random.normal(rngs.params(), (num_patches, width)), axes=(None, 'embed')
    )
    self.blocks = stack.make(
      lambda rngs: layers.EncoderBlock(width, num_heads, rngs=rngs, dtype=dtype), num_layers, rngs
    )
    self.out = layers.Linear(width, out_features, ('embed', None), rngs=rngs, dtype=dtype)

  def __call__(self, frame_BMYX3: jax.Array) -> jax.Array:
    """Returns features BMD.

    Args:
      frame_BMYX3: images, in about [-1, 1].
    """
    patch_BMPI = patchify(frame_BMYX3, self.patch)
    B, M, P, _ = patch_BMPI.shape
    x_BPD = self.embed(patch_BMPI).reshape(B * M, P, -1) + self.position_PD[...][None]
    x_BPD = stack.scan(self.blocks, x_BPD)
    pooled_BD = jnp.mean(layers.layer_norm(x_BPD), axis=1)
    return self.out(pooled_BD).reshape(B, M, -1)
