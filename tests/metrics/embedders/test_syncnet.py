"""The SyncNet embedder: distances against values of syncnet_python, known offsets, short clips."""

import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import reference
from tests.models.published import small_networks
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.metrics.embedders import syncnet
from v2a.models.published import spectrograms
from v2a.models.published import syncnet as network

# Of syncnet_python 6efbb1c305, python_speech_features 0.6 and torch 2.13.0: small_networks.syncnet on
# reference.wave of nine and a half frames, and frames of noise.
NUM_FRAMES = 9
DISTANCES = (0.64364094, 6.840874, 13.052, 19.31474, 25.514627, 19.317392, 13.106268, 6.8435297, 0.64364094)


def reference_wave():
  """Returns the reference's audio as wave_NA."""
  return reference.wave(640 * NUM_FRAMES + 300)


def test_distances_equal_syncnet_python(tmp_path, monkeypatch):
  path = tmp_path / 'syncnet.safetensors'
  safetensors.numpy.save_file(small_networks.syncnet(), path)
  monkeypatch.setattr(network, 'CHECKPOINT', None)
  # Four windows in two batches, the second of which holds one.
  monkeypatch.setattr(syncnet, '_BATCH_SIZE', 3)
  net = syncnet.load(path)
  frame_LYX3 = np.random.default_rng(1).integers(0, 256, (NUM_FRAMES, 224, 224, 3), dtype=np.uint8)
  clip = embedder_lib.Clip(reference_wave(), 16000, frames.Frames(frame_LYX3, 25.0))
  distance_NG = net.embed(clip)['distance_NG']
  assert distance_NG.shape == (4, 31)
  np.testing.assert_allclose(distance_NG.mean(axis=0)[11:20], DISTANCES, rtol=2e-5)
  # At more than ten of the offsets, all audio features are the zeros of the padding.
  found = net.scores({'distance_NG': distance_NG})
  assert found == {'lse_c': pytest.approx(0.0, abs=1e-5), 'lse_d': pytest.approx(0.64364094, rel=2e-5)}


@pytest.fixture
def net(monkeypatch):
  """Returns SyncNet with encoders that measure the level of each frame of a window, in video and audio."""
  noise_N = np.random.default_rng(1).standard_normal(16000)
  low, high = (spectrograms.mfcc(sigma * noise_N)[:, 0].mean() for sigma in (100, 10_000))
  monkeypatch.setattr(network, 'SIZE', 8)
  embedder = syncnet.SyncNet({}, 'd')
  embedder._encode_video = lambda weights, frame_B3LYX: frame_B3LYX.mean(axis=(1, 3, 4)) / 255
  embedder._encode_audio = lambda weights, cepstrum_BFJ: (
    (cepstrum_BFJ[:, 0].reshape(-1, 5, 4).mean(axis=2) - low) / (high - low)
  )
  return embedder


@pytest.mark.parametrize(('offset', 'fps'), [(-3, 25.0), (0, 25.0), (0, 50.0), (4, 25.0)])
def test_smallest_distance_is_at_the_offset_of_the_audio(net, offset, fps):
  rng = np.random.default_rng(0)
  level_L = rng.uniform(size=50)
  wave_N = 100 * 100 ** np.repeat(level_L, 640) * rng.standard_normal(32000) / 32768
  frame_LYX3 = np.repeat(np.rint(255 * level_L), int(fps) // 25).astype(np.uint8)
  frame_LYX3 = np.broadcast_to(frame_LYX3[:, None, None, None], (len(frame_LYX3), 8, 8, 3))
  clip = embedder_lib.Clip(np.roll(wave_N, 640 * offset)[:, None], 16000, frames.Frames(frame_LYX3, fps))
  arrays = net.embed(clip)
  assert arrays['distance_NG'].shape == (45, 31)
  mean_G = arrays['distance_NG'].mean(axis=0)
  assert mean_G.argmin() - 15 == offset
  found = net.scores(arrays)
  assert found['lse_d'] == mean_G.min()
  assert found['lse_c'] == pytest.approx(np.sort(mean_G)[15] - mean_G.min()) and found['lse_c'] > 0.2


def test_clips_under_six_frames_are_not_supported(net):
  frame_LYX3 = np.zeros((6, 8, 8, 3), np.uint8)
  enough = embedder_lib.Clip(reference_wave()[: 640 * 6], 16000, frames.Frames(frame_LYX3, 25.0))
  assert net.embed(enough)['distance_NG'].shape == (1, 31)
  with pytest.raises(
    embedder_lib.UnsupportedClipError, match='needs 0.24 s of audio and video; the clip has 0.20 s'
  ):
    net.embed(embedder_lib.Clip(reference_wave()[: 640 * 6 - 1], 16000, frames.Frames(frame_LYX3, 25.0)))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='the clip has 0.20 s'):
    net.embed(embedder_lib.Clip(reference_wave(), 16000, frames.Frames(frame_LYX3[:5], 25.0)))
