"""Checks the wheel as a user gets it: builds it, checks its contents, installs it and runs it.

The environment is empty but for the wheel and requirements/run.txt, so a dependency that only developers have
is missed. In it, a soundtrack is generated, two clips are evaluated, and records are built.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROBE = """
import json, pathlib, sys, time
start = time.perf_counter()
import v2a
elapsed_s = time.perf_counter() - start
heavy = sorted({'jax', 'numpy', 'flax', 'scipy', 'av'} & set(sys.modules))
print(json.dumps({'file': v2a.__file__, 'elapsed_s': elapsed_s, 'heavy': heavy}))
"""


def tracked(*folders: str) -> set[str]:
  """Returns the files under version control below some folders."""
  listing = subprocess.run(['git', 'ls-files', '-z', *folders], cwd=ROOT, check=True, capture_output=True)
  return {name for name in listing.stdout.decode().split('\0') if name}


def build(folder: pathlib.Path) -> pathlib.Path:
  """Builds the wheel into a folder, from installed build requirements only."""
  offline = ['--quiet', '--no-deps', '--no-build-isolation', '--no-index']
  subprocess.run([sys.executable, '-m', 'pip', 'wheel', *offline, '--wheel-dir', folder, ROOT], check=True)
  return next(folder.glob('v2a-*.whl'))


def faults_of(names: list[str], wanted: set[str]) -> list[str]:
  """Returns what is wrong with a wheel that holds some names and should hold others."""
  faults = [f'the wheel lacks {name}' for name in sorted(wanted - set(names))]
  if not any(name.endswith('licenses/LICENSE') for name in names):
    faults.append('the wheel lacks LICENSE')
  strangers = sorted(name for name in names if not name.startswith(('v2a/', 'data_pipelines/', 'v2a-')))
  return faults + [f'the wheel holds {name}' for name in strangers]


def contents(wheel: pathlib.Path) -> list[str]:
  """Returns what is wrong with the wheel's list of files."""
  sources = [name for name in tracked('v2a', 'data_pipelines', 'configs') if (ROOT / name).exists()]
  wanted = {f'v2a/assets/{name}' if name.startswith('configs/') else name for name in sources}
  with zipfile.ZipFile(wheel) as archive:
    return faults_of(archive.namelist(), wanted)


def install(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Installs the wheel and its pinned requirements into an empty environment; returns its folder bin."""
  venv.create(folder, with_pip=True)
  programs = folder / 'bin'
  pip = [programs / 'python', '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check']
  subprocess.run([*pip, '--require-hashes', '-r', ROOT / 'requirements/run.txt'], check=True)
  subprocess.run([*pip, '--no-deps', '--no-index', wheel], check=True)
  return programs


def commands(programs: pathlib.Path, videos: pathlib.Path, folder: pathlib.Path) -> list[list[str]]:
  """Returns what a user runs: commands, their outputs in a folder."""
  v2a, python = str(programs / 'v2a'), str(programs / 'python')
  quick, records = ['--steps', '2'], str(folder / 'records')
  evaluated = ['--num-clips', '2', '--data', 'synthetic:5', '--output', str(folder / 'evaluation')]
  return [
    [v2a, '--help'],
    [v2a, 'models'],
    [v2a, 'doctor'],
    [v2a, 'generate', str(videos / 'ball.mp4'), *quick, '--output', str(folder / 'generated')],
    [v2a, 'evaluate', '--model', 'default', *quick, *evaluated],
    [python, '-m', 'data_pipelines.build', '--source', str(videos), '--output', records],
    [v2a, 'data', 'verify', records],
  ]


def run(programs: pathlib.Path, folder: pathlib.Path) -> list[str]:
  """Returns what is wrong with the installed package."""
  faults = []
  probe = subprocess.run(
    [programs / 'python', '-c', PROBE], cwd=folder, capture_output=True, text=True, check=True
  )
  seen = json.loads(probe.stdout)
  if str(folder) not in seen['file']:
    faults.append(f'the environment imports v2a from {seen["file"]}')
  if seen['heavy']:
    faults.append(f'import v2a loads {", ".join(seen["heavy"])}')
  for arguments in commands(programs, pathlib.Path(seen['file']).parent / 'assets/demo', folder):
    called = subprocess.run(arguments, cwd=folder, capture_output=True, text=True)
    if called.returncode:
      faults.append(f'{" ".join(arguments)} exits with {called.returncode}: {called.stderr.strip()[-300:]}')
  outputs = 'generated/ball.0.mp4', 'evaluation/report.json', 'records/manifest.json'
  return faults + [f'{name} was not written' for name in outputs if not (folder / name).is_file()]


def main() -> int:
  """Prints the faults and returns the exit code."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name).resolve()
    wheel = build(folder)
    faults = contents(wheel) or run(install(wheel, folder / 'env'), folder)
    size_mb = wheel.stat().st_size / 1e6
    for fault in faults:
      print(f'wheel: {fault}')
    if not faults:
      print(f'wheel: {wheel.name}, {size_mb:.1f} MB, installs and runs')
  return bool(faults)


if __name__ == '__main__':
  sys.exit(main())
