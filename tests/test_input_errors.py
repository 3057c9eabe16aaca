"""What one input raises is one line that names it."""

import av
import jax.numpy as jnp
import pytest

from v2a import input_errors
from v2a.media import errors

LINES = [
    (errors.MediaError('a.ts: is no media file;\n wanted one.'), 'a.ts: is no media file; wanted one.'),
    (ValueError('duration must be positive'), 'a.ts: duration must be positive'),
    (ValueError(), 'a.ts: ValueError'),
    (IndexError('out of range'), 'a.ts: IndexError: out of range (V2A_DEBUG=1 shows where)'),
    (OSError(28, 'No space left on device', '/out/x.mp4'),
     'a.ts: output /out/x.mp4: No space left on device'),
    (OSError(28, 'No space left on device'), 'a.ts: No space left on device'),
    (OSError('cannot be written'), 'a.ts: cannot be written'),
    (MemoryError(), 'a.ts: out of memory'),
    (MemoryError('Unable to allocate 9 TiB'), 'a.ts: out of memory (Unable to allocate 9 TiB)'),
    (RuntimeError('RESOURCE_EXHAUSTED: 9 bytes'), 'a.ts: out of memory (RESOURCE_EXHAUSTED: 9 bytes)'),
    (OSError(12, 'Cannot allocate memory'), 'a.ts: out of memory ([Errno 12] Cannot allocate memory)'),
    (UnicodeDecodeError('utf-8', b'\xff', 0, 1, 'invalid start byte'),
     "a.ts: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    (av.error.InvalidDataError(1094995529, 'Invalid data', 'a.ts'), 'a.ts: Invalid data'),
    (ValueError('a.json: is no JSON'), 'a.json: is no JSON'),
    (ValueError('long' * 1000), 'a.ts: ' + ('long' * 1000)[:input_errors.MAX_LINE - 9] + '...'),
]  # fmt: skip


@pytest.mark.parametrize(('error', 'line'), LINES, ids=lambda value: type(value).__name__)
def test_an_error_becomes_one_line_that_names_the_input(error, line, capsys):
  assert input_errors.format_error(error, 'a.ts') == line
  assert capsys.readouterr().err == ''


def test_what_xla_raises_is_too_little_memory():
  with pytest.raises(RuntimeError) as caught:
    jnp.zeros(10**13).block_until_ready()
  assert input_errors.format_error(caught.value).startswith('out of memory (RESOURCE_EXHAUSTED: ')
  assert not input_errors.is_out_of_memory(RuntimeError('a bug'))
  assert not input_errors.is_out_of_memory(ValueError('bad_alloc'))


def test_without_a_file():
  assert input_errors.format_error(ValueError('a duration is needed')) == 'a duration is needed'


def test_debug_shows_the_traceback(monkeypatch, capsys):
  monkeypatch.setenv('V2A_DEBUG', '1')
  try:
    [].pop()
  except IndexError as error:
    input_errors.format_error(error, 'a.ts')
  assert 'Traceback' in (err := capsys.readouterr().err) and '[].pop()' in err
