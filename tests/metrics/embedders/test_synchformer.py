"""The Synchformer embedder: offset logits against values of av-benchmark, DeSync, short clips."""

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


@pytest.mark.slow
def test_offset_logits_equal_av_benchmark():
  net = synchformer.Synchformer(small_networks.synchformer(), 'd')
  noise_L3YX = np.random.default_rng(0).integers(0, 256, (120, 3, 224, 224), dtype=np.uint8)
  frame_LYX3 = noise_L3YX.transpose(0, 2, 3, 1)
  clip = embedder_lib.Clip(reference.wave(76800), 16000, frames.Frames(frame_LYX3, 25.0))
  logits_NO = net.embed(clip)['offset_logits_NO']
  np.testing.assert_allclose(logits_NO[:, :8], [LOGITS] * 2, atol=2e-3)
