"""What a build will take, before anything is written: clips, bytes, requests, hours and costs.

The source is read whole; a few items, spread over it, are analysed, annotated by what needs no endpoint, and
made into records, of which nothing is kept:

  hours = items x mean seconds of a sampled item / workers / 3600                                       (1)

Annotation by endpoints waits and costs in addition: one request per clip and endpoint, priced by the tokens
that one request of the captioner takes, and by the minutes that are transcribed.
"""

import collections
import contextlib
import dataclasses
import hashlib
import pathlib
import time

from data_pipelines import analysis
from data_pipelines import pipeline
from data_pipelines import shard_writer
from data_pipelines.annotate import apply
from data_pipelines.annotate import captioner
from data_pipelines.annotate import catalog as annotators_lib
from data_pipelines.annotate import endpoint
from data_pipelines.annotate import usage as usage_lib
from data_pipelines.sources import catalog
from data_pipelines.sources import items
from v2a import storage
from v2a.media import errors

NUM_SAMPLED = 4


@dataclasses.dataclass(frozen=True)
class Estimate:
  """See the module.

  Attributes:
    num_items: of the source.
    problems: kind -> number of clips that the source cannot use.
    num_bytes: of the media that are files of their own.
    num_sampled: items that were measured.
    clips_per_item, seconds_per_item, item_s: of the sampled items: clips, duration of them, time to build.
    num_workers: processes.
    num_requests: to endpoints.
    cost_usd: of the requests.
  """

  num_items: int
  problems: dict[str, int]
  num_bytes: int
  num_sampled: int
  clips_per_item: float
  seconds_per_item: float
  item_s: float
  num_workers: int
  num_requests: int
  cost_usd: float

  @property
  def hours(self) -> float:
    """Time of the build without waiting for endpoints (eq. 1)."""
    return self.num_items * self.item_s / self.num_workers / 3600

  def lines(self) -> list[str]:
    """Returns the estimate as text."""
    problems = ', '.join(f'{count} {kind}' for kind, count in sorted(self.problems.items())) or 'none'
    duration_h = self.num_items * self.seconds_per_item / 3600
    return [
      f'items:    {self.num_items}, {self.num_bytes / 1e9:.3g} GB; problems: {problems}',
      f'clips:    about {self.num_items * self.clips_per_item:.0f}, {duration_h:.3g} h, before filters '
      f'(of {self.num_sampled} sampled items)',
      f'time:     about {_duration(self.hours)} with {_workers(self.num_workers)} like this one',
      requests_line(self.num_requests, self.cost_usd),
    ]


def _duration(hours: float) -> str:
  return f'{hours:.3g} h' if hours >= 1 else f'{60 * hours:.2g} min'


def _workers(count: int) -> str:
  return '1 worker' if count == 1 else f'{count} workers'


def estimate(settings: pipeline.Settings, num_workers: int, prices: usage_lib.Prices) -> Estimate:
  """Returns the estimate of a build; nothing is written.

  Args:
    settings: what is built.
    num_workers: processes.
    prices: of the endpoints.

  Raises:
    FileNotFoundError: the source is not there.
    ValueError: it has no item.
  """
  source = catalog.open_source(settings.source, **settings.source_settings)
  count, num_bytes, sampled = 0, 0, []
  problems: collections.Counter[str] = collections.Counter()
  for entry in source:
    if isinstance(entry, items.Problem):
      problems[entry.kind] += 1
      continue
    if count & (count - 1) == 0:  # spread over the source, whatever its length: item 0, 1, 2, 4, 8, ...
      sampled.append(entry)
    count += 1
    if isinstance(entry.media, items.MediaFile) and isinstance(entry.media.path, pathlib.Path):
      with contextlib.suppress(OSError):
        num_bytes += entry.media.path.stat().st_size
  if not count:
    raise ValueError(f'{source.name} has no item that can be used ({dict(problems)}).')
  sampled = sampled[-NUM_SAMPLED:]
  num_bytes += _bytes_in_store(sampled, count)
  start_s = time.perf_counter()
  found = list(analysis.analyse_items(sampled, settings.analysing))
  _make_records(sampled, found, settings)
  item_s = (time.perf_counter() - start_s) / len(sampled)
  clips = [entry for entry in found if entry.outcome == 'measured']
  seconds = sum(entry.end_s - entry.start_s for entry in clips) / len(sampled)
  num_clips = count * len(clips) / len(sampled)
  num_requests, used = requests(settings.annotating, num_clips, count * seconds)
  return Estimate(
    num_items=count,
    problems=dict(problems),
    num_bytes=num_bytes,
    num_sampled=len(sampled),
    clips_per_item=len(clips) / len(sampled),
    seconds_per_item=seconds,
    item_s=item_s,
    num_workers=num_workers,
    num_requests=num_requests,
    cost_usd=prices.cost_usd(used),
  )


def _bytes_in_store(sampled: list[items.Item], count: int) -> int:
  """Returns the bytes of all media if they are in an object store, where a size is a request: by a sample."""
  paths = [item.media.path for item in sampled if isinstance(item.media, items.MediaFile)]
  sizes = [storage.size(path) or 0 for path in paths if storage.is_remote(path)]
  return round(sum(sizes) / len(sampled) * count)


def _make_records(
  sampled: list[items.Item], found: list[analysis.Entry], settings: pipeline.Settings
) -> None:
  """Makes the records of items whose media can be read, which takes its time, and drops them."""
  local = dataclasses.replace(settings.annotating, captioner=None, transcriber=None)
  annotators = annotators_lib.open_all(local)
  for item in sampled:
    entries = [entry for entry in found if entry.item == item.id and entry.outcome == 'measured']
    with contextlib.suppress(errors.MediaError):
      for clip, record in shard_writer.clips(item, entries) if entries else ():
        apply.annotate(clip, record.annotations, annotators)
        hashlib.sha256(record.to_bytes()).digest()


def requests(
  annotating: annotators_lib.Settings, num_clips: float, duration_s: float
) -> tuple[int, usage_lib.Usage]:
  """Returns the number of requests to endpoints, and what they use.

  Args:
    annotating: which annotators are applied.
    num_clips: number of clips.
    duration_s: of all clips together.
  """
  count, used = 0, usage_lib.Usage()
  if annotating.captioner is not None:
    model = captioner.Captioner(endpoint.Endpoint(annotating.captioner), annotating.captioner_config)
    used += model.estimate(round(num_clips), duration_s / max(num_clips, 1.0))
    count += round(num_clips)
  if annotating.transcriber is not None:
    used += usage_lib.Usage(audio_s=duration_s)
    count += round(num_clips)
  return count, used


def requests_line(count: int, cost_usd: float) -> str:
  """Returns the line about requests to endpoints, and their costs."""
  return f'requests: about {count} to endpoints, {cost_usd:.2f} USD by the stated prices'
