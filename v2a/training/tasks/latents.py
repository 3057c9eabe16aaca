"""Latents that records carry (made by `python -m data_pipelines.encode`)."""

import numpy as np


def sample(items: list[dict], rng: np.random.Generator) -> np.ndarray:
  """Returns one draw of each record's latents, latent_BTC = mean + std * noise.

  Raises:
    ValueError: a record was not encoded.
  """
  drawn = []
  for record in items:
    mean_TC = record['latent_mean_TC'].astype(np.float32)
    if not mean_TC.size:
      raise ValueError(
        f'record {record["id"]!r} has no latents; encode the records by data_pipelines.encode.'
      )
    std_TC = record['latent_std_TC'].astype(np.float32)
    drawn.append(mean_TC + std_TC * rng.standard_normal(mean_TC.shape, np.float32))
  return np.stack(drawn)
