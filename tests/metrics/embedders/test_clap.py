"""The CLAP embedder: embeddings and score against the published code, loading, unsupported clips."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import clap_weights
from tests.models.published import reference
from v2a.metrics.embedders import cache
from v2a.metrics.embedders import catalog
from v2a.metrics.embedders import clap
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import clap as network

# Of LAION-AI/CLAP 1fd4c37df5, transformers 5.23.0, torchlibrosa 0.1.0, torchaudio 2.9.0 and torch 2.13.0:
# the network of clap_weights.SMALL on reference.wave of 2 s at 44.1 kHz, stereo, through av-benchmark's
# loader, and on 15 tokens.
AUDIO = (0.14932223, 0.06893139, -0.15791985, -0.13103111, 0.10545945, 0.1405071)
TEXT = (-0.03560372, 0.13193756, 0.02758071, -0.19741742, -0.16919427, 0.05219221)
SCORE = 0.16741086542606354
PROMPT = bytes(range(65, 80)).decode()


@pytest.fixture(scope='module')
def net():
  """Returns the embedder with a small network."""
  return clap.Clap(clap_weights.weights(clap_weights.SMALL), clap_weights.tokenize, 'd')


@pytest.fixture(scope='module')
def clip():
  """Returns 2 s of stereo with an offset, which the loader subtracts, and a prompt."""
  return embedder_lib.Clip(reference.wave(88200, 2, 44100) + np.float32(0.25), 44100, text=PROMPT)


def test_embeddings_and_score_equal_the_published_code(net, clip):
  arrays = net.embed(clip)
  assert arrays['rows_NF'].shape == (1, 64) and arrays['text_F'].shape == (64,)
  np.testing.assert_allclose(arrays['rows_NF'][0, :6], AUDIO, atol=2e-5)
  assert arrays['rows_NF'].std() == pytest.approx(0.12499896, rel=1e-5)
  np.testing.assert_allclose(arrays['text_F'][:6], TEXT, atol=2e-5)
  assert net.scores(arrays) == {'clap': pytest.approx(SCORE, abs=2e-5)}


def test_clips_without_a_prompt_or_a_sample_are_not_supported(net, clip):
  with pytest.raises(embedder_lib.UnsupportedClipError, match='the text of the clip is empty'):
    net.embed(dataclasses.replace(clip, text=' '))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='the clip has no text'):
    cache.EmbeddingCache(None).embed(net, dataclasses.replace(clip, text=None))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs a sample at 48000 Hz'):
    net.embed(embedder_lib.Clip(np.ones((1, 1), np.float32), 96000, text='A'))


def test_missing_files_are_named(tmp_path):
  (missing,) = catalog.load(['clap'], tmp_path)
  assert f'weights {network.CHECKPOINT.file} missing, weights {network.TOKENIZER.file} missing' in (
    missing.reason
  )


def test_training_checkpoint_is_loaded(tmp_path, monkeypatch):
  pytest.importorskip('tokenizers', reason='the extra clap is not installed')
  tokenizer_path, num = clap_weights.write_tokenizer(tmp_path)
  weights = clap_weights.weights(clap_weights.clap_shapes((16, 128, 64), ((2, 2, 2, 2), 1), num))
  stored = {f'state_dict.module.{name}': np.asarray(value) for name, value in weights.items()}
  stored |= {
    'optimizer.state.0.exp_avg': np.zeros(3),
    'state_dict.module.text_branch.embeddings.position_ids': np.arange(4),
  }
  path = tmp_path / 'clap.safetensors'
  monkeypatch.setattr(network, 'CHECKPOINT', None)
  safetensors.numpy.save_file(stored, path)
  embedder = clap.load(path, tokenizer_path)
  assert len(embedder.digest) == 64 and embedder.name == 'clap'
