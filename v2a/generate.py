"""Video, prompts, or both, to any number of soundtracks of any length.

A clip is drawn window by window, latents or codes by whichever generator (`v2a.generators`). A window begins
whole seconds after the last and shares `overlap_s` with it; what is already there of the shared part stays as
it is, so that the new window continues the old one and no seam exists in what is drawn. It is decoded in
pieces that see their neighbours and continue each other's phases.

Sample i of a seed draws from keys of its own: the same soundtrack whatever the batch, the devices or the
other samples. Several clips and samples take turns in the lanes of one compiled program; a lane that is done
takes the next.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import math
import mmap
import time

import numpy as np

from v2a import clip
from v2a import faults
from v2a import files
from v2a import flags
from v2a import model as model_lib
from v2a import requests
from v2a import windows
from v2a.media import errors
from v2a.media import level
from v2a.media import motion
from v2a.media import probe as probe_lib
from v2a.media import read

PEAK = 0.98
_CLOCK_ERROR_S = 1e-9  # of a difference of two times
# The face of generation: callers need this module alone.
MODELS_FOLDER, Model = model_lib.MODELS_FOLDER, model_lib.Model
Input, Request, Result = requests.Input, requests.Request, requests.Result
load, join, save = model_lib.load, model_lib.join, model_lib.save


class _Job:
  """One input on its way: its pictures, and the sounds of its samples so far (see v2a.generators)."""

  def __init__(self, model: Model, source: Input, request: Request):
    start = time.perf_counter()
    spec, generator = model.clip_spec, model.generator(request.generator)
    self.source, self.request = source, request
    self.duration_s = _duration(source)
    # Before the pictures are read, so that whatever changes from here on is noticed.
    self.content = None if source.path is None else files.fingerprint(source.path)
    self.starts = windows.starts(self.duration_s, spec.clip_s, generator.config.generation.overlap_s)
    self.spoken = [_spoken(spec, self, start_s) for start_s in self.starts]
    num_frames = round((self.starts[-1] + spec.clip_s) * spec.sync_fps)
    self.has_video = source.path is not None
    self.frame_LYX3 = _mapped((num_frames, spec.frame_size, spec.frame_size, 3))
    if self.has_video:
      num_shown = 0
      for chunk_LYX3 in read.iterate_frames(
          source.path, spec.sync_fps, spec.frame_size, source.start_s, self.duration_s):
        chunk_LYX3 = chunk_LYX3[:num_frames - num_shown]
        self.frame_LYX3[num_shown:num_shown + len(chunk_LYX3)] = chunk_LYX3
        num_shown += len(chunk_LYX3)
      # The last picture is held to the end of its window.
      self.frame_LYX3[num_shown:] = self.frame_LYX3[num_shown - 1]
    num_latents = round((self.starts[-1] + spec.clip_s) * spec.latent_rate_hz)
    self.sounds = [generator.empty(num_latents) for _ in range(request.num_samples)]
    self.num_left = request.num_samples
    self.timings_s = {'read': time.perf_counter() - start, 'sample': 0.0}

  def frames(self, spec: clip.ClipSpec, start_s: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns semantic and sync frames of a window."""
    first = start_s * spec.sync_fps
    sync_frame_LYX3 = self.frame_LYX3[first:first + spec.num_sync_frames]
    shown_M = np.arange(spec.num_semantic_frames) * spec.sync_fps // spec.semantic_fps
    return sync_frame_LYX3[shown_M], sync_frame_LYX3


def _spoken(spec: clip.ClipSpec, job: _Job, start_s: int) -> str:
  """Returns what is said in the window of a job that begins at start_s of its part.

  Raises:
    ValueError: that is more than the model reads.
  """
  request, part_s = job.request, job.source.start_s
  spoken = request.transcript.strip()
  if request.word_times_s is not None:
    times_s = tuple(time_s - part_s for time_s in request.word_times_s)
    spoken = windows.spoken_in(spoken, start_s, start_s + spec.clip_s, job.duration_s, times_s)
  elif len(job.starts) > 1:
    spoken = windows.spoken_in(spoken, start_s, start_s + spec.clip_s, job.duration_s)
  size = len(spoken.encode())
  if size > spec.num_transcript_bytes:
    name = 'the clip' if job.source.path is None else job.source.path
    begin_s = part_s + start_s
    raise ValueError(
        f'{name}: the window from {begin_s:g} s to {begin_s + spec.clip_s:g} s must hold at most '
        f'{spec.num_transcript_bytes} bytes of transcript; got {size}.')
  return spoken


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
    raise ValueError(f'{name}the part from {source.start_s:.12g} s on lasts {duration_s:.3g} s; wanted '
                     f'{flags.MIN_DURATION_S:g}..{flags.MAX_DURATION_S:g} s.')
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
    raise ValueError(f'{source.path}: lasts {info.duration_s:.3f} s; wanted a start before that, '
                     f'got {source.start_s} s.')
  return left_s if source.duration_s is None else min(left_s, source.duration_s)


@dataclasses.dataclass
class _Lane:
  """One sample of one job, at one of its windows."""

  job: _Job
  sample: int
  window: int = 0


def soundtracks(model: Model, inputs: list[Input], request: Request,
                progress: Callable[[int, int], None] | None = None) -> Iterator[Result]:
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
  requests.resolve(model, request, any(source.path for source in inputs))  # its faults come before any file
  waiting, lanes, finished = list(enumerate(inputs)), [], {}
  order, owners, done, total, next_index = [], {}, 0, 0, 0
  while waiting or lanes:
    while waiting and len(lanes) < model.num_lanes:
      index, source = waiting.pop(0)
      try:
        job = _Job(model, source, request)
      except Exception as error:  # noqa: BLE001 the boundary of one input
        finished[index] = _failed(error, source)
        continue
      owners[id(job)] = index
      order.append(job)
      total += len(job.starts) * request.num_samples
      lanes += [_Lane(job, sample) for sample in range(request.num_samples)]
    # Lanes with and without a picture need other branches of guidance, so they run apart.
    active = [lane for lane in lanes if lane.job.has_video == lanes[0].job.has_video][:model.num_lanes]
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
          order.remove(lane.job)
    progress(done, total)
    while next_index in finished:
      yield finished.pop(next_index)
      next_index += 1
  while next_index in finished:
    yield finished.pop(next_index)
    next_index += 1


def _failed(error: Exception, source: Input) -> Result:
  return Result([], [], [], np.zeros(0, np.float32), {}, {}, faults.line(error, source.path))


def _advance(model: Model, request: Request, lanes: list[_Lane]) -> None:
  """Draws the current window of every lane."""
  start = time.perf_counter()
  spec = model.clip_spec
  settings, branches, weights_G = requests.resolve(model, request, lanes[0].job.has_video)
  rows = [_row(model, lane) for lane in lanes]
  rows += rows[-1:] * (model.num_lanes - len(rows))
  inputs = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
  sound_BTC = np.asarray(model.sample(inputs, weights_G, **requests.fixed(model, settings, branches)))
  rate = round(spec.latent_rate_hz)
  for lane, sound_TC in zip(lanes, sound_BTC):
    first = lane.job.starts[lane.window] * rate
    lane.job.sounds[lane.sample][first:first + spec.num_latents] = sound_TC
    lane.window += 1
    lane.job.timings_s['sample'] += (time.perf_counter() - start) / len(lanes)


def _row(model: Model, lane: _Lane) -> dict[str, np.ndarray]:
  """Returns the inputs of model.sample for one lane, without the batch axis."""
  spec, job, request = model.clip_spec, lane.job, lane.job.request
  start_s = job.starts[lane.window]
  rate, sound_TC = round(spec.latent_rate_hz), job.sounds[lane.sample]
  num_known = 0
  if lane.window:
    num_known = job.starts[lane.window - 1] * rate + spec.num_latents - start_s * rate
  semantic_frame_MYX3, sync_frame_LYX3 = job.frames(spec, start_s)
  row = {
      'semantic_frame_MYX3': semantic_frame_MYX3, 'sync_frame_LYX3': sync_frame_LYX3,
      'has_video': np.array(job.has_video),
      'known_TC': sound_TC[start_s * rate:start_s * rate + spec.num_latents],
      'is_known_T': np.arange(spec.num_latents) < num_known,
  }
  row |= model.generator(request.generator).randomness(request.seed, lane.sample, start_s)
  row |= requests.texts(spec, request.prompt, requests.unwanted(model, request), job.spoken[lane.window])
  return {_batched(name): value for name, value in row.items()}


def _batched(name: str) -> str:
  """Returns the name of an array once rows are stacked: a batch axis before its own."""
  head, _, tail = name.rpartition('_')
  return f'{head}_B{tail}' if tail and tail[0].isupper() else f'{name}_B'


def _finish(model: Model, request: Request, job: _Job) -> Result:
  """Ranks and decodes the samples of a job."""
  start = time.perf_counter()
  scores: list[float | None] = [None] * len(job.sounds)
  ranks: list[int | None] = [None] * len(job.sounds)
  if job.has_video and {'sync', 'codec'} <= set(model.exports):
    scores = [_agreement(model, job, sound_TC) for sound_TC in job.sounds]
    best_first = sorted(range(len(scores)), key=lambda index: -scores[index])
    ranks = [best_first.index(index) + 1 for index in range(len(scores))]
  gauge = _gauge(model, request, job) if job.has_video else None
  motion_L = (motion.curve(job.frame_LYX3) / 255).astype(np.float32)
  del job.frame_LYX3  # of a long clip they are as large as its waves
  job.timings_s['rank'] = time.perf_counter() - start
  start = time.perf_counter()
  num_samples = round(job.duration_s * model.sample_rate_hz)
  waves = [_limited(windows.decode(model, sound_TC, num_samples)) for sound_TC in job.sounds]
  job.timings_s['decode'] = time.perf_counter() - start
  settings = requests.resolve(model, request, job.has_video)[0]
  return Result(waves, scores, ranks, motion_L, job.timings_s, settings, gauge=gauge, content=job.content)


def _gauge(model: Model, request: Request, job: _Job) -> tuple[float, float] | None:
  """Returns how far the picture of the most unusual window lies, and the threshold of a warning."""
  found = model.gauge(request.generator)
  if found is None:
    return None
  windows_of_frames = (job.frames(model.clip_spec, start_s) for start_s in job.starts)
  distances = [found.distance(np.asarray(model.features(
      semantic_frame_MYX3[None], sync_frame_LYX3[None], request.generator)))[0]
      for semantic_frame_MYX3, sync_frame_LYX3 in windows_of_frames]
  distance = float(max(distances))
  return (distance, found.threshold) if np.isfinite(distance) else None


def _limited(wave_NA: np.ndarray) -> np.ndarray:
  """Returns the wave, turned down in place as a whole where its peak would clip."""
  peak = level.peak(wave_NA)
  if peak > PEAK:
    wave_NA *= np.float32(PEAK / peak)
  return wave_NA


def _agreement(model: Model, job: _Job, sound_TC: np.ndarray) -> float:
  spec, rate = model.clip_spec, round(model.clip_spec.latent_rate_hz)
  values = []
  for start_s in job.starts:
    sync_frame_LYX3 = job.frames(spec, start_s)[1]
    window_BTC = sound_TC[None, start_s * rate:start_s * rate + spec.num_latents]
    if np.issubdtype(sound_TC.dtype, np.integer):
      # The sync model knows latents: those of the sound that the codes make.
      window_BTC = model.encode(model.decode(window_BTC))
    values.append(float(model.agreement(sync_frame_LYX3[None], window_BTC)[0]))
  return float(np.mean(values))


def sample_clips(model: Model, semantic_frame_BMYX3: np.ndarray, sync_frame_BLYX3: np.ndarray,
                 prompts: list[str], negative_prompts: list[str], transcripts: list[str],
                 seeds: list[int], request: Request,
                 word_times_s: list[tuple[float, ...] | None] | None = None) -> np.ndarray:
  """Returns wave_BNA, as long as the pictures: one row each, with its own picture, texts and seed.

  Rows advance together, window by window.

  Args:
    model: see `load`.
    semantic_frame_BMYX3, sync_frame_BLYX3: frames of whole clips at the model's rates; of at least a window.
    prompts, negative_prompts, transcripts, seeds, request: see `window_arguments`.
    word_times_s: of the words of each transcript, see windows.spoken_in; None is unknown for all.
  """
  spec, generator = model.clip_spec, model.generator(request.generator)
  duration_s = sync_frame_BLYX3.shape[1] / spec.sync_fps
  starts = windows.starts(duration_s, spec.clip_s, generator.config.generation.overlap_s)
  rate = round(spec.latent_rate_hz)
  length = starts[-1] * rate + spec.num_latents
  sound_BTC = np.stack([generator.empty(length)] * len(prompts))
  num_done = 0
  for start_s in starts:
    frames = [_window(frame_BLYX3, start_s * fps, num) for frame_BLYX3, fps, num in (
        (semantic_frame_BMYX3, spec.semantic_fps, spec.num_semantic_frames),
        (sync_frame_BLYX3, spec.sync_fps, spec.num_sync_frames))]
    spoken = transcripts
    if len(starts) > 1:
      times = word_times_s or [None] * len(transcripts)
      spoken = [windows.spoken_in(each, start_s, start_s + spec.clip_s, duration_s, times_s)
                for each, times_s in zip(transcripts, times, strict=True)]
    first = start_s * rate
    inputs, weights_G, settings = window_arguments(
        model, *frames, prompts, negative_prompts, spoken, seeds, request, start_s,
        sound_BTC[:, first:first + spec.num_latents], num_done - first)
    num_done = first + spec.num_latents
    sound_BTC[:, first:num_done] = np.asarray(model.sample(inputs, weights_G, **settings))
  if len(starts) == 1:
    return np.stack([_limited(wave_NA) for wave_NA in np.array(model.decode(sound_BTC))])
  num_samples = round(duration_s * model.sample_rate_hz)
  return np.stack([_limited(windows.decode(model, sound_TC, num_samples)) for sound_TC in sound_BTC])


def _window(frame_BLYX3: np.ndarray, first: int, num: int) -> np.ndarray:
  """Returns num frames from `first` on; the last one stays."""
  return frame_BLYX3[:, np.minimum(np.arange(first, first + num), frame_BLYX3.shape[1] - 1)]


def window_arguments(model: Model, semantic_frame_BMYX3: np.ndarray, sync_frame_BLYX3: np.ndarray,
                     prompts: list[str], negative_prompts: list[str], transcripts: list[str],
                     seeds: list[int], request: Request, start_s: int = 0,
                     known_BTC: np.ndarray | None = None, num_known: int = 0
                     ) -> tuple[dict, np.ndarray, dict]:
  """Returns what model.sample is called with for one window a row: inputs, weights_G, and its keywords.

  Args:
    model: see `load`.
    semantic_frame_BMYX3, sync_frame_BLYX3: frames of one window at the model's rates.
    prompts, negative_prompts, transcripts, seeds: one a row; texts beyond what the model reads are cut.
    request: generator, its settings and guidance; its texts, seed and number of samples are not used.
      Guidance is that of a negative prompt for all rows where one row has one.
    start_s: where in its clip the window begins, whole seconds.
    known_BTC: what is drawn already of the window; None is nothing.
    num_known: steps of it that count.
  """
  spec, num_rows = model.clip_spec, len(prompts)
  # Which modalities are given, for all rows at once; the texts themselves are cut below.
  asked = dataclasses.replace(request, prompt='x', negative_prompt='x' if any(negative_prompts) else '',
                              transcript='x' if any(transcripts) else '', num_samples=1)
  settings, branches, weights_G = requests.resolve(model, asked, True)
  generator = model.generator(request.generator)
  rows = [requests.texts(spec, *row) | generator.randomness(seed, 0, start_s)
          for *row, seed in zip(prompts, negative_prompts, transcripts, seeds, strict=True)]
  inputs = {_batched(name): np.stack([row[name] for row in rows]) for name in rows[0]}
  if known_BTC is None:
    known_BTC = np.stack([generator.empty(spec.num_latents)] * num_rows)
  inputs |= {
      'known_BTC': known_BTC,
      'is_known_BT': np.tile(np.arange(spec.num_latents) < num_known, (num_rows, 1)),
      'semantic_frame_BMYX3': semantic_frame_BMYX3, 'sync_frame_BLYX3': sync_frame_BLYX3,
      'has_video_B': np.ones(num_rows, bool),
  }
  return inputs, weights_G, requests.fixed(model, settings, branches)
