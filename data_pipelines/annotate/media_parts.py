"""Frames and sound of a decoded clip as endpoints take them: JPEG and WAV."""

import base64
import io

import numpy as np
from PIL import Image
import soundfile

from data_pipelines import decoded
from v2a.metrics import spectra

JPEG_QUALITY = 80


def frame_indices(num_frames: int, num_selected: int) -> np.ndarray:
  """Returns the middle frame of each of `num_selected` equal parts; all frames where there are fewer."""
  num_selected = min(num_frames, num_selected)
  return (np.arange(num_selected) + 0.5) * num_frames // max(1, num_selected)


def jpegs(clip: decoded.DecodedClip, num_selected: int) -> list[bytes]:
  """Returns frames of a clip in order as JPEG, see `frame_indices`."""
  found = []
  for index in frame_indices(len(clip.frame_MYX3), num_selected):
    buffer = io.BytesIO()
    Image.fromarray(clip.frame_MYX3[int(index)]).save(buffer, 'JPEG', quality=JPEG_QUALITY)
    found.append(buffer.getvalue())
  return found


def wav(clip: decoded.DecodedClip) -> bytes:
  """Returns the sound of a clip as WAV: mono, 16 bit, spectra.RATE_HZ."""
  wave_NA = spectra.resample(clip.mono_N[:, None], clip.sample_rate_hz)
  buffer = io.BytesIO()
  soundfile.write(buffer, np.clip(wave_NA, -1.0, 1.0), spectra.RATE_HZ, format='WAV', subtype='PCM_16')
  return buffer.getvalue()


def base64_text(content: bytes) -> str:
  """Returns bytes in base64."""
  return base64.b64encode(content).decode('ascii')
