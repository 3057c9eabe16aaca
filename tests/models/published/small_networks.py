"""Weights of published networks with fewer layers and features, as in the reference implementations' runs."""

import numpy as np

from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import imagebind

PASST_WIDTHS = {768: 128, 2304: 384, 3072: 512}
SYNCHFORMER_WIDTHS = {768: 192, 2304: 576, 3072: 768}
SYNCNET_WIDTHS = {64: 16, 96: 24, 192: 48, 256: 64, 384: 96, 512: 128, 1024: 128}
IMAGEBIND_WIDTHS = {1280: 160, 3840: 480, 5120: 640, 768: 128, 2304: 384, 3072: 512, 1024: 64}


def passt() -> dict[str, np.ndarray]:
  """Returns weights of PaSST with two blocks of 128 features."""
  return reference.weights(reference.narrow(specs.shapes('passt_s_ap476'), PASST_WIDTHS, 'blocks.', 2))


def synchformer() -> dict[str, np.ndarray]:
  """Returns weights of Synchformer with one block in each stack, of 192 features in the video encoder."""
  shapes = specs.shapes('synchformer')
  for stack in ('vfeat_extractor.blocks.', 'afeat_extractor.ast.encoder.layer.', 'transformer.blocks.'):
    shapes = reference.narrow(shapes, SYNCHFORMER_WIDTHS if stack.startswith('v') else {}, stack, 1)
  return reference.weights(shapes)


def syncnet() -> dict[str, np.ndarray]:
  """Returns weights of SyncNet with a quarter of the channels."""
  return reference.weights(reference.narrow(specs.shapes('syncnet_v2'), SYNCNET_WIDTHS, '-', 1))


def imagebind_branches() -> dict[str, np.ndarray]:
  """Returns random weights of ImageBind's audio and vision branches with two blocks each.

  Sines as in reference.weights would leave nothing of the image in the class token.
  """
  shapes = specs.shapes('imagebind_huge')
  shapes = {name: shape for name, shape in shapes.items() if not name.startswith(imagebind.IGNORED)}
  for kind in ('vision', 'audio'):
    shapes = reference.narrow(shapes, IMAGEBIND_WIDTHS, f'modality_trunks.{kind}.blocks.', 2)
  weights = {}
  for seed, (name, shape) in enumerate(sorted(shapes.items())):
    value = np.random.default_rng(seed).standard_normal(shape)
    if len(shape) > 1:
      value /= np.sqrt(np.prod(shape[1:]))
    else:
      value = 0.1 * value + name.endswith('weight')
    weights[name] = np.asarray(value, np.float32)
  weights['modality_postprocessors.audio.1.log_logit_scale'] = np.array(np.log(20.0), np.float32)
  return weights
