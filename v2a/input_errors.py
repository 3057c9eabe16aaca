"""Errors of one input among many as one line of text, so that the other inputs are still processed."""

from collections.abc import Callable
import errno
import os
import traceback

from v2a import file_names

MAX_LINE = 600
_OF_OUTPUTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
# XLA raises a RuntimeError of its own; what C++ throws reaches Python as one, too.
_OUT_OF_MEMORY = ('RESOURCE_EXHAUSTED', 'bad_alloc', "can't start new thread")


class ArgumentError(ValueError):
  """An argument has no valid value: the message names arguments as in Python, `flag_message` as flags."""

  def __init__(self, text: str, *names: str):
    """Takes the message.

    Args:
      text: of the message, with '{NAME}' for each argument.
      *names: of the arguments in Python.
    """
    self._text, self._names = text, names
    super().__init__(self._spelled(str))

  @property
  def flag_message(self) -> str:
    """The message for the command line, where duration_s is --duration."""
    return self._spelled(lambda name: '--' + name.removesuffix('_s').replace('_', '-'))

  def _spelled(self, spell: Callable[[str], str]) -> str:
    text = self._text
    for name in self._names:
      text = text.replace(f'{{{name}}}', spell(name))
    return text


def is_out_of_memory(error: BaseException) -> bool:
  """Whether the machine, or its accelerator, had too little memory."""
  if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
    return True
  return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def is_of_machine(error: BaseException) -> bool:
  """Whether the machine lacks memory or space on a disk, so that other inputs would fail as well."""
  is_full_disk = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
  return is_full_disk or is_out_of_memory(error)


def format_error(error: Exception, path: str | os.PathLike | None = None, use_flags: bool = False) -> str:
  """Returns the error of an input as one line that names it. With V2A_DEBUG=1 its traceback goes to stderr.

  Args:
    error: raised while reading, generating or writing for the input. Libraries raise errors of any type for
      damaged files (PyAV: IndexError), so it may also be a bug of v2a; the line then names V2A_DEBUG=1.
    path: the input's file; None where it has none.
    use_flags: whether arguments are named as flags of the command line, see ArgumentError.
  """
  if os.environ.get('V2A_DEBUG') == '1':
    traceback.print_exception(error)
  reason = getattr(error, 'strerror', None)
  if is_out_of_memory(error):
    text = f'out of memory ({error})' if str(error) else 'out of memory'
  elif isinstance(error, OSError) and reason:
    # An input cannot be full: whatever is named, it was written.
    output = 'output ' if path is not None and error.errno in _OF_OUTPUTS else ''
    text = f'{output}{error.filename}: {reason}' if error.filename else reason
  elif use_flags and isinstance(error, ArgumentError):
    text = error.flag_message
  elif isinstance(error, ValueError | OSError) or reason:
    text = str(reason or error) or type(error).__name__
  else:
    text = f'{type(error).__name__}: {error} (V2A_DEBUG=1 shows where)'
  # A sidecar's name names the input too.
  is_named = path is None or f'{os.path.splitext(path)[0]}.' in text
  text = file_names.one_line(text if is_named else f'{path}: {text}', path)
  return text if len(text) <= MAX_LINE else text[: MAX_LINE - 3] + '...'
