"""ImageBind against figures of its own network and av-benchmark's front end with the same weights."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import reference
from tests.models.published import specs
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames
from v2a.metrics.embedders import imagebind
from v2a.metrics.embedders import waves
from v2a.models.published import layers

# Made with ImageBind 53680b02d7, av-benchmark 050a5cdb9b, pytorchvideo 6cdc929315, torchaudio 2.9.0 and torch
# 2.13.0: the network of `narrow`, hearing reference.wave of 4.3 s at 44.1 kHz, stereo, and seeing noise.
SPANS = {
  64000: [(0, 32000), (16000, 48000), (32000, 64000)],
  65573: [(0, 32000), (16786, 48786), (33572, 65572)],
  71999: [(0, 32000), (19999, 51999), (39998, 71998)],
  20000: [(0, 32000)] * 3,
}
MEL = (-0.33269766, -1.0596733, -0.68285114, -1.2775646, -0.9174673)
SEEN = (0.08670818, 0.02616916, 0.19918968, -0.09667853, -0.2017331, -0.2268933)
HEARD = (-1.9836267, -6.5610504, -1.9242786, 1.8727847, -0.05104217, -0.24069817)
# Of FFmpeg's filter fps=0.5: the pictures that it lets through.
KNOWN_PICTURES = (
  (25.0, 100, (24, 74)),
  (25.0, 200, (24, 74, 124, 174)),
  (29.97, 239, (29, 89, 149)),
  (24.0, 96, (23, 71)),
  (8.0, 64, (7, 23, 39, 55)),
)
WIDTHS = {1280: 160, 3840: 480, 5120: 640, 768: 128, 2304: 384, 3072: 512, 1024: 64}


def narrow():
  """Returns random weights of the published names with two blocks in each of both branches."""
  shapes = specs.shapes('imagebind_huge')
  shapes = {name: shape for name, shape in shapes.items() if not name.startswith(imagebind.IGNORED)}
  for kind in ('vision', 'audio'):
    shapes = reference.narrow(shapes, WIDTHS, f'modality_trunks.{kind}.blocks.', 2)
  made = {}
  # Sines, as elsewhere, leave nothing of the picture in the class token.
  for seed, (name, shape) in enumerate(sorted(shapes.items())):
    value = np.random.default_rng(seed).standard_normal(shape)
    if len(shape) > 1:
      value /= np.sqrt(np.prod(shape[1:]))
    else:
      value = 0.1 * value + name.endswith('weight')
    made[name] = np.asarray(value, np.float32)
  made['modality_postprocessors.audio.1.log_logit_scale'] = np.array(np.log(20.0), np.float32)
  return made


def clip():
  """Returns the reference's sound and pictures; what the protocol does not take of them is another."""
  frame_LYX3 = np.random.default_rng(0).integers(0, 256, (20, 224, 300, 3), dtype=np.uint8)
  shown = frames.Frames(frame_LYX3, 5.0)
  return embedder_lib.Clip(reference.wave(int(44100 * 4.3), 2, 44100), 44100, shown)


def test_a_clip_as_av_benchmark_sees_and_hears_it(tmp_path, monkeypatch):
  path = tmp_path / 'imagebind.safetensors'
  other = {'modality_heads.text.proj.1.weight': np.zeros((2, 2), np.float32)}
  safetensors.numpy.save_file({**narrow(), **other}, path)
  monkeypatch.setattr(imagebind, 'CHECKPOINT', None)
  net = imagebind.load(path)
  arrays = net.embed(clip())
  assert arrays['seen_F'].shape == arrays['heard_F'].shape == (64,)
  np.testing.assert_allclose(arrays['seen_F'][:6], SEEN, atol=1e-5)
  np.testing.assert_allclose(arrays['heard_F'][:6], HEARD, atol=2e-3)
  assert np.linalg.norm(arrays['seen_F']) == pytest.approx(0.9916356801986694, rel=1e-5)
  assert np.linalg.norm(arrays['heard_F']) == pytest.approx(19.99477195739746, rel=1e-5)
  assert net.scores(arrays) == {'ib': pytest.approx(-0.1356162428855896, abs=2e-5)}


def test_every_weight_of_the_published_branches_is_read():
  shapes = specs.shapes('imagebind_huge')
  structs = {key: jax.ShapeDtypeStruct(shape, np.float32) for key, shape in shapes.items()}
  inputs = (
    jax.ShapeDtypeStruct((3, 3, 2, 224, 224), np.float32),
    jax.ShapeDtypeStruct((3, 128, 204), np.float32),
  )
  read = layers.check(imagebind.apply, structs, inputs, 'spec', ignored=imagebind.IGNORED)
  assert read == {key for key in shapes if '.vision.' in key or '.audio.' in key}
  count = lambda kind: sum(int(np.prod(shapes[key])) for key in read if f'.{kind}.' in key and shapes[key])
  assert (count('vision'), count('audio')) == (632_829_440, 86_235_648)


@pytest.mark.parametrize('num_samples', SPANS)
def test_three_clips_of_a_sound(num_samples):
  found = imagebind.audio_clip_spans(num_samples)
  assert [(span.start, span.stop) for span in found] == SPANS[num_samples]


def test_log_mels_as_av_benchmark_makes_them():
  heard = clip()
  wave_N = waves.resample(heard.wave_NA[:, 0], 44100, 16000)
  mel_BRJ = imagebind.log_mels(wave_N)
  assert mel_BRJ.shape == (3, 128, 204)
  np.testing.assert_allclose(mel_BRJ[1, :5, 30], MEL, atol=2e-4)
  assert mel_BRJ.mean() == pytest.approx(-0.8272036910057068, abs=1e-5)
  assert mel_BRJ.std() == pytest.approx(0.6267082691192627, abs=1e-5)
  np.testing.assert_allclose(mel_BRJ[:, :, 198:], 4.268 / 9.138, rtol=1e-6)
  # An offset is taken away from each frame.
  np.testing.assert_allclose(imagebind.log_mels(wave_N + np.float32(0.25)), mel_BRJ, atol=1e-3)


@pytest.mark.parametrize(('fps', 'num', 'taken'), KNOWN_PICTURES)
def test_pictures_are_those_that_ffmpeg_takes(fps, num, taken):
  frame_LYX3 = np.broadcast_to(np.arange(num, dtype=np.uint8)[:, None, None, None], (num, 224, 224, 3))
  made_G3LYX = imagebind.three_crops(frames.Frames(frame_LYX3, fps).frames_at_fps(0.5, len(taken)))
  assert made_G3LYX.shape == (3, 3, len(taken), 224, 224)
  value_L3 = made_G3LYX[0, :, :, 5, 7].T * [0.26862954, 0.26130258, 0.27577711]
  value_L3 += [0.48145466, 0.4578275, 0.40821073]
  np.testing.assert_allclose(value_L3 * 255, np.repeat(np.array(taken)[:, None], 3, axis=1), atol=1e-3)


@pytest.mark.parametrize(
  ('shape', 'corners'),
  [
    ((224, 300), [(0, 0), (0, 38), (0, 76)]),
    ((301, 224), [(0, 0), (39, 0), (77, 0)]),
    ((224, 224), [(0, 0)] * 3),
  ],
)
def test_three_squares_of_a_picture(shape, corners):
  place_YX3 = np.zeros((*shape, 3), np.uint8)
  place_YX3[..., 0], place_YX3[..., 1] = np.indices(shape) % 256
  made_G3LYX = imagebind.three_crops([place_YX3])
  found_G2 = made_G3LYX[:, :2, 0, 0, 0] * [0.26862954, 0.26130258] + [0.48145466, 0.4578275]
  np.testing.assert_allclose(found_G2 * 255, corners, atol=1e-3)


def test_what_the_protocol_does_not_take_is_refused():
  net, enough = imagebind.ImageBind({}, 'd'), clip()
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 4 s of picture; a clip has 3.800 s'):
    short = frames.Frames(enough.pictures.frame_LYX3[:19], 5.0)
    net.embed(embedder_lib.Clip(enough.wave_NA, 44100, short))
  with pytest.raises(embedder_lib.UnsupportedClipError, match='needs 25 ms of sound; a clip has 0.024 s'):
    net.embed(embedder_lib.Clip(enough.wave_NA[:1050], 44100, enough.pictures))


def test_a_clip_is_two_pictures_that_follow_each_other(monkeypatch):
  net = imagebind.ImageBind({}, 'd')
  seen = []
  monkeypatch.setattr(
    net, '_encode_video', lambda weights, frame_B3LYX: seen.append(frame_B3LYX) or np.eye(3)
  )
  monkeypatch.setattr(net, '_encode_audio', lambda weights, mel_BRJ: 20 * np.eye(3))
  frame_LYX3 = np.repeat(np.arange(4, dtype=np.uint8), 2)[:, None, None, None] * np.full(
    (224, 224, 3), 50, np.uint8
  )
  arrays = net.embed(embedder_lib.Clip(reference.wave(16000), 16000, frames.Frames(frame_LYX3, 1.0)))
  assert [part.shape for part in seen] == [(3, 3, 2, 224, 224)] * 3
  red_L = [[part[0, 0, l, 0, 0] * 0.26862954 + 0.48145466 for l in range(2)] for part in seen]
  np.testing.assert_allclose(np.array(red_L) * 255, [[0, 50], [50, 100], [100, 150]], atol=1e-3)
  np.testing.assert_allclose(arrays['seen_F'], 1 / 3)
  assert net.scores(arrays) == {'ib': pytest.approx(1.0)}
  assert net.scores({'seen_F': -arrays['seen_F'], 'heard_F': 3 * arrays['heard_F']})['ib'] == pytest.approx(
    -1.0
  )
