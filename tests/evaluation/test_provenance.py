"""The hash of a set is that of its content, and what was not scored is told."""

import dataclasses

import numpy as np
import pytest

from v2a import clip as clip_lib
from v2a import weights
from v2a.data import synthetic_examples
from v2a.evaluation import provenance
from v2a.evaluation import scoring

SPEC = clip_lib.ClipSpec(clip_s=2.0, frame_size=16)


@pytest.fixture(scope='module')
def cases():
  return list(synthetic_examples.render(31_000_006, 3, SPEC))


def test_the_hash_is_of_content_alone(cases):
  known = provenance.set_hash(cases)
  assert provenance.set_hash(cases[::-1]) == known
  assert provenance.set_hash([dataclasses.replace(case, name=f'x{case.name}') for case in cases]) == known
  assert provenance.set_hash(cases[:2]) != known
  wave_NA, frames = cases[0].wave_NA.copy(), [frame.copy() for frame in cases[0].frames]
  wave_NA[7, 1] += 1
  frames[1][3, 2, 1, 0] ^= 1
  for changed in (
    {'wave_NA': wave_NA},
    {'frames': tuple(frames)},
    {'truth': cases[0].truth | {'annotation': 'another'}},
  ):
    assert provenance.set_hash([dataclasses.replace(cases[0], **changed), *cases[1:]]) != known


def test_the_shape_of_an_array_counts():
  flat = np.arange(6, dtype=np.int16)
  hashes = {weights.array_hash(array) for array in (flat, flat.reshape(2, 3), flat.astype(np.int32))}
  assert len(hashes) == 3


def test_what_was_not_scored_is_told(cases):
  measured = {
    'all': scoring.MetricScores([0, 1, 2], [[1.0, 2.0, 3.0]], None, None),
    'some': scoring.MetricScores([0, 2], [[1.0, None], [2.0, None]], None, None),
    'none': scoring.MetricScores([1], None, None, None, 'there is no picture'),
  }
  told = provenance.describe(cases, SPEC.sample_rate_hz, False, measured)
  assert told['scored']['all'] == {'num_scored': 3, 'not_scored': {}}
  assert told['scored']['some'] == {
    'num_scored': 1,
    'not_scored': {provenance.NOT_APPLICABLE: 1, provenance.NO_SCORE: 1},
  }
  assert told['scored']['none'] == {
    'num_scored': 0,
    'not_scored': {provenance.NOT_APPLICABLE: 2, 'there is no picture': 1},
  }
  assert (told['captions'], told['clip_s'], told['sample_rate_hz']) == (False, 2.0, 16000)
  assert (told['sync_fps'], told['semantic_fps'], told['frame_size']) == (25, 8, 16)
  assert told['versions']['numpy'] == np.__version__
