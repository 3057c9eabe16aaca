"""Down- and up-mixing: any channel layout to mono or stereo.

Stereo follows ITU-R BS.775-3, Annex 4, with all gains divided by their largest sum, so that a mix never
exceeds full scale:

  L = g (FL + FC / sqrt 2 + SL / sqrt 2),   R = g (FR + FC / sqrt 2 + SR / sqrt 2)        (1)
  g = 1 / (1 + 1 / sqrt 2 + 1 / sqrt 2) for 5.1                                            (2)

The low-frequency channel is dropped, back channels are treated as side channels, a mono source goes to both
sides unchanged, and a mono result is the mean of the stereo mix.
"""

import math

import numpy as np

_HALF = 1 / math.sqrt(2)
# Speaker -> gains to left and right.
_GAINS = {
  'FL': (1.0, 0.0),
  'FR': (0.0, 1.0),
  'FC': (_HALF, _HALF),
  'LFE': (0.0, 0.0),
  'LFE2': (0.0, 0.0),
  'SL': (_HALF, 0.0),
  'SR': (0.0, _HALF),
  'BL': (_HALF, 0.0),
  'BR': (0.0, _HALF),
  'BC': (0.5, 0.5),
  'FLC': (1.0, 0.0),
  'FRC': (0.0, 1.0),
  'WL': (1.0, 0.0),
  'WR': (0.0, 1.0),
  'DL': (1.0, 0.0),
  'DR': (0.0, 1.0),
  'TFL': (_HALF, 0.0),
  'TFR': (0.0, _HALF),
  'TBL': (_HALF, 0.0),
  'TBR': (0.0, _HALF),
  'TSL': (_HALF, 0.0),
  'TSR': (0.0, _HALF),
  'TFC': (0.5, 0.5),
  'TBC': (0.5, 0.5),
  'TC': (0.5, 0.5),
}


def gains(speakers: tuple[str, ...], num_channels: int) -> np.ndarray:
  """Returns the mixing matrix, one row per input channel, one column per output channel (eq. 1 and 2).

  Args:
    speakers: FFmpeg's channel names, such as ('FL', 'FR'); unknown names give a plain mean.
    num_channels: number of output channels, 1 or 2.
  """
  if len(speakers) == 1:
    return np.ones((1, num_channels), np.float32)
  if all(name in _GAINS for name in speakers):
    gain = np.array([_GAINS[name] for name in speakers])
  else:
    gain = np.ones((len(speakers), 2)) if len(speakers) > 2 else np.eye(2)
  gain = gain / max(gain.sum(axis=0).max(), 1e-9)
  if num_channels == 1:
    gain = gain.mean(axis=1, keepdims=True)
  return gain.astype(np.float32)
