"""What is tracked, what the wheel holds, and how light the package is to import."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from v2a.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEAVY = ('jax', 'numpy', 'flax', 'scipy', 'av', 'matplotlib', 'ml_collections')
# Folders of a machine and hosts of registries; written apart, so that this file does not hold them.
MACHINE_PATH = re.compile(r'(?<![\w.~-])/' + r'(?:work|home|root|tmp|opt|Users|mnt|scratch)/[\w.-]+')
REGISTRY = re.compile(
  r'--(?:(?:extra-)?index-url|find-links|trusted-host)\b|https?://[^\s/]*(?:pypi|simple|mirror|nexus|'
  r'artifactory)[^\s]*|https?://(?:\d{1,3}\.){3}\d{1,3}|https?://localhost'
)


def tracked() -> list[pathlib.Path]:
  """Returns the files under version control that exist, or skips where there is no version control."""
  try:
    listing = subprocess.run(['git', 'ls-files', '-z'], cwd=ROOT, check=True, capture_output=True)
  except (FileNotFoundError, subprocess.CalledProcessError):
    pytest.skip('not a git checkout')
  paths = [ROOT / name for name in listing.stdout.decode().split('\0') if name]
  return [path for path in paths if path.is_file()]


def text(path: pathlib.Path) -> str | None:
  """Returns a file's text, or None where it is binary."""
  raw = path.read_bytes()
  return None if b'\0' in raw[:4096] else raw.decode('utf-8', 'replace')


def machine_words(content: str) -> list[str]:
  """Returns the paths of one machine and the hosts of registries in a text."""
  return MACHINE_PATH.findall(content) + REGISTRY.findall(content)


def test_no_machine_paths_or_registry_hosts():
  found = {}
  for path in tracked():
    content = text(path)
    words = machine_words(content) if content is not None else []
    if words:
      found[str(path.relative_to(ROOT))] = words[:3]
  assert not found


@pytest.mark.parametrize(
  'content',
  [
    'open("/' + 'work/main/x.py")',
    'see /' + 'home/me/v2a',
    'pip install --index-' + 'url x',
    'https://' + 'pypi.example.org/simple',
    'http://' + '10.0.0.3/x',
  ],
)
def test_machine_words_are_seen(content):
  assert machine_words(content)


def test_no_large_or_derived_files():
  for path in tracked():
    assert path.suffix not in ('.pyc', '.egg-info') and '__pycache__' not in path.parts, path
    assert path.stat().st_size <= 50e6, f'{path} has {path.stat().st_size / 1e6:.0f} MB'


def pinned(requirements: str) -> set[str]:
  """Returns the names of packages in a file of requirements."""
  return set(re.findall(r'^([a-z0-9-]+)==', requirements, re.MULTILINE))


def test_pins_have_hashes():
  for path in sorted((ROOT / 'requirements').glob('*.txt')):
    blocks = re.split(r'\n(?=[a-z])', path.read_text().split('\n', 2)[2])
    for block in blocks:
      assert re.match(r'[a-z0-9-]+==\S+', block) and '--hash=sha256:' in block, f'{path.name}: {block[:60]}'
    names = pinned(path.read_text())
    assert len(names) == len(blocks)
    wanted = {'compiler': {'libtpu'}, 'tfds': {'tensorflow', 'tensorflow-cpu'}}.get(path.stem, set())
    assert names & {'tensorflow', 'tensorflow-cpu', 'torch', 'jax-cuda13-plugin', 'libtpu'} == wanted
    # These are installed beside the environment, and must not replace any of its packages.
    assert path.stem != 'tfds' or not names & pinned((ROOT / 'requirements' / 'dev.txt').read_text())


def _fresh(code: str, *arguments: str) -> subprocess.CompletedProcess:
  environment = {name: value for name, value in os.environ.items() if not name.startswith('COVERAGE')}
  return subprocess.run(
    [sys.executable, '-c', code, *arguments],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )


def test_import_is_light():
  code = (
    'import json, sys, time; start = time.perf_counter(); import v2a; '
    'print(json.dumps([time.perf_counter() - start, list(sys.modules)]))'
  )
  elapsed_s, modules = json.loads(_fresh(code).stdout)
  assert not set(HEAVY) & set(modules)
  assert elapsed_s < 0.3


@pytest.mark.parametrize('command', ['', *main.COMMANDS])
def test_help_is_light(command):
  if command and not (ROOT / 'v2a' / 'cli' / f'{command}.py').exists():
    pytest.fail(f'v2a {command} is promised by v2a --help, but v2a/cli/{command}.py is not there')
  code = (
    'import json, sys\nfrom v2a.cli import main\ntry:\n  main.main(sys.argv[1:])\n'
    'except SystemExit:\n  pass\nprint(json.dumps(list(sys.modules)), file=sys.stderr)'
  )
  ran = _fresh(code, *([command] if command else []), '--help')
  assert 'usage: v2a' in ran.stdout
  assert not set(HEAVY) & set(json.loads(ran.stderr.splitlines()[-1]))


def test_wheel_contents(tmp_path):
  spec = importlib.util.spec_from_file_location('wheel_check', ROOT / '.ci' / 'wheel.py')
  check = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(check)
  tracked()
  wheel = check.build(tmp_path)
  assert check.contents(wheel) == []
  assert check.faults_of(['tests/test_x.py', 'v2a/__init__.py'], {'v2a/__init__.py', 'v2a/assets/a.mp4'}) == [
    'the wheel lacks v2a/assets/a.mp4',
    'the wheel lacks LICENSE',
    'the wheel holds tests/test_x.py',
  ]
