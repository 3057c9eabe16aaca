"""DAC against transformers and descript-audio-codec, and its file layouts."""

import json

from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.pretrained import goldens
from v2a.models.published import torchfile
from v2a.pretrained import dac

PATH = goldens.FOLDER / 'dac'


@pytest.fixture(scope='module')
def model():
  return dac.load(PATH)


def test_results_are_those_of_published_code(model):
  wanted = goldens.expected('dac')
  latent_BTC = nnx.jit(dac.Dac.encode_latents)(model, wanted['wave'])
  goldens.assert_close(latent_BTC, wanted['latents'])
  quantized = nnx.jit(lambda model, latent_BTC: model.quantizer(latent_BTC))(model, latent_BTC)
  np.testing.assert_array_equal(quantized.codes_BTK, wanted['codes'])
  goldens.assert_close(quantized.latent_BTC, wanted['quantized'])
  projection_BTKF = wanted['projections'].reshape(quantized.projection_BTKF.shape)
  goldens.assert_close(quantized.projection_BTKF, projection_BTKF)
  goldens.assert_close(model.quantizer.decode(wanted['codes']), wanted['quantized'])
  goldens.assert_close(nnx.jit(dac.Dac.decode)(model, wanted['codes']), wanted['decoded'])
  goldens.assert_close(nnx.jit(dac.Dac.decode_latents)(model, latent_BTC), wanted['decoded_latents'])


def test_sounds_are_padded_to_steps_and_codebooks_selected(model):
  wave_BNA = goldens.expected('dac')['wave'][:, :395]
  encode = nnx.jit(dac.Dac.encode, static_argnums=2)
  codes_BTK = encode(model, wave_BNA, 2)
  assert codes_BTK.shape == (1, 40, 2) and codes_BTK.dtype == jnp.int32
  padded_BNA = np.pad(wave_BNA, ((0, 0), (0, 5), (0, 0)))
  np.testing.assert_array_equal(codes_BTK, encode(model, padded_BNA, None)[..., :2])


def test_files_are_written_as_they_were_read(tmp_path, model):
  dac.save(model, tmp_path / 'copy')
  saved = safetensors.numpy.load_file(tmp_path / 'copy' / 'model.safetensors')
  published = safetensors.numpy.load_file(PATH / 'model.safetensors')
  assert set(saved) == set(published)
  for name, array in published.items():
    np.testing.assert_array_equal(saved[name].view(np.int32), array.view(np.int32))
  assert (tmp_path / 'copy' / 'config.json').read_bytes() == (PATH / 'config.json').read_bytes()


def weight_normalized(names):
  scale, direction = names

  def change(tensors):
    for name in [name for name in tensors if name.endswith('.weight') and 'codebook' not in name]:
      kernel, stem = tensors.pop(name), name.removesuffix('.weight')
      norm = np.sqrt(np.sum(np.square(kernel), axis=(1, 2), keepdims=True))
      tensors |= {f'{stem}.{scale}': norm, f'{stem}.{direction}': 3 * kernel}

  return change


@pytest.mark.parametrize('names', [('weight_g', 'weight_v'), ('original0', 'original1')])
def test_weight_normalized_kernels_are_read_and_written(tmp_path, model, names):
  names = names if names[0] == 'weight_g' else tuple(f'parametrizations.weight.{name}' for name in names)
  folder = goldens.rewrite(PATH, tmp_path / 'model', weight_normalized(names))
  normalized = dac.load(folder)
  for conv, plain in (
    (normalized.encoder.blocks[1].conv, model.encoder.blocks[1].conv),
    (normalized.decoder.blocks[0].conv, model.decoder.blocks[0].conv),
    (normalized.quantizer.codebooks[0].project_in, model.quantizer.codebooks[0].project_in),
  ):
    np.testing.assert_allclose(conv.kernel(), plain.kernel(), rtol=1e-5)
  dac.save(normalized, tmp_path / 'copy')
  saved, read = (
    safetensors.numpy.load_file(tmp_path / name / 'model.safetensors') for name in ('copy', 'model')
  )
  assert set(saved) == set(read)
  assert all(np.array_equal(saved[name], read[name]) for name in read)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda tensors: tensors.pop('encoder.conv1.bias'), 'missing encoder.conv1.bias'),
    (lambda tensors: tensors.update(extra=np.zeros(1)), 'unknown extra'),
    (
      lambda tensors: tensors.update({'decoder.conv2.weight': np.zeros((1, 3, 5))}),
      r'decoder.conv2.weight has shape \(1, 3, 5\), wanted \(1, 3, 7\)',
    ),
  ],
)
def test_other_tensors_are_refused(tmp_path, change, message):
  with pytest.raises(ValueError, match=message):
    dac.load(goldens.rewrite(PATH, tmp_path / 'model', change))


def test_other_configurations_are_refused(tmp_path):
  folder = goldens.rewrite(PATH, tmp_path / 'model', lambda tensors: None)
  text = (PATH / 'config.json').read_text()
  for change, message in (
    ({'model_type': 'encodec'}, "must have model_type 'dac'; got 'encodec'"),
    ({'n_codebooks': 0}, 'n_codebooks must be a positive whole number; got 0'),
    ({'downsampling_ratios': None}, 'downsampling_ratios must be a list'),
  ):
    (folder / 'config.json').write_text(json.dumps({**json.loads(text), **change}))
    with pytest.raises(ValueError, match=message):
      dac.load(folder)
  (folder / 'config.json').write_text('{')
  with pytest.raises(ValueError, match=r'config\.json is damaged'):
    dac.load(folder)
  with pytest.raises(FileNotFoundError, match='missing does not exist'):
    dac.load(tmp_path / 'missing')


ORIGINAL = goldens.FOLDER / 'dac_original' / 'weights.pth'


def test_results_of_the_original_file_are_those_of_its_code():
  model, wanted = dac.load(ORIGINAL), goldens.expected('dac_original')
  latent_BTC = nnx.jit(dac.Dac.encode_latents)(model, wanted['wave'])
  goldens.assert_close(latent_BTC, wanted['latents'])
  quantized = nnx.jit(lambda model, latent_BTC: model.quantizer(latent_BTC))(model, latent_BTC)
  np.testing.assert_array_equal(quantized.codes_BTK, wanted['codes'])
  goldens.assert_close(quantized.latent_BTC, wanted['quantized'])
  goldens.assert_close(nnx.jit(dac.Dac.decode)(model, wanted['codes']), wanted['decoded'])
  assert model.sample_rate_hz == 24000


def test_original_file_is_written_as_it_was_read(tmp_path):
  dac.save(dac.load(ORIGINAL), tmp_path / 'copy.pth')
  saved, read = torchfile.load(tmp_path / 'copy.pth'), torchfile.load(ORIGINAL)
  assert set(saved) == set(read)
  for name, tensor in read.items():
    np.testing.assert_array_equal(saved[name].array().view(np.int32), tensor.array().view(np.int32))
  values = torchfile.load_values(tmp_path / 'copy.pth')
  assert values == torchfile.load_values(ORIGINAL) and values['metadata']['kwargs']['encoder_rates'] == [2, 5]


def test_a_torch_file_of_another_model_is_refused(tmp_path):
  torchfile.save(tmp_path / 'other.pth', {'state_dict': {'weight': np.zeros(3, np.float32)}})
  with pytest.raises(ValueError, match=r'other.pth: sample_rate must be a positive whole number; got None'):
    dac.load(tmp_path / 'other.pth')


@pytest.mark.parametrize('name', ['dac_16khz', 'dac_24khz', 'dac_44khz'])
def test_names_and_shapes_are_those_of_the_published_models(name):
  spec = goldens.SPECS[name]
  config = dac.config_of(spec['config'], PATH)
  model = dac.empty(config, dac.Layout(False, None, ''))
  slots = dac.slots(model)
  assert sum(int(np.prod(slot.shape)) for slot in slots.values()) == spec['num_values']
  assert len(slots) == spec['num_tensors'] and goldens.sha256(slots) == spec['sha256']
  assert model.hop_samples == {'dac_44khz': 512}.get(name, 320)


@pytest.mark.parametrize('name', ['dac_16khz', 'dac_24khz', 'dac_44khz'])
def test_names_and_shapes_are_those_of_the_original_files(name):
  spec = goldens.SPECS[f'{name}_original']
  config = dac.config_of_file({'metadata': {'kwargs': spec['config']}}, ORIGINAL)
  slots = dac.slots(dac.empty(config, dac.Layout(True, 'hook', '')))
  assert len(slots) == spec['num_tensors'] and goldens.sha256(slots) == spec['sha256']
