"""Every test runs on eight fake CPU devices, and no array is broadcast to another rank by accident."""

import os

os.environ.setdefault('JAX_PLATFORMS', 'cpu')

from absl import flags
import jax

# Grain reads absl flags, which only an absl main would parse.
flags.FLAGS.mark_as_parsed()
jax.config.update('jax_num_cpu_devices', 8)
jax.config.update('jax_numpy_rank_promotion', 'raise')
