"""Checks the wheel as a user gets it: builds it without network, looks inside, installs and runs it.

The fresh environment takes its dependencies from the one that runs this script, by a path file, so
that nothing is downloaded again; v2a itself comes from the wheel alone.
"""

import json
import pathlib
import subprocess
import sys
import sysconfig
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
  strangers = sorted(name for name in names if not name.startswith(('v2a/', 'v2a-')))
  return faults + [f'the wheel holds {name}' for name in strangers]


def contents(wheel: pathlib.Path) -> list[str]:
  """Returns what is wrong with the wheel's list of files."""
  sources = [name for name in tracked('v2a', 'configs') if (ROOT / name).exists()]
  wanted = {name if name.startswith('v2a/') else f'v2a/assets/{name}' for name in sources}
  with zipfile.ZipFile(wheel) as archive:
    return faults_of(archive.namelist(), wanted)


def install(wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  """Installs the wheel into a fresh environment and returns the folder of its programs."""
  venv.create(folder, with_pip=True)
  programs = folder / 'bin'
  offline = ['--quiet', '--no-deps', '--no-index']
  subprocess.run([programs / 'python', '-m', 'pip', 'install', *offline, wheel], check=True)
  site = pathlib.Path(sysconfig.get_path('purelib', vars={'base': str(folder)}))
  (site / 'dependencies.pth').write_text(sysconfig.get_path('purelib') + '\n')
  return programs


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
  for arguments in (['--help'], ['models'], ['doctor']):
    called = subprocess.run([programs / 'v2a', *arguments], cwd=folder, capture_output=True, text=True)
    if called.returncode:
      faults.append(
        f'v2a {" ".join(arguments)} exits with {called.returncode}: {called.stderr.strip()[-300:]}'
      )
  return faults


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
