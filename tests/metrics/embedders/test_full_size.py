"""Embedders of the published networks at full size, with reference weights, on a video file."""

import gc

import jax
import numpy as np
import pytest

from tests.media import films
from tests.models.published import clap_weights
from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import clap
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.metrics.embedders import imagebind
from v2a.metrics.embedders import panns
from v2a.metrics.embedders import passt
from v2a.metrics.embedders import synchformer
from v2a.metrics.embedders import syncnet
from v2a.metrics.embedders import vggish
from v2a.models.published import imagebind as imagebind_network

CLIP_S, RATE_HZ = 5.0, 48000
# By network: constructor, name of its tensor spec, and shapes of the arrays of a clip.
NETWORKS = {
  'vggish': (vggish.Vggish, 'vggish_torch', {'rows_NF': (5, 128)}),
  'panns': (panns.Panns, 'panns_cnn14_16k', {'rows_NF': (1, 2048), 'logits_O': (527,)}),
  'passt': (passt.Passt, 'passt_s_ap476', {'rows_NF': (1, 768), 'logits_O': (527,)}),
  'synchformer': (synchformer.Synchformer, 'synchformer', {'offset_logits_NO': (2, 21)}),
  'syncnet': (syncnet.SyncNet, 'syncnet_v2', {'distance_NG': (120, 31)}),
  'imagebind': (imagebind.ImageBind, 'imagebind_huge', {'seen_F': (1024,), 'heard_F': (1024,)}),
  'clap': (
    lambda weights, digest: clap.Clap(weights, lambda text: [30] * len(text), digest),
    None,
    {'rows_NF': (1, 512), 'text_F': (512,)},
  ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_arrays_of_a_video_have_the_published_sizes(tmp_path, name):
  construct, spec, expected = NETWORKS[name]
  shapes = specs.shapes(spec) if spec else clap_weights.PUBLISHED
  read = {key: shape for key, shape in shapes.items() if not key.startswith(imagebind_network.IGNORED)}
  weights = reference.weights(read)
  path = films.make(tmp_path / 'film', duration_s=CLIP_S, fps=30, height=270, width=480)
  wave_NA = reference.wave(round(CLIP_S * RATE_HZ), 2, RATE_HZ)
  net = construct({key: jax.numpy.asarray(array) for key, array in weights.items()}, 'd')
  del weights
  arrays = net.embed(embedder_lib.Clip(wave_NA, RATE_HZ, frames.Video(path, CLIP_S), 'A dog'))
  assert {key: array.shape for key, array in arrays.items()} == expected
  assert all(np.isfinite(array).all() and array.std() > 0 for array in arrays.values())
  assert all(np.isfinite(score) for score in net.scores(arrays).values())
  del net
  gc.collect()
