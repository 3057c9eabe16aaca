"""Every test runs on eight fake CPU devices, and no array is broadcast to another rank by accident."""

import gc
import os
import pathlib

os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# NumPy's threads wait for each other by spinning: eigenvalues of 64 x 64 on two of them take twenty times the
# processor time of one. Read when NumPy is first imported, here and in every process that a test starts.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

from absl import flags
import jax
import pytest

from tests import stores
from v2a import workarounds

# Collecting tests and tracing create many small objects, few of which are garbage.
gc.set_threshold(50_000, 20, 20)
# Grain reads absl flags, which only an absl main would parse.
flags.FLAGS.mark_as_parsed()
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
# Test programs are compiled far longer than they run: compile them plainly, and keep them for the next run.
jax.config.update('jax_disable_most_optimizations', True)
CACHE = pathlib.Path(__file__).parents[1] / '.pytest_cache' / 'jax'
jax.config.update('jax_compilation_cache_dir', str(CACHE))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
# XLA's older emitters of loops compile in a quarter of the time. Flags are read once, with the first devices:
# what a test starts as a process of its own is compiled as it is for a user.
# Eight devices on few busy cores may wait long for each other; after 40 s XLA would end the process.
XLA_FLAGS = (
  '--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1'
  f' {workarounds.ORDERED_COLLECTIVES} --xla_cpu_collective_call_terminate_timeout_seconds=200'
)
with pytest.MonkeyPatch.context() as patch:
  patch.setenv('XLA_FLAGS', XLA_FLAGS, prepend=' ')
  jax.devices()


# jax 0.10.2, flax 0.12.8.
def _raise_no_sharding(tracer):
  """Tells that a tracer has no sharding, without the equations that it comes from.

  Flax asks once for each random key, and JAX prints equations for the message of an error that Flax ignores:
  half of the time that it takes to trace the initialization of a model.
  """
  raise AttributeError(f'A tracer has no sharding: {type(tracer).__name__}.')


jax.core.Tracer.sharding = property(_raise_no_sharding)

# The files that take longest. One that starts last keeps a process busy when the others have nothing left.
LONGEST = (
  'test_end_to_end.py',
  'sampling/test_pipeline.py',
  'training/test_tasks.py',
  'models/test_token_decoder.py',
  'cli/test_generate.py',
  'training/test_loop.py',
  'training/test_stopping.py',
  'training/test_step.py',
  'training/test_meshes.py',
  'training/test_audio_masks.py',
  'training/test_gradients.py',
)


def pytest_configure(config):
  """Lets processes take files in the order of collection, not those of most tests first."""
  if hasattr(config.option, 'loadscopereorder'):
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
  """Puts the longest files first."""
  rank = {pathlib.Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
  assert all(path.is_file() for path in rank), 'LONGEST must name files that are there'
  items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_collection_finish():
  """Leaves modules and tests out of garbage collections."""
  gc.freeze()


@pytest.fixture(scope='session')
def s3_address():
  with stores.serve_s3() as address:
    yield address


@pytest.fixture
def s3(s3_address, monkeypatch):
  """A new bucket of a server on this machine."""
  return stores.connect('s3', s3_address, monkeypatch)


@pytest.fixture(scope='session')
def gs_address():
  with stores.serve_gs() as address:
    yield address


@pytest.fixture
def gs(gs_address, monkeypatch):
  """A new bucket of a server on this machine."""
  return stores.connect('gs', gs_address, monkeypatch)


@pytest.fixture(params=['s3', 'gs'])
def bucket(request):
  """A new bucket of each kind of store."""
  return request.getfixturevalue(request.param)
