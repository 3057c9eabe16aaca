"""SyncNet as an embedder, for the lip-sync metrics LSE-C and LSE-D as in joonson/syncnet_python.

Of F frames, the smaller number of those of video and audio, windows n are the first F - 5. With the
distances d_nk of v2a.models.published.syncnet, eq. 1:

  d_k = mean_n d_nk                                                                                   (1)
  LSE-D = min_k d_k,   LSE-C = median_k d_k - min_k d_k                                               (2)

No face is detected: each whole frame is resized to 224 by 224, so frames must be face crops as syncnet_python
makes them; on other video the metrics are meaningless. That project also compresses the crops by JPEG.
"""

import pathlib

import jax
import numpy as np

from v2a.metrics.embedders import embedder as embedder_lib
from v2a.models.published import layers
from v2a.models.published import syncnet
from v2a.models.published import waveforms

NAME = 'syncnet'
VERSION = 1
METRICS = ('lse_c', 'lse_d')
READS = ('audio', 'video')
FILES = (syncnet.CHECKPOINT,)
DISTANCES = 'distance_NG'
# Windows in one batch.
_BATCH_SIZE = 16


class SyncNet(embedder_lib.Embedder):
  """SyncNet under syncnet_python's protocol; see the module."""

  name, reads, metrics = NAME, READS, METRICS

  def __init__(self, weights: layers.Weights, digest: str):
    self.digest = digest
    self._weights = weights
    self._encode_video = jax.jit(syncnet.encode_video)
    self._encode_audio = jax.jit(syncnet.encode_audio)

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns distance_NG, see `syncnet.offset_distances`.

    Raises:
      UnsupportedClipError: the clip is shorter than one window.
    """
    net, video_frames = syncnet, embedder_lib.video_frames(clip)
    wave_N = waveforms.to_mono(clip.wave_NA, clip.sample_rate_hz, net.RATE_HZ, subtract_mean=False)
    num_frames = min(int(video_frames.duration_s * net.FPS + 1e-6), len(wave_N) * net.FPS // net.RATE_HZ)
    # The reference leaves out the last window.
    num_windows = num_frames - net.WINDOW_FRAMES
    if num_windows < 1:
      min_s = (net.WINDOW_FRAMES + 1) / net.FPS
      raise embedder_lib.UnsupportedClipError(
        f'SyncNet needs {min_s:.2f} s of audio and video; the clip has {num_frames / net.FPS:.2f} s'
      )
    frame_L3YX = net.resize_frames(video_frames.frames_at_fps(net.FPS, num_frames))
    cepstrum_FJ = net.mfcc(wave_N)
    video, audio = [], []
    for first in range(0, num_windows, _BATCH_SIZE):
      # The last batch repeats the last window, so that all batches have one size and one compilation.
      window_N = np.minimum(np.arange(first, first + _BATCH_SIZE), num_windows - 1)
      frames = [frame_L3YX[n : n + net.WINDOW_FRAMES].swapaxes(0, 1) for n in window_N]
      cepstra = [cepstrum_FJ[:, net.CEPSTRA_PER_FRAME * n :][:, : net.WINDOW_CEPSTRA] for n in window_N]
      video.append(np.asarray(self._encode_video(self._weights, np.stack(frames).astype(np.float32))))
      audio.append(np.asarray(self._encode_audio(self._weights, np.stack(cepstra))))
    video_NF, audio_NF = (np.concatenate(batches)[:num_windows] for batches in (video, audio))
    return {DISTANCES: net.offset_distances(video_NF, audio_NF)}

  def scores(self, arrays: embedder_lib.Arrays) -> dict[str, float]:
    """Returns LSE-C (higher is better) and LSE-D (lower is better) of eq. 2."""
    mean_G = arrays[DISTANCES].mean(axis=0)
    return {'lse_c': float(np.median(mean_G) - mean_G.min()), 'lse_d': float(mean_G.min())}


def load(path: pathlib.Path) -> SyncNet:
  """Returns the embedder with the weights of a file.

  Raises:
    ValueError: the file is not the published one, or does not hold this network.
  """
  digest = embedder_lib.weights_digest(NAME, VERSION, {path: syncnet.CHECKPOINT})
  return SyncNet(syncnet.load_weights(path), digest)
