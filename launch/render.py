"""Templates: plain files in launch/templates with {{names}} that are filled in.

Shell and YAML are full of $ and %, so neither Python's formatting nor string.Template would do.
"""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent / 'templates'
_NAME = re.compile(r'\{\{(\w+)\}\}')


def fill(template: str, values: dict[str, object]) -> str:
  """Returns a template with every {{name}} replaced; a line of which nothing is left is dropped.

  Lines of a value are indented as the line that it stands on.

  Args:
    template: file name in launch/templates.
    values: exactly the names that the template has; None or '' for nothing.

  Raises:
    KeyError: a name without a value, or a value without a name.
  """
  text = (FOLDER / template).read_text()
  names = set(_NAME.findall(text))
  if names != set(values):
    lacking, strange = sorted(names - set(values)), sorted(set(values) - names)
    raise KeyError(f'{template} wants {lacking}, does not know {strange}')
  lines = []
  for line in text.splitlines():
    filled = _filled(line, values)
    if filled.strip() or not line.strip():
      lines.append(filled.rstrip())
  return '\n'.join(lines) + '\n'


def _filled(line: str, values: dict[str, object]) -> str:
  indent = line[: len(line) - len(line.lstrip())]
  return _NAME.sub(lambda match: _text(values[match[1]]).replace('\n', f'\n{indent}'), line)


def _text(value: object) -> str:
  return '' if value is None else str(value).rstrip('\n')
