"""Requests: their settings and texts, what is refused, and that evaluation samples as a user does."""

import dataclasses

import numpy as np
import pytest

from tests.media import films
from tests.sampling import runs
from v2a.data import examples
from v2a.evaluation import systems
from v2a.media import read
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib


@pytest.mark.parametrize(
  'texts',
  [
    {},
    {'prompt': 'rain'},
    {'negative_prompt': 'music'},
    {'transcript': 'one two'},
    {'prompt': 'rain', 'negative_prompt': 'music'},
  ],
  ids=lambda texts: '+'.join(texts) or 'none',
)
@pytest.mark.parametrize(
  'settings', [{}, {'guidance_text': 3.0, 'guidance_transcript': 2.0}], ids=['default', 'by modality']
)
def test_evaluation_samples_as_a_user_with_the_same_texts(model, monkeypatch, tmp_path, texts, settings):
  """Whatever is given or left out: the same inputs, branches and weights reach the sampler."""
  spec, path, calls = model.clip_spec, films.make(tmp_path / 'film', duration_s=2.0), []
  empty_TC = model.generator('flow').initial_canvas(spec.num_latents)

  def sample(inputs, weights_G, **fixed):
    calls.append((inputs, weights_G, fixed))
    return np.stack([empty_TC] * len(inputs['has_video_B']))

  monkeypatch.setitem(model.__dict__, 'sample', sample)
  monkeypatch.setitem(
    model.__dict__,
    'decode',
    lambda encoded_BTF, prefix_BNA=None: np.zeros(
      (len(encoded_BTF), encoded_BTF.shape[1] * spec.latent_hop_samples, spec.num_channels), np.float32
    ),
  )
  monkeypatch.setitem(model.__dict__, 'similarity', lambda *arrays: np.zeros(1))
  request = request_lib.Request(generator='flow', steps=2, **settings)
  runs.run(model, [request_lib.Input(path)], dataclasses.replace(request, seed=5, **texts))
  frame_LYX3 = read.frames(path, spec.sync_fps, spec.frame_size, 0.0, 2.0)
  given = {
    'text': texts.get('prompt', ''),
    'negative_text': texts.get('negative_prompt', ''),
    'transcript': texts.get('transcript', ''),
  }
  mine = examples.GenerationInputs(
    *examples.resample_frames(frame_LYX3, spec.sync_fps, spec), seed=5, **given
  )
  # The other row has every text, whatever this one has.
  other = dataclasses.replace(mine, text='wind', negative_text='hum', transcript='three')
  assert systems.adapt(model, request).generate([mine, other]).shape == (2, spec.num_samples, 2)
  user, *evaluated = calls
  found = [
    call
    for call in evaluated
    if _row_of(call[0], 0)['text_length_B'] == len(given['text'])
    and _row_of(call[0], 0)['transcript_length_B'] == len(given['transcript'])
  ]
  assert len(found) == 1
  for name, value in _row_of(user[0], 0).items():
    np.testing.assert_array_equal(value, _row_of(found[0][0], 0)[name], err_msg=name)
  np.testing.assert_array_equal(user[1], found[0][1])
  assert user[2] == found[0][2]


def _row_of(inputs, row):
  return {name: value[row] for name, value in inputs.items()}


def test_settings_tell_what_was_used_and_nothing_else(model):
  for generator, own in (
    ('flow', {'steps': 2, 'solver': 'dpmpp2m', 'timestep_shift': 1.0, 'evaluations': 4}),
    ('tokens', {'temperature': 1.0, 'top_k': 0, 'top_p': 0.9, 'evaluations': 2 * 51}),
    (
      'masked',
      {'steps': 2, 'temperature': 1.0, 'top_k': 0, 'top_p': 0.9, 'choice_temperature': 4.5, 'evaluations': 4},
    ),
  ):
    chosen = {'top_p': 0.9} if 'top_p' in own else {}
    settings = pipeline.Pipeline(model).resolve(runs.request(generator=generator, **chosen), True).settings
    shared = {
      'guidance',
      'guidance_video',
      'guidance_text',
      'guidance_transcript',
      'negative_prompt_used',
      'overlap_s',
      'window_s',
      'evaluations_per_step',
    }
    assert {name: settings[name] for name in settings if name not in shared} == own | {'generator': generator}


def test_a_negative_prompt_brings_its_own_guidance_unless_given_otherwise(model, monkeypatch):
  c = model.config.copy_and_resolve_references()
  c.generation.guidance_negative = 3.0
  monkeypatch.setattr(model.generator(), 'config', c)
  scale = lambda **kwargs: (
    pipeline.Pipeline(model).resolve(runs.request(**kwargs), True).settings['guidance_text']
  )
  assert scale() == 1.0
  assert scale(negative_prompt='music') == 3.0
  assert scale(negative_prompt='music', guidance_text=1.5) == 1.5
  assert scale(negative_prompt=' ') == 1.0


@pytest.mark.parametrize(
  'change, wanted',
  [
    ({'prompt': 'x' * 2_000_000}, 'prompt must have at most 16 bytes; got 2000000'),
    ({'negative_prompt': 'é' * 10}, 'negative prompt must have at most 16 bytes; got 20'),
    ({'steps': 0}, 'steps must lie in 1..1000; got 0'),
    ({'solver': 'rk4'}, "solver must be one of .* got 'rk4'"),
    ({'num_samples': 0}, 'num_samples must lie in 1..1000; got 0'),
    ({'seed': -1}, 'seed must lie in'),
    ({'guidance': float('nan')}, 'guidance joint must lie in'),
    ({'guidance': 1.0, 'negative_prompt': 'music'}, 'a negative prompt needs guidance'),
    ({'generator': 'organ'}, "generator must be one of flow, tokens, masked; got 'organ'"),
    ({'generator': 'tokens', 'steps': 3}, "steps does not apply to the generator 'tokens', which has temp"),
    ({'top_k': 3}, "top_k does not apply to the generator 'flow', which has steps, solver"),
    ({'generator': 'tokens', 'top_k': -1}, 'top_k must lie in 0'),
    ({'generator': 'masked', 'temperature': 0.0}, 'temperature must lie in'),
  ],
)
def test_bad_requests_say_what_was_wanted(model, change, wanted):
  request = dataclasses.replace(runs.request(), **change)
  with pytest.raises(ValueError, match=wanted):
    runs.run(model, [request_lib.Input(None, 0.0, 1.0)], request)


def test_none_is_an_absent_text_and_blank_is_an_empty_one(model):
  """The default negative prompt is used where there is no text at all."""
  used = lambda **texts: (
    pipeline.Pipeline(model).resolve(request_lib.Request(**texts), True).settings['negative_prompt_used']
  )
  assert used() == model.config.generation.negative_prompt == 'silence'
  assert used(prompt='') == used(negative_prompt='') == used(prompt='rain') == ''
  assert used(negative_prompt='music') == 'music'


def test_a_request_is_resolved_once_an_input(model, monkeypatch):
  calls, resolve = [], request_lib.resolve
  monkeypatch.setattr(request_lib, 'resolve', lambda *args: calls.append(args) or resolve(*args))
  result = runs.generate(model, 2, 6.0, steps=1)
  assert len(calls) == 1 and len(result.soundtracks[0].waveform) == 96000
