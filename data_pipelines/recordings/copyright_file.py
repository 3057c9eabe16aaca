"""Reads what a package says about licences: its machine-readable copyright file.

The file has paragraphs of fields; one with `Files` states holders and licence of the paths that match its
patterns, and the last paragraph that matches a path applies
(https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/).
"""

import dataclasses
import re

# Names of Debian -> SPDX identifiers; only licences without other conditions than attribution.
SPDX = {
  'CC0': 'CC0-1.0',
  'CC0-1.0': 'CC0-1.0',
  'CC-BY-3.0': 'CC-BY-3.0',
  'CC-BY-4.0': 'CC-BY-4.0',
  'MIT': 'MIT',
  'Expat': 'MIT',
}


@dataclasses.dataclass(frozen=True)
class Statement:
  """What is stated about some files.

  Attributes:
    patterns: of their paths in the source package; `*` and `?` match any characters, `/` too.
    holders: of the copyright, without years.
    licence: short name, as Debian writes it.
    source: address of the original; empty if none is stated.
  """

  patterns: tuple[str, ...]
  holders: str
  licence: str
  source: str

  def matches(self, path: str) -> bool:
    """Whether a path in the source package is meant."""
    return any(_regex(pattern).fullmatch(path) for pattern in self.patterns)


def parse(text: str) -> list[Statement]:
  """Returns the statements of a copyright file, in its order."""
  found = []
  for paragraph in re.split(r'\n\s*\n', text):
    fields = _fields(paragraph)
    if 'Files' in fields:
      stated = fields.get('Copyright', '')
      holders = re.sub(r'\(c\)|©|https?://\S+|\b(19|20)\d\d(-(19|20)\d\d)?\b,?', '', stated)
      addresses = re.findall(r'https?://[^\s<>]+', fields.get('Source', '') + ' ' + stated)
      found.append(
        Statement(
          tuple(fields['Files'].split()),
          ' '.join(holders.split()),
          fields.get('License', '').split('\n')[0].strip(),
          addresses[0] if addresses else '',
        )
      )
  return found


def applying(statements: list[Statement], path: str) -> Statement | None:
  """Returns the statement that applies to a path in the source package: the last one that matches."""
  matching = [statement for statement in statements if statement.matches(path)]
  return matching[-1] if matching else None


def _fields(paragraph: str) -> dict[str, str]:
  fields, key = {}, ''
  for line in paragraph.splitlines():
    match = re.match(r'([A-Za-z-]+):(.*)', line)
    if match and not line.startswith((' ', 'http')):
      key = match.group(1)
      fields[key] = match.group(2).strip()
    elif key:
      fields[key] += '\n' + line.strip()
  return fields


def _regex(pattern: str) -> re.Pattern:
  return re.compile(re.escape(pattern).replace(r'\*', '.*').replace(r'\?', '.'), re.DOTALL)
