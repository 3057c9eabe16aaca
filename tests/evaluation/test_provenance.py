"""Hashes of the content of a set, and the numbers of scored clips."""

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
def examples():
  return list(synthetic_examples.render(31_000_006, 3, SPEC))


def test_set_hash_is_of_content_alone(examples):
  known = provenance.set_hash(examples)
  assert provenance.set_hash(examples[::-1]) == known
  assert (
    provenance.set_hash([dataclasses.replace(example, name=f'x{example.name}') for example in examples])
    == known
  )
  assert provenance.set_hash(examples[:2]) != known
  wave_NA, frames = examples[0].wave_NA.copy(), [frame.copy() for frame in examples[0].frames]
  wave_NA[7, 1] += 1
  frames[1][3, 2, 1, 0] ^= 1
  for changed in (
    {'wave_NA': wave_NA},
    {'frames': tuple(frames)},
    {'truth': examples[0].truth | {'annotation': 'another'}},
  ):
    assert provenance.set_hash([dataclasses.replace(examples[0], **changed), *examples[1:]]) != known


def test_array_hash_depends_on_shape_and_dtype():
  flat = np.arange(6, dtype=np.int16)
  hashes = {weights.array_hash(array) for array in (flat, flat.reshape(2, 3), flat.astype(np.int32))}
  assert len(hashes) == 3


def test_reasons_of_clips_without_a_score(examples):
  measured = {
    'all': scoring.MetricScores([0, 1, 2], [[1.0, 2.0, 3.0]], None, None),
    'some': scoring.MetricScores([0, 2], [[1.0, None], [2.0, None]], None, None),
    'none': scoring.MetricScores([1], None, None, None, 'there is no video'),
  }
  protocol = provenance.describe(examples, SPEC.sample_rate_hz, False, measured)
  assert protocol['scored']['all'] == {'num_scored': 3, 'not_scored': {}}
  assert protocol['scored']['some'] == {
    'num_scored': 1,
    'not_scored': {provenance.NOT_APPLICABLE: 1, provenance.NO_SCORE: 1},
  }
  assert protocol['scored']['none'] == {
    'num_scored': 0,
    'not_scored': {provenance.NOT_APPLICABLE: 2, 'there is no video': 1},
  }
  assert (protocol['captions'], protocol['clip_s'], protocol['sample_rate_hz']) == (False, 2.0, 16000)
  assert (protocol['sync_fps'], protocol['semantic_fps'], protocol['frame_size']) == (25, 8, 16)
  assert protocol['versions']['numpy'] == np.__version__
