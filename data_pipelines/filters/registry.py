"""All filters by name, and the thresholds that apply without a configuration.

  filters = registry.load()                               all filters
  measured = filter.measure_all(clip, filters)
  filter.decide(measured, registry.default_thresholds(filters))

A filter without a threshold is only recorded.
"""

from collections.abc import Iterable
from collections.abc import Mapping

from data_pipelines.filters import content
from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import sound
from data_pipelines.filters import sync
from data_pipelines.filters import video

DEFAULT_THRESHOLDS: Mapping[str, filter_lib.Threshold] = {
  'peak': filter_lib.Threshold(min=-50.0),
  'silent_share': filter_lib.Threshold(max=0.9),
  'clipping_share': filter_lib.Threshold(max=0.02),
  'bandwidth': filter_lib.Threshold(min=3000.0),
  'dc_offset': filter_lib.Threshold(max=0.1),
  'audio_offset': filter_lib.Threshold(min=-1.0, max=1.0),
  'audio_gap': filter_lib.Threshold(min=-0.5, max=0.5),
  'still_share': filter_lib.Threshold(max=0.98),
  'black_share': filter_lib.Threshold(max=0.5),
  'letterbox': filter_lib.Threshold(max=0.7),  # an upright video in a wide frame has bars of 0.68
  'scene_cuts': filter_lib.Threshold(max=5.0),
}


def default_thresholds(filters: Iterable[filter_lib.Filter]) -> dict[str, filter_lib.Threshold]:
  """Returns the default thresholds of those filters that can be computed."""
  available = {each.name for each in filters if not each.unavailable_reason}
  return {name: threshold for name, threshold in DEFAULT_THRESHOLDS.items() if name in available}


def load(names: Iterable[str] | None = None, weights: str | None = None) -> list[filter_lib.Filter]:
  """Returns filters; those that cannot be computed are included, with the reason.

  Args:
    names: names of filters, in the order of the result; None means all.
    weights: folder of published weights; None is the environment variable V2A_WEIGHTS.

  Raises:
    ValueError: an unknown name.
  """
  found = {
    each.name: each
    for each in (
      *sound.FILTERS,
      *sound.ALIGNMENT_FILTERS,
      *video.make_filters(),
      *content.FILTERS,
      *sync.make_filters(weights),
    )
  }
  names = list(found if names is None else names)
  if unknown := [name for name in names if name not in found]:
    raise ValueError(f'filters must be of {", ".join(found)}; got {", ".join(unknown)}.')
  return [found[name] for name in names]
