"""Ids of training records of synthetic clips: `world/SEED/INDEX`.

Records written so exist outside of this repository, so the first part stays what it was when they were made.
"""

from collections.abc import Iterable
import re

_ID = re.compile(r'world/(\d+)/')


def make(seed: int, index: int) -> str:
  """Returns the id of the record of a clip, see `clips.render`."""
  return f'world/{seed}/{index}'


def seeds(ids: Iterable[str]) -> list[int]:
  """Returns the seeds of the synthetic clips among records of these ids, in order."""
  matches = map(_ID.match, ids)
  return sorted({int(match.group(1)) for match in matches if match})
