"""Synchformer as an embedder, for DeSync as in hkchengrex/av-benchmark.

The mono mix (its mean is kept) and the frames are encoded in segments; the offset of the first and of the
last 14 segments (4.8 s each) is classified. DeSync is the mean of the absolute values of both most likely
offsets.
"""

import pathlib

import jax
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import layers
from v2a.models.published import synchformer
from v2a.models.published import waveforms

NAME = 'synchformer'
VERSION = 1
METRICS = ('desync',)
READS = ('audio', 'video')
FILES = (synchformer.CHECKPOINT,)
OFFSET_LOGITS = 'offset_logits_NO'


class Synchformer(embedder_lib.Embedder):
  """Synchformer under av-benchmark's protocol; see the module."""

  name, reads, metrics = NAME, READS, METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._encode_video = jax.jit(synchformer.encode_video)
    self._encode_audio = jax.jit(synchformer.encode_audio)
    self._predict_offset = jax.jit(synchformer.predict_offset)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns the offset logits of the first and of the last 4.8 s.

    Raises:
      UnsupportedClipError: the clip is shorter than that.
    """
    net, video_frames = synchformer, embedder_lib.video_frames(clip)
    wave_N = waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, net.RATE_HZ, subtract_mean=False)
    num_frames = int(video_frames.duration_s * net.FPS + 1e-6)
    num_segments = min(
      (len(wave_N) - net.SEGMENT_SAMPLES) // net.STEP_SAMPLES + 1,
      (num_frames - net.SEGMENT_FRAMES) // net.STEP_FRAMES + 1,
    )
    if num_segments < net.NUM_SEGMENTS:
      duration_s = min(len(wave_N) / net.RATE_HZ, num_frames / net.FPS)
      raise embedder_lib.UnsupportedClipError(
        f'Synchformer needs 4.8 s of audio and video; the clip has {duration_s:.3f} s'
      )
    frame_L3YX = net.center_crops(video_frames.frames_at_fps(net.FPS, num_frames))
    mel_GRJ = net.log_mels(wave_N)
    # One segment at a time bounds the memory: a segment has 1569 tokens in each of twelve layers.
    video_GSF, audio_GSF = [], []
    for g in range(num_segments):
      frame_13LYX = frame_L3YX[g * net.STEP_FRAMES :][: net.SEGMENT_FRAMES].transpose(1, 0, 2, 3)[None]
      video_GSF.append(np.asarray(self._encode_video(self._weights, frame_13LYX))[0])
      audio_GSF.append(np.asarray(self._encode_audio(self._weights, mel_GRJ[g : g + 1]))[0])
    logits = []
    for part in (slice(net.NUM_SEGMENTS), slice(num_segments - net.NUM_SEGMENTS, None)):
      tokens = [np.concatenate(segments[part])[None] for segments in (video_GSF, audio_GSF)]
      logits.append(np.asarray(self._predict_offset(self._weights, *tokens))[0])
    return {OFFSET_LOGITS: np.stack(logits)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns DeSync in seconds; lower is better."""
    offset_s = synchformer.OFFSETS_S[arrays[OFFSET_LOGITS].argmax(axis=1)]
    return {'desync': float(np.abs(offset_s).mean())}


def load(path: pathlib.Path) -> Synchformer:
  """Returns the embedder with the weights of a file.

  Raises:
    ValueError: the file is not the published one, or does not hold this network.
  """
  digest = embedder_lib.weights_digest(NAME, VERSION, {path: synchformer.CHECKPOINT})
  return Synchformer(synchformer.load_weights(path), digest)
