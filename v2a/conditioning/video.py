"""Video encoders: semantic encoder (what is in the frames) and sync encoder (motion, at a higher rate)."""

from flax import nnx
import jax
import jax.numpy as jnp

from v2a.models import layers
from v2a.models import stack
from v2a.models import vit


def scale_pixels(frame_BLYX3: jax.Array) -> jax.Array:
  """Returns uint8 pixels as floats in [-1, 1]."""
  return frame_BLYX3.astype(jnp.float32) / 127.5 - 1


class SemanticEncoder(nnx.Module):
  """A vision transformer on each frame; one token per frame."""

  def __init__(
    self,
    *,
    frame_size: int,
    patch: int,
    width: int,
    num_layers: int,
    num_heads: int,
    out_features: int,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the encoder.

    Args:
      frame_size: height and width of frames in pixels, a multiple of `patch`.
      patch: side of a patch in pixels.
      width: of the tokens of patches.
      num_layers: number of transformer blocks.
      num_heads: heads of attention, each of width / num_heads features.
      out_features: size of a token of a frame.
      rngs: for initial weights.
      dtype: of products.
    """
    # The name `picture` is in the paths of stored weights.
    self.picture = vit.VisionTransformer(
      frame_size, patch, width, num_layers, num_heads, out_features, rngs=rngs, dtype=dtype
    )

  def __call__(self, frame_BMYX3: jax.Array) -> jax.Array:
    """Returns tokens BMD.

    Args:
      frame_BMYX3: uint8 frames at the semantic rate.
    """
    return self.picture(scale_pixels(frame_BMYX3))


class SyncEncoder(nnx.Module):
  """Space-time patches -> spatial transformer -> concatenation over patches -> temporal blocks.

  A patch covers three neighbouring frames. Patches are concatenated, not averaged, before the temporal
  blocks, since the position of moving objects determines the stereo panning.
  """

  def __init__(
    self,
    *,
    frame_size: int,
    patch: int,
    patch_width: int,
    num_patch_layers: int,
    width: int,
    num_layers: int,
    rngs: nnx.Rngs,
    dtype: jax.typing.DTypeLike = jnp.float32,
  ):
    """Makes the encoder.

    Args:
      frame_size: height and width of frames in pixels, a multiple of `patch`.
      patch: side of a patch in pixels.
      patch_width: width of the tokens of patches; a head of their attention has about 32 features.
      num_patch_layers: number of transformer blocks over the patches of a frame.
      width: of the features of a frame.
      num_layers: number of ConvNeXt blocks over time.
      rngs: for initial weights.
      dtype: of products.
    """
    num_patches = (frame_size // patch) ** 2
    self.patch = patch
    self.embed = layers.Linear(3 * patch * patch * 3, patch_width, ('patch', 'embed'), rngs=rngs, dtype=dtype)
    self.position_PD = nnx.Param(
      0.3 * jax.random.normal(rngs.params(), (num_patches, patch_width)), axes=(None, 'embed')
    )
    num_heads = max(1, patch_width // 32)
    self.patch_blocks = stack.make(
      lambda rngs: layers.EncoderBlock(patch_width, num_heads, rngs=rngs, dtype=dtype), num_patch_layers, rngs
    )
    self.gather = layers.Linear(num_patches * patch_width, width, ('patch', 'embed'), rngs=rngs, dtype=dtype)
    self.blocks = stack.make(
      lambda rngs: layers.ConvNeXtBlock(width, rngs=rngs, mlp_ratio=2.0, dtype=dtype), num_layers, rngs
    )

  def __call__(self, frame_BLYX3: jax.Array) -> jax.Array:
    """Returns features BLD.

    Args:
      frame_BLYX3: uint8 frames at the sync rate.
    """
    patch_BLPI = vit.patchify(scale_pixels(frame_BLYX3), self.patch)
    padded = jnp.concatenate([patch_BLPI[:, :1], patch_BLPI, patch_BLPI[:, -1:]], axis=1)
    # Inputs are the frame and its differences to both neighbours, scaled up to emphasize motion.
    difference_before, difference_after = patch_BLPI - padded[:, :-2], padded[:, 2:] - patch_BLPI
    x_BLPD = self.embed(jnp.concatenate([patch_BLPI, 4 * difference_before, 4 * difference_after], axis=-1))
    B, L, P, _ = x_BLPD.shape
    x_BPD = x_BLPD.reshape(B * L, P, -1) + self.position_PD[...][None]
    x_BPD = layers.layer_norm(stack.scan(self.patch_blocks, x_BPD))
    return stack.scan(self.blocks, self.gather(x_BPD.reshape(B, L, -1)))
