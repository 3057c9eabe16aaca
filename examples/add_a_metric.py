"""Adds a metric, and shows that it orders systems: true audio, delayed audio, audio of another clip, noise.

  python examples/add_a_metric.py --num-clips 8

A metric scores one sample at a time; `combine` turns the scores of all clips into the value. Intervals,
floors, ceilings and paired tests are computed from the scores, so a metric does not deal with them. To make
it part of `v2a evaluate`, add it to the list in `_all` of v2a/metrics/registry.py.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from v2a import metrics
from v2a.synthetic import clips

RATE_HZ = 16000


class EnvelopeCorrelation(metrics.Metric):
  """Correlation of the loudness curves of generated and true audio."""

  def score(self, sample: metrics.Sample) -> float | None:
    """Returns the correlation over windows of 40 ms; None where a curve is constant."""
    envelopes = [_envelope(sound) for sound in (sample.sound, sample.reference.sound)]
    length = min(map(len, envelopes))
    mine, true = (envelope[:length] for envelope in envelopes)
    if mine.std() == 0 or true.std() == 0:
      return None
    return float(np.corrcoef(mine, true)[0, 1])

  def combine(self, scores: Sequence[float]) -> float:
    """Returns the mean over clips."""
    return float(np.mean(scores))


def _envelope(sound: metrics.Sound) -> np.ndarray:
  mono_N = sound.wave_NA.mean(axis=1)
  size = round(0.04 * sound.sample_rate_hz)
  return np.sqrt(np.mean(mono_N[: len(mono_N) // size * size].reshape(-1, size) ** 2, axis=1))


def make() -> metrics.Metric:
  """Returns the metric."""
  return EnvelopeCorrelation(
    name='loudness_correlation', group='signal', description='correlation of loudness curves',
    direction='higher', needs=('reference_sound',),
  )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> dict[str, float | None]:
  """Returns the value of each system."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--num-clips', type=int, default=8)
  args = parser.parse_args(argv)
  # Clips of a seed that is used for nothing else.
  waves = [
    clips.render(5, index, corruption='clean', frame_size=16, sample_rate_hz=RATE_HZ).wave_NA
    for index in range(args.num_clips)
  ]
  rng = np.random.default_rng(0)
  systems = {
    'true': waves,
    'delayed by 100 ms': [np.roll(wave_NA, RATE_HZ // 10, axis=0) for wave_NA in waves],
    'another clip': waves[1:] + waves[:1],
    'noise': [rng.normal(size=wave_NA.shape).astype(np.float32) for wave_NA in waves],
  }
  values = {}
  for name, generated in systems.items():
    metric = make()
    for wave_NA, true_NA in zip(generated, waves):
      reference = metrics.Reference(sound=metrics.Sound(true_NA, RATE_HZ))
      metric.update([metrics.Sample(metrics.Sound(wave_NA, RATE_HZ), reference)])
    values[name] = metric.compute()
  return values


if __name__ == '__main__':
  for system, value in main().items():
    print(f'{system:20} {value:.2f}')
