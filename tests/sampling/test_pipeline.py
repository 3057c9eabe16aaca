"""Generation with a tiny model: batch slots, devices, frames in memory, ranking, cancellation, bad inputs."""

import dataclasses
import math
import pathlib
import threading

import jax
import numpy as np
import pytest
import soundfile

from tests.media import films
from tests.sampling import runs
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.sampling import windows


@runs.each_generator
def test_sample_i_is_the_same_whatever_the_batch(model, generator):
  waves = runs.waves(runs.generate(model, 8, generator=generator))
  for num in (1, 3):
    for index, wave_NA in enumerate(runs.waves(runs.generate(model, num, generator=generator))):
      np.testing.assert_allclose(wave_NA, waves[index], atol=1e-4)
  assert np.abs(waves[0] - waves[1]).max() > 1e-3


@runs.each_generator
def test_sample_i_is_the_same_on_eight_devices(folder, model, generator):
  spread = bundle.load(folder, jax.devices()[:8])
  assert spread.mesh.size == 8
  found = (runs.waves(runs.generate(each, 3, generator=generator)) for each in (model, spread))
  for mine, theirs in zip(*found, strict=True):
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


SPLITS = {'data': 2, 'fsdp': 2, 'tensor': 2}, {'fsdp': 8}, {'context': 2, 'fsdp': 4}


@pytest.mark.slow  # compiles for eight devices
@runs.each_generator
@pytest.mark.parametrize('sizes', SPLITS)
def test_a_model_may_be_split_over_devices(folder, model, monkeypatch, generator, sizes):
  decode, decoded = windows.decode, []

  def decode_recorded(model, encoded_TF, num_audio_samples):
    decoded.append(encoded_TF)
    return decode(model, encoded_TF, num_audio_samples)

  monkeypatch.setattr(windows, 'decode', decode_recorded)
  split = bundle.load(folder, jax.devices()[:8], mesh_sizes=sizes)
  found = [runs.waves(runs.generate(each, 3, 3.0, generator=generator)) for each in (model, split)]
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


def test_other_inputs_change_nothing(model):
  alone = runs.waves(runs.generate(model, 1))[0]
  inputs = [
    request_lib.Input(None, 0.0, 2.0),
    request_lib.Input(None, 0.0, 5.0),
    request_lib.Input(None, 0.0, 1.0),
  ]
  results = runs.run(model, inputs, runs.request())
  np.testing.assert_allclose(runs.waves(results[0])[0], alone, atol=1e-4)
  assert [len(runs.waves(result)[0]) for result in results] == [32000, 80000, 16000]


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
  base = runs.waves(runs.generate(model, 1, **request))[0]
  guidance = {'guidance': 4.0}, {'negative_prompt': 'music'}, {'guidance_text': 50.0}
  for change in (*guidance, *settings):
    assert np.abs(runs.waves(runs.generate(model, 1, **(request | change)))[0] - base).max() > 1e-5, change


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
  request = dataclasses.replace(runs.request(), generator=generator, transcript='one two six ten')
  source = request_lib.Input(path, 0.0, duration_s)
  wanted_NA = runs.waves(runs.run(model, [source], request)[0])[0]
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
  mine_NA, other_NA = (runs.waves(result)[0] for result in pipeline.Pipeline(model, num_slots=2).run(jobs))
  assert mine_NA.shape == (round(duration_s * model.sample_rate_hz), spec.num_channels)
  # Two slots instead of one: matmul results differ by rounding.
  np.testing.assert_allclose(mine_NA, wanted_NA, atol=2e-3)
  assert np.abs(other_NA - wanted_NA).max() > 0.02


@pytest.mark.parametrize('generator', ['tokens', 'masked'])
def test_codes_are_ranked_by_the_latents_of_their_sound(model, generator):
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  result = runs.run(model, [request_lib.Input(path, 0.0, 1.0)], runs.request(2, generator=generator))[0]
  assert sorted(each.rank for each in result.soundtracks) == [1, 2]
  assert len({each.score for each in result.soundtracks}) == 2
  job = runs.job(model, request_lib.Input(path, 0.0, 1.0), runs.request())
  codes_TK = np.arange(100).reshape(50, 2) % 16
  latent_BTC = model.encode(model.decode(codes_TK[None]))
  of = lambda encoded_TF: pipeline.similarity(model, job.frames, job.starts, encoded_TF)
  assert of(codes_TK) == of(latent_BTC[0])


def test_guidance_one_costs_one_evaluation(model):
  assert runs.generate(model, 1, guidance=1.0).settings['evaluations_per_step'] == 1
  assert runs.generate(model, 1, guidance=2.0).settings['evaluations_per_step'] == 2


def test_the_sample_that_agrees_best_has_the_first_rank(model, monkeypatch):
  monkeypatch.setattr(pipeline, 'similarity', lambda model, frames, starts, latent_TC: float(latent_TC.sum()))
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  result = runs.run(model, [request_lib.Input(path, 0.0, 1.0)], runs.request(4))[0]
  assert sorted(each.rank for each in result.soundtracks) == [1, 2, 3, 4]
  by_rank = [each.score for each in sorted(result.soundtracks, key=lambda each: each.rank)]
  assert by_rank == sorted(by_rank, reverse=True)


def test_motion_is_that_of_the_part_alone(model):
  """Not that of the whole last window, which would shift the motion on a plot's time axis."""
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  for duration_s in (0.4, 1.52):
    result = runs.run(model, [request_lib.Input(path, 0.0, duration_s)], runs.request())[0]
    assert len(result.motion_L) == round(duration_s * model.clip_spec.sync_fps)


def test_a_video_is_the_same_beside_a_prompt_alone(folder, model):
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  inputs = [request_lib.Input(None, 0.0, 2.0), request_lib.Input(path, 0.0, 2.0)]
  spread = bundle.load(folder, jax.devices())
  # Scales under which the two need other branches.
  request = runs.request(guidance_video=2.0)
  together = runs.run(spread, inputs, request)
  for source, result in zip(inputs, together):
    alone = runs.run(model, [source], request)[0]
    np.testing.assert_allclose(runs.waves(result)[0], runs.waves(alone)[0], atol=1e-4)
    assert result.motion_L.dtype == np.float32
  without_L, moving_L = (result.motion_L for result in together)
  assert not len(without_L) and 0.0 < moving_L.max() < 1.0


def test_one_bad_file_costs_the_others_nothing(model, tmp_path):
  bad = tmp_path / 'bad.mp4'
  bad.write_text('no video')
  inputs = [
    request_lib.Input(bad),
    request_lib.Input(None, 0.0, 1.0),
    request_lib.Input(tmp_path / 'none.mp4'),
  ]
  results = runs.run(model, inputs, runs.request())
  assert [result.error is None for result in results] == [False, True, False]
  assert str(bad) in results[0].error and '\n' not in results[0].error


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
  with pytest.raises(ValueError, match='without a video, a duration is needed: duration_s.'):
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


def test_the_number_of_slots_is_a_multiple_of_the_shards(folder):
  spread = bundle.load(folder, jax.devices()[:2])
  with pytest.raises(ValueError, match='must be a multiple of 2; got 3'):
    pipeline.Pipeline(spread, num_slots=3)
