"""A generated soundtrack: its waveform, and how to save it or to mux it with a video."""

import dataclasses
import pathlib

import numpy as np

from v2a.media import audio_file
from v2a.media import write

WRITERS = {'.wav': audio_file.wav, '.flac': audio_file.flac}  # by the suffix of a file


@dataclasses.dataclass(frozen=True, eq=False)
class Soundtrack:
  """One sample of a request.

  Attributes:
    waveform: (samples, channels), float32, full scale is 1.
    sample_rate_hz: its rate.
    seed: of the request. index: number of the sample; seed and index make the noise.
    score: audio-video similarity in [-1, 1]; None without a video, or where the model has no sync model.
    rank: 1 for the highest score of the request; None where there is no score.
    start_s: begin within the video.
    is_whole: whether it covers the video to its end.
  """

  waveform: np.ndarray
  sample_rate_hz: int
  seed: int
  index: int
  score: float | None = None
  rank: int | None = None
  start_s: float = 0.0
  is_whole: bool = False

  @property
  def duration_s(self) -> float:
    """Length in seconds."""
    return len(self.waveform) / self.sample_rate_hz

  def save(self, path: str | pathlib.Path) -> pathlib.Path:
    """Writes a 16-bit WAV or FLAC file and returns its path; values outside [-1, 1] are clipped.

    Args:
      path: of the new file. Its suffix, .wav or .flac, selects the format; missing folders are created.

    Raises:
      ValueError: the suffix is another one.
      FileExistsError: the file exists.
    """
    path = pathlib.Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
      raise ValueError(
        f'{path}: the name of an audio file must end in {" or ".join(WRITERS)}; got {path.suffix!r}.'
      )
    writer(_new(path), self.waveform, self.sample_rate_hz)
    return path

  def mux(self, video: str | pathlib.Path, path: str | pathlib.Path, audio: str = 'replace') -> pathlib.Path:
    """Writes a video with this soundtrack; the video stream is copied where that is possible.

    Args:
      video: that it was generated for.
      path: of the new file. The suffix follows what the container must be.
      audio: 'replace' the sound of the video, or 'mix' with it.

    Returns:
      The path that was written.

    Raises:
      FileExistsError: the file exists.
      MediaError: the video cannot be read or written.
    """
    path = _new(path)
    duration_s = None if self.is_whole else self.duration_s
    return write.mux(
      pathlib.Path(video),
      self.waveform,
      self.sample_rate_hz,
      path,
      audio=audio,
      start_s=self.start_s,
      duration_s=duration_s,
    ).path


def _new(path: str | pathlib.Path) -> pathlib.Path:
  path = pathlib.Path(path)
  if path.exists() or path.is_symlink():
    raise FileExistsError(f'{path} exists; wanted the name of a new file.')
  return path
