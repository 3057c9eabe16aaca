"""Reading ground truth from JSON."""

import json

import pytest

from v2a.synthetic import clips
from v2a.synthetic import truth


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'x.json: the truth must be JSON'),
    ('[1]', 'x.json: the truth lacks scene, annotation'),
    ('{"scene": "bounce"}', 'lacks annotation, transcript, events, .* mouth;'),
    (json.dumps(truth.text_only('a', 'b') | {'events': [3]}), 'events of the truth must be as'),
    (json.dumps(truth.text_only('a', 'b') | {'x': [True]}), 'x of the truth must be as'),
  ],
)
def test_parsing_refuses_what_is_no_ground_truth(text, message):
  with pytest.raises(ValueError, match=message):
    truth.parse(text, 'x.json')


def test_parsing_returns_the_ground_truth_of_clips_and_of_texts():
  for found in (
    clips.render(5, 0, scenes=('bounce',), frame_size=16).truth,
    truth.text_only('rain', 'hello'),
  ):
    parsed = truth.parse(json.dumps(found), 'x.json')
    assert parsed == json.loads(json.dumps(found))
