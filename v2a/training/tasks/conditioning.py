"""What the tasks of all generators share: pictures and texts of a batch, and what the model makes of them.

Each condition is dropped on its own (config.conditioning.drop_*), which trains the nulls that guidance needs.
The sync encoder starts from the contrastive sync model where one is given.
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

_KEPT = ('keep_video_B', 'keep_text_B', 'keep_transcript_B')


# What a task of a generator trains.
Model = TypeVar('Model', builders.FlowModel, builders.TokensModel)


class Conditioning:
  """See the module."""

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.spec = c, schema.clip_spec(c)

  def initialise(self, model: Model) -> Model:
    """Gives the sync encoder the weights of config.init_from.sync."""
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
    """Returns is_valid_BT: which of the latent steps of records count (see tasks.valid)."""
    return audio_masks.valid_steps(items, self.spec.latent_hop_samples, num_steps)

  def _frames(self, record: dict, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns semantic and sync frames, some of them worn."""
    semantic_frame_MYX3, sync_frame_LYX3 = record['semantic_frame_MYX3'], record['sync_frame_LYX3']
    if not self.c.data.augment_probability or rng.random() >= self.c.data.augment_probability:
      return semantic_frame_MYX3, sync_frame_LYX3
    worn = augment.random_augmentation(rng)
    return (
      augment.apply(worn, semantic_frame_MYX3, self.spec.semantic_fps, rng),
      augment.apply(worn, sync_frame_LYX3, self.spec.sync_fps, rng),
    )

  def sample_random_inputs(self, batch: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Returns which conditions of a clip are kept."""
    c, size = self.c.conditioning, batch['has_video_B'].shape
    shares = (c.drop_video, c.drop_text, c.drop_transcript)
    return {
      name: jax.random.bernoulli(keys.derive(key, name), 1 - share, size)
      for name, share in zip(_KEPT, shares)
    }

  def encode(self, model: builders.FlowModel | builders.TokensModel, batch: dict) -> condition.Condition:
    """Returns the conditions that are left."""
    whole = model.conditioner(**{name: batch[name] for name in condition.INPUTS})
    return model.conditioner.drop(whole, *(batch[name] for name in _KEPT))
