"""A package imports only packages in rows above its own, and itself."""

import ast
from collections.abc import Set
import functools
import graphlib
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = (
  ('file_names', 'storage', 'cache_folder'),
  (
    'arguments',
    'shapes',
    'clip',
    'chips',
    'degradations',
    'execution',
    'guidance',
    'input_errors',
    'files',
    'flops',
    'keys',
    'mel',
    'termination',
    'workarounds',
  ),
  ('entry_point', 'flags', 'manifests', 'masks'),
  ('config', 'media', 'synthetic', 'sharding'),
  ('data', 'models', 'weights', 'ood'),
  ('codecs', 'conditioning', 'diffusion', 'autoregressive'),
  ('builders',),
  ('pretrained',),
  ('sampling', 'training'),
  ('metrics',),
  ('evaluation', 'aot'),
  ('reports',),
  ('cli',),
  ('__main__',),
)
ROW_OF = {package: row for row, packages in enumerate(ROWS) for package in packages}
# What folders outside v2a may import of it.
OUTSIDE = {
  'configs': {'config'},
  'data_pipelines': set(ROW_OF) - {'cli', '__main__'},
  'scripts': set(ROW_OF) - {'cli', '__main__'},
  'launch': set(),
  'benchmarks': set(ROW_OF),
}
# Folders outside v2a that may import another one of them: benchmarks measure data sets, too.
BETWEEN = {('benchmarks', 'data_pipelines')}
# Packages that must stay usable without JAX.
NO_JAX = ('synthetic', 'media', 'reports')
FILES = sorted(
  path for top in ('v2a', *OUTSIDE) for path in (ROOT / top).rglob('*.py') if 'assets' not in path.parts
)


def test_rows_list_all_modules_and_packages():
  listing = {path.stem for path in (ROOT / 'v2a').iterdir() if path.suffix == '.py' or any(path.glob('*.py'))}
  assert set(ROW_OF) == listing - {'__init__'}


def imports(tree: ast.AST) -> set[str]:
  """Returns the dotted names that a module imports, anywhere in it."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'relative import'
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  return names


@functools.cache
def imports_of(path: pathlib.Path) -> frozenset[str]:
  """Returns the dotted names that a file imports; parsed once for all tests."""
  return frozenset(imports(ast.parse(path.read_text())))


def faults(top: str, package: str, names: Set[str]) -> list[str]:
  """Returns the imports that go the wrong way, for a file of a package."""
  wrong = []
  for name in sorted(names):
    head, *rest = name.split('.')
    if head in OUTSIDE and head != top and (top, head) not in BETWEEN:
      wrong.append(name)
    if head in ('jax', 'jaxlib', 'flax') and top == 'v2a' and package in NO_JAX:
      wrong.append(name)
    if head != 'v2a' or not rest or rest[0] in ('__version__', package):
      continue
    if top in OUTSIDE:
      is_allowed = rest[0] in OUTSIDE[top]
    else:
      is_allowed = package == '__init__' or ROW_OF[rest[0]] < ROW_OF[package]
    if not is_allowed:
      wrong.append(name)
  return wrong


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_up(path):
  top, package = path.relative_to(ROOT).with_suffix('').parts[:2]
  assert top != 'v2a' or package in ROW_OF or package == '__init__', f'{package} has no row'
  wrong = faults(top, package, imports_of(path))
  assert not wrong, f'{path.relative_to(ROOT)} must not import {", ".join(wrong)}'


@pytest.mark.parametrize(
  ('top', 'package', 'name'),
  [
    ('v2a', 'models', 'v2a.codecs.stft'),
    ('v2a', 'codecs', 'v2a.diffusion.process'),
    ('v2a', 'autoregressive', 'v2a.diffusion.samplers'),
    ('v2a', 'synthetic', 'jax.numpy'),
    ('v2a', 'sampling', 'v2a.cli.main'),
    ('v2a', 'training', 'v2a.evaluation.evaluator'),
    ('v2a', 'config', 'configs.base'),
    ('configs', 'small', 'v2a.models.mmdit'),
    ('launch', 'slurm', 'v2a.config.schema'),
    ('data_pipelines', 'build', 'v2a.cli'),
    ('data_pipelines', 'build', 'benchmarks.data'),
  ],
)
def test_wrong_way_is_seen(top, package, name):
  assert faults(top, package, {name}) == [name]


def import_graph(imported: dict[str, Set[str]]) -> dict[str, set[str]]:
  """Returns the modules that each module imports, among those given by their dotted names.

  Args:
    imported: names that each module imports.
  """
  graph = {}
  for module, names in imported.items():
    # `from package import name` imports the module package.name, or a name of the module package.
    modules = {name if name in imported else name.rpartition('.')[0] for name in names}
    graph[module] = (modules & set(imported)) - {module}
  return graph


def test_modules_have_no_import_cycles():
  """Imports within functions count, too."""
  imported = {'.'.join(path.relative_to(ROOT).with_suffix('').parts): imports_of(path) for path in FILES}
  graphlib.TopologicalSorter(import_graph(imported)).prepare()


def test_an_import_cycle_is_found():
  sources = {'a.b': 'from a import c', 'a.c': 'def f():\n  import a.b', 'a.d': 'from a.c import f'}
  graph = import_graph({module: imports(ast.parse(text)) for module, text in sources.items()})
  assert graph['a.d'] == {'a.c'}
  with pytest.raises(graphlib.CycleError):
    graphlib.TopologicalSorter(graph).prepare()


def test_no_other_framework():
  banned = {'tensorflow', 'tensorflow_datasets', 'torch', 'torchaudio', 'librosa'}
  for path in FILES:
    heads = {name.split('.')[0] for name in imports_of(path)}
    # Two benchmarks compare frameworks, a script makes goldens; builders of TFDS data sets are subclasses of
    # those of TFDS.
    uses_torch = ('benchmarks/codecs.py', 'benchmarks/torch_baseline.py', 'scripts/make_codec_goldens.py')
    heads -= {'torch'} if str(path.relative_to(ROOT)) in uses_torch else set()
    heads -= {'tensorflow_datasets'} if path.parent == ROOT / 'data_pipelines' / 'tfds' else set()
    assert not heads & banned, f'{path.relative_to(ROOT)} imports {heads & banned}'


def test_nothing_imports_the_builders_of_tfds():
  """But its command, by name; so TensorFlow is loaded where it is used, and nowhere else."""
  folder = ROOT / 'data_pipelines' / 'tfds'
  for path in FILES:
    if path.parent != folder or path.stem in ('__init__', '__main__'):
      wrong = {name for name in imports_of(path) if f'{name}.'.startswith('data_pipelines.tfds.')}
      assert not wrong, f'{path.relative_to(ROOT)} imports {wrong}'


def test_importing_all_modules_does_not_load_tensorflow():
  """Where it is installed; where it is not, this shows that all modules can be imported without it."""
  modules = [
    '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    for path in FILES
    if path.relative_to(ROOT).parts[0] in ('v2a', 'data_pipelines') and path.stem != '__main__'
  ]
  builders = [name for name in modules if name.startswith('data_pipelines.tfds.')]
  assert 'data_pipelines.tfds.vggsound' in builders and 'data_pipelines.sources.tfds' in modules
  code = (
    'import importlib, sys\n'
    'for name in sys.argv[1:]:\n'
    '  importlib.import_module(name)\n'
    "print(sorted({'tensorflow', 'tensorflow_datasets'} & set(sys.modules)))"
  )
  others = [name for name in modules if name not in builders]
  command = [sys.executable, '-c', code, *others, 'data_pipelines.tfds.__main__']
  ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
  assert ran.returncode == 0 and ran.stdout == '[]\n', ran.stdout + ran.stderr[-3000:]
