"""Names of arrays use the legend's letters, and what is public says what it is."""

import ast
import pathlib
import re

import pytest

from v2a import shapes

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOPS = ('v2a', 'data_pipelines')
FILES = sorted(path for top in TOPS for path in (ROOT / top).rglob('*.py') if 'assets' not in path.parts)
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


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_and_docstrings(path):
  tree = ast.parse(path.read_text())
  assert not strangers(bound(tree)), f'letters outside the legend of v2a/shapes.py: {strangers(bound(tree))}'
  assert not undocumented(tree), f'public without a docstring: {undocumented(tree)}'


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
