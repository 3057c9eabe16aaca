"""Names of files as text: how they are shown, and what new files are called.

A POSIX name is any bytes but `/` and zero. Python decodes them by `surrogateescape` (PEP 383): a byte that is
no UTF-8 becomes a lone surrogate, which no codec encodes, so such a name can be neither printed nor written
into a text file as it stands. Programs find the file by its URI, which holds the bytes (RFC 8089).
"""

import hashlib
import os
import re
from typing import Any
import unicodedata
import urllib.parse

# Control characters, lone surrogates, line and paragraph separators.
_UNPRINTABLE = ('Cc', 'Cs', 'Zl', 'Zp')
_DIGEST_DIGITS = 8


def printable(text: str) -> str:
  r"""Returns text as one line: a byte that is no UTF-8 as `\xe9`, a line feed as `\n`."""
  return ''.join(_escaped(letter) if _is_unprintable(letter) else letter for letter in text)


def one_line(message: str, path: str | os.PathLike | None = None) -> str:
  """Returns a message as one printable line: white space as single spaces, but for those of a name.

  Args:
    message: such as the words of an error.
    path: that the message may name, as it names it.
  """
  parts = message.split(str(path)) if path else [message]
  line = printable(str(path)).join(re.sub(r'\s+', ' ', part) for part in parts)
  return printable(line).strip()


def utf8(value: Any) -> Any:
  r"""Returns a JSON-able value whose texts can be encoded: a byte that is no UTF-8 becomes `\xe9`."""
  if isinstance(value, str):
    return ''.join(_escaped(letter) if '\ud800' <= letter <= '\udfff' else letter for letter in value)
  if isinstance(value, dict):
    return {utf8(key): utf8(each) for key, each in value.items()}
  if isinstance(value, list | tuple):
    return [utf8(each) for each in value]
  return value


def file_name(text: str, max_bytes: int) -> str:
  """Returns a name for a new file: printable UTF-8 of a bounded size, other names for other texts.

  What cannot be printed is percent-encoded, as in a URI; a name that is too long is cut, and ends in a digest
  of the whole.

  Args:
    text: such as the name of an input.
    max_bytes: that the name may have.
  """
  name = ''.join(_percent(letter) if letter == '/' or _is_unprintable(letter) else letter for letter in text)
  if len(name.encode()) <= max_bytes:
    return name
  digest = hashlib.sha256(os.fsencode(text)).hexdigest()[:_DIGEST_DIGITS]
  return f'{truncate(name, max_bytes - 1 - _DIGEST_DIGITS)}-{digest}'


def truncate(text: str, max_bytes: int) -> str:
  """Returns the begin of a name, of at most so many bytes on the file system."""
  encoded = os.fsencode(text)
  return text if len(encoded) <= max_bytes else encoded[:max_bytes].decode(errors='ignore')


def _is_unprintable(letter: str) -> bool:
  return unicodedata.category(letter) in _UNPRINTABLE


def _escaped(letter: str) -> str:
  if '\udc80' <= letter <= '\udcff':
    return f'\\x{ord(letter) - 0xDC00:02x}'
  return letter.encode('unicode_escape').decode()


def _percent(letter: str) -> str:
  return urllib.parse.quote(letter.encode(errors='surrogateescape'), safe='')
