"""Every file in configs/, shrunk: trained, resumed, exported, and used."""

import pathlib
import shutil

import numpy as np
import pytest

from v2a import weights
from v2a.cli import main
from v2a.config import files
from v2a.config import schema
from v2a.config import validation
from v2a.data import records
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.training import loop
from v2a.training import tasks
from v2a.training.checkpoints import checkpoint

ALL = sorted(files.available(), key=lambda name: schema.TASKS.index(files.find(name).task))
# Those for pods are of other rates, so they are compiled again.
FOR_PODS = [name for name in ALL if files.find(name).clip.sample_rate_hz == 48000]
NAMES = [name for name in ALL if name not in FOR_PODS]


def _kind(name):
  c = files.find(name)
  return c.task, c.codec.bottleneck, c.tokens.is_causal


ONE_A_KIND = list({_kind(name): name for name in NAMES}.values())


def _train(name, workdir, **init_from):
  c = schema.tiny(files.find(name)).unlock()
  # The same numbers for all: four steps tell nothing of them, and models of one shape are compiled once.
  c.training.update(num_steps=4, schedule='constant', learning_rate=1e-3)
  c.training.update(weight_decay=0.01, ema_decay=0.9, checkpoint_every_steps=2, keep_latest=2)
  c.init_from.update(init_from)
  c = c.lock()
  return loop.train(c, workdir, tasks.make(c))


def _starts(name, trained):
  """Returns what a model is given of those that were trained before it."""
  given = {
    ('codec', 'rvq'): {'codec': pathlib.Path(files.find(name).init_from.codec).name},
    ('flow', 'kl'): {'codec': 'codec_synthetic', 'sync': 'sync_synthetic'},
    ('tokens', 'rvq'): {'codec': 'codec_synthetic_rvq', 'sync': 'sync_synthetic'},
  }
  return {part: str(trained[other]) for part, other in given.get(_kind(name)[:2], {}).items()}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  """The folder of all runs, each under the name of its config."""
  return tmp_path_factory.mktemp('runs')


@pytest.fixture(scope='module')
def trained(root):
  """The exported model of every config."""
  exports = {}
  for name in NAMES:
    exports[name] = _train(name, root / name, **_starts(name, exports))
  return exports


def test_there_are_configs_for_every_task():
  assert {files.find(name).task for name in NAMES} == set(schema.TASKS)


@pytest.mark.parametrize('name', NAMES)
def test_config_is_valid_and_trains(name, trained):
  validation.validate(files.find(name))
  export = weights.load_export(trained[name])
  assert export.about['step'] == 4
  assert all(np.isfinite(array).all() for array in export.arrays.values())


@pytest.mark.slow
@pytest.mark.parametrize('name', FOR_PODS)
def test_config_for_pods_is_valid_and_trains(name, tmp_path):
  validation.validate(files.find(name))
  export = weights.load_export(_train(name, tmp_path))
  assert export.about['step'] == 4
  assert all(np.isfinite(array).all() for array in export.arrays.values())


@pytest.mark.parametrize('name', ONE_A_KIND)
def test_four_steps_are_two_and_two_resumed(name, trained, root, tmp_path, capsys):
  # What is left of a run that ended after its checkpoint of step 2.
  shutil.copytree(root / name / checkpoint.FOLDER / '2', tmp_path / checkpoint.FOLDER / '2')
  resumed = weights.load_export(_train(name, tmp_path, **_starts(name, trained)))
  printed = capsys.readouterr().out
  assert 'Resuming from step 2' in printed and 'step 3/4' in printed and 'step 2/4' not in printed
  whole = weights.load_export(trained[name])
  assert set(resumed.arrays) == set(whole.arrays)
  for key, array in whole.arrays.items():
    np.testing.assert_array_equal(array, resumed.arrays[key], err_msg=key)


GENERATED = {'flow': 'flow_synthetic', 'tokens': 'tokens_synthetic', 'masked': 'tokens_masked_synthetic'}


@pytest.mark.parametrize('generator', GENERATED)
def test_a_trained_generator_generates(generator, trained):
  model = bundle.load(trained[GENERATED[generator]])
  assert model.generator_names == (generator,)
  result = _soundtracks(model)
  assert result.settings['generator'] == generator
  assert [each.waveform.shape for each in result.soundtracks] == [(40000, 2)] * 2


def _soundtracks(model, **settings):
  request = request_lib.Request(num_samples=2, prompt='rain', **settings)
  return next(pipeline.Pipeline(model).run([(request_lib.Input(None, 0.0, 2.5), request)]))


@pytest.mark.parametrize(
  ('generator', 'codec'),
  [
    ('flow_synthetic', 'codec_16k'),
    pytest.param('tokens_synthetic', 'codec_16k_rvq', marks=pytest.mark.slow),
  ],
)
def test_generators_of_a_stereo_magnitude_codec_continue_windows_and_rank(
  generator, codec, trained, tmp_path
):
  exports = {}
  for name, of_codec in (('sync_synthetic', 'codec_16k'), (generator, codec)):
    c = schema.tiny(files.find(name)).unlock()
    c.codec.update(weights.load_export(trained[of_codec]).config.codec)
    c.training.update(num_steps=2, checkpoint_every_steps=2)
    c.init_from.codec = str(trained[of_codec])
    c.init_from.sync = str(exports.get('sync_synthetic', ''))
    exports[name] = loop.train(c.lock(), tmp_path / name, tasks.make(c))
  path = pathlib.Path(__file__).parents[1] / 'v2a/assets/demo/ball.mp4'
  source = request_lib.Input(path, 0.0, 3.0)  # windows are of 2 s
  request = request_lib.Request(num_samples=2)
  result = next(pipeline.Pipeline(bundle.load(exports[generator])).run([(source, request)]))
  assert not result.error
  assert [each.waveform.shape for each in result.soundtracks] == [(48000, 2)] * 2
  scores = [each.score for each in result.soundtracks]
  assert np.isfinite(scores).all() and scores[0] != scores[1]


def test_generators_are_packed_together_and_generate_as_alone(trained, tmp_path, capsys):
  runs = [str(trained[name]) for name in GENERATED.values()]
  assert main.main(['models', '--pack', *runs, '--output', str(tmp_path / 'all')]) == 0
  assert 'MB' in capsys.readouterr().out
  together = bundle.load(tmp_path / 'all')
  assert together.generator_names == tuple(GENERATED) and 'sync' in together.exports
  assert all(not any(export.config.init_from.values()) for export in together.exports.values())
  alone, packed = (
    _soundtracks(model, generator='masked', top_k=1).soundtracks[0].waveform
    for model in (bundle.load(trained['tokens_masked_synthetic']), together)
  )
  assert np.sqrt(np.mean((alone - packed) ** 2)) < 0.3 * np.sqrt(np.mean(alone**2)), 'but for half precision'


def test_the_sync_encoder_of_a_flow_model_starts_from_the_sync_model(trained, tmp_path):
  c = schema.tiny(files.find('flow_synthetic')).unlock()
  c.init_from.sync = str(trained['sync_synthetic'])
  task = tasks.make(c.lock())
  import jax

  model = task.initialise(task.build(jax.random.key(0)), records.InMemorySource([], schema.clip_spec(c)))
  wanted = weights.load_export(trained['sync_synthetic']).arrays['video.embed.kernel_IO']
  np.testing.assert_array_equal(model.conditioner.sync.embed.kernel_IO[...], wanted)


@pytest.mark.slow
def test_a_latent_rate_that_is_no_whole_number_is_trained_and_generates(tmp_path):
  """At 31.25 Hz: codec and flow are trained, and five seconds in several windows are five seconds."""
  rates = {'sample_rate_hz': 8000, 'hop_samples': 64, 'patch_frames': 4}
  exports = {}
  for name in ('codec_synthetic', 'flow_synthetic'):
    c = schema.tiny(files.find(name)).unlock()
    c.clip.update(rates)
    c.codec.n_fft = 256
    c.training.update(num_steps=2, checkpoint_every_steps=2)
    c.init_from.codec = str(exports['codec_synthetic']) if exports else ''
    exports[name] = loop.train(c.lock(), tmp_path / name, tasks.make(c))
  model = bundle.load(exports['flow_synthetic'])
  assert model.clip_spec.num_latents == 63 and float(model.clip_spec.duration_s) == 2.016
  path = pathlib.Path(__file__).parents[1] / 'v2a/assets/demo/ball.mp4'
  source = request_lib.Input(path, 0.0, 3.0)
  result = next(pipeline.Pipeline(model).run([(source, request_lib.Request())]))
  assert not result.error and result.settings['window_s'] == 2.016
  assert [each.waveform.shape for each in result.soundtracks] == [(24000, 2)]
  assert np.any(result.soundtracks[0].waveform)
