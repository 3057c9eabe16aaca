"""Conversion of Pillow images of any mode to sRGB, 8 bits per channel, at a given size.

Alpha is composited over white. An ICC profile (RGB, grey or CMYK) is converted to sRGB; a profile that is
broken or belongs to another mode is ignored, as viewers do. A large image is downscaled in bands of rows, so
that no second full-size copy is needed.
"""

import functools
import io

import numpy as np
from PIL import Image
from PIL import ImageCms

# Pixels of one band before downscaling.
_BAND_PIXELS = 2**22
_MODES = {'RGB ': ('RGB',), 'GRAY': ('L',), 'CMYK': ('CMYK',)}


def convert(image: Image.Image, size: tuple[int, int]) -> Image.Image:
  """Returns an image of mode RGB in sRGB.

  Args:
    image: loaded, of any mode.
    size: width and height of the result, at most those of the image.

  Raises:
    ValueError: see `check`.
  """
  check(image)
  small = _downscaled(image, size)
  icc = image.info.get('icc_profile')
  transform = _transform(icc, small.mode) if icc else None
  if transform is not None:
    converted = ImageCms.applyTransform(small, transform)
    assert converted is not None  # only with inPlace
    return converted
  return small.convert('RGB')


def check(image: Image.Image) -> None:
  """Raises ValueError if the pixels of an image are 32-bit numbers, which have no defined colours."""
  if image.mode in ('I', 'F'):
    raise ValueError(f'it holds 32-bit numbers (mode {image.mode}), not colours or grey of 8 or 16 bits')


def is_transparent(image: Image.Image) -> bool:
  """Returns whether any pixel of a loaded image is transparent; an alpha channel may be fully opaque."""
  if not image.has_transparency_data:
    return False
  image = image if image.mode in ('RGBA', 'LA') else image.convert('RGBA')
  return bool(np.asarray(image.getchannel('A')).min() < 255)


def _downscaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
  """Returns the image without alpha at the given size, in mode L, RGB or CMYK."""
  factor_x, factor_y = (max(1, full // target) for full, target in zip(image.size, size))
  if factor_x == factor_y == 1:
    small = _without_alpha(image)
  else:
    small = _reduced(image, factor_x, factor_y)
  if small.size == size:
    return small
  # The last cells may be cut by the border of the image.
  box = (0, 0, image.width / factor_x, image.height / factor_y)
  return small.resize(size, Image.Resampling.LANCZOS, box=box)


def _reduced(image: Image.Image, factor_x: int, factor_y: int) -> Image.Image:
  """Returns means over cells of factor_x times factor_y pixels, computed band by band."""
  rows = max(1, _BAND_PIXELS // (image.width * factor_y)) * factor_y
  boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
  bands = [_without_alpha(image.crop(box)).reduce((factor_x, factor_y)) for box in boxes]
  small = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
  top = 0
  for band in bands:
    small.paste(band, (0, top))
    top += band.height
  return small


def _without_alpha(image: Image.Image) -> Image.Image:
  """Returns an image in mode L, RGB or CMYK, alpha composited over white."""
  if image.mode.startswith('I;16'):
    return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
  if image.has_transparency_data:
    is_grey = image.mode in ('1', 'L', 'LA', 'La')
    image = image.convert('LA' if is_grey else 'RGBA')
    background = Image.new('L' if is_grey else 'RGB', image.size, 'white')
    background.paste(image.getchannel(0) if is_grey else image, mask=image.getchannel('A'))
    return background
  if image.mode in ('L', 'RGB', 'CMYK'):
    return image
  return image.convert('L' if image.mode == '1' else 'RGB')


@functools.lru_cache(maxsize=4)
def _transform(icc: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
  """Returns the transform from a profile to sRGB; None if the profile is broken or of another mode."""
  try:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    if mode not in _MODES.get(profile.profile.xcolor_space, ()):
      return None
    return ImageCms.buildTransform(profile, ImageCms.createProfile('sRGB'), mode, 'RGB')
  except (OSError, ImageCms.PyCMSError):
    return None
