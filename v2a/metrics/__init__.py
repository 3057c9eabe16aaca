"""Metrics, and the classifiers and embedders that they need.

  v2a.metrics.names()                       all metrics
  metric = v2a.metrics.get('onset_flux_f1')
  metric.update([v2a.metrics.Sample(sound, reference)])
  metric.compute()

See `metric` for the interface, and `registry` for the metrics.
"""

import importlib
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
  from v2a.metrics.metric import Metric
  from v2a.metrics.metric import Reference
  from v2a.metrics.metric import Sample
  from v2a.metrics.metric import Sound
  from v2a.metrics.registry import GROUPS
  from v2a.metrics.registry import get
  from v2a.metrics.registry import load
  from v2a.metrics.registry import names

__all__ = ['GROUPS', 'Metric', 'Reference', 'Sample', 'Sound', 'get', 'load', 'names']

# Loaded on first use: the modules below import single modules of this package.
_MODULES = dict.fromkeys(('Metric', 'Reference', 'Sample', 'Sound'), 'v2a.metrics.metric')
_MODULES |= dict.fromkeys(('GROUPS', 'get', 'load', 'names'), 'v2a.metrics.registry')


def __getattr__(name: str) -> Any:
  if name not in _MODULES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  return getattr(importlib.import_module(_MODULES[name]), name)
