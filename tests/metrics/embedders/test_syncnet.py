"""SyncNet against figures of syncnet_python's own network and distances with the same weights, and shifts."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.metrics.embedders import syncnet
from v2a.models.published import layers
from v2a.models.published import spectrograms

# Made with syncnet_python 6efbb1c305, python_speech_features 0.6 and torch 2.13.0: the narrow network of
# reference.weights, hearing reference.wave of nine pictures and a half, seeing noise.
NUM_FRAMES = 9
CEPSTRA = (21.13263212, 4.75351517, -6.93314336, 55.01049647, -17.63890495, -4.90397872, 20.87325516)
WIDTHS = {64: 16, 96: 24, 192: 48, 256: 64, 384: 96, 512: 128, 1024: 128}
DISTANCES = (0.64364094, 6.840874, 13.052, 19.31474, 25.514627, 19.317392, 13.106268, 6.8435297, 0.64364094)


def wave():
  """Returns the reference's sound as wave_NA."""
  return reference.wave(640 * NUM_FRAMES + 300)


def test_cepstra_as_python_speech_features_makes_them():
  cepstrum_FJ = syncnet.mfcc(wave()[:, 0])
  assert cepstrum_FJ.shape == (13, 37)
  np.testing.assert_allclose(cepstrum_FJ[:7, 3], CEPSTRA, atol=1e-5)
  # The last frame is filled up with zeros.
  np.testing.assert_allclose(cepstrum_FJ[:3, -1], (20.88071654, 0.53808062, 4.96317776), atol=1e-5)
  assert cepstrum_FJ.mean() == pytest.approx(-5.354956119993526, rel=1e-6)
  assert cepstrum_FJ.std() == pytest.approx(25.350996443185, rel=1e-6)
  silence_JF = spectrograms.mfcc(np.zeros(1000))
  assert silence_JF[0, 0] == pytest.approx(-36.04365339) and np.abs(silence_JF[:, 1:]).max() < 1e-9
  # Louder than full scale is cut, not wrapped.
  assert syncnet.mfcc(np.full(400, 1.5))[0, 0] == pytest.approx(syncnet.mfcc(np.full(400, 1.0))[0, 0])


def test_a_clip_as_syncnet_python_sees_and_hears_it(tmp_path, monkeypatch):
  path = tmp_path / 'syncnet.safetensors'
  shapes = reference.narrow(specs.shapes('syncnet_v2'), WIDTHS, '-', 1)
  safetensors.numpy.save_file(reference.weights(shapes), path)
  monkeypatch.setattr(syncnet, 'CHECKPOINT', None)
  # Four windows in two parts, the second of which has one only.
  monkeypatch.setattr(syncnet, '_NUM_WINDOWS', 3)
  net = syncnet.load(path)
  frame_LYX3 = np.random.default_rng(1).integers(0, 256, (NUM_FRAMES, 224, 224, 3), dtype=np.uint8)
  distance_NG = net.embed(embedder_lib.Clip(wave(), 16000, frames.Frames(frame_LYX3, 25.0)))['distance_NG']
  assert distance_NG.shape == (4, 31)
  np.testing.assert_allclose(distance_NG.mean(axis=0)[11:20], DISTANCES, rtol=2e-5)
  # Ten of the shifts and more have nothing but zeros on the side of the sound.
  found = net.scores({'distance_NG': distance_NG})
  assert found == {'lse_c': pytest.approx(0.0, abs=1e-5), 'lse_d': pytest.approx(0.64364094, rel=2e-5)}


def test_every_weight_of_the_published_file_is_read():
  shapes = specs.shapes('syncnet_v2')
  structs = {key: jax.ShapeDtypeStruct(shape, np.float32) for key, shape in shapes.items()}
  inputs = (
    jax.ShapeDtypeStruct((1, 3, 5, 224, 224), np.float32),
    jax.ShapeDtypeStruct((1, 13, 20), np.float32),
  )
  read = layers.check(syncnet.apply, structs, inputs, 'spec')
  assert set(shapes) - read == {key for key in shapes if key.endswith('num_batches_tracked')}
  trained = [key for key in read if 'running' not in key]
  assert sum(int(np.prod(shapes[key])) for key in trained) == 13_631_616


@pytest.fixture
def net(monkeypatch):
  """Returns SyncNet with features made by hand: the level of each of the five pictures, seen and heard."""
  noise_N = np.random.default_rng(1).standard_normal(16000)
  low, high = (spectrograms.mfcc(sigma * noise_N)[:, 0].mean() for sigma in (100, 10_000))
  monkeypatch.setattr(syncnet, 'SIZE', 8)
  made = syncnet.SyncNet({}, 'd')
  made._encode_video = lambda weights, frame_B3LYX: frame_B3LYX.mean(axis=(1, 3, 4)) / 255
  made._encode_audio = lambda weights, cepstrum_BFJ: (
    (cepstrum_BFJ[:, 0].reshape(-1, 5, 4).mean(axis=2) - low) / (high - low)
  )
  return made


@pytest.mark.parametrize(('late', 'fps'), [(-3, 25.0), (0, 25.0), (0, 50.0), (4, 25.0)])
def test_a_later_sound_moves_the_best_shift(net, late, fps):
  rng = np.random.default_rng(0)
  level_L = rng.uniform(size=50)
  wave_N = 100 * 100 ** np.repeat(level_L, 640) * rng.standard_normal(32000) / 32768
  frame_LYX3 = np.repeat(np.rint(255 * level_L), int(fps) // 25).astype(np.uint8)
  frame_LYX3 = np.broadcast_to(frame_LYX3[:, None, None, None], (len(frame_LYX3), 8, 8, 3))
  clip = embedder_lib.Clip(np.roll(wave_N, 640 * late)[:, None], 16000, frames.Frames(frame_LYX3, fps))
  arrays = net.embed(clip)
  assert arrays['distance_NG'].shape == (45, 31)
  mean_G = arrays['distance_NG'].mean(axis=0)
  assert mean_G.argmin() - 15 == late
  found = net.scores(arrays)
  assert found['lse_d'] == mean_G.min()
  assert found['lse_c'] == pytest.approx(np.sort(mean_G)[15] - mean_G.min()) and found['lse_c'] > 0.2


def test_pictures_are_blue_first_and_whole():
  frame_LYX3 = np.zeros((2, 10, 20, 3), np.uint8)
  frame_LYX3[:, :, :10, 0], frame_LYX3[1, 5:, :, 2] = 200, 100
  made_L3YX = syncnet.resize_frames(frames.Frames(frame_LYX3, 12.5).frames_at_fps(25, 4))
  assert made_L3YX.shape == (4, 3, 224, 224) and made_L3YX.dtype == np.uint8
  np.testing.assert_array_equal(made_L3YX[:, 2, 0, [0, 100, 123, 223]], [[200, 200, 0, 0]] * 4)
  np.testing.assert_array_equal(made_L3YX[:, 0, [100, 223], 223], [[0, 0], [0, 0], [0, 100], [0, 100]])


def test_one_window_is_needed(net):
  frame_LYX3 = np.zeros((6, 8, 8, 3), np.uint8)
  enough = embedder_lib.Clip(wave()[: 640 * 6], 16000, frames.Frames(frame_LYX3, 25.0))
  assert net.embed(enough)['distance_NG'].shape == (1, 31)
  with pytest.raises(
    embedder_lib.UnsupportedClipError, match='needs 0.24 s of sound and picture; a clip has 0.20 s'
  ):
    net.embed(embedder_lib.Clip(wave()[: 640 * 6 - 1], 16000, frames.Frames(frame_LYX3, 25.0)))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='a clip has 0.20 s'):
    net.embed(embedder_lib.Clip(wave(), 16000, frames.Frames(frame_LYX3[:5], 25.0)))
