"""Every task through the launcher and the program, as users start it: two processes train as one does."""

import os
import subprocess
import sys

import jax
import pytest
from tensorboard.backend.event_processing import event_accumulator

from v2a import weights

# Compiled as the tests are, and kept for the next process.
CHEAP = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1', 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
         'V2A_CACHE': str(jax.config.jax_compilation_cache_dir)}  # fmt: skip


CONFIGS = ('codec_world', 'codec_world_rvq', 'sync_world', 'flow_world', 'tokens_world',
           'tokens_masked_world')  # fmt: skip


def launch(config, workdir, num_processes, mesh=()):
  """Trains a shrunk config on four devices, and returns the loss of every step."""
  words = ['local', '--num-processes', str(num_processes), '--devices-per-process', str(4 // num_processes)]
  words += ['--', 'train', '--config', config, '--tiny', '--workdir', str(workdir), *mesh]
  ran = subprocess.run([sys.executable, '-m', 'launch', *words], env=os.environ | CHEAP, text=True,
                       capture_output=True, timeout=900)  # fmt: skip
  assert ran.returncode == 0, ran.stdout + ran.stderr
  assert weights.load_export(workdir / 'model').about['step'] == 4
  events = event_accumulator.EventAccumulator(str(workdir / 'tensorboard'))
  events.Reload()
  return {event.step: event.value for event in events.Scalars('loss')}


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS)
def test_two_processes_train_as_one(tmp_path, config):
  wanted = launch(config, tmp_path / 'one', 1)
  assert set(wanted) == {1, 2, 3, 4}
  split = launch(config, tmp_path / 'two', 2, ['--config.mesh.fsdp=2', '--config.mesh.data=2'])
  assert split == pytest.approx(wanted, rel=1e-3)
