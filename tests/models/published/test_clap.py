"""LAION-CLAP's spectrogram against values of the published code; padding, tokenizer, weights."""

import json

import numpy as np
import pytest

from tests.models.published import clap_weights
from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import checkpoints
from v2a.models.published import clap
from v2a.models.published import htsat
from v2a.models.published import layers
from v2a.models.published import waveforms

# Of LAION-AI/CLAP 1fd4c37df5, torchlibrosa 0.1.0 and torchaudio 2.9.0, see
# tests/metrics/embedders/test_clap.py.
IMAGE = (-1.385341, 7.085631, -1.0711933, -9.319047)


def test_spectrogram_image_equals_the_published_code():
  wave_NA = reference.wave(88200, 2, 44100) + np.float32(0.25)
  wave_N = waveforms.to_mono(wave_NA, 44100, clap.RATE_HZ)
  parts = tuple(f'audio_branch.{part}' for part in ('spectrogram', 'logmel', 'bn0'))
  shapes = {name: shape for name, shape in clap_weights.SMALL.items() if name.startswith(parts)}
  frame_JN = clap.audio_frames(wave_N).astype(np.float32)
  weights = clap_weights.weights(shapes)
  image_YX = np.asarray(htsat.spectrogram_image(weights, frame_JN[None], 'audio_branch.'))[0]
  np.testing.assert_allclose(image_YX[[0, 70, 200, 255], [3, 100, 0, 255]], IMAGE, atol=2e-3)
  assert image_YX.mean() == pytest.approx(1.1957953, abs=1e-4)
  assert image_YX.std() == pytest.approx(3.14978, rel=1e-4)


@pytest.mark.parametrize(
  ('num_samples', 'position', 'expected'),
  [(200_000, 300_000, 100_001), (200_000, 432_000, 0), (600_000, 432_000, 432_001)],
)
def test_short_audio_is_repeated_whole_and_long_audio_is_cut(num_samples, position, expected):
  frame_JN = clap.audio_frames(np.arange(1, num_samples + 1, dtype=np.float32))
  assert frame_JN.shape == (htsat.NUM_FRAMES, htsat.WINDOW_SAMPLES)
  assert frame_JN[position // htsat.HOP_SAMPLES, htsat.WINDOW_SAMPLES // 2] == expected


def test_tokens_are_truncated_and_padded():
  token_S = clap.pad_tokens(clap_weights.tokenize, 'A' * 100)
  assert len(token_S) == 77 and token_S[0] == 0 and token_S[-1] == 2 and set(token_S[1:-1]) == {30}
  np.testing.assert_array_equal(clap.pad_tokens(clap_weights.tokenize, 'AB')[:6], [0, 30, 31, 2, 1, 1])


def test_all_published_weights_are_read():
  published = clap_weights.PUBLISHED
  shapes = specs.shapes('laion_htsat_base')
  assert {f'audio_branch.{name}': shape for name, shape in shapes.items()}.items() <= published.items()
  read = layers.check_shapes(
    clap.apply, reference.structs(published), clap.INPUTS, 'spec', ignored=clap.IGNORED
  )
  unread = {name.removeprefix('audio_branch.').split('.')[0] for name in set(published) - read}
  transforms = {'audio_transform', 'text_transform', 'logit_scale_a', 'logit_scale_t'}
  assert unread == {*transforms, 'bn0', 'tscam_conv', 'head'}
  others = ('running_mean', 'running_var', 'num_batches_tracked', 'index', 'attn_mask')
  audio = {name: shape for name, shape in shapes.items() if not name.endswith(others)}
  assert reference.num_parameters(audio) == 72_424_535
  # As many as transformers' RobertaModel has at the size of roberta-base.
  text = {name: shape for name, shape in published.items() if name.startswith('text_branch.')}
  assert reference.num_parameters(text) == 124_645_632


def test_tokenizer_merges_pairs_of_bytes(tmp_path):
  pytest.importorskip('tokenizers', reason='the extra clap is not installed')
  path, num = clap_weights.write_tokenizer(tmp_path)
  names = list(json.loads(path.read_text())['model']['vocab'])
  found = [names[token] for token in clap.load_tokenizer(path, num)('dog a dog é')]
  assert found == ['dog', 'Ġa', 'Ġdog', 'Ġ', 'Ã', '©']


def test_published_tokenizer_equals_transformers():
  pytest.importorskip('tokenizers', reason='the extra clap is not installed')
  path = checkpoints.find(clap.TOKENIZER)
  if path is None:
    pytest.skip(f'no {clap.TOKENIZER.file} in the folder of {checkpoints.ENV_VARIABLE}')
  tokenize = clap.load_tokenizer(path, 50265)
  # Of transformers 5.23.0 with the published vocabulary.
  assert tokenize('Hello world') == [31414, 232] and tokenize(' Hello world') == [20920, 232]
  assert tokenize("don't stop café 日本") == [7254, 75, 912, 26059, 47416, 6800, 8210, 44636, 11582]


def test_other_files_are_refused_as_tokenizer(tmp_path):
  path, num = clap_weights.write_tokenizer(tmp_path)
  with pytest.raises(ValueError, match=f'not the tokenizer of this network: {num} tokens, .* wanted 50265'):
    clap.load_tokenizer(path, 50265)
  path.write_text('{"model": {"vocab": {"a": 0}}}')
  with pytest.raises(ValueError, match='is not a tokenizer of RoBERTa'):
    clap.load_tokenizer(path, num)
