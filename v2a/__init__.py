"""v2a: soundtracks for silent video, in JAX.

  import v2a

  pipeline = v2a.load('default')
  for soundtrack in pipeline.generate('film.mp4', prompt='rain on a tin roof', num_samples=2):
    soundtrack.mux('film.mp4', f'film.{soundtrack.index}.mp4')

Names are loaded on first use, so that `import v2a` stays light.
"""

import importlib
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
  from v2a import metrics
  from v2a.evaluation.api import compare
  from v2a.evaluation.api import evaluate
  from v2a.sampling.pipeline import Cancelled
  from v2a.sampling.pipeline import Pipeline
  from v2a.sampling.pipeline import load
  from v2a.sampling.soundtrack import Soundtrack

__version__ = '0.1.0'
__all__ = ['Cancelled', 'Pipeline', 'Soundtrack', 'compare', 'evaluate', 'load', 'metrics']

# Where each public name lies.
_MODULES = {
  'Cancelled': 'v2a.sampling.pipeline',
  'Pipeline': 'v2a.sampling.pipeline',
  'Soundtrack': 'v2a.sampling.soundtrack',
  'compare': 'v2a.evaluation.api',
  'evaluate': 'v2a.evaluation.api',
  'load': 'v2a.sampling.pipeline',
}


def __getattr__(name: str) -> Any:
  if name == 'metrics':
    return importlib.import_module('v2a.metrics')
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
  return sorted([*globals(), *__all__])
