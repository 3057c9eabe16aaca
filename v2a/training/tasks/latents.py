"""Latents of records, which `python -m data_pipelines.encode` adds."""

import numpy as np

RECORD_FIELDS = ('latent_mean_TC', 'latent_std_TC')


def sample(items: list[dict], rng: np.random.Generator) -> np.ndarray:
  """Returns a sample of each record's latent distribution, latent_BTC = mean + std * noise.

  Raises:
    ValueError: a record was not encoded.
  """
  samples = []
  for record in items:
    mean_TC = record['latent_mean_TC'].astype(np.float32)
    if not mean_TC.size:
      raise ValueError(
        f'record {record["id"]!r} has no latents; encode the records by data_pipelines.encode.'
      )
    std_TC = record['latent_std_TC'].astype(np.float32)
    samples.append(mean_TC + std_TC * rng.standard_normal(mean_TC.shape, np.float32))
  return np.stack(samples)
