"""The error type of this package."""

import os


class MediaError(ValueError):
  """A file cannot be read or written as media; one line with the file, what was got and what was wanted."""


class FormatError(MediaError):
  """A file is in no format that is read.

  Attributes:
    reason: what was got, without the file and what was wanted.
  """

  def __init__(self, path: str | os.PathLike, reason: str):
    """Takes the file and the reason."""
    super().__init__(f'{path}: {reason}; wanted a video, audio or image file.')
    self.reason = reason


def starts_too_late(path: str | os.PathLike, length_s: float, start_s: float) -> MediaError:
  """Returns the error for a start time after the end of the file.

  Args:
    path: the file.
    length_s: its duration in seconds.
    start_s: the requested start in seconds.
  """
  return MediaError(f'{path}: lasts {length_s:.3f} s; wanted a start before that, got {start_s} s.')
