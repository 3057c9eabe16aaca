"""Shapes of LAION-CLAP at any width and depth, with weights and a tokenizer for tests."""

import json
import pathlib

import numpy as np

from tests.models.published import reference
from v2a.models.published import clap

# Patches along one side of a window.
SIDE = 8


def _norm(name: str, width: int) -> reference.Shapes:
  return {f'{name}.weight': (width,), f'{name}.bias': (width,)}


def _linear(name: str, num_in: int, num_out: int) -> reference.Shapes:
  return {f'{name}.weight': (num_out, num_in), f'{name}.bias': (num_out,)}


def htsat_shapes(
  width: int, depths: tuple[int, ...], prefix: str = '', num_patches: int = 64
) -> reference.Shapes:
  """Returns the shapes of HTS-AT whose first stage has num_patches by num_patches patches."""
  shapes = {'logmel_extractor.melW': (513, 64), **_norm('bn0', 64), **_norm('patch_embed.norm', width)}
  shapes |= {f'spectrogram_extractor.stft.conv_{part}.weight': (513, 1, 1024) for part in ('real', 'imag')}
  shapes |= {'bn0.running_mean': (64,), 'bn0.running_var': (64,), 'bn0.num_batches_tracked': ()}
  shapes |= {'patch_embed.proj.weight': (width, 1, 4, 4), 'patch_embed.proj.bias': (width,)}
  for stage, depth in enumerate(depths):
    side, size = num_patches >> stage, width << stage
    for i in range(depth):
      name = f'layers.{stage}.blocks.{i}'
      shapes |= {**_norm(f'{name}.norm1', size), **_norm(f'{name}.norm2', size)}
      shapes |= {**_linear(f'{name}.attn.qkv', size, 3 * size), **_linear(f'{name}.attn.proj', size, size)}
      shapes |= {**_linear(f'{name}.mlp.fc1', size, 4 * size), **_linear(f'{name}.mlp.fc2', 4 * size, size)}
      shapes[f'{name}.attn.relative_position_bias_table'] = ((2 * SIDE - 1) ** 2, 4 << stage)
      shapes[f'{name}.attn.relative_position_index'] = (SIDE**2, SIDE**2)
      if i % 2 and side > SIDE:
        shapes[f'{name}.attn_mask'] = ((side // SIDE) ** 2, SIDE**2, SIDE**2)
    if stage + 1 < len(depths):
      shapes |= _norm(f'layers.{stage}.downsample.norm', 4 * size)
      shapes[f'layers.{stage}.downsample.reduction.weight'] = (2 * size, 4 * size)
  size = width << (len(depths) - 1)
  shapes |= {**_norm('norm', size), **_linear('head', 527, 527)}
  shapes |= {'tscam_conv.weight': (527, size, 2, 3), 'tscam_conv.bias': (527,)}
  return {prefix + name: shape for name, shape in shapes.items()}


def roberta_shapes(
  width: int, num_hidden: int, depth: int, num_tokens: int, prefix: str = ''
) -> reference.Shapes:
  """Returns the shapes of RoBERTa."""
  shapes = {'embeddings.word_embeddings.weight': (num_tokens, width), **_norm('embeddings.LayerNorm', width)}
  shapes |= {'embeddings.position_embeddings.weight': (514, width), **_linear('pooler.dense', width, width)}
  shapes['embeddings.token_type_embeddings.weight'] = (1, width)
  for i in range(depth):
    name = f'encoder.layer.{i}'
    for part in ('self.query', 'self.key', 'self.value', 'output.dense'):
      shapes |= _linear(f'{name}.attention.{part}', width, width)
    shapes |= {
      **_norm(f'{name}.attention.output.LayerNorm', width),
      **_norm(f'{name}.output.LayerNorm', width),
    }
    shapes |= _linear(f'{name}.intermediate.dense', width, num_hidden)
    shapes |= _linear(f'{name}.output.dense', num_hidden, width)
  return {prefix + name: shape for name, shape in shapes.items()}


def clap_shapes(
  widths: tuple[int, int, int], depths: tuple[tuple[int, ...], int], num_tokens: int
) -> reference.Shapes:
  """Returns the shapes of CLAP.

  Args:
    widths: of the first stage of HTS-AT, of RoBERTa, of the joint features.
    depths: of the stages of HTS-AT, of RoBERTa.
    num_tokens: vocabulary size of RoBERTa.
  """
  shapes = htsat_shapes(widths[0], depths[0], 'audio_branch.')
  shapes |= roberta_shapes(widths[1], 4 * widths[1], depths[1], num_tokens, 'text_branch.')
  for name, width in (('audio', widths[0] << (len(depths[0]) - 1)), ('text', widths[1])):
    shapes |= {**_linear(f'{name}_projection.0', width, widths[2])}
    shapes |= {**_linear(f'{name}_projection.2', widths[2], widths[2])}
    for index in (0, 3):
      shapes |= _linear(f'{name}_transform.sequential.{index}', widths[2], widths[2])
  return shapes | {'logit_scale_a': (), 'logit_scale_t': ()}


def weights(shapes: reference.Shapes) -> dict[str, np.ndarray]:
  """Returns reference.weights, except for indices and masks of windows, which have their defined values."""
  arrays = reference.weights(shapes)
  for name, shape in shapes.items():
    if name.endswith('relative_position_index'):
      arrays[name] = position_index()
    if name.endswith('attn_mask'):
      arrays[name] = attention_mask(SIDE * int(np.sqrt(shape[0])))
  return arrays


def position_index() -> np.ndarray:
  """Returns the row of the position bias table for each pair of patches in a window."""
  row, column = np.divmod(np.arange(SIDE**2), SIDE)
  rows, columns = (position[:, None] - position + SIDE - 1 for position in (row, column))
  return rows * (2 * SIDE - 1) + columns


def attention_mask(num_patches: int) -> np.ndarray:
  """Returns, by window, -100 for pairs of patches of a shifted window from opposite edges, else 0."""
  is_wrapped = np.arange(num_patches) >= num_patches - SIDE // 2
  group = (2 * is_wrapped[:, None] + is_wrapped).reshape(num_patches // SIDE, SIDE, num_patches // SIDE, SIDE)
  group = group.swapaxes(1, 2).reshape(-1, SIDE**2)
  return np.where(group[:, :, None] == group[:, None], 0.0, -100.0).astype(np.float32)


NUM_SMALL_TOKENS = 400
SMALL = clap_shapes((16, 128, 64), ((2, 2, 4, 2), 2), NUM_SMALL_TOKENS)
PUBLISHED = clap_shapes((128, 768, 512), ((2, 2, 12, 2), 12), 50265)


def tokenize(text: str) -> list[int]:
  """Returns a token for each letter, from 30 on."""
  return [ord(letter) - ord('A') + 30 for letter in text]


def write_tokenizer(folder: pathlib.Path) -> tuple[pathlib.Path, int]:
  """Writes a tokenizer of all bytes and a few pairs into a folder; returns its path and number of tokens."""
  pairs = [('d', 'o'), ('do', 'g'), ('Ġ', 'dog'), ('Ġ', 'a')]
  printable = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
  names = ['<s>', '<pad>', '</s>', '<unk>', *printable, *(''.join(pair) for pair in pairs)]
  level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': True}
  content = {
    'version': '1.0',
    'added_tokens': [],
    'normalizer': None,
    'pre_tokenizer': level,
    'decoder': level,
  }
  content['post_processor'] = {
    'type': 'RobertaProcessing', 'sep': ['</s>', 2], 'cls': ['<s>', 0],
    'trim_offsets': True, 'add_prefix_space': False}  # fmt: skip
  content |= {'truncation': {'direction': 'Right', 'max_length': 4, 'strategy': 'LongestFirst', 'stride': 0}}
  content |= {'padding': None, 'model': {'type': 'BPE', 'vocab': {name: k for k, name in enumerate(names)}}}
  content['model'] |= {'merges': [' '.join(pair) for pair in pairs], 'unk_token': '<unk>'}
  path = folder / clap.TOKENIZER.file
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps(content))
  return path, len(names)
