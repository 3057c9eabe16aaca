"""Names, shapes and dtypes of the tensors of published checkpoints, one text file each in goldens/specs.

  python -m tests.models.published.specs NAME CHECKPOINT

writes goldens/specs/NAME.txt from the published file (of torch.save or safetensors), or from a JSON file of
the form {"keys": {name: [shape, dtype]}}. A line is `name [shape]`, followed by the dtype unless it is
float32. Tensors whose names differ only by a number share a line: `blocks.{0-11}.norm1.weight [768]`.
"""

import argparse
from collections.abc import Iterable
import itertools
import json
import pathlib
import re

import numpy as np

from v2a.models.published import torchfile

FOLDER = pathlib.Path(__file__).parent / 'goldens' / 'specs'
Spec = dict[str, tuple[tuple[int, ...], str]]
_LINE = re.compile(r'(\S+) \[([\d,]*)\](?: (\w+))?')


def shapes(name: str) -> dict[str, tuple[int, ...]]:
  """Returns the shapes of a checkpoint by the names of its tensors."""
  return {key: shape for key, (shape, _) in parse((FOLDER / f'{name}.txt').read_text()).items()}


def parse(text: str) -> Spec:
  """Returns shape and dtype of every tensor.

  Raises:
    ValueError: a line is malformed, or a name is listed twice.
  """
  spec: Spec = {}
  for line in text.splitlines():
    match = _LINE.fullmatch(line)
    if not match:
      raise ValueError(f'a line must be `name [shape] dtype`; got {line!r}.')
    pattern, sizes, dtype = match.groups()
    for name in _expand(pattern):
      if name in spec:
        raise ValueError(f'{name} is listed twice.')
      spec[name] = (tuple(int(size) for size in sizes.split(',') if size), dtype or 'float32')
  return spec


def format_spec(spec: Spec) -> str:
  """Returns the text that `parse` reads; its lines are in the order of the first tensor of each."""
  names_by_content: dict[tuple, list[str]] = {}
  for name, content in spec.items():
    names_by_content.setdefault(content, []).append(name)
  position = {name: number for number, name in enumerate(spec)}
  lines = []
  for (shape, dtype), names in names_by_content.items():
    content = f'[{",".join(map(str, shape))}]' + ('' if dtype == 'float32' else f' {dtype}')
    lines += [(position[next(_expand(pattern))], f'{pattern} {content}\n') for pattern in _merge(names)]
  return ''.join(line for _, line in sorted(lines))


def _merge(names: Iterable[str]) -> list[str]:
  """Returns patterns of names: those that differ by the number between two dots become one."""
  split = [tuple(name.split('.')) for name in names]
  for i in range(max(map(len, split))):
    groups: dict[tuple, list[int]] = {}
    for parts in split:
      is_number = i < len(parts) and parts[i].isdigit()
      key = (*parts[:i], None, *parts[i + 1 :]) if is_number else parts
      groups.setdefault(key, []).extend([int(parts[i])] if is_number else [])
    split = [
      tuple(_format_numbers(numbers) if part is None else part for part in key)
      for key, numbers in groups.items()
    ]
  return ['.'.join(parts) for parts in split]


def _format_numbers(numbers: list[int]) -> str:
  """Returns one number as it is, several in braces, runs of three and more by their ends."""
  if len(numbers) == 1:
    return str(numbers[0])
  parts = []
  # Consecutive numbers have the same difference from their index.
  for _, run in itertools.groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0]):
    run = [number for _, number in run]
    parts += [f'{run[0]}-{run[-1]}'] if len(run) > 2 else [str(number) for number in run]
  return '{' + ','.join(parts) + '}'


def _expand(pattern: str) -> Iterable[str]:
  """Yields the names of a pattern."""
  match = re.search(r'\{([\d,-]+)\}', pattern)
  if not match:
    yield pattern
    return
  for part in match.group(1).split(','):
    first, _, last = part.partition('-')
    for number in range(int(first), int(last or first) + 1):
      yield from _expand(f'{pattern[: match.start()]}{number}{pattern[match.end() :]}')


def _read(path: pathlib.Path) -> Spec:
  if path.suffix == '.json':
    listed = json.loads(path.read_text())['keys']
    return {name: (tuple(shape), np.dtype(dtype).name) for name, (shape, dtype) in listed.items()}
  return {name: (tensor.shape, tensor.dtype.name) for name, tensor in torchfile.load(path).items()}


def main():
  """Writes one file."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('name', help='of the file in goldens/specs, without its suffix')
  parser.add_argument(
    'checkpoint', type=pathlib.Path, help='published file, or JSON of names, shapes and dtypes'
  )
  args = parser.parse_args()
  (FOLDER / f'{args.name}.txt').write_text(format_spec(_read(args.checkpoint)))


if __name__ == '__main__':
  main()
