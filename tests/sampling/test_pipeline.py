"""Generation with a tiny model: lanes, windows, lengths, randomness, faults."""

import dataclasses
import math
import pathlib
import shutil
import threading

from flax import nnx
import jax
import numpy as np
import pytest
import soundfile

from tests.media import films
from v2a import clip
from v2a import weights
from v2a.config import schema
from v2a.data import examples
from v2a.evaluation import systems
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.ood import detector
from v2a.sampling import bundle
from v2a.sampling import bundle_files
from v2a.sampling import jobs
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.sampling import windows


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A bundle with random weights that are awake: nothing is zero that training would move."""
  path, rng = tmp_path_factory.mktemp('bundle') / 'tiny', np.random.default_rng(0)
  for part, make in bundle.PART_BUILDERS.items():
    c = schema.tiny(schema.base()).unlock()
    c.task = {'codec_rvq': 'codec', 'masked': 'tokens'}.get(part, part)
    c.codec.bottleneck = 'rvq' if part in ('codec_rvq', 'tokens', 'masked') else 'kl'
    c.tokens.is_causal = part != 'masked'
    # Shapes alone are traced; numbers from NumPy spare the tests from compiling initial values.
    wanted = weights.flatten(nnx.state(nnx.eval_shape(lambda make=make, c=c: make(c, nnx.Rngs(0)))))
    arrays = {name: _awake(rng, f'.{name}', array) for name, array in wanted.items()}
    weights.export(arrays, path / part, c.lock(), 'float32')
  return path


def _awake(rng, name, array):
  """Returns weights of the size of initial ones, with noise where those are zero or one."""
  *_, module, kind = name.split('.')
  around = {'scale_D': 1.0, 'latent_std_C': 1.0, 'share_KV': 1.0, 'log_scale': 2.3}.get(kind, 0.0)
  spread = {'kernel_IO': 0.2, 'kernel_SD': 0.3, 'table_KVD': 0.7, 'codebook_KVC': 0.5, 'byte_VD': 0.5}
  # Modulations and the layers that tell velocities or tokens start from zero, a codec's head from little.
  is_asleep = module in ('linear', 'final', 'heads', 'head')
  values = around + (0.05 if is_asleep else spread.get(kind, 0.05)) * rng.standard_normal(array.shape)
  return values.astype(array.dtype)


@pytest.fixture(scope='module')
def model(folder):
  return bundle.load(folder, jax.devices()[:1])


def _ask(num=1, **kwargs):
  return request_lib.Request(num_samples=num, seed=3, prompt='rain', **kwargs)


def _run(model, inputs, request, **kwargs):
  return list(pipeline.Pipeline(model).run([(source, request) for source in inputs], **kwargs))


def _generate(model, num, duration_s=2.0, **kwargs):
  return _run(model, [request_lib.Input(None, 0.0, duration_s)], _ask(num, **kwargs))[0]


def _waves(result):
  return [soundtrack.waveform for soundtrack in result.soundtracks]


def _job(model, source, request):
  conditions = request_lib.conditions_of(request, source.path is not None)
  return jobs.Job(model, 0, source, request, request_lib.resolve(model, request, conditions))


each_generator = pytest.mark.parametrize('generator', ['flow', 'tokens', 'masked'])


@each_generator
def test_sample_i_is_the_same_whatever_the_batch(model, generator):
  waves = _waves(_generate(model, 8, generator=generator))
  for num in (1, 3):
    for index, wave_NA in enumerate(_waves(_generate(model, num, generator=generator))):
      np.testing.assert_allclose(wave_NA, waves[index], atol=1e-4)
  assert np.abs(waves[0] - waves[1]).max() > 1e-3


@each_generator
def test_sample_i_is_the_same_on_eight_devices(folder, model, generator):
  spread = bundle.load(folder, jax.devices()[:8])
  assert spread.mesh.size == 8
  found = (_waves(_generate(each, 3, generator=generator)) for each in (model, spread))
  for mine, theirs in zip(*found, strict=True):
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


SPLITS = {'data': 2, 'fsdp': 2, 'tensor': 2}, {'fsdp': 8}, {'context': 2, 'fsdp': 4}


@pytest.mark.slow  # compiles for eight devices
@each_generator
@pytest.mark.parametrize('sizes', SPLITS)
def test_a_model_may_be_split_over_devices(folder, model, monkeypatch, generator, sizes):
  decode, decoded = windows.decode, []

  def decode_recorded(model, encoded_TC, num_samples):
    decoded.append(encoded_TC)
    return decode(model, encoded_TC, num_samples)

  monkeypatch.setattr(windows, 'decode', decode_recorded)
  split = bundle.load(folder, jax.devices()[:8], mesh_sizes=sizes)
  found = [_waves(_generate(each, 3, 3.0, generator=generator)) for each in (model, split)]
  if generator == 'tokens':
    # Sums in another order may change a sampled token and all after it; by chance 1/16 are equal.
    assert np.mean([mine == theirs for mine, theirs in zip(decoded[:3], decoded[3:])]) > 0.5
  elif generator == 'flow':
    # Latents: Griffin-Lim amplifies rounding errors.
    for mine, theirs in zip(decoded[:3], decoded[3:], strict=True):
      np.testing.assert_allclose(mine, theirs, atol=1e-5)
  else:
    for mine, theirs in zip(*found, strict=True):
      np.testing.assert_allclose(mine, theirs, atol=2e-3)
  leaves = jax.tree.leaves(split._part(generator)[1])
  num_held = sum(leaf.addressable_shards[0].data.size for leaf in leaves)
  num_parts = sizes['fsdp'] * sizes.get('tensor', 1)
  assert num_held < 1.5 * sum(leaf.size for leaf in leaves) / num_parts


def test_an_impossible_mesh_is_refused(folder):
  with pytest.raises(ValueError, match='does not fit 8 devices'):
    bundle.load(folder, jax.devices()[:8], mesh_sizes={'data': -1, 'fsdp': 3})
  with pytest.raises(ValueError, match='must divide the 50 audio steps of a clip; got 4. .*: 1, 2, 5'):
    bundle.load(folder, jax.devices()[:8], mesh_sizes={'data': -1, 'context': 4})


def test_other_inputs_change_nothing(model):
  alone = _waves(_generate(model, 1))[0]
  inputs = [
    request_lib.Input(None, 0.0, 2.0),
    request_lib.Input(None, 0.0, 5.0),
    request_lib.Input(None, 0.0, 1.0),
  ]
  results = _run(model, inputs, _ask())
  np.testing.assert_allclose(_waves(results[0])[0], alone, atol=1e-4)
  assert [len(_waves(result)[0]) for result in results] == [32000, 80000, 16000]


@each_generator
def test_a_longer_clip_begins_as_the_shorter(model, generator):
  long, short = (_waves(_generate(model, 1, seconds, generator=generator))[0] for seconds in (6.0, 3.0))
  np.testing.assert_allclose(long[:16000], short[:16000], atol=2e-2)


@pytest.mark.parametrize('generator', ['tokens', 'masked'])
def test_a_window_continues_the_tokens_of_the_one_before(model, monkeypatch, generator):
  seen, sample = [], model.sample
  monkeypatch.setattr(
    model,
    'sample',
    lambda inputs, *args, **kwargs: seen.append((inputs, sample(inputs, *args, **kwargs))) or seen[-1][1],
  )
  _generate(model, 1, 4.0, generator=generator)
  assert len(seen) == 3, 'windows of two seconds that share one'
  for (_, before_BTK), (inputs, after_BTK) in zip(seen, seen[1:]):
    assert inputs['prefix_mask_BT'][0].tolist() == [True] * 25 + [False] * 25
    np.testing.assert_array_equal(after_BTK[0, :25], before_BTK[0, 25:])
    assert np.mean(np.asarray(after_BTK[0, 25:]) == np.asarray(before_BTK[0, 25:])) < 0.5, 'the same noise'
    assert after_BTK.dtype == np.int32 and after_BTK.min() >= 0 and after_BTK.max() < 16


@pytest.mark.parametrize(
  ('duration_s', 'generator'),
  [
    (0.3, 'flow'),
    (2.0, 'flow'),
    (9.0, 'flow'),
    (61.04, 'flow'),
    (0.3, 'tokens'),
    (9.0, 'tokens'),
    (9.0, 'masked'),
  ],
)
def test_lengths_and_seams(model, duration_s, generator):
  wave_NA = _waves(_generate(model, 1, duration_s, generator=generator))[0]
  assert wave_NA.shape == (round(duration_s * 16000), 2)
  assert np.isfinite(wave_NA).all() and np.abs(wave_NA).max() <= pipeline.MAX_PEAK + 1e-6
  _assert_no_seam(wave_NA, duration_s)


def _assert_no_seam(wave_NA, duration_s):
  """Steps between samples at the seams of windows and pieces are none of the largest of the clip."""
  step_N = np.abs(np.diff(wave_NA, axis=0)).max(axis=1)
  loud = np.quantile(step_N, 0.999)
  for second in range(1, int(duration_s)):
    around = step_N[second * 16000 - 20 : second * 16000 + 20]
    assert around.max() <= 1.5 * loud + 1e-6, f'{second} s'


@pytest.mark.slow
def test_five_minutes_have_no_seam(model):
  wave_NA = _waves(_generate(model, 1, 300.0, steps=1))[0]
  assert len(wave_NA) == 300 * 16000
  _assert_no_seam(wave_NA, 300.0)


def test_windows_cover_the_clip_and_overlap():
  for duration_s in (0.5, 4.0, 4.01, 8.0, 9.7, 300.0):
    starts = windows.starts(clip.ClipSpec(), round(duration_s * 16000), 1.0)
    assert starts[0] == 0 and starts[-1] + 100 >= duration_s * 25
    assert all(25 <= b - a <= 75 for a, b in zip(starts, starts[1:]))
  with pytest.raises(ValueError, match='leaves no room'):
    windows.starts(clip.ClipSpec(clip_s=1.0), 128000, 1.0)


def test_words_fall_into_their_windows():
  words = windows.transcript_in_window('one two three four', 0.0, 4.0, 8.0)
  assert words == 'one two'
  assert windows.transcript_in_window('one two three four', 4.0, 8.0, 8.0) == 'three four'
  times_s = (-0.5, 3.9, 4.0, 8.5)
  assert windows.transcript_in_window('one two three four', 0.0, 4.0, 8.0, times_s) == 'two'
  assert windows.transcript_in_window('one two three four', 4.0, 8.0, 8.0, times_s) == 'three'
  assert (
    windows.transcript_in_window('one two three four', 4.0, 9.0, 8.0, times_s) == 'three'
  )  # not after the end


def test_words_with_times_are_in_their_windows(model):
  """Times count from the start of the video; a word is in all windows that contain it."""
  times_s = (0.5, 2.0, 3.5, 5.5)
  request = _ask(transcript='one two three four', word_times_s=times_s)
  job = _job(model, request_lib.Input(None, 0.0, 4.4), request)
  assert len(job.starts) > 1 and job.transcripts[0] == 'one'
  for first, spoken in zip(job.starts, job.transcripts):
    start_s = first / 25
    inside = [start_s <= time_s < min(4.4, start_s + model.clip_spec.clip_s) for time_s in times_s]
    assert spoken == ' '.join(
      word for word, is_inside in zip(request.transcript.split(), inside) if is_inside
    )
  part = dataclasses.replace(job.source, start_s=1.5)
  assert _job(model, part, request).transcripts[0] == 'two'
  with pytest.raises(ValueError, match='a time for each of the 2 words of the transcript; got 4'):
    dataclasses.replace(request, transcript='one two').validate()


def test_too_many_words_for_a_window_name_the_file_and_the_time(model, tmp_path):
  path, long = films.make(tmp_path / 'film', duration_s=4.4), 'w' * 60
  request = _ask(transcript=f'a {long} {long}', word_times_s=(0.5, 4.0, 4.1))
  found = _run(model, [request_lib.Input(path, 0.5, None)], request)
  spec, starts = model.clip_spec, _job(model, request_lib.Input(path, 0.5, None), _ask()).starts
  late_s = 0.5 + next(each / 25 for each in starts if each / 25 + spec.clip_s > 3.6)
  assert found[0].error == (
    f'{path}: the window from {late_s:g} s to {late_s + spec.clip_s:g} s must hold at most '
    f'{spec.num_transcript_bytes} bytes of transcript; got 121.'
  )


@pytest.mark.parametrize(
  ('generator', 'settings'),
  [
    ('flow', ({'steps': 3}, {'solver': 'euler'})),
    ('tokens', ({'temperature': 0.3}, {'top_k': 2}, {'top_p': 0.5})),
    ('masked', ({'steps': 3}, {'temperature': 0.3}, {'top_k': 2}, {'top_p': 0.5})),
  ],
)
def test_guidance_negative_prompts_and_settings_change_the_sound(model, generator, settings):
  # Strong guidance: the logits of a model that has learned nothing differ little, and tokens not at all.
  request = {'generator': generator, 'guidance': 30.0}
  base = _waves(_generate(model, 1, **request))[0]
  guidance = {'guidance': 4.0}, {'negative_prompt': 'music'}, {'guidance_text': 50.0}
  for change in (*guidance, *settings):
    assert np.abs(_waves(_generate(model, 1, **(request | change)))[0] - base).max() > 1e-5, change


@pytest.mark.parametrize(
  ('generator', 'duration_s'),
  [
    ('flow', 4.4),
    *(
      pytest.param(generator, duration_s, marks=pytest.mark.slow)
      for generator in ('flow', 'tokens', 'masked')
      for duration_s in (2.0, 4.4)
      if (generator, duration_s) != ('flow', 4.4)
    ),
  ],
)
def test_frames_in_memory_give_the_soundtrack_of_the_video(folder, model, tmp_path, generator, duration_s):
  """What evaluation generates from frames is what a user gets for the video, in as many windows."""
  spec, path = model.clip_spec, films.make(tmp_path / 'film', duration_s=duration_s)
  request = dataclasses.replace(_ask(), generator=generator, transcript='one two six ten')
  source = request_lib.Input(path, 0.0, duration_s)
  wanted_NA = _waves(_run(model, [source], request)[0])[0]
  frame_LYX3 = read.frames(path, spec.sync_fps, spec.frame_size, 0.0, duration_s)
  num = math.ceil(duration_s * spec.semantic_fps)
  shown_M = np.arange(num) * spec.sync_fps // spec.semantic_fps
  frames = frame_LYX3[shown_M], frame_LYX3
  jobs = [
    (request_lib.FrameInput(*frames), request),
    (
      request_lib.FrameInput(*(each[::-1] for each in frames)),
      dataclasses.replace(request, transcript='one'),
    ),
  ]
  mine_NA, other_NA = (_waves(result)[0] for result in pipeline.Pipeline(model, num_slots=2).run(jobs))
  assert mine_NA.shape == (round(duration_s * model.sample_rate_hz), spec.num_channels)
  # Two slots instead of one: matmul results differ by rounding.
  np.testing.assert_allclose(mine_NA, wanted_NA, atol=2e-3)
  assert np.abs(other_NA - wanted_NA).max() > 0.02


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
    lambda encoded_BTC, prefix_BNA=None: np.zeros(
      (len(encoded_BTC), encoded_BTC.shape[1] * spec.latent_hop_samples, spec.num_channels), np.float32
    ),
  )
  monkeypatch.setitem(model.__dict__, 'similarity', lambda *arrays: np.zeros(1))
  request = request_lib.Request(generator='flow', steps=2, **settings)
  _run(model, [request_lib.Input(path)], dataclasses.replace(request, seed=5, **texts))
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
    settings = pipeline.Pipeline(model).resolve(_ask(generator=generator, **chosen), True).settings
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


@pytest.mark.parametrize('generator', ['tokens', 'masked'])
def test_codes_are_ranked_by_the_latents_of_their_sound(model, generator):
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  result = _run(model, [request_lib.Input(path, 0.0, 1.0)], _ask(2, generator=generator))[0]
  assert sorted(each.rank for each in result.soundtracks) == [1, 2]
  assert len({each.score for each in result.soundtracks}) == 2
  job = _job(model, request_lib.Input(path, 0.0, 1.0), _ask())
  codes_TK = np.arange(100).reshape(50, 2) % 16
  latent_BTC = model.encode(model.decode(codes_TK[None]))
  of = lambda encoded_TC: pipeline.similarity(model, job.frames, job.starts, encoded_TC)
  assert of(codes_TK) == of(latent_BTC[0])


def test_guidance_one_costs_one_evaluation(model):
  assert _generate(model, 1, guidance=1.0).settings['evaluations_per_step'] == 1
  assert _generate(model, 1, guidance=2.0).settings['evaluations_per_step'] == 2


def test_the_sample_that_agrees_best_has_the_first_rank(model, monkeypatch):
  monkeypatch.setattr(pipeline, 'similarity', lambda model, frames, starts, latent_TC: float(latent_TC.sum()))
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  result = _run(model, [request_lib.Input(path, 0.0, 1.0)], _ask(4))[0]
  assert sorted(each.rank for each in result.soundtracks) == [1, 2, 3, 4]
  by_rank = [each.score for each in sorted(result.soundtracks, key=lambda each: each.rank)]
  assert by_rank == sorted(by_rank, reverse=True)


def test_motion_is_that_of_the_part_alone(model):
  """Not that of the whole last window, which would shift the motion on a plot's time axis."""
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  for duration_s in (0.4, 1.52):
    result = _run(model, [request_lib.Input(path, 0.0, duration_s)], _ask())[0]
    assert len(result.motion_L) == round(duration_s * model.clip_spec.sync_fps)


def test_a_video_is_the_same_beside_a_prompt_alone(folder, model):
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  inputs = [request_lib.Input(None, 0.0, 2.0), request_lib.Input(path, 0.0, 2.0)]
  spread = bundle.load(folder, jax.devices())
  # Scales under which the two need other branches.
  request = _ask(guidance_video=2.0)
  together = _run(spread, inputs, request)
  for source, result in zip(inputs, together):
    alone = _run(model, [source], request)[0]
    np.testing.assert_allclose(_waves(result)[0], _waves(alone)[0], atol=1e-4)
    assert result.motion_L.dtype == np.float32
  without_L, moving_L = (result.motion_L for result in together)
  assert not len(without_L) and 0.0 < moving_L.max() < 1.0


def test_a_negative_prompt_brings_its_own_guidance_unless_given_otherwise(model, monkeypatch):
  c = model.config.copy_and_resolve_references()
  c.generation.guidance_negative = 3.0
  monkeypatch.setattr(model.generator(), 'config', c)
  scale = lambda **kwargs: pipeline.Pipeline(model).resolve(_ask(**kwargs), True).settings['guidance_text']
  assert scale() == 1.0
  assert scale(negative_prompt='music') == 3.0
  assert scale(negative_prompt='music', guidance_text=1.5) == 1.5
  assert scale(negative_prompt=' ') == 1.0


def test_a_bundle_is_saved_and_loaded_in_half_precision(model, tmp_path):
  bundle_files.save(model, tmp_path / 'copy')
  again = bundle.load(tmp_path / 'copy', jax.devices()[:1])
  # float16 weights move a tiny random model by far less than its own level
  mine, theirs = _waves(_generate(model, 1))[0], _waves(_generate(again, 1))[0]
  assert np.sqrt(np.mean((mine - theirs) ** 2)) < 0.3 * np.sqrt(np.mean(mine**2))
  assert again.config.init_from.codec == ''
  assert again.generator_names == ('flow', 'tokens', 'masked')
  with pytest.raises(FileExistsError, match='exists already'):
    bundle_files.save(model, tmp_path / 'copy')


def test_one_bad_file_costs_the_others_nothing(model, tmp_path):
  bad = tmp_path / 'bad.mp4'
  bad.write_text('no video')
  inputs = [
    request_lib.Input(bad),
    request_lib.Input(None, 0.0, 1.0),
    request_lib.Input(tmp_path / 'none.mp4'),
  ]
  results = _run(model, inputs, _ask())
  assert [result.error is None for result in results] == [False, True, False]
  assert str(bad) in results[0].error and '\n' not in results[0].error


@pytest.mark.parametrize(
  'change, wanted',
  [
    ({'prompt': 'x' * 2_000_000}, 'prompt must have at most 16 bytes; got 2000000'),
    ({'negative_prompt': 'é' * 10}, 'negative prompt must have at most 16 bytes; got 20'),
    ({'steps': 0}, 'steps must lie in 1..1000; got 0'),
    ({'solver': 'rk4'}, "solver must be one of .* got 'rk4'"),
    ({'num_samples': 0}, 'number of samples must lie in'),
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
  request = dataclasses.replace(_ask(), **change)
  with pytest.raises(ValueError, match=wanted):
    _run(model, [request_lib.Input(None, 0.0, 1.0)], request)


def test_nan_in_weights_is_refused(folder, tmp_path):
  export = weights.load_export(folder / 'codec')
  name = next(iter(export.arrays))
  for part in ('flow', 'codec'):
    found = weights.load_export(folder / part)
    weights.export(found.arrays, tmp_path / 'broken' / part, found.config, 'float32')
  import safetensors.numpy

  broken = {**export.arrays, name: np.full_like(export.arrays[name], np.nan)}
  safetensors.numpy.save_file(broken, tmp_path / 'broken' / 'codec' / weights.WEIGHTS)
  with pytest.raises(ValueError, match='hold NaN or infinity'):
    bundle.load(tmp_path / 'broken')


def test_wrong_folders_are_named(folder, tmp_path):
  with pytest.raises(FileNotFoundError, match="no model 'nowhere'"):
    bundle.load('nowhere')
  with pytest.raises(FileNotFoundError, match='No model at'):
    bundle.load(tmp_path)
  with pytest.raises(ValueError, match='names no codec'):
    bundle.load(folder / 'flow')
  with pytest.raises(ValueError, match='names no codec: wanted a bundle with codec_rvq/ and masked/'):
    bundle.load(folder / 'masked')
  with pytest.raises(ValueError, match='holds a sync model; wanted a bundle'):
    bundle.load(folder / 'sync')
  swapped = tmp_path / 'swapped'
  for part, source in (('codec', 'sync'), ('flow', 'flow')):
    found = weights.load_export(folder / source)
    weights.export(found.arrays, pathlib.Path(swapped) / part, found.config, 'float32')
  with pytest.raises(ValueError, match="must hold a codec model; got one of task 'sync'"):
    bundle.load(swapped)
  (swapped / 'codec').rename(swapped / 'away')
  with pytest.raises(ValueError, match='swapped lacks codec/, the codec of its generator'):
    bundle.load(swapped)
  (swapped / 'flow').rename(swapped / 'tokens')
  with pytest.raises(ValueError, match="must hold a tokens model; got one of task 'flow'"):
    bundle.load(swapped)


def _part(folder, part, path):
  """Copies some parts of a bundle."""
  for name in part:
    found = weights.load_export(folder / name)
    weights.export(found.arrays, path / name, found.config, 'float32')


def test_a_generator_that_a_model_lacks_is_named(folder, tmp_path):
  _part(folder, ('tokens', 'codec_rvq'), tmp_path / 'small')
  with pytest.raises(ValueError, match="the model small has no generator 'flow'; it has tokens"):
    bundle.load(tmp_path / 'small', generator='flow')
  model = bundle.load(tmp_path / 'small', jax.devices()[:1])
  with pytest.raises(ValueError, match="the model small has no generator 'masked'; it has tokens"):
    _run(model, [request_lib.Input(None, 0.0, 1.0)], _ask(generator='masked'))
  assert _generate(model, 1, 1.0).settings['generator'] == 'tokens'
  wave_BNA = 0.1 * np.random.default_rng(0).standard_normal((1, 32000, 2)).astype(np.float32)
  assert model.reconstruct(wave_BNA).shape == wave_BNA.shape


def test_parts_of_several_models_make_one(folder, tmp_path):
  _part(folder, ('flow', 'codec', 'sync'), tmp_path / 'a')
  _part(folder, ('masked', 'codec_rvq', 'codec'), tmp_path / 'b')
  both = bundle.join([bundle.load(tmp_path / name) for name in 'ab'])
  assert both.name == 'a' and both.generator_names == ('flow', 'masked')
  assert set(both.exports) == {'flow', 'codec', 'sync', 'masked', 'codec_rvq'}
  found = weights.load_export(tmp_path / 'b' / 'codec')
  louder = {name: 2 * array for name, array in found.arrays.items()}
  weights.export(louder, tmp_path / 'b' / 'codec', found.config)
  with pytest.raises(ValueError, match='b has another codec/ than a; a bundle has one'):
    bundle.join([bundle.load(tmp_path / name) for name in 'ab'])


def test_an_ood_detector_beside_the_weights_scores_videos(folder, tmp_path):
  shutil.copytree(folder, tmp_path / 'with_detector')
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  model = bundle.load(tmp_path / 'with_detector', jax.devices()[:1])
  generate = lambda model, path: _run(model, [request_lib.Input(path, 0.0, 1.0)], _ask())[0]
  assert model.ood_detector() is None and generate(model, path).ood is None
  spec, rng = model.clip_spec, np.random.default_rng(0)
  size = (spec.frame_size, spec.frame_size, 3)
  frames = [
    rng.integers(0, 256, (8, num, *size), np.uint8)
    for num in (spec.num_semantic_frames, spec.num_sync_frames)
  ]
  fitted = detector.fit(np.asarray(model.ood_features(*frames)), 2)
  detector.save(
    dataclasses.replace(fitted, threshold=1.25), tmp_path / 'with_detector' / 'flow' / detector.FILE
  )
  model = bundle.load(tmp_path / 'with_detector', jax.devices()[:1])
  distance, threshold = generate(model, path).ood
  # A video of noise differs more from a ball than from noise.
  known_B = model.ood_detector().score(np.asarray(model.ood_features(*frames)))
  assert threshold == 1.25 and distance > 2 > known_B.max()
  assert generate(model, None).ood is None and model.ood_detector('tokens') is None
  bundle_files.save(model, tmp_path / 'copy')
  assert bundle.load(tmp_path / 'copy', jax.devices()[:1]).ood_detector().threshold == 1.25


def test_generate_returns_soundtracks_that_save_and_mux(model, tmp_path):
  path = films.make(tmp_path / 'film', duration_s=2.0)
  calls = []
  runner = pipeline.Pipeline(model)
  found = runner.generate(
    path,
    prompt='rain',
    num_samples=2,
    seed=3,
    start_s=0.5,
    steps=1,
    progress=lambda *args: calls.append(args),
  )
  assert [each.index for each in found] == [0, 1] and sorted(each.rank for each in found) == [1, 2]
  assert calls[0] == (0, 2) and calls[-1] == (2, 2)
  rate_hz, waveform = found[1].sample_rate_hz, found[1].waveform
  assert waveform.shape == (round(1.5 * rate_hz), 2) and waveform.dtype == np.float32
  assert found[1].duration_s == 1.5 and found[1].start_s == 0.5
  written_NA, _ = soundfile.read(found[1].save(tmp_path / 'a.wav'), dtype='float32')
  np.testing.assert_allclose(written_NA, waveform, atol=2 / 32768)
  muxed = found[1].mux(path, tmp_path / 'b.mp4')
  assert abs(probe.probe(muxed).duration_s - 1.5) < 0.1
  for write in (lambda: found[0].save(tmp_path / 'a.wav'), lambda: found[0].mux(path, muxed)):
    with pytest.raises(FileExistsError, match='exists; wanted the name of a new file'):
      write()


def test_generate_raises_what_is_wrong_with_its_input(model, tmp_path):
  runner = pipeline.Pipeline(model)
  with pytest.raises(errors.MediaError, match='does not exist'):
    runner.generate(tmp_path / 'none.mp4')
  with pytest.raises(ValueError, match='without a video, a duration is needed'):
    runner.generate(prompt='rain')
  with pytest.raises(ValueError, match='seed must lie in'):
    runner.generate(prompt='rain', duration_s=1.0, seed=-1)


def test_generation_is_cancelled_between_windows(model):
  cancel, done = threading.Event(), []

  def progress(num_done, total):
    done.append(num_done)
    if num_done == 2:
      cancel.set()

  with pytest.raises(pipeline.Cancelled, match='after 2 of 4 windows'):
    pipeline.Pipeline(model).generate(
      prompt='rain', duration_s=1.0, num_samples=4, steps=1, progress=progress, cancel=cancel
    )
  assert max(done) == 2


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
  result = _generate(model, 2, 6.0, steps=1)
  assert len(calls) == 1 and len(result.soundtracks[0].waveform) == 96000


def test_the_number_of_slots_is_a_multiple_of_the_shards(folder):
  spread = bundle.load(folder, jax.devices()[:2])
  with pytest.raises(ValueError, match='must be a multiple of 2; got 3'):
    pipeline.Pipeline(spread, num_slots=3)
