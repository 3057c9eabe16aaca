"""The commands of docs/howto/train.md, line by line as they are written there, with `--tiny`."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import jax
import pytest

from tests.media import films
from v2a.media import probe
from v2a.sampling import bundle

ROOT = pathlib.Path(__file__).resolve().parents[1]
HOWTO = (ROOT / 'docs' / 'howto' / 'train.md').read_text()
CLIPS = ROOT / '../shared/clips'
REAL = ('condfoley_chopping.mp4', 'decord_pancake.mkv', 'foleycrafter_avsync0_dog.mp4',
        'foleycrafter_avsync2_anvil.mp4', 'mdn_rabbit320.webm', 'specvqgan_vas_drum_dense.mp4',
        'specvqgan_vas_gun.mp4', 'sparsesync_lrs3_facecrop.mp4')  # fmt: skip
# Compiled as the tests are (see conftest), and kept for the next process.
CHEAP = {'JAX_PLATFORMS': 'cpu', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
         'XLA_FLAGS': '--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1',
         'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
         'V2A_CACHE': str(jax.config.jax_compilation_cache_dir), 'PYTHONPATH': str(ROOT)}  # fmt: skip

pytestmark = pytest.mark.slow


def commands(text):
  """Returns the commands of the code blocks of a text, each as it is written, with its line breaks."""
  lines = '\n'.join(re.findall(r'^```sh\n(.*?)^```', text, re.DOTALL | re.MULTILINE))
  return [line for line in re.split(r'(?<!\\)\n', lines) if line.strip()]


def appended(text):
  """Returns the flags that a text tells to append to each training, to try the path."""
  (flags,) = re.findall(r'`(--tiny --config\.training\.num_steps=\d+[^`]*)`', text)
  return flags


OWN, LARGE = re.split(r'^## Large models .*\n', HOWTO, flags=re.MULTILINE)


def shell_in(tmp_path, flags):
  """Returns what runs a command of the page as a user's shell does, and returns exit code and output.

  `v2a` and `python` are those of the environment; to `v2a train` the flags are appended. Its attribute
  `folder` is where commands run.
  """
  programs, folder = tmp_path / 'bin', tmp_path / 'checkout'
  programs.mkdir()
  folder.mkdir()
  python = f'exec "{sys.executable}"'
  scripts = {
    'python': f'{python} "$@"',
    'v2a': f'[ "$1" = train ] && set -- "$@" {flags}\n{python} -m v2a "$@"',
  }
  for name, text in scripts.items():
    (programs / name).write_text(f'#!/bin/sh\n{text}\n')
    (programs / name).chmod(0o755)
  path = f'{programs}{os.pathsep}{os.environ["PATH"]}'

  def run(command):
    done = subprocess.run(
      ['sh', '-c', command],
      cwd=folder,
      env=os.environ | CHEAP | {'PATH': path},
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
      timeout=1800,
      check=False,
    )
    return done.returncode, done.stdout

  run.folder = folder
  return run


def follow(shell, lines):
  """Runs commands one after the other, each of which must succeed."""
  for line in lines:
    code, output = shell(line)
    assert code == 0, f'{line}\n{output}'
    if line.startswith('v2a train'):
      assert re.search(r'Compiling step 1; .*\nCompiled in \S+s\.\n(?s:.*)step 2/\d+ .* left', output), output


def make_clips(folder):
  """Makes eight videos of clicks."""
  for index in range(8):
    films.make(folder / f'clicks{index}', 'mp4', duration_s=4.0,
               wave_NA=films.clicks(4.0, 44100, seed=index))  # fmt: skip


def copy_real_clips(folder):
  """Copies eight real videos."""
  if not CLIPS.is_dir():
    pytest.skip('no ../shared/clips beside the checkout')
  for name in REAL:
    shutil.copyfile(CLIPS / name, folder / name)


@pytest.mark.parametrize('make_videos', [make_clips, copy_real_clips])
def test_training_on_own_videos(make_videos, tmp_path):
  shell = shell_in(tmp_path, appended(OWN))
  (shell.folder / 'videos').mkdir()
  make_videos(shell.folder / 'videos')
  clip = sorted((shell.folder / 'videos').iterdir())[0]
  (shell.folder / 'clip.mp4').write_bytes(clip.read_bytes())
  lines = commands(OWN)
  follow(shell, lines)
  model = bundle.load(shell.folder / 'my_model')
  assert model.generator_names == ('flow', 'tokens') and 'sync' in model.exports
  outputs = [path for path in shell.folder.rglob('clip*.mp4') if path.name != 'clip.mp4']
  assert len(outputs) == sum(line.startswith('v2a generate') for line in lines) == 2
  for path in outputs:
    assert probe.probe(path).duration_s == pytest.approx(probe.probe(clip).duration_s, abs=0.1)
  # Again: already done, or refused in one line, with all files as they were.
  for line in lines:
    code, output = shell(line)
    is_refused = code == 2 and len(output.splitlines()) == 1 and 'exists already' in output
    assert code == 0 or is_refused, f'{line}\n{output}'


def test_preparing_and_training_a_large_model(tmp_path):
  shell = shell_in(tmp_path, appended(LARGE))
  (shell.folder / 'videos').mkdir()
  for index in range(2):
    films.make(shell.folder / 'videos' / f'clicks{index}', 'mp4', duration_s=8.0,
               wave_NA=films.clicks(8.0, 44100, seed=index))  # fmt: skip
  lines = commands(LARGE)
  follow(shell, lines)
  assert {path.name for path in (shell.folder / 'runs').iterdir()} >= {'flow_1b', 'tokens_1b'}
  (without,) = (line for line in lines if '--config flow_1b' in line)
  without = re.sub(r'--config\.init_from\.codec=\S+', '', without)
  code, output = shell(without.replace('runs/flow_1b', 'runs/x'))
  assert (code, len(output.splitlines())) == (2, 1) and 'config.init_from.codec must name the codec' in output
  assert not (shell.folder / 'runs' / 'x').exists()
