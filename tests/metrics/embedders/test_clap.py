"""LAION-CLAP against figures of its own code with the same weights, its tokens, and what it refuses."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import clap_weights
from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import cache
from v2a.metrics.embedders import catalog
from v2a.metrics.embedders import clap
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import waves
from v2a.models.published import checkpoints
from v2a.models.published import htsat
from v2a.models.published import layers

# Made with LAION-AI/CLAP 1fd4c37df5, transformers 5.23.0, torchlibrosa 0.1.0, torchaudio 2.9.0 and torch
# 2.13.0: the narrow network of clap_weights, hearing reference.wave of 2 s at 44.1 kHz, stereo, through
# av-benchmark's loader, and reading 15 tokens.
PICTURE = (-1.385341, 7.085631, -1.0711933, -9.319047)
HEARD = (0.14932223, 0.06893139, -0.15791985, -0.13103111, 0.10545945, 0.1405071)
READ = (-0.03560372, 0.13193756, 0.02758071, -0.19741742, -0.16919427, 0.05219221)
SCORE = 0.16741086542606354
PROMPT = bytes(range(65, 80)).decode()
NUM_TOKENS = 400
NARROW = clap_weights.clap_shapes((16, 128, 64), ((2, 2, 4, 2), 2), NUM_TOKENS)
PUBLISHED = clap_weights.clap_shapes((128, 768, 512), ((2, 2, 12, 2), 12), 50265)


def tokenize(text):
  """Returns a token for each letter, from 30 on."""
  return [ord(letter) - ord('A') + 30 for letter in text]


@pytest.fixture(scope='module')
def net():
  """Returns the narrow network."""
  return clap.Clap(clap_weights.weights(NARROW), tokenize, 'd')


@pytest.fixture(scope='module')
def clip():
  """Returns 2 s of stereo, with an offset that the loader takes away, and a prompt."""
  return embedder_lib.Clip(reference.wave(88200, 2, 44100) + np.float32(0.25), 44100, text=PROMPT)


def test_a_clip_as_av_benchmark_compares_it(net, clip):
  arrays = net.embed(clip)
  assert arrays['rows_NF'].shape == (1, 64) and arrays['text_F'].shape == (64,)
  np.testing.assert_allclose(arrays['rows_NF'][0, :6], HEARD, atol=2e-5)
  assert arrays['rows_NF'].std() == pytest.approx(0.12499896, rel=1e-5)
  np.testing.assert_allclose(arrays['text_F'][:6], READ, atol=2e-5)
  assert net.scores(arrays) == {'clap': pytest.approx(SCORE, abs=2e-5)}


def test_a_sound_as_the_published_code_looks_at_it(clip):
  wave_N = waves.mono(clip.wave_NA, clip.sample_rate_hz, htsat.RATE_HZ)
  parts = tuple(f'audio_branch.{part}' for part in ('spectrogram', 'logmel', 'bn0'))
  weights = clap_weights.weights({name: shape for name, shape in NARROW.items() if name.startswith(parts)})
  frame_JN = clap.audio_frames(wave_N).astype(np.float32)
  found_YX = np.asarray(htsat.spectrogram_image(weights, frame_JN[None], 'audio_branch.'))[0]
  np.testing.assert_allclose(found_YX[[0, 70, 200, 255], [3, 100, 0, 255]], PICTURE, atol=2e-3)
  assert found_YX.mean() == pytest.approx(1.1957953, abs=1e-4)
  assert found_YX.std() == pytest.approx(3.14978, rel=1e-4)


def test_short_sounds_are_repeated_whole_and_long_ones_cut():
  wave_N = np.arange(1, 600_001, dtype=np.float32)
  middle = htsat.WINDOW_SAMPLES // 2
  for num, place, wanted in ((200_000, 300_000, 100_001), (200_000, 432_000, 0), (600_000, 432_000, 432_001)):
    frame_JN = clap.audio_frames(wave_N[:num])
    assert frame_JN.shape == (htsat.NUM_FRAMES, htsat.WINDOW_SAMPLES)
    assert frame_JN[place // htsat.HOP_SAMPLES, middle] == wanted


def test_long_prompts_lose_their_end_and_empty_ones_are_refused(net, clip):
  token_S = clap.pad_tokens(tokenize, 'A' * 100)
  assert len(token_S) == 77 and token_S[0] == 0 and token_S[-1] == 2 and set(token_S[1:-1]) == {30}
  np.testing.assert_array_equal(clap.pad_tokens(tokenize, 'AB')[:6], [0, 30, 31, 2, 1, 1])
  with pytest.raises(embedder_lib.UnsupportedClipError, match='the text of the clip is empty'):
    net.embed(dataclasses.replace(clip, text=' '))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='the clip has no text'):
    cache.EmbeddingCache(None).embed(net, dataclasses.replace(clip, text=None))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs a sample at 48000 Hz'):
    net.embed(embedder_lib.Clip(np.ones((1, 1), np.float32), 96000, text='A'))


def test_every_weight_of_the_published_file_is_read():
  shapes = specs.shapes('laion_htsat_base')
  assert {f'audio_branch.{name}': shape for name, shape in shapes.items()}.items() <= PUBLISHED.items()
  structs = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in PUBLISHED.items()}
  read = layers.check(clap.apply, structs, clap.INPUTS, 'spec', ignored=clap.IGNORED)
  unread = {name.removeprefix('audio_branch.').split('.')[0] for name in set(PUBLISHED) - read}
  transforms = {'audio_transform', 'text_transform', 'logit_scale_a', 'logit_scale_t'}
  assert unread == {*transforms, 'bn0', 'tscam_conv', 'head'}
  others = ('running_mean', 'running_var', 'num_batches_tracked', 'index', 'attn_mask')
  audio = [int(np.prod(shape)) for name, shape in shapes.items() if not name.endswith(others)]
  assert sum(audio) == 72_424_535
  # As many as transformers' RobertaModel has at the size of roberta-base.
  text = [int(np.prod(shape)) for name, shape in PUBLISHED.items() if name.startswith('text_branch.')]
  assert sum(text) == 124_645_632


def vocabulary(folder):
  """Returns the file of a tokenizer of all bytes and a few pairs, written into a folder."""
  pairs = [('d', 'o'), ('do', 'g'), ('Ġ', 'dog'), ('Ġ', 'a')]
  printed = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
  names = ['<s>', '<pad>', '</s>', '<unk>', *printed, *(''.join(pair) for pair in pairs)]
  level = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True, 'use_regex': True}
  content = {
    'version': '1.0',
    'added_tokens': [],
    'normalizer': None,
    'pre_tokenizer': level,
    'decoder': level,
  }
  content['post_processor'] = {
    'type': 'RobertaProcessing', 'sep': ['</s>', 2], 'cls': ['<s>', 0],
    'trim_offsets': True, 'add_prefix_space': False}  # fmt: skip
  content |= {'truncation': {'direction': 'Right', 'max_length': 4, 'strategy': 'LongestFirst', 'stride': 0}}
  content |= {'padding': None, 'model': {'type': 'BPE', 'vocab': {name: k for k, name in enumerate(names)}}}
  content['model'] |= {'merges': [' '.join(pair) for pair in pairs], 'unk_token': '<unk>'}
  path = folder / clap.TOKENIZER.file
  path.parent.mkdir(parents=True)
  path.write_text(json.dumps(content))
  return path, len(names)


def test_tokens_are_pairs_of_bytes(tmp_path):
  pytest.importorskip('tokenizers', reason='the extra clap is not installed')
  path, num = vocabulary(tmp_path)
  names = list(json.loads(path.read_text())['model']['vocab'])
  found = [names[token] for token in clap.load_tokenizer(path, num)('dog a dog é')]
  assert found == ['dog', 'Ġa', 'Ġdog', 'Ġ', 'Ã', '©']


def test_published_tokens():
  pytest.importorskip('tokenizers', reason='the extra clap is not installed')
  path = checkpoints.find(clap.TOKENIZER)
  if path is None:
    pytest.skip(f'no {clap.TOKENIZER.file} in the folder of {checkpoints.ENV_VARIABLE}')
  read = clap.load_tokenizer(path, 50265)
  # As transformers 5.23.0 makes them with the published vocabulary.
  assert read('Hello world') == [31414, 232] and read(' Hello world') == [20920, 232]
  assert read("don't stop café 日本") == [7254, 75, 912, 26059, 47416, 6800, 8210, 44636, 11582]


def test_another_file_is_no_tokenizer(tmp_path):
  path, num = vocabulary(tmp_path)
  with pytest.raises(ValueError, match=f'not the tokenizer of this network: {num} tokens, .* wanted 50265'):
    clap.load_tokenizer(path, 50265)
  path.write_text('{"model": {"vocab": {"a": 0}}}')
  with pytest.raises(ValueError, match='is no tokenizer of RoBERTa'):
    clap.load_tokenizer(path, num)


def test_what_is_missing_is_said_and_a_checkpoint_of_training_is_read(tmp_path, monkeypatch):
  (missing,) = catalog.load(['clap'], tmp_path)
  assert f'weights {clap.CHECKPOINT.file} missing, weights {clap.TOKENIZER.file} missing' in missing.reason
  path, num = vocabulary(tmp_path)
  weights = clap_weights.weights(clap_weights.clap_shapes((16, 128, 64), ((2, 2, 2, 2), 1), num))
  made = {f'state_dict.module.{name}': np.asarray(value) for name, value in weights.items()}
  made |= {
    'optimizer.state.0.exp_avg': np.zeros(3),
    'state_dict.module.text_branch.embeddings.position_ids': np.arange(4),
  }
  checkpoint = dataclasses.replace(clap.CHECKPOINT, file='clap.safetensors', checksum=None)
  monkeypatch.setattr(clap, 'CHECKPOINT', checkpoint)
  safetensors.numpy.save_file(made, tmp_path / checkpoint.file)
  pytest.importorskip('tokenizers', reason='the extra clap is not installed')
  found = clap.load(tmp_path / checkpoint.file, path)
  assert len(found.digest) == 64 and found.name == 'clap'
