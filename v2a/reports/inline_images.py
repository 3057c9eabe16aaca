"""Images inside a page, as data URLs."""

import base64
import io

from matplotlib import colormaps
import numpy as np
from PIL import Image

from v2a.reports import spectrogram as spectrogram_lib


def url(content: bytes, media_type: str) -> str:
  """Returns a file as a data URL; its media type is such as 'image/jpeg'."""
  return f'data:{media_type};base64,{base64.b64encode(content).decode()}'


def jpeg(image_YX3: np.ndarray, quality: int = 82) -> str:
  """Returns an image as a data URL."""
  buffer = io.BytesIO()
  Image.fromarray(image_YX3).save(buffer, 'JPEG', quality=quality, optimize=True)
  return url(buffer.getvalue(), 'image/jpeg')


def spectrogram(level_RJ: np.ndarray) -> str:
  """Returns the spectrogram of `spectrogram.mel_spectrogram` as a data URL, highest band at the top."""
  unit_RJ = 1.0 - level_RJ[::-1] / spectrogram_lib.FLOOR_DB
  return jpeg((colormaps['magma'](unit_RJ)[..., :3] * 255).astype(np.uint8))
