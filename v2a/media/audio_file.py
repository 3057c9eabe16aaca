"""Writing of audio files: WAV and FLAC of 16 bits."""

import errno
import io
import os
import pathlib

import numpy as np
import soundfile

from v2a import files
from v2a import shapes

_CHECK_SAMPLES = 2**16
# The header of a WAV file has 32-bit sizes; RF64 (EBU Tech 3306) is WAV with 64-bit sizes.
_MAX_WAV_BYTES = 2**32 - 2**16


def wav(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  """Writes a waveform as 16-bit WAV; values outside [-1, 1] are clipped.

  Args:
    path: file to write; one that exists is overwritten.
    wave_NA: full scale 1; mono or stereo.
    sample_rate_hz: samples per second.

  Raises:
    ValueError: the waveform is empty, not finite, not of floats, or has more than two channels.
    OSError: the file cannot be written.
  """
  _audio_file(path, wave_NA, sample_rate_hz, 'WAV')


def flac(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  """Writes a waveform as 16-bit FLAC; values outside [-1, 1] are clipped.

  Args:
    path: file to write; one that exists is overwritten.
    wave_NA: full scale 1; mono or stereo.
    sample_rate_hz: samples per second.

  Raises:
    ValueError: the waveform is empty, not finite, not of floats, or has more than two channels.
    OSError: the file cannot be written.
  """
  _audio_file(path, wave_NA, sample_rate_hz, 'FLAC')


def flac_bytes(wave_NA: np.ndarray, sample_rate_hz: int) -> bytes:
  """Returns a waveform as the content of a 16-bit FLAC file; values outside [-1, 1] are clipped.

  Args:
    wave_NA: full scale 1; mono or stereo.
    sample_rate_hz: samples per second.

  Raises:
    ValueError: see `check`.
  """
  check(wave_NA, sample_rate_hz)
  file = io.BytesIO()
  soundfile.write(file, wave_NA, sample_rate_hz, format='FLAC', subtype='PCM_16')
  return file.getvalue()


def check(wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  """Checks a waveform that is to be written.

  Raises:
    ValueError: it is empty, not finite, not of floats, or has more than two channels.
  """
  shapes.check(wave_NA=wave_NA)
  if wave_NA.shape[1] not in (1, 2) or not len(wave_NA):
    raise ValueError(f'wave_NA must hold samples of 1 or 2 channels; got shape {wave_NA.shape}.')
  if not np.issubdtype(wave_NA.dtype, np.floating):
    raise ValueError(f'wave_NA must hold floats in [-1, 1]; got {wave_NA.dtype}.')
  if sample_rate_hz < 1:
    raise ValueError(f'sample_rate_hz must be at least 1; got {sample_rate_hz}.')
  for start in range(0, len(wave_NA), _CHECK_SAMPLES):
    if not np.isfinite(wave_NA[start : start + _CHECK_SAMPLES]).all():
      raise ValueError('wave_NA must be finite; got NaN or infinity.')


class _BytesPath(os.PathLike[bytes]):
  """A path as bytes: soundfile accepts names that are not UTF-8 only as such, but its types lack `bytes`."""

  def __init__(self, path: pathlib.Path):
    self._path = path

  def __fspath__(self) -> bytes:
    return os.fsencode(self._path)


def _audio_file(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int, container: str) -> None:
  check(wave_NA, sample_rate_hz)
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as partial:
    if container == 'WAV' and wave_NA.size * 2 > _MAX_WAV_BYTES:
      container = 'RF64'
    try:
      soundfile.write(_BytesPath(partial), wave_NA, sample_rate_hz, format=container, subtype='PCM_16')
    except soundfile.LibsndfileError as error:
      raise _write_error(partial, error) from error


def _write_error(path: pathlib.Path, error: soundfile.LibsndfileError) -> OSError:
  """Returns the system error of appending to a file, since libsndfile does not report why it failed."""
  try:
    with path.open('ab', buffering=0) as file:
      file.write(bytes(_CHECK_SAMPLES))
      os.fsync(file.fileno())
  except OSError as cause:
    return OSError(cause.errno, cause.strerror, str(path))
  return OSError(errno.EIO, f'cannot be written ({error.error_string})', str(path))
