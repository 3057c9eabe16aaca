"""ImageBind as an embedder, for the IB-score as in hkchengrex/av-benchmark.

The first channel of the audio, and one frame every 2 s (the last one shown before 1 s, 3 s, 5 s, ..., as
FFmpeg's filter `fps` rounds). The embeddings of audio and video are the means over their clips; the
IB-score is their cosine similarity, of which papers print 100 times the value.
"""

import pathlib

import jax
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import imagebind
from v2a.models.published import layers
from v2a.models.published import waveforms

NAME = 'imagebind'
VERSION = 1
METRICS = ('ib',)
READS = ('audio', 'video')
FILES = (imagebind.CHECKPOINT,)
VIDEO, AUDIO = 'seen_F', 'heard_F'


class ImageBind(embedder_lib.Embedder):
  """ImageBind under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, READS, METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._encode_video = jax.jit(imagebind.encode_video)
    self._encode_audio = jax.jit(imagebind.encode_audio)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns the embeddings of video and audio.

    Raises:
      UnsupportedClipError: the clip has less than two frames, or less than one frame of a spectrogram.
    """
    net, video_frames = imagebind, embedder_lib.video_frames(clip)
    duration_s = video_frames.duration_s
    num_frames = int(duration_s / net.FRAME_INTERVAL_S + 1e-6)
    if num_frames < net.CLIP_FRAMES:
      raise embedder_lib.UnsupportedClipError(
        f'ImageBind needs 4 s of video; the clip has {duration_s:.3f} s'
      )
    wave_N = waveforms.resample(clip.wave_NA[:, 0], clip.sample_rate_hz, net.RATE_HZ)
    if len(wave_N) < net.MIN_SAMPLES:
      raise embedder_lib.UnsupportedClipError(
        f'ImageBind needs 25 ms of audio; the clip has {len(wave_N) / net.RATE_HZ:.3f} s'
      )
    frame_G3LYX = net.three_crops(video_frames.frames_at_fps(1 / net.FRAME_INTERVAL_S, num_frames))
    # One pair of frames at a time, so that videos of all lengths share one compilation.
    video = [
      np.asarray(self._encode_video(self._weights, frame_G3LYX[:, :, l : l + net.CLIP_FRAMES]))
      for l in range(num_frames - net.CLIP_FRAMES + 1)
    ]
    audio_BF = np.asarray(self._encode_audio(self._weights, net.log_mels(wave_N)))
    return {VIDEO: np.concatenate(video).mean(axis=0), AUDIO: audio_BF.mean(axis=0)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns the IB-score: cosine similarity of video and audio; higher is better."""
    video_F, audio_F = arrays[VIDEO], arrays[AUDIO]
    norms = [max(np.linalg.norm(x_F), 1e-8) for x_F in (video_F, audio_F)]
    return {'ib': float(video_F @ audio_F / (norms[0] * norms[1]))}


def load(path: pathlib.Path) -> ImageBind:
  """Returns the embedder with the weights of a file.

  Raises:
    ValueError: the file is not the published one, or does not hold this network.
  """
  digest = embedder_lib.weights_digest(NAME, VERSION, {path: imagebind.CHECKPOINT})
  return ImageBind(imagebind.load_weights(path), digest)
