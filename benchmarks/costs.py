"""Parameters of generators, and FLOPs of their training step.

  python benchmarks/costs.py [flow_synthetic tokens_synthetic tokens_masked_synthetic]

FLOPs are those of one clip, forward and backward (v2a.flops).
"""

import sys

from flax import nnx
import jax

from v2a import builders
from v2a import entry_point
from v2a import flags
from v2a.config import files
from v2a.training import costs
from v2a.training import tasks


def _run(argv: list[str] | None) -> int:
  """Prints one line per configuration."""
  parser = flags.Parser(prog='costs.py', description=__doc__.splitlines()[0])
  parser.add_argument(
    'names', nargs='*', default=['flow_synthetic', 'tokens_synthetic', 'tokens_masked_synthetic']
  )
  first = None
  for name in parser.parse_args(argv).names:
    c = files.find(name)
    task = tasks.make(c)
    parameters = builders.num_parameters(nnx.eval_shape(lambda task=task: task.build(jax.random.key(0))))
    found = parameters, costs.flops_per_clip(c)
    first = first or found
    print(
      f'{name}: {found[0]:,} parameters ({found[0] / first[0]:.3f} of the first), '
      f'{found[1] / 1e9:.3f} GFLOPs per clip and training step ({found[1] / first[1]:.3f})'
    )
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('costs.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
