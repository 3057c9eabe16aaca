"""The Synchformer embedder: offset logits against values of av-benchmark, DeSync, short clips."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import small_networks
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.metrics.embedders import synchformer

# See tests/models/published/test_synchformer.py.
LOGITS = (-0.62739986, -2.3080502, 2.234311, 0.77289563, -2.7491965, 1.158935, 1.9706502, -2.5035617)


def test_desync_is_the_mean_of_both_offsets_in_seconds():
  logits_NO = np.zeros((2, 21))
  logits_NO[0, 10], logits_NO[1, 0] = 1.0, 1.0
  assert synchformer.Synchformer({}, 'd').scores({'offset_logits_NO': logits_NO}) == {
    'desync': pytest.approx(1.0)
  }


def test_clips_under_4_8_seconds_are_not_supported():
  frame_LYX3 = np.zeros((100, 48, 48, 3), np.uint8)
  clip = embedder_lib.Clip(reference.wave(128000), 16000, frames.Frames(frame_LYX3, 25.0))
  with pytest.raises(
    embedder_lib.UnsupportedClipError, match='needs 4.8 s of audio and video; the clip has 4.000 s'
  ):
    synchformer.Synchformer({}, 'd').embed(clip)


def test_longer_clips_are_measured_at_both_ends(monkeypatch):
  # The networks return the numbers of the frames and of the mel segments that they are given.
  net = synchformer.synchformer
  monkeypatch.setattr(
    net,
    'center_crops',
    lambda images: np.array([image_YX3[:1, :1].transpose(2, 0, 1) for image_YX3 in images]),
  )
  monkeypatch.setattr(net, 'log_mels', lambda wave_N: np.arange(30.0)[:, None, None] * np.ones((1, 2, 2)))
  monkeypatch.setattr(net, 'encode_video', lambda weights, frame_G3LYX: frame_G3LYX[:, :1, :, 0, 0] * 1.0)
  monkeypatch.setattr(net, 'encode_audio', lambda weights, mel_GRJ: mel_GRJ[:, :1, :1])
  monkeypatch.setattr(
    net,
    'predict_offset',
    lambda weights, video_GSF, audio_GSF: jnp.stack([video_GSF[0, :, 0], audio_GSF[0, :, 0]])[None],
  )
  frame_LYX3 = np.arange(160, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
  clip = embedder_lib.Clip(reference.wave(102400), 16000, frames.Frames(frame_LYX3, 25.0))
  first, last = synchformer.Synchformer({}, 'd').embed(clip)['offset_logits_NO']
  # 6.4 s are 19 segments of 16 frames, one every 8 frames: the first 14 and the last 14.
  np.testing.assert_allclose(first, [8 * np.arange(14), np.arange(14)])
  np.testing.assert_allclose(last, [8 * np.arange(5, 19), np.arange(5, 19)])


@pytest.mark.slow
def test_offset_logits_equal_av_benchmark():
  net = synchformer.Synchformer(small_networks.synchformer(), 'd')
  noise_L3YX = np.random.default_rng(0).integers(0, 256, (120, 3, 224, 224), dtype=np.uint8)
  frame_LYX3 = noise_L3YX.transpose(0, 2, 3, 1)
  clip = embedder_lib.Clip(reference.wave(76800), 16000, frames.Frames(frame_LYX3, 25.0))
  logits_NO = net.embed(clip)['offset_logits_NO']
  np.testing.assert_allclose(logits_NO[:, :8], [LOGITS] * 2, atol=2e-3)
