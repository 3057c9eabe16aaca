"""Applies annotators to clips: cached, several clips at once, and every failure is reported."""

import collections
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from concurrent import futures
import dataclasses

from data_pipelines import decoded
from data_pipelines.annotate import annotator as annotator_lib
from data_pipelines.annotate import cache as cache_lib
from v2a import file_names
from v2a.data import annotations as annotations_lib


@dataclasses.dataclass(frozen=True)
class Result:
  """A clip after all annotators.

  Attributes:
    id: of the clip.
    annotations: what was known, merged with what was added.
    failures: one for each annotator that added nothing because of an error.
  """

  id: str
  annotations: annotations_lib.Annotations
  failures: tuple[annotator_lib.Failure, ...] = ()


def annotate(
  clip: decoded.DecodedClip,
  known: annotations_lib.Annotations,
  annotators: Sequence[annotator_lib.Annotator],
  cache: cache_lib.Cache | None = None,
) -> Result:
  """Returns a clip after all annotators, in their order; each reads what those before it added.

  Args:
    clip: the decoded clip.
    known: what its source says about it.
    annotators: see `annotator`.
    cache: None caches nothing.

  Raises:
    ServiceError: no clip can be annotated.
    OSError: the cache cannot be written.
    ValueError: an annotator is faulty, see `annotator.check_additions`.
  """
  failures = []
  for each in annotators:
    readable = annotator_lib.readable(each, known)
    compute = lambda each=each, readable=readable: _checked(each, clip, readable)
    try:
      added = compute() if cache is None else cache.get(each, clip, readable, compute)
    except annotator_lib.AnnotationError as error:
      reason = file_names.one_line(str(error))
      failures.append(annotator_lib.Failure(clip.id, annotator_lib.origin(each), reason))
    else:
      known = annotator_lib.merge(known, added)
  return Result(clip.id, known, tuple(failures))


def annotate_all(
  clips: Iterable[tuple[decoded.DecodedClip, annotations_lib.Annotations]],
  annotators: Sequence[annotator_lib.Annotator],
  cache: cache_lib.Cache | None = None,
  num_threads: int = 1,
) -> Iterator[Result]:
  """Yields the results of clips in their order, in memory for a few clips.

  Args:
    clips: clips and what is known about them; read lazily.
    annotators: see `annotator`.
    cache: None caches nothing.
    num_threads: clips at once; annotators that wait for an endpoint gain by several.

  Raises:
    ServiceError: no clip can be annotated; what was finished is in the cache.
    OSError: the cache cannot be written.
    ValueError: num_threads is not positive, or an annotator is faulty.
  """
  if num_threads < 1:
    raise ValueError(f'num_threads must be at least 1; got {num_threads}.')
  with futures.ThreadPoolExecutor(num_threads) as pool:
    pending: collections.deque[futures.Future[Result]] = collections.deque()
    try:
      for clip, known in clips:
        pending.append(pool.submit(annotate, clip, known, annotators, cache))
        if len(pending) > num_threads:
          yield pending.popleft().result()
      while pending:
        yield pending.popleft().result()
    finally:
      for each in pending:
        each.cancel()


def _checked(
  each: annotator_lib.Annotator, clip: decoded.DecodedClip, known: annotations_lib.Annotations
) -> annotations_lib.Annotations:
  added = each.annotate(clip, known)
  annotator_lib.check_additions(each, added)
  return added
