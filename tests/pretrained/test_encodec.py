"""EnCodec, causal and in chunks, against transformers, and its file layout."""

import json

from flax import nnx
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from tests.pretrained import goldens
from v2a.pretrained import encodec

CAUSAL, CHUNKED = goldens.FOLDER / 'encodec', goldens.FOLDER / 'encodec_chunked'


@pytest.fixture(scope='module')
def causal():
  return encodec.load(CAUSAL)


@pytest.fixture(scope='module')
def chunked():
  return encodec.load(CHUNKED)


def test_causal_results_are_those_of_published_code(causal):
  wanted = goldens.expected('encodec')
  latent_BTC = nnx.jit(encodec.Encodec.encode_latents)(causal, wanted['wave'])
  goldens.assert_close(latent_BTC, wanted['latents'])
  encode = nnx.jit(encodec.Encodec.encode, static_argnums=2)
  np.testing.assert_array_equal(encode(causal, wanted['wave'], None), wanted['codes'])
  num_codebooks = causal.num_codebooks_at(9.6)
  np.testing.assert_array_equal(encode(causal, wanted['wave'], num_codebooks), wanted['few_codes'])
  goldens.assert_close(nnx.jit(encodec.Encodec.decode)(causal, wanted['codes']), wanted['decoded'])


def test_chunks_are_those_of_published_code(chunked):
  wanted = goldens.expected('encodec_chunked')
  latent_BTC = nnx.jit(encodec.Encodec.encode_latents)(chunked, wanted['wave'][:, :240])
  goldens.assert_close(latent_BTC, wanted['latents'])
  chunks = nnx.jit(encodec.Encodec.encode_chunks)(chunked, wanted['wave'])
  assert len(chunks) == 4 and chunks[-1].codes_BTK.shape[1] < chunks[0].codes_BTK.shape[1]
  for i, chunk in enumerate(chunks):
    np.testing.assert_array_equal(chunk.codes_BTK, wanted[f'codes{i}'])
    np.testing.assert_allclose(chunk.scale_B, wanted[f'scale{i}'][:, 0], rtol=1e-5)
  goldens.assert_close(nnx.jit(encodec.Encodec.decode_chunks)(chunked, chunks), wanted['decoded'])


def test_short_sounds_are_reflected_with_zeros(causal):
  codes_BTK = nnx.jit(encodec.Encodec.encode)(causal, jnp.full((1, 3, 1), 0.5))
  assert codes_BTK.shape == (1, 1, 3)


@pytest.mark.parametrize('path', [CAUSAL, CHUNKED], ids=lambda path: path.name)
def test_files_are_written_as_they_were_read(tmp_path, path):
  encodec.save(encodec.load(path), tmp_path / 'copy')
  saved = safetensors.numpy.load_file(tmp_path / 'copy' / 'model.safetensors')
  published = safetensors.numpy.load_file(path / 'model.safetensors')
  assert set(saved) == set(published)
  for name, array in published.items():
    np.testing.assert_array_equal(saved[name].view(np.int32), array.view(np.int32))
  assert (tmp_path / 'copy' / 'config.json').read_bytes() == (path / 'config.json').read_bytes()


def test_older_names_of_weight_norm_are_read_and_written(tmp_path, causal):
  def change(tensors):
    for name in [name for name in tensors if 'parametrizations' in name]:
      new = name.replace('parametrizations.weight.original0', 'weight_g')
      tensors[new.replace('parametrizations.weight.original1', 'weight_v')] = tensors.pop(name)

  folder = goldens.rewrite(CAUSAL, tmp_path / 'model', change)
  model = encodec.load(folder)
  np.testing.assert_array_equal(model.encoder.conv_out.conv.kernel(), causal.encoder.conv_out.conv.kernel())
  encodec.save(model, tmp_path / 'copy')
  saved = safetensors.numpy.load_file(tmp_path / 'copy' / 'model.safetensors')
  assert saved.keys() == safetensors.numpy.load_file(folder / 'model.safetensors').keys()
  assert 'encoder.layers.0.conv.weight_g' in saved


def test_wrong_use_is_refused(tmp_path, causal, chunked):
  with pytest.raises(ValueError, match='use encode_chunks'):
    chunked.encode(jnp.zeros((1, 240, 2)))
  with pytest.raises(ValueError, match='use decode_chunks'):
    chunked.decode(jnp.zeros((1, 24, 2), jnp.int32))
  with pytest.raises(ValueError, match='no chunks to decode'):
    chunked.decode_chunks([])
  with pytest.raises(ValueError, match=r'bandwidth_kbps must be one of \(9.6, 28.8\); got 3'):
    causal.num_codebooks_at(3)
  folder = goldens.rewrite(
    CAUSAL, tmp_path / 'model', lambda tensors: tensors.pop('encoder.layers.0.conv.bias')
  )
  with pytest.raises(ValueError, match='missing encoder.layers.0.conv.bias'):
    encodec.load(folder)
  config = json.loads((CAUSAL / 'config.json').read_text())
  for changed, message in (
    ({**config, 'norm_type': 'batch'}, r"config.json: norm must be one of .*; got 'batch'"),
    ({**config, 'codebook_dim': 4}, 'codebook_dim must be hidden_size; got 4'),
    ({**config, 'overlap': 0.1}, 'chunk_length_s and overlap'),
    ({key: value for key, value in config.items() if key != 'normalize'}, 'has no normalize'),
  ):
    with pytest.raises(ValueError, match=message):
      encodec.config_of(changed, CAUSAL / 'config.json')


@pytest.mark.parametrize('name', ['encodec_24khz', 'encodec_32khz', 'encodec_48khz'])
def test_names_and_shapes_are_those_of_the_published_models(name):
  spec = goldens.SPECS[name]
  config = encodec.config_of(spec['config'], CAUSAL)
  kind = None if name == 'encodec_48khz' else 'parametrization'
  slots = encodec.slots(encodec.empty(config, encodec.Layout(kind, '')))
  assert sum(int(np.prod(slot.shape)) for slot in slots.values()) == spec['num_values']
  assert len(slots) == spec['num_tensors'] and goldens.sha256(slots) == spec['sha256']


def test_published_bandwidths_and_chunks():
  config = encodec.config_of(goldens.SPECS['encodec_24khz']['config'], CAUSAL)
  model = encodec.empty(config, encodec.Layout('hook', ''))
  assert [model.num_codebooks_at(kbps) for kbps in config.bandwidths_kbps] == [2, 4, 8, 16, 32]
  config = encodec.config_of(goldens.SPECS['encodec_48khz']['config'], CHUNKED)
  assert (config.chunk_samples, config.chunk_hop_samples, config.num_codebooks) == (48000, 47520, 16)
