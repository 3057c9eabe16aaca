"""Names of arrays use the legend's letters, and what is public says what it is."""

import ast
from collections.abc import Iterator
import pathlib
import re
import textwrap

import pytest

from v2a import shapes

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPS = ('v2a', 'data_pipelines', 'launch', 'scripts')
FILES = sorted(path for top in TOPS for path in (ROOT / top).rglob('*.py') if 'assets' not in path.parts)
# A docstring has a section of arguments for this many parameters or more, in these folders and elsewhere.
DESCRIBED_FROM = {'v2a/data': 3, 'v2a/diffusion': 3, 'v2a/evaluation': 3, 'v2a/media': 3, 'v2a/sampling': 3}
DESCRIBED_FROM_ELSEWHERE = 4
# A suffix with a capital after a lower-case stem; constants (all capitals) have none.
SUFFIX = re.compile(r'^_*[a-z][a-z0-9_]*?_([0-9]*[A-Z][A-Za-z0-9]*)$')


def bound(tree: ast.AST) -> set[str]:
  """Returns every name that a module binds: variables, arguments, attributes, fields, keywords."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
      names.add(node.id)
    elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
      names.add(node.attr)
    elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
      names.add(node.arg)
  return names


def strangers(names: set[str], legend: dict[str, str] = shapes.LEGEND) -> list[str]:
  """Returns the names with an axis that the legend does not have."""
  matches = {name: SUFFIX.match(name) for name in names}
  return sorted(
    name
    for name, match in matches.items()
    if match and any(not c.isdigit() and c not in legend for c in match.group(1))
  )


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef, bool]]:
  """Yields name, definition and whether it is a method, of public functions, __init__ and __call__."""

  def visit(node: ast.Module | ast.ClassDef, prefix: str):
    for child in node.body:
      if isinstance(child, ast.ClassDef) and not child.name.startswith('_'):
        yield from visit(child, f'{child.name}.')
      elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
        if not child.name.startswith('_') or child.name in ('__init__', '__call__'):
          is_static = any(ast.unparse(each) == 'staticmethod' for each in child.decorator_list)
          yield prefix + child.name, child, isinstance(node, ast.ClassDef) and not is_static

  return visit(tree, '')


def parameters(function: ast.FunctionDef, is_method: bool) -> list[ast.arg]:
  """Returns the parameters of a function, without `self`."""
  arguments = function.args
  positional = [*arguments.posonlyargs, *arguments.args][is_method:]
  return positional + arguments.kwonlyargs + [each for each in (arguments.vararg, arguments.kwarg) if each]


def undocumented(tree: ast.Module) -> list[str]:
  """Returns the public functions, classes and methods without a docstring; 'module' is the module."""
  found = [] if ast.get_docstring(tree) else ['module']

  def visit(node: ast.AST, prefix: str):
    for child in ast.iter_child_nodes(node):
      if not isinstance(
        child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
      ) or child.name.startswith('_'):
        continue
      if not ast.get_docstring(child):
        found.append(prefix + child.name)
      if isinstance(child, ast.ClassDef):
        visit(child, f'{child.name}.')

  visit(tree, '')
  return found


def class_docstrings(tree: ast.Module) -> dict[str, str]:
  """Returns the docstring of the class of each __init__, by the name that public_functions gives to it."""

  def visit(node: ast.Module | ast.ClassDef, prefix: str):
    for child in node.body:
      if isinstance(child, ast.ClassDef):
        yield f'{prefix}{child.name}.__init__', ast.get_docstring(child) or ''
        yield from visit(child, f'{prefix}{child.name}.')

  return dict(visit(tree, ''))


def sections(docstring: str) -> dict[str, str]:
  """Returns the text of each section of a docstring (Args, Returns, Raises) by name; the first by ''."""
  parts = re.split(r'^(Args|Returns|Yields|Raises|Attributes):$', docstring, flags=re.MULTILINE)
  return {'': parts[0], **dict(zip(parts[1::2], map(textwrap.dedent, parts[2::2])))}


def raised(function: ast.FunctionDef) -> set[str]:
  """Returns the classes of the exceptions that a function itself raises."""
  names = set()
  nodes = list(function.body)
  while nodes:
    node = nodes.pop()
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
      name = ast.unparse(node.exc.func).rpartition('.')[2]
      if name[:1].isupper():
        names.add(name)
    if not isinstance(node, ast.FunctionDef | ast.Lambda | ast.ClassDef):
      nodes += ast.iter_child_nodes(node)
  return names


def described(section: str) -> set[str]:
  """Returns the names that a section of arguments or attributes describes."""
  heads = re.findall(r'^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:', section, re.MULTILINE)
  return {each.strip('*') for head in heads for each in head.split(', ')}


def misdocumented(tree: ast.Module, limit: int = DESCRIBED_FROM_ELSEWHERE) -> list[str]:
  """Returns what is wrong with the sections of public docstrings.

  Several arguments may share a line ("a_NA, b_NA: two waveforms"). A section of arguments names all of them
  and nothing else, and is followed by what is returned; what is raised is listed. The docstring of a class
  may describe the arguments of its `__init__`, as arguments or as attributes.

  Args:
    tree: the module.
    limit: with so many parameters or more, a section of arguments is required.
  """
  found = []
  classes = class_docstrings(tree)
  for name, function, is_method in public_functions(tree):
    docstring = ast.get_docstring(function) or ''
    parts, of_class = sections(docstring), sections(classes.get(name, ''))
    actual = {each.arg for each in parameters(function, is_method)}
    found += [f'{name}: no argument {each}' for each in sorted(described(of_class.get('Args', '')) - actual)]
    if 'Args' not in parts and len(actual) >= limit:
      documented = described(of_class.get('Args', '')) | described(of_class.get('Attributes', ''))
      if documented:
        found += [f'{name}: argument {each} is not described' for each in sorted(actual - documented)]
      else:
        found.append(f'{name}: {len(actual)} parameters, but no section of arguments')
    if 'Args' in parts:
      documented = described(parts['Args'])
      found += [f'{name}: no argument {each}' for each in sorted(documented - actual)]
      found += [f'{name}: argument {each} is not described' for each in sorted(actual - documented)]
      has_result = function.returns is not None and ast.unparse(function.returns) not in (
        'None',
        'NoReturn',
        'Generator[None]',
      )
      if has_result and not re.search(r'\b(returns?|yields?|whether|gives)\b', docstring, re.IGNORECASE):
        found.append(f'{name}: what it returns is not described')
    if function.name == '__init__' and not docstring:  # the class describes it
      continue
    found += [
      f'{name}: raises {each}, which its docstring does not list'
      for each in sorted(raised(function))
      if each not in docstring and each != 'NotImplementedError'
    ]
  return found


def unannotated(tree: ast.Module) -> list[str]:
  """Returns the public functions with a parameter or a result that has no annotation."""
  found = []
  for name, function, is_method in public_functions(tree):
    missing = [each.arg for each in parameters(function, is_method) if each.annotation is None]
    if function.returns is None and function.name != '__init__':
      missing.append('return')
    if missing:
      found.append(f'{name}: {", ".join(missing)}')
  return found


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_docstrings(path):
  tree = ast.parse(path.read_text())
  assert not strangers(bound(tree)), f'letters outside the legend of v2a/shapes.py: {strangers(bound(tree))}'
  assert not undocumented(tree), f'public without a docstring: {undocumented(tree)}'
  folder = path.relative_to(ROOT).parent
  limits = [DESCRIBED_FROM.get(str(each), DESCRIBED_FROM_ELSEWHERE) for each in (folder, *folder.parents)]
  assert not misdocumented(tree, min(limits))
  assert not unannotated(tree), f'public without an annotation: {unannotated(tree)}'


def test_a_strange_axis_is_seen():
  names = bound(ast.parse('def f(q_BQ, *, x_BTc, y_LYX3=0, NUM_T=1): self.v_Bq = f(k_BS=q_BQ)'))
  assert names >= {'q_BQ', 'x_BTc', 'v_Bq', 'k_BS'}
  assert strangers(names) == ['v_Bq', 'x_BTc']
  smaller = {letter: text for letter, text in shapes.LEGEND.items() if letter != 'Q'}
  assert strangers({'q_BQ'}, smaller) == ['q_BQ']


def test_a_missing_docstring_is_seen():
  assert undocumented(
    ast.parse('def f(): pass\nclass C:\n  "x"\n  def g(self): pass\n  def _h(self): pass')
  ) == ['module', 'f', 'C.g']


def test_a_wrong_docstring_is_seen():
  text = """
def f(a, b, *, c) -> int:
  '''The sum.

  Args:
    a, b: numbers.
    d: nothing.
  '''
  if c:
    raise ValueError('c')
  return a + b

class C:
  def g(self, x): raise KeyError(x)
  def _h(self, x): raise KeyError(x)
"""
  assert misdocumented(ast.parse(text)) == [
    'f: no argument d',
    'f: argument c is not described',
    'f: what it returns is not described',
    'f: raises ValueError, which its docstring does not list',
    'C.g: raises KeyError, which its docstring does not list',
  ]


def test_a_missing_section_of_arguments_is_seen():
  text = """
def f(a, b, c, *, d):
  '''Does nothing.'''

def g(a, b, c):
  '''Does nothing.'''

def _h(a, b, c, d): pass

class C:
  def __init__(self, a, b, c, d): pass
  def m(self, a, b, *c, **d):
    '''Does nothing.'''

class D:
  '''Holds a.

  Attributes:
    a: a number.
    e: its square.
  '''
  def __init__(self, a, b, c, d): pass

class E:
  '''Holds nothing.

  Args:
    a, b, c, d: numbers.
    e: nothing.
  '''
  def __init__(self, a, b, c, d): pass
"""
  without = 'parameters, but no section of arguments'
  found = [f'f: 4 {without}', f'C.__init__: 4 {without}', f'C.m: 4 {without}']
  found += [f'D.__init__: argument {each} is not described' for each in 'bcd']
  found += ['E.__init__: no argument e']
  assert misdocumented(ast.parse(text), 4) == found
  assert misdocumented(ast.parse(text), 3) == [found[0], f'g: 3 {without}', *found[1:]]


def test_a_missing_annotation_is_seen():
  text = 'def f(a: int, b) -> int: pass\ndef g(*a: int): pass\nclass C:\n  def __init__(self, a): pass'
  assert unannotated(ast.parse(text)) == ['f: b', 'g: return', 'C.__init__: a']
