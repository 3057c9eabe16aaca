"""Synchformer against values of av-benchmark with the same weights."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import small_networks
from tests.models.published import specs
from v2a.models.published import layers
from v2a.models.published import synchformer

# Of av-benchmark 050a5cdb9b, torchaudio 2.9.0 and torch 2.13.0: small_networks.synchformer on
# reference.wave of 4.8 s and frames of noise.
MEL = (-0.47643188, -0.44721004, -0.57836497, -0.4195994)
AUDIO = (-0.6650745, -0.60010403, 1.2597687, -0.05841609, -1.0197653, 0.82686853)
VIDEO = (0.5726962, 0.65887004, -1.3945614, 0.09527637, 1.2896792, -1.0449986)


def test_all_published_weights_are_read():
  shapes = specs.shapes('synchformer')
  inputs = (
    jax.ShapeDtypeStruct((14, 3, 16, 224, 224), np.float32),
    jax.ShapeDtypeStruct((14, 128, 66), np.float32),
  )
  ignored = ('vfeat_extractor.patch_embed.',)
  read = layers.check_shapes(synchformer.apply, reference.structs(shapes), inputs, 'spec', ignored=ignored)
  unread = {'vfeat_extractor.patch_embed.proj.weight', 'vfeat_extractor.patch_embed.proj.bias'}
  assert set(shapes) - read == unread
  assert reference.num_parameters(shapes) == 237_460_245


def test_center_crops_are_scaled_to_one():
  frame_LYX3 = np.zeros((6, 112, 224, 3), np.uint8)
  frame_LYX3[:, :, 56:168] = np.arange(6)[:, None, None, None] * 51
  crop_L3YX = synchformer.center_crops(frame_LYX3)
  assert crop_L3YX.shape == (6, 3, 224, 224) and crop_L3YX.dtype == np.float32
  np.testing.assert_allclose(crop_L3YX[:, 0, 100, 100], np.arange(6) * 0.4 - 1, atol=1e-6)


def test_audio_tokens_equal_av_benchmark():
  mel_GRJ = synchformer.log_mels(reference.wave(76800)[:, 0])
  assert mel_GRJ.shape == (14, 128, 66)
  np.testing.assert_allclose(mel_GRJ[3, :4, 20], MEL, atol=2e-4)
  assert mel_GRJ.mean() == pytest.approx(-0.50397849, abs=1e-5)
  token_GJF = np.asarray(jax.jit(synchformer.encode_audio)(small_networks.synchformer(), mel_GRJ))
  assert token_GJF.shape == (14, 6, 192)
  np.testing.assert_allclose(token_GJF[3, 2, :6], AUDIO, atol=1e-3)
  assert token_GJF.std() == pytest.approx(0.84590286, rel=1e-3)


def test_video_tokens_equal_av_benchmark():
  noise_L3YX = np.random.default_rng(0).integers(0, 256, (120, 3, 224, 224), dtype=np.uint8)
  frame_13LYX = (noise_L3YX[24:40].astype(np.float32) / 127.5 - 1.0).transpose(1, 0, 2, 3)[None]
  token_GLF = np.asarray(jax.jit(synchformer.encode_video)(small_networks.synchformer(), frame_13LYX))
  np.testing.assert_allclose(token_GLF[0, 2, :6], VIDEO, atol=1e-3)


@pytest.mark.parametrize('is_temporal', [True, False])
def test_patches_attend_to_their_position_in_all_frames_or_to_their_frame(is_temporal):
  rng = np.random.default_rng(0)
  shapes = {
    'a.qkv.weight': (192, 64),
    'a.qkv.bias': (192,),
    'a.proj.weight': (64, 64),
    'a.proj.bias': (64,),
  }
  weights = {name: 0.1 * rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
  x_BSF = rng.standard_normal((1, 1 + 3 * 4, 64)).astype(np.float32)
  changed_BSF = x_BSF.copy()
  changed_BSF[0, 1 + 1 * 4 + 2] += 1.0
  before, after = (
    np.asarray(synchformer._divided_attention(weights, 'a', each, 3, is_temporal))[0]
    for each in (x_BSF, changed_BSF)
  )
  is_affected = np.abs(before - after).max(axis=1) > 1e-4
  may_be_affected = np.zeros((3, 4), bool)
  may_be_affected[(slice(None), 2) if is_temporal else (1, slice(None))] = True
  assert not (is_affected[1:] & ~may_be_affected.ravel()).any()
  assert is_affected[1 + 1 * 4 + 2] and is_affected[1:].sum() > 1
