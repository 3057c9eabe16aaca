"""Arguments of another type are errors that name the argument, before a model is read or runs."""

import pathlib
import threading

import numpy as np
import pytest

import v2a
from v2a import flags
from v2a.cli import demo
from v2a.cli import generate
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib

BALL = pathlib.Path(v2a.__file__).parent / 'assets' / 'demo' / 'ball.mp4'
NUMBERS = ('temperature', 'top_p', *request_lib.GUIDANCE_SCALES, 'duration_s')
COUNTS = ('num_samples', 'seed', 'steps', 'top_k')
TEXTS = ('prompt', 'negative_prompt', 'transcript', 'generator', 'solver')
BAD = [
  *((name, value, 'number') for name in NUMBERS for value in ('x', True, [1.0], np.zeros(2))),
  *((name, value, 'whole number') for name in COUNTS for value in ('2', 1.5, True, [1])),
  *((name, value, 'str') for name in TEXTS for value in (3, ['a'], b'a')),
  *(('start_s', value, 'number') for value in ('x', None)),
  *(('word_times_s', value, 'list (each element a number)') for value in (3, '1', {0.5: 1})),
  ('progress', 3, 'function'),
  ('cancel', True, 'threading.Event'),
]


@pytest.fixture
def idle(model, monkeypatch):
  """Returns a pipeline whose model must not run."""

  def sample(*args, **kwargs):
    raise AssertionError('the model runs')

  monkeypatch.setitem(model.__dict__, 'sample', sample)
  return pipeline.Pipeline(model)


@pytest.mark.parametrize(('name', 'value', 'wanted'), BAD, ids=lambda value: str(value).replace(' ', ''))
def test_generate_names_an_argument_of_another_type(idle, name, value, wanted):
  arguments = {'prompt': 'rain', 'duration_s': 1.0, name: value}
  with pytest.raises(TypeError) as caught:
    idle.generate(**arguments)
  message = str(caught.value)
  assert message.startswith((f'{name} must be a {wanted}', f'{name} must be a {wanted} or None'))
  assert '; got ' in message and '\n' not in message


@pytest.mark.parametrize(
  ('video', 'got'),
  [
    (np.zeros((4, 8, 8, 3), np.uint8), 'ndarray of shape (4, 8, 8, 3).'),
    ([BALL, BALL], '(list).'),
    (5, '5 (int).'),
    (b'\x00\x01', "b'\\x00\\x01' (bytes)."),
  ],
  ids=['array', 'list', 'int', 'bytes'],
)
def test_a_video_is_a_path(idle, video, got):
  with pytest.raises(TypeError) as caught:
    idle.generate(video)
  message = str(caught.value)
  assert message.startswith('video must be a str or pathlib.Path or None; got ') and message.endswith(got)


def test_without_a_video_the_message_names_duration_s(idle):
  with pytest.raises(ValueError, match='without a video, a duration is needed.*duration_s'):
    idle.generate(None, prompt='rain')


def test_numbers_of_numpy_and_events_are_of_the_right_type(model):
  found = pipeline.Pipeline(model).generate(
    prompt='rain',
    transcript='one two',
    word_times_s=np.array([0.1, 0.2]),
    duration_s=np.float32(0.5),
    num_samples=np.int64(1),
    seed=np.uint32(3),
    steps=1,
    guidance=2,
    cancel=threading.Event(),
  )
  wanted = pipeline.Pipeline(model).generate(
    prompt='rain',
    transcript='one two',
    word_times_s=[0.1, 0.2],
    duration_s=0.5,
    seed=3,
    steps=1,
    guidance=2.0,
  )
  np.testing.assert_array_equal(found[0].waveform, wanted[0].waveform)


@pytest.mark.parametrize(('name', 'got'), [(None, 'None'), (3, r'3 \(int\)'), (b'default', r"b'default' \(")])
def test_a_model_is_a_name_or_a_path(name, got):
  with pytest.raises(TypeError, match=f'^name_or_dir must be a str or pathlib.Path; got {got}'):
    v2a.load(name)


def test_a_generator_is_not_part_of_the_name():
  with pytest.raises(FileNotFoundError, match="given apart from the model 'default', by generator='tokens'"):
    v2a.load('default:tokens')


def test_the_bound_of_num_samples_is_stated_alike(idle):
  stated = f'1..{flags.MAX_SAMPLES}'
  for num in (0, flags.MAX_SAMPLES + 1):
    with pytest.raises(ValueError, match=rf'^num_samples must lie in {stated}; got {num}\.$'):
      idle.generate(prompt='rain', duration_s=1.0, num_samples=num)
  assert stated in (pipeline.Pipeline.generate.__doc__ or '')
  for command in (generate, demo):
    parser = flags.Parser()
    command.add_flags(parser)
    assert stated in parser.format_help()
    with pytest.raises(ValueError, match=rf'--num-samples: wanted a whole number in {stated}; got .0'):
      parser.parse_args(['--num-samples', '0'])
