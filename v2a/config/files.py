"""Configurations by name, as text and from the command line: find, override, save, load."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import difflib
import importlib.util
import json
import pathlib
import re
from typing import Any

import ml_collections

from v2a import files
from v2a import flags
from v2a import storage
from v2a.config import schema

# Where `find` searches for a name: the checkout, then the package.
_FOLDERS = (
  pathlib.Path(__file__).resolve().parents[2] / 'configs',
  pathlib.Path(__file__).resolve().parents[1] / 'assets' / 'configs',
)
_OVERRIDE = re.compile(r'--config\.([A-Za-z0-9_.]+)=(.*)', re.DOTALL)
_PLAIN_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.]*')


def tiny(c: ml_collections.ConfigDict, arguments: Iterable[str]) -> ml_collections.ConfigDict:
  """Returns `schema.tiny` of a configuration.

  Args:
    c: a configuration of any size.
    arguments: of `override`. If they name records to train on, the clip sizes of `c` are kept.
  """
  is_train = lambda argument: argument.startswith('--config.data.train=')
  return schema.tiny(c, bool(override(schema.base(), filter(is_train, arguments)).data.train))


def override(
  c: ml_collections.ConfigDict, arguments: Iterable[str], report: Callable[[str], object] = lambda line: None
) -> ml_collections.ConfigDict:
  """Returns a copy with `--config.a.b=V` arguments applied, each V read by the type of the default.

  Booleans are true or false. Items of tuples are separated by commas, and blanks around an item are ignored:
  `--config.data.train=a,b`. A value that begins with "[" or "(" is a list: JSON, or items between a pair of
  brackets, `(0.9, 0.99)`. An item that contains a comma, or begins with a bracket, is written in a JSON list
  of strings, `--config.data.train='["a,b", "[c]"]'`.

  If training.num_steps is overridden alone and is too small for the warm-up of `c`, the warm-up is set to a
  tenth of the steps.

  Args:
    c: the configuration to change.
    arguments: see above.
    report: takes a line for each value that is changed without an argument.

  Raises:
    ValueError: an unknown key (with the nearest one), or a value of another type.
  """
  c = c.copy_and_resolve_references().unlock()
  names, given = schema.keys(c), set()
  for argument in arguments:
    match = _OVERRIDE.fullmatch(argument)
    if not match:
      raise ValueError(f'An override must look like --config.training.batch_size=8; got {argument!r}.')
    name, text = match.groups()
    if name not in names:
      raise ValueError(f'Unknown key config.{name}.{_suggestion(name, names)}')
    *sections, key = name.split('.')
    parent = schema.section(c, '.'.join(sections)) if sections else c
    parent[key] = _parse(name, text, parent[key])
    given.add(name)
  if 'training.num_steps' in given and 'training.warmup_steps' not in given:
    _shorten_warmup(c, report)
  return c.lock()


def _shorten_warmup(c: ml_collections.ConfigDict, report: Callable[[str], object]) -> None:
  training = c.training
  if training.warmup_steps >= training.num_steps > 0:
    default, training.warmup_steps = training.warmup_steps, training.num_steps // 10
    report(
      f'config.training.warmup_steps is {training.warmup_steps}, a tenth of num_steps='
      f'{training.num_steps}: the {default} of {c.name} do not fit.'
    )


def _suggestion(name: str, names: list[str]) -> str:
  inside = [other for other in names if other.startswith(name + '.')]
  if inside:
    return f' It is a section; did you mean config.{inside[0]}?'
  last = [other for other in names if other.rsplit('.')[-1] == name.rsplit('.')[-1]]
  close = difflib.get_close_matches(name, names, 1, 0.5) or last
  return f' Did you mean config.{close[0]}?' if close else ''


def _parse(name: str, text: str, default: Any) -> Any:
  kind = type(default)
  if kind is str:
    return text
  if kind is bool:
    if text.lower() not in ('true', 'false', '1', '0'):
      raise ValueError(f'config.{name} must be true or false; got {text!r}.')
    return text.lower() in ('true', '1')
  if kind is tuple:
    item = default[0] if default else schema.ITEMS_OF_EMPTY.get(name, '')
    return tuple(_parse(name, part, item) for part in _split_items(name, text.strip()))
  try:
    return flags.parse_number(kind, text.strip())
  except ValueError as error:
    raise ValueError(f'config.{name} must be of type {kind.__name__}: {error}.') from None


def _split_items(name: str, text: str) -> list[str]:
  """Returns the items of a tuple, see `override`."""
  close = {'[': ']', '(': ')'}.get(text[:1])
  if close == ']':
    try:
      given = json.loads(text)
    except (ValueError, RecursionError):
      given = None  # a list without quotation marks, which are not needed
    if given is not None:
      if not all(isinstance(part, str | int | float) and not isinstance(part, bool) for part in given):
        raise ValueError(f'config.{name} must be a list of strings or numbers; got {text}.')
      return [part if isinstance(part, str) else json.dumps(part) for part in given]
  if close is not None:
    inner = text[1:-1]
    if text[-1] != close or len(text) < 2 or set(inner) & set('[]()"'):
      raise ValueError(
        f'config.{name} begins like a list, but is neither a JSON list nor parts with commas '
        f'between brackets; got {text}. A name that begins with a bracket is written ["[a]"].'
      )
    text = inner
  return [part for part in (part.strip() for part in text.split(',')) if part]


def find(name_or_path: str) -> ml_collections.ConfigDict:
  """Returns a configuration by the name of a file in `configs/`, or by the path of a .py or .json file.

  Raises:
    FileNotFoundError: there is none; the message lists the available names.
    ValueError: the file does not define get_config().
  """
  path = pathlib.Path(name_or_path)
  if path.suffix == '.json':
    return load(path)
  if path.suffix != '.py':
    candidates = [folder / f'{name_or_path}.py' for folder in _FOLDERS if _PLAIN_NAME.fullmatch(name_or_path)]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
  if path is None or not path.is_file():
    known = ', '.join(available()) or 'none'
    raise FileNotFoundError(
      f'No configuration {name_or_path!r}: neither a .py or .json file nor one of: {known}.'
    )
  spec = importlib.util.spec_from_file_location(f'_v2a_config_{path.stem}', path)
  assert spec is not None and spec.loader is not None  # the suffix .py decides the loader
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, 'get_config'):
    raise ValueError(f'{path} must define get_config() with no argument.')
  return module.get_config()


def available() -> tuple[str, ...]:
  """Returns the names that `find` knows."""
  return tuple(sorted({path.stem for folder in _FOLDERS for path in folder.glob('*.py')} - {'__init__'}))


def save(c: ml_collections.ConfigDict, path: str | storage.Path) -> None:
  """Writes a configuration as JSON."""
  files.write_text(path, dumps(c))


def dumps(c: ml_collections.ConfigDict) -> str:
  """Returns a configuration as JSON text."""
  return json.dumps(c.to_dict(), indent=2) + '\n'


def load(path: str | storage.Path) -> ml_collections.ConfigDict:
  """Reads what `save` wrote. Raises FileNotFoundError, or ValueError for what is no configuration."""
  path = storage.parse(path, 'a configuration')
  if not storage.is_file(path):
    raise FileNotFoundError(f'No configuration at {path}.')
  return loads(storage.read_text(path), str(path))


def loads(text: str, source: str = 'text') -> ml_collections.ConfigDict:
  """Returns the configuration of JSON text; `source` names it in errors.

  Raises:
    ValueError: it is no JSON object, or has unknown keys or values of a wrong type.
  """
  try:
    values = json.loads(text)
  except ValueError as error:
    raise ValueError(f'{source} is no JSON: {error}.') from error
  if not isinstance(values, dict):
    raise ValueError(f'{source} must hold a JSON object; got a {type(values).__name__}.')
  c = schema.base().unlock()
  _fill(c, values, '', source)
  return c.lock()


def differences(before: Mapping, after: Mapping, prefix: str = '') -> dict[str, tuple]:
  """Returns dotted key -> (value before, value after) of what differs in two dicts; None: no such key."""
  found = {}
  for key in dict.fromkeys([*before, *after]):
    old, new = before.get(key), after.get(key)
    if isinstance(old, dict) and isinstance(new, dict):
      found |= differences(old, new, f'{prefix}{key}.')
    elif old != new:
      found[prefix + key] = old, new
  return found


def _fill(c: ml_collections.ConfigDict, values: dict, prefix: str, source: str) -> None:
  for key, value in values.items():
    if key not in c:
      close = difflib.get_close_matches(key, list(c), 1, 0.5)
      hint = f' Did you mean {close[0]}?' if close else ''
      raise ValueError(f'{source} has an unknown key {prefix}{key}.{hint}')
    is_section = isinstance(c[key], ml_collections.ConfigDict)
    if is_section and isinstance(value, dict):
      _fill(c[key], value, f'{prefix}{key}.', source)
      continue
    value = tuple(value) if isinstance(value, list) else value
    is_float = isinstance(c[key], float) and type(value) is int
    if is_section or (type(value) is not type(c[key]) and not is_float):
      raise ValueError(f'{source}: {prefix}{key} must be of type {type(c[key]).__name__}; got {value!r}.')
    c[key] = value
