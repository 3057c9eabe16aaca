"""Every task by the launcher, as users start it: two processes give the same losses as one."""

import os
import subprocess
import sys

import jax
import pytest
from tensorboard.backend.event_processing import event_accumulator

from v2a import weights

# Compiled as in the tests, and cached for the next process.
FAST_COMPILATION = {'JAX_DISABLE_MOST_OPTIMIZATIONS': '1', 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
         'V2A_CACHE': str(jax.config.jax_compilation_cache_dir)}  # fmt: skip


CONFIGS = ('codec_synthetic', 'codec_synthetic_rvq', 'sync_synthetic', 'flow_synthetic', 'tokens_synthetic',
           'tokens_masked_synthetic')  # fmt: skip


def launch(config, workdir, num_processes, mesh=()):
  """Trains a tiny config on four devices, and returns the loss of every step."""
  argv = ['local', '--num-processes', str(num_processes), '--devices-per-process', str(4 // num_processes)]
  argv += ['--', 'train', '--config', config, '--tiny', '--workdir', str(workdir), *mesh]
  ran = subprocess.run([sys.executable, '-m', 'launch', *argv], env=os.environ | FAST_COMPILATION, text=True,
                       capture_output=True, timeout=900)  # fmt: skip
  assert ran.returncode == 0, ran.stdout + ran.stderr
  assert weights.load_export(workdir / 'model').about['step'] == 4
  events = event_accumulator.EventAccumulator(str(workdir / 'tensorboard'))
  events.Reload()
  return {event.step: event.value for event in events.Scalars('loss')}


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS)
def test_two_processes_have_the_losses_of_one(tmp_path, config):
  expected = launch(config, tmp_path / 'one', 1)
  assert set(expected) == {1, 2, 3, 4}
  losses = launch(config, tmp_path / 'two', 2, ['--config.mesh.fsdp=2', '--config.mesh.data=2'])
  assert losses == pytest.approx(expected, rel=1e-3)
