"""Video, prompts, or both, to any number of soundtracks of any length.

A clip is sampled window by window, latents or codes by whichever generator (`v2a.sampling.samplers`). A
window begins whole blocks of latent steps after the last (`windows.starts`) and shares `overlap_s` with it;
what is already there of the shared part stays as it is, so that the new window continues the old one and no
seam exists in what is sampled. It is decoded in pieces that see their neighbours and continue each other's
phases.

Sample i of a seed draws from keys of its own: the same soundtrack whatever the batch, the devices or the
other samples. Several clips and samples take turns in the lanes of one compiled program; a lane that is done
takes the next.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import math
import mmap
import time

import numpy as np

from v2a import clip
from v2a import files
from v2a import flags
from v2a import input_errors
from v2a.media import errors
from v2a.media import level
from v2a.media import motion
from v2a.media import probe as probe_lib
from v2a.media import read
from v2a.sampling import bundle
from v2a.sampling import request as request_lib
from v2a.sampling import windows

MAX_PEAK = 0.98
_CLOCK_ERROR_S = 1e-9  # of a difference of two times
# The face of generation: callers need this module alone.
MODELS_FOLDER, Bundle = bundle.MODELS_FOLDER, bundle.Bundle
Input, Request, Result = request_lib.Input, request_lib.Request, request_lib.Result
load, join = bundle.load, bundle.join
save, extend, is_bundle = bundle.save, bundle.extend, bundle.is_bundle


class _Job:
  """One input on its way: its pictures, and the sounds of its samples so far (see v2a.sampling.samplers)."""

  def __init__(self, model: Bundle, source: Input, request: Request):
    start = time.perf_counter()
    spec, generator = model.clip_spec, model.generator(request.generator)
    self.source, self.request = source, request
    self.duration_s = _duration(source)
    # Before the pictures are read, so that whatever changes from here on is noticed.
    self.input_fingerprint = None if source.path is None else files.fingerprint(source.path)
    self.num_samples = round(self.duration_s * spec.sample_rate_hz)
    self.starts = windows.starts(spec, self.num_samples, generator.config.generation.overlap_s)
    self.window_transcripts = self._spoken(spec)
    self.has_video = source.path is not None
    self._read(spec)
    self.sounds = [
      generator.initial_canvas(self.starts[-1] + spec.num_latents) for _ in range(request.num_samples)
    ]
    self.num_left = request.num_samples
    self.timings_s = {'read': time.perf_counter() - start, 'sample': 0.0}

  def _spoken(self, spec: clip.ClipSpec) -> list[str]:
    """Returns what is said in each window. Raises ValueError where that is more than the model reads."""
    part_s = self.source.start_s
    found = _spoken(spec, self.request, self.starts, self.duration_s, part_s)
    for first, spoken in zip(self.starts, found):
      size = len(spoken.encode())
      if size > spec.num_transcript_bytes:
        name = 'the clip' if self.source.path is None else self.source.path
        begin_s = part_s + float(spec.time_s(first))
        raise ValueError(
          f'{name}: the window from {begin_s:g} s to {begin_s + float(spec.duration_s):g} s must hold at '
          f'most {spec.num_transcript_bytes} bytes of transcript; got {size}.'
        )
    return found

  def _read(self, spec: clip.ClipSpec) -> None:
    """Reads the pictures of all windows, each at its exact time, in one pass; what windows share, once."""
    tick_WL = np.stack([spec.sync_ticks(first) for first in self.starts])
    tick_F, place = np.unique(tick_WL, return_inverse=True)
    self._shown_WL = place.reshape(tick_WL.shape)
    self.frame_FYX3 = _mapped((len(tick_F), spec.frame_size, spec.frame_size, 3))
    step = spec.ticks_hz // spec.sync_fps
    num_pictures = max(1, round(self.duration_s * spec.sync_fps))
    # The part at the sync rate, without what holds its last picture to the end of a window; between two
    # pictures that were read the first stands for both.
    self.shown_L = np.searchsorted(tick_F, np.arange(num_pictures) * step, 'right') - 1
    if self.has_video:
      end, num_shown = num_pictures * step, 0
      for chunk_FYX3 in read.iterate_frames_at(
        self.source.path, tick_F[tick_F < end], spec.ticks_hz, spec.frame_size, self.source.start_s
      ):
        self.frame_FYX3[num_shown : num_shown + len(chunk_FYX3)] = chunk_FYX3
        num_shown += len(chunk_FYX3)
      # The last picture is held to the end of its window.
      self.frame_FYX3[num_shown:] = self.frame_FYX3[num_shown - 1]

  def frames(self, spec: clip.ClipSpec, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns semantic and sync frames of a window."""
    sync_frame_LYX3 = self.frame_FYX3[self._shown_WL[window]]
    return sync_frame_LYX3[spec.semantic_of_sync_M], sync_frame_LYX3


def _spoken(
  spec: clip.ClipSpec, request: Request, starts: list[int], duration_s: float, part_s: float = 0.0
) -> list[str]:
  """Returns what is said in each window of a part that begins at part_s of its video."""
  spoken, times_s = request.transcript.strip(), request.word_times_s
  if times_s is not None:
    times_s = tuple(time_s - part_s for time_s in times_s)
  elif len(starts) == 1:
    return [spoken]
  begins = [spec.time_s(first) for first in starts]
  return [
    windows.transcript_in_window(
      spoken, float(begin_s), float(begin_s + spec.duration_s), duration_s, times_s
    )
    for begin_s in begins
  ]


def _mapped(shape: tuple[int, ...]) -> np.ndarray:
  """Returns zeros, uint8, in pages that go back to the system at once where they are dropped."""
  return np.frombuffer(mmap.mmap(-1, math.prod(shape)), np.uint8).reshape(shape)


def _duration(source: Input) -> float:
  """Returns the length of the soundtrack in seconds.

  Raises:
    ValueError: it is not defined, or not within flags.MIN_DURATION_S and MAX_DURATION_S.
  """
  duration_s = _duration_of_part(source)
  if not flags.MIN_DURATION_S <= duration_s + _CLOCK_ERROR_S or not duration_s <= flags.MAX_DURATION_S:
    name = '' if source.path is None else f'{source.path}: '
    raise ValueError(
      f'{name}the part from {source.start_s:.12g} s on lasts {duration_s:.3g} s; wanted '
      f'{flags.MIN_DURATION_S:g}..{flags.MAX_DURATION_S:g} s.'
    )
  return duration_s


def _duration_of_part(source: Input) -> float:
  if source.duration_s is not None and not source.duration_s > 0:
    raise ValueError(f'duration must be positive; got {source.duration_s} s.')
  if not source.start_s >= 0:
    raise ValueError(f'start must be at least 0 s; got {source.start_s} s.')
  if source.path is None:
    if source.duration_s is None:
      raise ValueError('without a video, a duration is needed.')
    return source.duration_s
  info = probe_lib.probe(source.path)
  if not info.has_video:
    raise errors.MediaError(f'{source.path}: has no video stream; wanted a video or a picture.')
  if info.is_image:
    if source.duration_s is None:
      raise ValueError(f'{source.path}: is a still image; wanted a duration with it.')
    return source.duration_s
  left_s = info.duration_s - source.start_s
  if left_s <= 0:
    raise ValueError(
      f'{source.path}: lasts {info.duration_s:.3f} s; wanted a start before that, got {source.start_s} s.'
    )
  return left_s if source.duration_s is None else min(left_s, source.duration_s)


@dataclasses.dataclass
class _Lane:
  """One sample of one job, at one of its windows."""

  job: _Job
  sample: int
  window: int = 0


def generate(
  model: Bundle, inputs: list[Input], request: Request, progress: Callable[[int, int], None] | None = None
) -> Iterator[Result]:
  """Yields the result of every input, in order.

  Args:
    model: see `load`.
    inputs: what to draw for. One that cannot be used costs the others nothing: see Result.error.
    request: the same for all inputs.
    progress: called with (windows done, windows known so far).

  Raises:
    ValueError: the request has no meaning for this model.
  """
  progress = progress or (lambda done, total: None)
  request_lib.resolve(
    model, request, any(source.path for source in inputs)
  )  # its faults come before any file
  waiting, lanes, finished = list(enumerate(inputs)), [], {}
  owners, done, total, next_index = {}, 0, 0, 0
  while waiting or lanes:
    while waiting and len(lanes) < model.num_slots:
      index, source = waiting.pop(0)
      try:
        job = _Job(model, source, request)
      except Exception as error:  # noqa: BLE001 the boundary of one input
        finished[index] = _failed(error, source)
        continue
      owners[id(job)] = index
      total += len(job.starts) * request.num_samples
      lanes += [_Lane(job, sample) for sample in range(request.num_samples)]
    # Lanes with and without a picture need other branches of guidance, so they run apart.
    active = [lane for lane in lanes if lane.job.has_video == lanes[0].job.has_video][: model.num_slots]
    if active:
      progress(done, total)
      _advance(model, request, active)
      done += len(active)
    for lane in active:
      if lane.window == len(lane.job.starts):
        lanes.remove(lane)
        lane.job.num_left -= 1
        if not lane.job.num_left:
          try:
            result = _finish(model, request, lane.job)
          except Exception as error:  # noqa: BLE001 the boundary of one input
            result = _failed(error, lane.job.source)
          finished[owners.pop(id(lane.job))] = result
    progress(done, total)
    while next_index in finished:
      yield finished.pop(next_index)
      next_index += 1
  while next_index in finished:
    yield finished.pop(next_index)
    next_index += 1


def _failed(error: Exception, source: Input) -> Result:
  return Result([], [], [], np.zeros(0, np.float32), {}, {}, input_errors.format_error(error, source.path))


def _advance(model: Bundle, request: Request, lanes: list[_Lane]) -> None:
  """Draws the current window of every lane."""
  start = time.perf_counter()
  spec = model.clip_spec
  settings, branches, weights_G = request_lib.resolve(model, request, lanes[0].job.has_video)
  rows = [_row(model, lane) for lane in lanes]
  rows += rows[-1:] * (model.num_slots - len(rows))
  inputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  sound_BTC = np.asarray(
    model.sample(inputs, weights_G, **request_lib.static_arguments(model, settings, branches))
  )
  for lane, sound_TC in zip(lanes, sound_BTC):
    first = lane.job.starts[lane.window]
    lane.job.sounds[lane.sample][first : first + spec.num_latents] = sound_TC
    lane.window += 1
    lane.job.timings_s['sample'] += (time.perf_counter() - start) / len(lanes)


def _row(model: Bundle, lane: _Lane) -> dict[str, np.ndarray]:
  """Returns the inputs of model.sample for one lane, without the batch axis."""
  spec, job, request = model.clip_spec, lane.job, lane.job.request
  first, num_known = job.starts[lane.window], 0
  if lane.window:
    num_known = job.starts[lane.window - 1] + spec.num_latents - first
  frames, spoken = job.frames(spec, lane.window), job.window_transcripts[lane.window]
  known_TC = job.sounds[lane.sample][first : first + spec.num_latents]
  return _inputs(model, request, lane.sample, first, spoken, job.has_video, frames, known_TC, num_known)


def _inputs(
  model: Bundle,
  request: Request,
  sample: int,
  first: int,
  spoken: str,
  has_video: bool,
  frames: tuple[np.ndarray, np.ndarray],
  known_TC: np.ndarray,
  num_known: int,
) -> dict[str, np.ndarray]:
  """Returns the inputs of model.sample for one row of a batch, without the batch axis but named with it.

  The only place that makes them, for files and for evaluation alike.

  Args:
    model: see `load`.
    request: of the row; of its texts the transcript is not used.
    sample: number of the sample of the request's seed.
    first: latent step of the clip at which the window begins.
    spoken: words in the window.
    has_video: whether the frames mean anything.
    frames: semantic and sync frames of the window.
    known_TC: what is generated already of the window.
    num_known: steps of it that count.
  """
  spec = model.clip_spec
  row = {
    'semantic_frame_MYX3': frames[0],
    'sync_frame_LYX3': frames[1],
    'has_video': np.array(has_video),
    'known_TC': known_TC,
    'is_known_T': np.arange(spec.num_latents) < num_known,
  }
  row |= model.generator(request.generator).initial_noise(request.seed, sample, first)
  row |= request_lib.text_inputs(
    spec, request.prompt, request_lib.resolve_negative_prompt(model, request), spoken
  )
  return {_batched(name): value for name, value in row.items()}


def _batched(name: str) -> str:
  """Returns the name of an array once rows are stacked: a batch axis before its own."""
  head, _, tail = name.rpartition('_')
  return f'{head}_B{tail}' if tail and tail[0].isupper() else f'{name}_B'


def _finish(model: Bundle, request: Request, job: _Job) -> Result:
  """Ranks and decodes the samples of a job."""
  start = time.perf_counter()
  scores: list[float | None] = [None] * len(job.sounds)
  ranks: list[int | None] = [None] * len(job.sounds)
  if job.has_video and {'sync', 'codec'} <= set(model.exports):
    scores = [_similarity(model, job, sound_TC) for sound_TC in job.sounds]
    best_first = sorted(range(len(scores)), key=lambda index: -scores[index])
    ranks = [best_first.index(index) + 1 for index in range(len(scores))]
  gauge = _gauge(model, request, job) if job.has_video else None
  motion_L = np.zeros(0, np.float32)
  if job.has_video:
    motion_L = (motion.curve(job.frame_FYX3, job.shown_L) / 255).astype(np.float32)
  del job.frame_FYX3  # of a long clip they are as large as its waves
  job.timings_s['rank'] = time.perf_counter() - start
  start = time.perf_counter()
  waves = [_limited(windows.decode(model, sound_TC, job.num_samples)) for sound_TC in job.sounds]
  job.timings_s['decode'] = time.perf_counter() - start
  settings = request_lib.resolve(model, request, job.has_video)[0]
  return Result(
    waves,
    scores,
    ranks,
    motion_L,
    job.timings_s,
    settings,
    ood=gauge,
    input_fingerprint=job.input_fingerprint,
  )


def _gauge(model: Bundle, request: Request, job: _Job) -> tuple[float, float] | None:
  """Returns how far the picture of the most unusual window lies, and the threshold of a warning."""
  found = model.ood_detector(request.generator)
  if found is None:
    return None
  windows_of_frames = (job.frames(model.clip_spec, window) for window in range(len(job.starts)))
  distances = [
    found.score(
      np.asarray(model.ood_features(semantic_frame_MYX3[None], sync_frame_LYX3[None], request.generator))
    )[0]
    for semantic_frame_MYX3, sync_frame_LYX3 in windows_of_frames
  ]
  distance = float(max(distances))
  return (distance, found.threshold) if np.isfinite(distance) else None


def _limited(wave_NA: np.ndarray) -> np.ndarray:
  """Returns the wave, turned down in place as a whole where its peak would clip."""
  peak = level.peak(wave_NA)
  if peak > MAX_PEAK:
    wave_NA *= np.float32(MAX_PEAK / peak)
  return wave_NA


def _similarity(model: Bundle, job: _Job, sound_TC: np.ndarray) -> float:
  spec, values = model.clip_spec, []
  for window, first in enumerate(job.starts):
    sync_frame_LYX3 = job.frames(spec, window)[1]
    window_BTC = sound_TC[None, first : first + spec.num_latents]
    if np.issubdtype(sound_TC.dtype, np.integer):
      # The sync model knows latents: those of the sound that the codes make.
      window_BTC = model.encode(model.decode(window_BTC))
    values.append(float(model.similarity(sync_frame_LYX3[None], window_BTC)[0]))
  return float(np.mean(values))


def generate_batch(
  model: Bundle,
  semantic_frame_BMYX3: np.ndarray,
  sync_frame_BLYX3: np.ndarray,
  row_requests: Sequence[Request],
  num_samples: int | None = None,
) -> np.ndarray:
  """Returns wave_BNA: one row each, with its own picture, texts and seed, as `generate` makes them.

  Rows advance together, window by window. Those whose texts want other branches of guidance are sampled
  apart, in batches as large as the whole: matmul results depend on the batch size.

  Args:
    model: see `load`.
    semantic_frame_BMYX3, sync_frame_BLYX3: frames of whole clips at the model's rates; of at least a window.
      Between two frames the first stands for both.
    row_requests: one a row, of one generator. Of a transcript each window reads as much as the model does;
      other texts must fit.
    num_samples: length of the clips; None is that of the pictures.

  Raises:
    ValueError: a request has no meaning for this model.
  """
  groups: dict[tuple, list[int]] = {}
  for row, request in enumerate(row_requests):
    settings, branches, weights_G = request_lib.resolve(model, request, True)
    kind = request_lib.static_arguments(model, settings, branches)['settings'], branches, tuple(weights_G)
    groups.setdefault(kind, []).append(row)
  spec, waves = model.clip_spec, {}
  if num_samples is None:
    num_samples = round(sync_frame_BLYX3.shape[1] * spec.sample_rate_hz / spec.sync_fps)
  for rows in groups.values():
    rows = rows + rows[-1:] * (len(row_requests) - len(rows))
    wave_BNA = _sample_alike(
      model,
      semantic_frame_BMYX3[rows],
      sync_frame_BLYX3[rows],
      [row_requests[row] for row in rows],
      num_samples,
    )
    waves |= dict(zip(rows, wave_BNA))
  return np.stack([waves[row] for row in range(len(row_requests))])


def _sample_alike(
  model: Bundle,
  semantic_frame_BMYX3: np.ndarray,
  sync_frame_BLYX3: np.ndarray,
  asked: Sequence[Request],
  num_samples: int,
) -> np.ndarray:
  """Returns what `generate_batch` does of rows that want the same branches of guidance."""
  spec, generator = model.clip_spec, model.generator(asked[0].generator)
  starts = windows.starts(spec, num_samples, generator.config.generation.overlap_s)
  sound_BTC = np.stack([generator.initial_canvas(starts[-1] + spec.num_latents)] * len(asked))
  all_spoken = [_spoken(spec, request, starts, num_samples / spec.sample_rate_hz) for request in asked]
  num_done = 0
  for first, *spoken in zip(starts, *all_spoken):
    begin_s = spec.time_s(first)
    frames = [
      _window(frame_BLYX3, math.floor(begin_s * fps), num)
      for frame_BLYX3, fps, num in (
        (semantic_frame_BMYX3, spec.semantic_fps, spec.num_semantic_frames),
        (sync_frame_BLYX3, spec.sync_fps, spec.num_sync_frames),
      )
    ]
    inputs, weights_G, settings = window_arguments(
      model, *frames, asked, spoken, first, sound_BTC[:, first : first + spec.num_latents], num_done - first
    )
    num_done = first + spec.num_latents
    sound_BTC[:, first:num_done] = np.asarray(model.sample(inputs, weights_G, **settings))
  if len(starts) == 1:
    return np.stack([_limited(wave_NA[:num_samples]) for wave_NA in np.array(model.decode(sound_BTC))])
  return np.stack([_limited(windows.decode(model, sound_TC, num_samples)) for sound_TC in sound_BTC])


def _window(frame_BLYX3: np.ndarray, first: int, num: int) -> np.ndarray:
  """Returns num frames from `first` on; the last one stays."""
  return frame_BLYX3[:, np.minimum(np.arange(first, first + num), frame_BLYX3.shape[1] - 1)]


def window_arguments(
  model: Bundle,
  semantic_frame_BMYX3: np.ndarray,
  sync_frame_BLYX3: np.ndarray,
  row_requests: Sequence[Request],
  transcripts: Sequence[str],
  first: int = 0,
  prefix_BTC: np.ndarray | None = None,
  num_prefix: int = 0,
) -> tuple[dict, np.ndarray, dict]:
  """Returns what model.sample is called with for one window a row: inputs, weights_G, and its keywords.

  Args:
    model: see `load`.
    semantic_frame_BMYX3, sync_frame_BLYX3: frames of one window at the model's rates.
    row_requests: one a row, all of one generator and with the same branches of guidance; see `_inputs`.
    transcripts: words in the window, one text a row; what is longer than the model reads is cut.
    first: latent step of the clip at which the window begins.
    prefix_BTC: what is drawn already of the window; None is nothing.
    num_prefix: steps of it that count.
  """
  generator = model.generator(row_requests[0].generator)
  settings, branches, weights_G = request_lib.resolve(model, row_requests[0], True)
  if prefix_BTC is None:
    prefix_BTC = np.stack([generator.initial_canvas(model.clip_spec.num_latents)] * len(row_requests))
  rows = [
    _inputs(
      model, request, 0, first, words, True, (semantic_frame_MYX3, sync_frame_LYX3), known_TC, num_prefix
    )
    for request, words, semantic_frame_MYX3, sync_frame_LYX3, known_TC in zip(
      row_requests, transcripts, semantic_frame_BMYX3, sync_frame_BLYX3, prefix_BTC, strict=True
    )
  ]
  inputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  return inputs, weights_G, request_lib.static_arguments(model, settings, branches)
