"""Out-of-distribution (OOD) scores of the video of clips, by the detector of a generator."""

from collections.abc import Iterable
from collections.abc import Sequence

import numpy as np

from v2a.data import examples as examples_lib
from v2a.sampling import bundle

_BATCH = 16


def score_examples(
  model: bundle.Bundle, generator: str | None, examples: Sequence[examples_lib.Example]
) -> dict | None:
  """Returns, JSON-able, the OOD scores of the video of clips; None if the generator has no detector.

  Args:
    model: see v2a.sampling.bundle.load.
    generator: name of one of its generators; None for the first.
    examples: the clips.
  """
  found = model.ood_detector(generator)
  if found is None:
    return None
  pairs = (example.frames for example in examples)
  distance_N = found.score(features(model, generator, pairs))
  return {
    'median': float(np.median(distance_N)),
    'share_above_threshold': float((distance_N > found.threshold).mean()),
    'distances': [round(float(distance), 4) for distance in distance_N],
  }


def features(
  model: bundle.Bundle, generator: str | None, pairs: Iterable[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
  """Returns feature_NF of pairs of semantic and sync frames; see Bundle.ood_features.

  Args:
    model: see v2a.sampling.bundle.load.
    generator: name of one of its generators; None for the first.
    pairs: semantic_frame_MYX3 and sync_frame_LYX3 of one window each; at least one pair.
  """
  found, remaining = [], list(pairs)
  for first in range(0, len(remaining), _BATCH):
    part = remaining[first : first + _BATCH]
    # Padded with the last pair, so that there is one batch size and one compilation.
    padded = part + part[-1:] * (_BATCH - len(part))
    frames = (np.stack([pair[k] for pair in padded]) for k in (0, 1))
    found.append(np.asarray(model.ood_features(*frames, generator))[: len(part)])
  return np.concatenate(found)
