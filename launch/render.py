"""Templates: plain files in launch/templates with {{name}} placeholders.

Shell and YAML use $ and % themselves, so neither Python's formatting nor string.Template is suitable.
"""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent / 'templates'
_NAME = re.compile(r'\{\{(\w+)\}\}')


def fill(template: str, values: dict[str, object]) -> str:
  """Returns a template with every {{name}} replaced; lines that become empty are dropped.

  The lines of a multi-line value are indented like the line of its placeholder.

  Args:
    template: file name in launch/templates.
    values: a value for every placeholder of the template; None or '' for nothing.

  Raises:
    KeyError: a placeholder without a value, or a value without a placeholder.
  """
  text = (FOLDER / template).read_text()
  names = set(_NAME.findall(text))
  if names != set(values):
    missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
    raise KeyError(f'{template}: missing values {missing}, unknown values {unknown}')
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
