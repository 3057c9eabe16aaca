"""Conditioning in the tasks of all generators: frames and texts of a batch, and their encoding.

Each condition is dropped independently (config.conditioning.drop_*), which trains the nulls for
classifier-free guidance. The sync encoder is initialised from the contrastive sync model, if one is
configured.
"""

from typing import TypeVar

import jax
import ml_collections
import numpy as np

from v2a import builders
from v2a import keys
from v2a import weights
from v2a.conditioning import condition
from v2a.conditioning import text
from v2a.config import schema
from v2a.data import augment
from v2a.training.tasks import audio_masks

# Fields of records that are read here.
RECORD_FIELDS = (
  *('id', 'semantic_frame_MYX3', 'sync_frame_LYX3', 'has_video', 'text', 'transcript'),
  *('has_audio', 'num_valid_samples'),
)
_KEEP_MASKS = ('keep_video_B', 'keep_text_B', 'keep_transcript_B')
# The model of a generator.
Model = TypeVar('Model', builders.FlowModel, builders.TokensModel)


class Conditioning:
  """Conditions of a generator in training; see the module."""

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.spec = c, schema.clip_spec(c)

  def initialise(self, model: Model) -> Model:
    """Loads the sync encoder from config.init_from.sync."""
    if self.c.init_from.sync:
      export = weights.load_export(self.c.init_from.sync)
      weights.assign(model.conditioner.sync, export.arrays, 'video', self.c.init_from.sync)
    return model

  def collate(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns frames and bytes of both texts."""
    text_byte_BU, text_length_B = text.to_bytes([r['text'] for r in items], self.spec.num_text_bytes)
    transcript_byte_BW, transcript_length_B = text.to_bytes(
      [r['transcript'] for r in items], self.spec.num_transcript_bytes
    )
    semantic_frames, sync_frames = zip(*(self._frames(record, rng) for record in items))
    return {
      'semantic_frame_BMYX3': np.stack(semantic_frames),
      'sync_frame_BLYX3': np.stack(sync_frames),
      'has_video_B': np.array([record['has_video'] for record in items]),
      'text_byte_BU': text_byte_BU,
      'text_length_B': text_length_B,
      'transcript_byte_BW': transcript_byte_BW,
      'transcript_length_B': transcript_length_B,
    }

  def valid_steps(self, items: list[dict], num_steps: int) -> np.ndarray:
    """Returns is_valid_BT: which latent steps of records count in the loss (see `audio_masks`)."""
    return audio_masks.valid_steps(items, self.spec.latent_hop_samples, num_steps)

  def _frames(self, record: dict, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns semantic and sync frames, augmented with probability config.data.augment_probability."""
    semantic_frame_MYX3, sync_frame_LYX3 = record['semantic_frame_MYX3'], record['sync_frame_LYX3']
    if not self.c.data.augment_probability or rng.random() >= self.c.data.augment_probability:
      return semantic_frame_MYX3, sync_frame_LYX3
    augmentation = augment.random_augmentation(rng)
    return (
      augment.apply(augmentation, semantic_frame_MYX3, self.spec.semantic_fps, rng),
      augment.apply(augmentation, sync_frame_LYX3, self.spec.sync_fps, rng),
    )

  def sample_random_inputs(self, batch: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Returns random masks for condition dropout: False drops a modality of a clip."""
    c, size = self.c.conditioning, batch['has_video_B'].shape
    shares = (c.drop_video, c.drop_text, c.drop_transcript)
    return {
      name: jax.random.bernoulli(keys.derive(key, name), 1 - share, size)
      for name, share in zip(_KEEP_MASKS, shares)
    }

  def encode(self, model: builders.FlowModel | builders.TokensModel, batch: dict) -> condition.Condition:
    """Returns the encoded conditions, with dropped ones replaced by null embeddings."""
    encoded = model.conditioner(**{name: batch[name] for name in condition.INPUTS})
    return model.conditioner.drop(encoded, *(batch[name] for name in _KEEP_MASKS))
