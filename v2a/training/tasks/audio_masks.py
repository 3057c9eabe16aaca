"""Which latent steps of records count in the losses on sound (see `v2a.masks`).

Those that lie within the clip, not in the padding after its end, of records that have sound. All others are
silence that no model shall learn.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from v2a import masks


def num_valid_samples(record: dict) -> int:
  """Returns how many samples from the start of a record's wave are sound of the clip."""
  return record['num_valid_samples'] if record['has_audio'] else 0


def valid_steps(items: Sequence[dict], hop_samples: int, num_steps: int) -> np.ndarray:
  """Returns is_valid_BT of records.

  Args:
    items: records.
    hop_samples: samples in a latent step.
    num_steps: latent steps of a clip.
  """
  num_valid_B = np.array([num_valid_samples(record) // hop_samples for record in items])
  return np.arange(num_steps)[None] < num_valid_B[:, None]


def clip_weights(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Returns what a task's `sample_random_inputs` adds to a whole batch: weight_B."""
  return {'weight_B': masks.clip_weights(batch['is_valid_BT'])}


def metrics(batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """Returns what a task's `loss` logs: the share of clips that count in it."""
  return {'with_sound': jnp.mean(jnp.any(batch['is_valid_BT'], axis=1).astype(jnp.float32))}
