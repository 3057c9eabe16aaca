"""The one error of this room."""


class MediaError(ValueError):
  """A file cannot be read or written as media; one line with the file, what was got and what was wanted."""
