"""Synchformer against figures of av-benchmark's own code with the same weights."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.metrics.embedders import synchformer
from v2a.models.published import layers

# Made with av-benchmark 050a5cdb9b, torchaudio 2.9.0 and torch 2.13.0: the narrow network of
# reference.weights, hearing reference.wave of 4.8 s
# and seeing noise.
MEL = (-0.47643188, -0.44721004, -0.57836497, -0.4195994)
HEARD = (-0.6650745, -0.60010403, 1.2597687, -0.05841609, -1.0197653, 0.82686853)
SEEN = (0.5726962, 0.65887004, -1.3945614, 0.09527637, 1.2896792, -1.0449986)
LOGITS = (-0.62739986, -2.3080502, 2.234311, 0.77289563, -2.7491965, 1.158935, 1.9706502, -2.5035617)
WIDTHS = {768: 192, 2304: 576, 3072: 768}


def narrow():
  """Returns weights of the published names with one block of 192 features in each stack."""
  shapes = specs.shapes('synchformer')
  for stack in ('vfeat_extractor.blocks.', 'afeat_extractor.ast.encoder.layer.', 'transformer.blocks.'):
    shapes = reference.narrow(shapes, WIDTHS if stack.startswith('v') else {}, stack, 1)
  return reference.weights(shapes)


def test_every_weight_of_the_published_file_is_read():
  shapes = specs.shapes('synchformer')
  structs = {key: jax.ShapeDtypeStruct(shape, np.float32) for key, shape in shapes.items()}
  inputs = (
    jax.ShapeDtypeStruct((14, 3, 16, 224, 224), np.float32),
    jax.ShapeDtypeStruct((14, 128, 66), np.float32),
  )
  read = layers.check(synchformer.apply, structs, inputs, 'spec', ignored=('vfeat_extractor.patch_embed.',))
  unread = {'vfeat_extractor.patch_embed.proj.weight', 'vfeat_extractor.patch_embed.proj.bias'}
  assert set(shapes) - read == unread
  assert sum(int(np.prod(shape)) for shape in shapes.values()) == 237_460_245


def test_short_clips_are_refused_and_offsets_are_seconds():
  net = synchformer.Synchformer({}, 'd')
  frame_LYX3 = np.zeros((100, 48, 48, 3), np.uint8)
  with pytest.raises(
    embedder_lib.UnsupportedClipError, match='needs 4.8 s of sound and picture; a clip has 4.000 s'
  ):
    net.embed(embedder_lib.Clip(reference.wave(128000), 16000, frames.Frames(frame_LYX3, 25.0)))
  logits_NO = np.zeros((2, 21))
  logits_NO[0, 10], logits_NO[1, 0] = 1.0, 1.0
  assert net.scores({'offset_logits_NO': logits_NO}) == {'desync': pytest.approx(1.0)}


def test_pictures_are_those_on_screen_scaled_and_cut():
  frame_LYX3 = np.zeros((6, 112, 224, 3), np.uint8)
  frame_LYX3[:, :, 56:168] = np.arange(6)[:, None, None, None] * 51
  made_L3YX = synchformer.center_crops(frames.Frames(frame_LYX3, 12.5).frames_at_fps(25, 12))
  assert made_L3YX.shape == (12, 3, 224, 224)
  np.testing.assert_allclose(made_L3YX[:, 0, 100, 100], np.repeat(np.arange(6), 2) * 0.4 - 1, atol=1e-6)


def test_sound_as_av_benchmark_hears_it():
  mel_GRJ = synchformer.log_mels(reference.wave(76800)[:, 0])
  assert mel_GRJ.shape == (14, 128, 66)
  np.testing.assert_allclose(mel_GRJ[3, :4, 20], MEL, atol=2e-4)
  assert mel_GRJ.mean() == pytest.approx(-0.50397849, abs=1e-5)
  heard_GSF = np.asarray(jax.jit(synchformer.encode_audio)(narrow(), mel_GRJ))
  assert heard_GSF.shape == (14, 6, 192)
  np.testing.assert_allclose(heard_GSF[3, 2, :6], HEARD, atol=1e-3)
  assert heard_GSF.std() == pytest.approx(0.84590286, rel=1e-3)


def noise():
  """Returns 4.8 s of pictures as frame_L3YX."""
  return np.random.default_rng(0).integers(0, 256, (120, 3, 224, 224), dtype=np.uint8)


def test_a_segment_as_av_benchmark_sees_it():
  frame_13LYX = (noise()[24:40].astype(np.float32) / 127.5 - 1.0).transpose(1, 0, 2, 3)[None]
  seen_GSF = np.asarray(jax.jit(synchformer.encode_video)(narrow(), frame_13LYX))
  np.testing.assert_allclose(seen_GSF[0, 2, :6], SEEN, atol=1e-3)


@pytest.mark.slow
def test_a_clip_as_av_benchmark_compares_it():
  net = synchformer.Synchformer(narrow(), 'd')
  clip = embedder_lib.Clip(reference.wave(76800), 16000, frames.Frames(noise().transpose(0, 2, 3, 1), 25.0))
  logits_NO = net.embed(clip)['offset_logits_NO']
  np.testing.assert_allclose(logits_NO[:, :8], [LOGITS] * 2, atol=2e-3)


@pytest.mark.parametrize('in_time', [True, False])
def test_patches_attend_to_their_place_in_time_or_to_their_picture(in_time):
  rng = np.random.default_rng(0)
  sizes = {'a.qkv.weight': (192, 64), 'a.qkv.bias': (192,), 'a.proj.weight': (64, 64), 'a.proj.bias': (64,)}
  weights = {name: 0.1 * rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
  x_BSF = rng.standard_normal((1, 1 + 3 * 4, 64)).astype(np.float32)
  other_BSF = x_BSF.copy()
  other_BSF[0, 1 + 1 * 4 + 2] += 1.0
  made, other = (
    np.asarray(synchformer._divided_attention(weights, 'a', each, 3, in_time))[0]
    for each in (x_BSF, other_BSF)
  )
  is_moved = np.abs(made - other).max(axis=1) > 1e-4
  wanted = np.zeros((3, 4), bool)
  wanted[(slice(None), 2) if in_time else (1, slice(None))] = True
  assert not (is_moved[1:] & ~wanted.ravel()).any() and is_moved[1 + 1 * 4 + 2] and is_moved[1:].sum() > 1
