"""Shapes of LAION-CLAP at any width and depth, and weights of them that any framework can make alike."""

import numpy as np

from tests.models.published import reference

SIDE = 8
Shapes = dict[str, tuple[int, ...]]


def _norm(name: str, width: int) -> Shapes:
  return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _linear(name: str, num_in: int, num_out: int) -> Shapes:
  return {f'{name}.weight': (num_out, num_in), f'{name}.bias': (num_out,)}


def htsat_shapes(width: int, depths: tuple[int, ...], prefix: str = '', num_patches: int = 64) -> Shapes:
  """Returns the shapes of HTS-AT whose first stage has pictures of num_patches by num_patches patches."""
  sizes = {'logmel_extractor.melW': (513, 64), **_norm('bn0', 64), **_norm('patch_embed.norm', width)}
  sizes |= {f'spectrogram_extractor.stft.conv_{part}.weight': (513, 1, 1024) for part in ('real', 'imag')}
  sizes |= {'bn0.running_mean': (64,), 'bn0.running_var': (64,), 'bn0.num_batches_tracked': ()}
  sizes |= {'patch_embed.proj.weight': (width, 1, 4, 4), 'patch_embed.proj.bias': (width,)}
  for stage, depth in enumerate(depths):
    side, size = num_patches >> stage, width << stage
    for i in range(depth):
      name = f'layers.{stage}.blocks.{i}'
      sizes |= {**_norm(f'{name}.norm1', size), **_norm(f'{name}.norm2', size)}
      sizes |= {**_linear(f'{name}.attn.qkv', size, 3 * size), **_linear(f'{name}.attn.proj', size, size)}
      sizes |= {**_linear(f'{name}.mlp.fc1', size, 4 * size), **_linear(f'{name}.mlp.fc2', 4 * size, size)}
      sizes[f'{name}.attn.relative_position_bias_table'] = ((2 * SIDE - 1) ** 2, 4 << stage)
      sizes[f'{name}.attn.relative_position_index'] = (SIDE**2, SIDE**2)
      if i % 2 and side > SIDE:
        sizes[f'{name}.attn_mask'] = ((side // SIDE) ** 2, SIDE**2, SIDE**2)
    if stage + 1 < len(depths):
      sizes |= _norm(f'layers.{stage}.downsample.norm', 4 * size)
      sizes[f'layers.{stage}.downsample.reduction.weight'] = (2 * size, 4 * size)
  size = width << (len(depths) - 1)
  sizes |= {**_norm('norm', size), **_linear('head', 527, 527)}
  sizes |= {'tscam_conv.weight': (527, size, 2, 3), 'tscam_conv.bias': (527,)}
  return {prefix + name: shape for name, shape in sizes.items()}


def roberta_shapes(width: int, num_hidden: int, depth: int, num_tokens: int, prefix: str = '') -> Shapes:
  """Returns the shapes of RoBERTa."""
  sizes = {'embeddings.word_embeddings.weight': (num_tokens, width), **_norm('embeddings.LayerNorm', width)}
  sizes |= {'embeddings.position_embeddings.weight': (514, width), **_linear('pooler.dense', width, width)}
  sizes['embeddings.token_type_embeddings.weight'] = (1, width)
  for i in range(depth):
    name = f'encoder.layer.{i}'
    for part in ('self.query', 'self.key', 'self.value', 'output.dense'):
      sizes |= _linear(f'{name}.attention.{part}', width, width)
    sizes |= {
      **_norm(f'{name}.attention.output.LayerNorm', width),
      **_norm(f'{name}.output.LayerNorm', width),
    }
    sizes |= _linear(f'{name}.intermediate.dense', width, num_hidden)
    sizes |= _linear(f'{name}.output.dense', num_hidden, width)
  return {prefix + name: shape for name, shape in sizes.items()}


def clap_shapes(widths: tuple[int, int, int], depths: tuple[tuple[int, ...], int], num_tokens: int) -> Shapes:
  """Returns the shapes of all of CLAP.

  Args:
    widths: of the first stage of HTS-AT, of RoBERTa, of what both end in.
    depths: of the stages of HTS-AT, of RoBERTa.
    num_tokens: of RoBERTa.
  """
  sizes = htsat_shapes(widths[0], depths[0], 'audio_branch.')
  sizes |= roberta_shapes(widths[1], 4 * widths[1], depths[1], num_tokens, 'text_branch.')
  for name, width in (('audio', widths[0] << (len(depths[0]) - 1)), ('text', widths[1])):
    sizes |= {**_linear(f'{name}_projection.0', width, widths[2])}
    sizes |= {**_linear(f'{name}_projection.2', widths[2], widths[2])}
    for place in (0, 3):
      sizes |= _linear(f'{name}_transform.sequential.{place}', widths[2], widths[2])
  return sizes | {'logit_scale_a': (), 'logit_scale_t': ()}


def weights(sizes: Shapes) -> dict[str, np.ndarray]:
  """Returns reference.weights, but indices and masks of windows as they are by definition."""
  made = reference.weights(sizes)
  for name, shape in sizes.items():
    if name.endswith('relative_position_index'):
      made[name] = index()
    if name.endswith('attn_mask'):
      made[name] = mask(SIDE * int(np.sqrt(shape[0])))
  return made


def index() -> np.ndarray:
  """Returns which row of a bias table belongs to each pair of patches in a window."""
  row, column = np.divmod(np.arange(SIDE**2), SIDE)
  rows, columns = (place[:, None] - place + SIDE - 1 for place in (row, column))
  return rows * (2 * SIDE - 1) + columns


def mask(num_patches: int) -> np.ndarray:
  """Returns -100 for every two patches in a moved window of which only one came round an edge, by windows."""
  came_round = np.arange(num_patches) >= num_patches - SIDE // 2
  kind = (2 * came_round[:, None] + came_round).reshape(num_patches // SIDE, SIDE, num_patches // SIDE, SIDE)
  kind = kind.swapaxes(1, 2).reshape(-1, SIDE**2)
  return np.where(kind[:, :, None] == kind[:, None], 0.0, -100.0).astype(np.float32)
