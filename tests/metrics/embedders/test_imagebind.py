"""The ImageBind embedder: embeddings against values of av-benchmark, which frames it uses, short clips."""

import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import reference
from tests.models.published import small_networks
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.metrics.embedders import imagebind
from v2a.models.published import imagebind as network

# Of ImageBind 53680b02d7, av-benchmark 050a5cdb9b, pytorchvideo 6cdc929315, torchaudio 2.9.0 and torch
# 2.13.0: small_networks.imagebind_branches on reference.wave of 4.3 s at 44.1 kHz, stereo, and frames of
# noise.
VIDEO = (0.08670818, 0.02616916, 0.19918968, -0.09667853, -0.2017331, -0.2268933)
AUDIO = (-1.9836267, -6.5610504, -1.9242786, 1.8727847, -0.05104217, -0.24069817)
# Of FFmpeg's filter fps=0.5: frame rate, number of frames, indices of the selected frames.
SELECTED_FRAMES = (
  (25.0, 100, (24, 74)),
  (25.0, 200, (24, 74, 124, 174)),
  (29.97, 239, (29, 89, 149)),
  (24.0, 96, (23, 71)),
  (8.0, 64, (7, 23, 39, 55)),
)


def reference_clip():
  """Returns the reference's audio and video."""
  frame_LYX3 = np.random.default_rng(0).integers(0, 256, (20, 224, 300, 3), dtype=np.uint8)
  wave_NA = reference.wave(int(44100 * 4.3), 2, 44100)
  return embedder_lib.Clip(wave_NA, 44100, frames.Frames(frame_LYX3, 5.0))


def test_embeddings_and_score_equal_av_benchmark(tmp_path, monkeypatch):
  path = tmp_path / 'imagebind.safetensors'
  other_branch = {'modality_heads.text.proj.1.weight': np.zeros((2, 2), np.float32)}
  safetensors.numpy.save_file({**small_networks.imagebind_branches(), **other_branch}, path)
  monkeypatch.setattr(network, 'CHECKPOINT', None)
  net = imagebind.load(path)
  arrays = net.embed(reference_clip())
  video_F, audio_F = arrays[imagebind.VIDEO], arrays[imagebind.AUDIO]
  assert video_F.shape == audio_F.shape == (64,)
  np.testing.assert_allclose(video_F[:6], VIDEO, atol=1e-5)
  np.testing.assert_allclose(audio_F[:6], AUDIO, atol=2e-3)
  assert np.linalg.norm(video_F) == pytest.approx(0.9916356801986694, rel=1e-5)
  assert np.linalg.norm(audio_F) == pytest.approx(19.99477195739746, rel=1e-5)
  assert net.scores(arrays) == {'ib': pytest.approx(-0.1356162428855896, abs=2e-5)}


@pytest.mark.parametrize(('fps', 'num', 'selected'), SELECTED_FRAMES)
def test_selected_frames_are_those_of_ffmpeg(fps, num, selected):
  frame_LYX3 = np.broadcast_to(np.arange(num, dtype=np.uint8)[:, None, None, None], (num, 224, 224, 3))
  crop_G3LYX = network.three_crops(frames.Frames(frame_LYX3, fps).frames_at_fps(0.5, len(selected)))
  assert crop_G3LYX.shape == (3, 3, len(selected), 224, 224)
  value_L3 = crop_G3LYX[0, :, :, 5, 7].T * [0.26862954, 0.26130258, 0.27577711]
  value_L3 += [0.48145466, 0.4578275, 0.40821073]
  np.testing.assert_allclose(value_L3 * 255, np.repeat(np.array(selected)[:, None], 3, axis=1), atol=1e-3)


def test_short_clips_are_not_supported():
  net, clip = imagebind.ImageBind({}, 'd'), reference_clip()
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 4 s of video; the clip has 3.800 s'):
    short = frames.Frames(clip.frames.frame_LYX3[:19], 5.0)
    net.embed(embedder_lib.Clip(clip.wave_NA, 44100, short))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 25 ms of audio; the clip has 0.024 s'):
    net.embed(embedder_lib.Clip(clip.wave_NA[:1050], 44100, clip.frames))


def test_each_video_clip_is_two_consecutive_frames(monkeypatch):
  net = imagebind.ImageBind({}, 'd')
  batches = []
  monkeypatch.setattr(
    net, '_encode_video', lambda weights, frame_B3LYX: batches.append(frame_B3LYX) or np.eye(3)
  )
  monkeypatch.setattr(net, '_encode_audio', lambda weights, mel_BRJ: 20 * np.eye(3))
  level_L = 50 * np.repeat(np.arange(4, dtype=np.uint8), 2)
  frame_LYX3 = level_L[:, None, None, None] * np.ones((224, 224, 3), np.uint8)
  arrays = net.embed(embedder_lib.Clip(reference.wave(16000), 16000, frames.Frames(frame_LYX3, 1.0)))
  assert [batch.shape for batch in batches] == [(3, 3, 2, 224, 224)] * 3
  red_GL = [[batch[0, 0, l, 0, 0] * 0.26862954 + 0.48145466 for l in range(2)] for batch in batches]
  np.testing.assert_allclose(np.array(red_GL) * 255, [[0, 50], [50, 100], [100, 150]], atol=1e-3)
  np.testing.assert_allclose(arrays[imagebind.VIDEO], 1 / 3)
  assert net.scores(arrays) == {'ib': pytest.approx(1.0)}
  opposite = {imagebind.VIDEO: -arrays[imagebind.VIDEO], imagebind.AUDIO: 3 * arrays[imagebind.AUDIO]}
  assert net.scores(opposite)['ib'] == pytest.approx(-1.0)
