"""All metrics by name; evaluation and reports get them from here.

  registry.get('onset_f1')                    one metric, whose network is loaded on first use
  registry.load(('synthetic', 'signal'))      all of some groups, with their networks loaded

To add a metric, make a `metric.Metric` (score of a sample, combination of scores, unit, direction,
description) and add it to the list in `_all`.
"""

from collections.abc import Iterable
import dataclasses
import pathlib

from v2a.metrics import distribution
from v2a.metrics import metric
from v2a.metrics import signal_metrics
from v2a.metrics import speech
from v2a.metrics import synthetic
from v2a.metrics.embedders import catalog

EMBEDDINGS_FOLDER = 'embeddings'  # in the folder of an evaluation
# Title of each group of metrics, by its key in report.json.
GROUPS = {
  'synthetic': 'Metrics of the synthetic set',
  'signal': 'Signal metrics',
  'speech': 'Word error rates',
  'distribution': 'Distribution metrics',
}


def _all() -> dict[str, metric.Metric]:
  found: list[metric.Metric] = [*synthetic.METRICS.values(), *signal_metrics.METRICS.values()]
  found += [speech.make_metric(name) for name in speech.RECOGNIZERS]
  found += [each for name in catalog.EMBEDDERS for each in distribution.make_metrics(name)]
  return {each.name: each for each in found}


def names(groups: Iterable[str] = GROUPS) -> list[str]:
  """Returns the names of all metrics of some groups."""
  return [name for name, each in _all().items() if each.group in set(groups)]


def get(name: str) -> metric.Metric:
  """Returns a metric without any scores.

  Raises:
    ValueError: there is no such metric.
  """
  found = _all().get(name)
  if found is None:
    raise ValueError(f'there is no metric {name!r}; registry.names() lists them.')
  return dataclasses.replace(found, scores=[])


def load(
  groups: Iterable[str] = GROUPS, embeddings: pathlib.Path | None = None, use_optical_flow: bool = False
) -> list[metric.Metric]:
  """Returns the metrics of some groups in their order, with their networks loaded.

  Metrics of missing networks are included, with the reason; of missing recognizers one of each kind.

  Args:
    groups: some of GROUPS.
    embeddings: folder of the cache of embeddings; None caches nothing.
    use_optical_flow: whether metrics that need the optical flow of the video are available.

  Raises:
    ValueError: an unknown group, or weights that are not the published ones.
  """
  groups = tuple(groups)
  unknown = [group for group in groups if group not in GROUPS]
  if unknown:
    raise ValueError(f'groups of metrics must be of {", ".join(GROUPS)}; got {", ".join(unknown)}.')
  context = metric.LoadContext(embeddings, use_optical_flow)
  metrics = _all().values()
  loaded = [each.load(context) for group in groups for each in metrics if each.group == group]
  return [each for each in loaded if each is not None]
