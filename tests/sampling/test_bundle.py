"""Packaged models: parts, precision, mesh, faults of weights and folders."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.sampling import runs
from v2a import storage
from v2a import weights
from v2a.ood import detector
from v2a.sampling import bundle
from v2a.sampling import bundle_files
from v2a.sampling import request as request_lib


def test_an_impossible_mesh_is_refused(folder):
  with pytest.raises(ValueError, match='does not fit 8 devices'):
    bundle.load(folder, jax.devices()[:8], mesh_sizes={'data': -1, 'fsdp': 3})
  with pytest.raises(ValueError, match='must divide the 50 audio steps of a clip; got 4. .*: 1, 2, 5'):
    bundle.load(folder, jax.devices()[:8], mesh_sizes={'data': -1, 'context': 4})


def test_a_bundle_is_saved_and_loaded_in_half_precision(model, tmp_path):
  bundle_files.save(model, tmp_path / 'copy')
  again = bundle.load(tmp_path / 'copy', jax.devices()[:1])
  # float16 weights move a tiny random model by far less than its own level
  mine, theirs = runs.waves(runs.generate(model, 1))[0], runs.waves(runs.generate(again, 1))[0]
  assert np.sqrt(np.mean((mine - theirs) ** 2)) < 0.3 * np.sqrt(np.mean(mine**2))
  assert again.config.init_from.codec == ''
  assert again.generator_names == ('flow', 'tokens', 'masked')
  with pytest.raises(FileExistsError, match='exists already'):
    bundle_files.save(model, tmp_path / 'copy')


def test_nan_in_weights_is_refused(folder, tmp_path):
  export = weights.load_export(folder / 'codec')
  name = next(iter(export.arrays))
  for part in ('flow', 'codec'):
    found = weights.load_export(folder / part)
    weights.export(found.arrays, tmp_path / 'broken' / part, found.config, 'float32')
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
    runs.run(model, [request_lib.Input(None, 0.0, 1.0)], runs.request(generator='masked'))
  assert runs.generate(model, 1, 1.0).settings['generator'] == 'tokens'
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


def test_an_ood_detector_beside_the_weights_scores_videos(folder, model, tmp_path):
  shutil.copytree(folder, tmp_path / 'with_detector')
  path = pathlib.Path(__file__).parents[2] / 'v2a/assets/demo/ball.mp4'
  generate = lambda model, path: runs.run(model, [request_lib.Input(path, 0.0, 1.0)], runs.request())[0]
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


@pytest.mark.stores
def test_a_model_in_an_object_store(folder, s3, tmp_path):
  shutil.copytree(folder, tmp_path / 'tiny')
  local, rng = bundle.load(tmp_path / 'tiny', jax.devices()[:1]), np.random.default_rng(0)
  found = detector.fit(rng.standard_normal((8, 3)), 2)
  detector.save(dataclasses.replace(found, threshold=1.25), tmp_path / 'tiny' / 'flow' / detector.FILE)
  storage.upload_folder(tmp_path / 'tiny', s3 / 'models' / 'tiny')
  model = bundle.load(f'{s3}/models/tiny', jax.devices()[:1])
  assert (model.name, model.generator_names) == ('tiny', local.generator_names)
  assert model.digest() == local.digest() and model.ood_detector().threshold == 1.25
  with pytest.raises(FileNotFoundError, match="no model 's3://.*/models/none'; wanted a packaged model"):
    bundle.load(f'{s3}/models/none')
  # The training folder of a generator, whose codec is named by its configuration.
  for part in ('flow', 'codec'):
    export = weights.load_export(s3 / 'models' / 'tiny' / part)
    c = export.config.copy_and_resolve_references().unlock()
    c.init_from.codec = f'{s3}/runs/codec' if part == 'flow' else ''
    weights.export(export.arrays, s3 / 'runs' / part / weights.EXPORT_FOLDER, c.lock(), 'float32')
  trained = bundle.load(s3 / 'runs' / 'flow', jax.devices()[:1])
  assert trained.digest() == local.digest('flow') and trained.name == 'flow'
