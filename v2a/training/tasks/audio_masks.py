"""Masks of latent steps that count in losses on audio (see `v2a.masks`).

A step counts if it is within the clip, not in the padding after its end, of a record that has audio. All
other steps are silence that no model should learn.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from v2a import masks


def num_valid_samples(record: dict) -> int:
  """Returns the number of samples from the start of a record's waveform that are audio, not padding."""
  return record['num_valid_samples'] if record['has_audio'] else 0


def valid_steps(items: Sequence[dict], hop_samples: int, num_steps: int) -> np.ndarray:
  """Returns is_valid_BT of records.

  Args:
    items: records.
    hop_samples: samples per latent step.
    num_steps: latent steps per clip.
  """
  num_valid_B = np.array([num_valid_samples(record) // hop_samples for record in items])
  return np.arange(num_steps)[None] < num_valid_B[:, None]


def clip_weights(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Returns weight_B, which a task's `sample_random_inputs` adds to a whole batch."""
  return {'weight_B': masks.clip_weights(batch['is_valid_BT'])}


def metrics(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Returns metrics to log: the share of clips that count in the loss."""
  return {'with_sound': jnp.mean(jnp.any(batch['is_valid_BT'], axis=1).astype(jnp.float32))}
