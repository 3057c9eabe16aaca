"""ImageBind's front ends against values of av-benchmark; its weights."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import imagebind
from v2a.models.published import layers
from v2a.models.published import waveforms

# Of av-benchmark 050a5cdb9b, pytorchvideo 6cdc929315 and torchaudio 2.9.0, see
# tests/metrics/embedders/test_imagebind.py.
SPANS = {
  64000: [(0, 32000), (16000, 48000), (32000, 64000)],
  65573: [(0, 32000), (16786, 48786), (33572, 65572)],
  71999: [(0, 32000), (19999, 51999), (39998, 71998)],
  20000: [(0, 32000)] * 3,
}
MEL = (-0.33269766, -1.0596733, -0.68285114, -1.2775646, -0.9174673)


def test_all_weights_of_the_audio_and_vision_branches_are_read():
  shapes = specs.shapes('imagebind_huge')
  inputs = (
    jax.ShapeDtypeStruct((3, 3, 2, 224, 224), np.float32),
    jax.ShapeDtypeStruct((3, 128, 204), np.float32),
  )
  read = layers.check_shapes(
    imagebind.apply, reference.structs(shapes), inputs, 'spec', ignored=imagebind.IGNORED
  )
  assert read == {key for key in shapes if '.vision.' in key or '.audio.' in key}
  # Scalars, such as the scale of the logits, are not counted.
  count = lambda kind: reference.num_parameters(
    {key: shapes[key] for key in read if f'.{kind}.' in key and shapes[key]}
  )
  assert (count('vision'), count('audio')) == (632_829_440, 86_235_648)


@pytest.mark.parametrize('num_samples', SPANS)
def test_audio_clips_are_evenly_spaced(num_samples):
  found = imagebind.audio_clip_spans(num_samples)
  assert [(span.start, span.stop) for span in found] == SPANS[num_samples]


def test_log_mels_equal_av_benchmark():
  wave_NA = reference.wave(int(44100 * 4.3), 2, 44100)
  wave_N = waveforms.resample(wave_NA[:, 0], 44100, 16000)
  mel_BRJ = imagebind.log_mels(wave_N)
  assert mel_BRJ.shape == (3, 128, 204)
  np.testing.assert_allclose(mel_BRJ[1, :5, 30], MEL, atol=2e-4)
  assert mel_BRJ.mean() == pytest.approx(-0.8272036910057068, abs=1e-5)
  assert mel_BRJ.std() == pytest.approx(0.6267082691192627, abs=1e-5)
  np.testing.assert_allclose(mel_BRJ[:, :, 198:], 4.268 / 9.138, rtol=1e-6)
  # The mean of each frame is subtracted, so an offset has no effect.
  np.testing.assert_allclose(imagebind.log_mels(wave_N + np.float32(0.25)), mel_BRJ, atol=1e-3)


@pytest.mark.parametrize(
  ('shape', 'corners'),
  [
    ((224, 300), [(0, 0), (0, 38), (0, 76)]),
    ((301, 224), [(0, 0), (39, 0), (77, 0)]),
    ((224, 224), [(0, 0)] * 3),
  ],
)
def test_three_crops_lie_along_the_longer_side(shape, corners):
  position_YX3 = np.zeros((*shape, 3), np.uint8)
  position_YX3[..., 0], position_YX3[..., 1] = np.indices(shape) % 256
  crop_G3LYX = imagebind.three_crops([position_YX3])
  found_G2 = crop_G3LYX[:, :2, 0, 0, 0] * [0.26862954, 0.26130258] + [0.48145466, 0.4578275]
  np.testing.assert_allclose(found_G2 * 255, corners, atol=1e-3)
