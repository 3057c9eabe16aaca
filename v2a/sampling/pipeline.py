"""Pipeline: from video, text or both to any number of soundtracks of any length.

  pipeline = load('NAME')
  for soundtrack in pipeline.generate('film.mp4', prompt='rain on a tin roof', num_samples=3):
    soundtrack.mux('film.mp4', f'film.{soundtrack.index}.mp4')

A clip is sampled window by window, latents or codes by whichever generator (`v2a.sampling.samplers`). A
window begins whole blocks of latent steps after the last (`windows.starts`) and shares `overlap_s` with it;
the shared part is the prefix of the new window, which continues it without a seam. The whole is decoded in
pieces with context on both sides.

The noise of sample i depends on (seed, i) alone: the same soundtrack whatever the batch, the devices or the
other samples. Samples and clips take turns in the batch slots of one compiled program. Matmul results depend
on the batch size, so the number of slots is fixed.

The command line, evaluation, training callbacks and the Python API all run `Pipeline.run`.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import pathlib
import threading
import time

import numpy as np

from v2a import clip
from v2a import files
from v2a import flags
from v2a import input_errors
from v2a.conditioning import text as text_lib
from v2a.media import errors
from v2a.media import level
from v2a.media import probe as probe_lib
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import frames as frames_lib
from v2a.sampling import request as request_lib
from v2a.sampling import soundtrack as soundtrack_lib
from v2a.sampling import windows

MAX_PEAK = 0.98
_CLOCK_ERROR_S = 1e-9  # of a difference of two times

AnyInput = request_lib.Input | request_lib.FrameInput
ProgressFn = Callable[[int, int], None]


class Cancelled(Exception):
  """Generation was cancelled by its caller."""


@dataclasses.dataclass
class Result:
  """What was generated for one input.

  Attributes:
    soundtracks: one a sample, in the order of their numbers.
    motion_L: mean absolute change of the frames in 0..1 at the sync rate, for plots; empty without video.
    timings_s: seconds by stage.
    settings: everything that was used, defaults resolved.
    exception: why the input could not be used; everything else is empty then.
    error: that in one line.
    ood: out-of-distribution score of the video, and the threshold above which it is worth a warning
      (v2a.ood.detector); None without video or detector.
    input_fingerprint: of the input, before it was read; None without one.
  """

  soundtracks: list[soundtrack_lib.Soundtrack]
  motion_L: np.ndarray
  timings_s: dict[str, float]
  settings: dict
  exception: Exception | None = None
  error: str | None = None
  ood: tuple[float, float] | None = None
  input_fingerprint: files.Fingerprint | None = None


class Pipeline:
  """A packaged or trained model, ready to generate soundtracks.

  Attributes:
    bundle: the model.
    num_slots: windows that are sampled at once.
  """

  def __init__(self, bundle: bundle_lib.Bundle, num_slots: int | None = None):
    """Takes a model.

    Args:
      bundle: see `bundle.load`.
      num_slots: a multiple of bundle.num_shards; None is what the devices are used best with.

    Raises:
      ValueError: it is no such multiple.
    """
    self.bundle = bundle
    self.num_slots = bundle.num_slots if num_slots is None else num_slots
    if self.num_slots < 1 or self.num_slots % bundle.num_shards:
      raise ValueError(
        f'the number of batch slots must be a multiple of {bundle.num_shards}; got {self.num_slots}.'
      )

  @property
  def name(self) -> str:
    """Name of the model."""
    return self.bundle.name

  @property
  def sample_rate_hz(self) -> int:
    """Sample rate of the soundtracks."""
    return self.bundle.sample_rate_hz

  def generate(
    self,
    video: str | pathlib.Path | None = None,
    *,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    transcript: str | None = None,
    word_times_s: Sequence[float] | None = None,
    num_samples: int = 1,
    seed: int = 0,
    start_s: float = 0.0,
    duration_s: float | None = None,
    generator: str | None = None,
    steps: int | None = None,
    solver: str | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    guidance: float | None = None,
    guidance_video: float | None = None,
    guidance_text: float | None = None,
    guidance_transcript: float | None = None,
    progress: ProgressFn | None = None,
    cancel: threading.Event | None = None,
  ) -> list[soundtrack_lib.Soundtrack]:
    """Returns soundtracks for a video, a text or both.

    Args:
      video: path of a video or a still image; None generates from text alone.
      prompt: the sound that is wanted; None is no prompt.
      negative_prompt: the sound that is not wanted; None is the model's default where there is no prompt
        either, '' is none.
      transcript: words of the dialogue.
      word_times_s: time of each word in seconds of the video; None spreads them evenly.
      num_samples: how many soundtracks.
      seed: of the noise; the same seed gives the same soundtracks.
      start_s: begin of the part of the video, in seconds.
      duration_s: length of the part; None is to the end. Needed for still images and without video.
      generator: 'flow', 'tokens' or 'masked'; None is the model's first.
      steps: of the flow, or decoding iterations of masked decoding.
      solver: of the flow: 'euler', 'heun' or 'dpmpp2m'.
      temperature, top_k, top_p: of tokens.
      guidance: scale for all conditions together; 1 is none.
      guidance_video, guidance_text, guidance_transcript: scale for one condition; 1 is none.
      progress: called with the windows that are done and their total.
      cancel: an event that ends generation before its next window when it is set.

    Returns:
      One Soundtrack a sample, in the order of their numbers.

    Raises:
      ValueError: an argument has no meaning for this model.
      MediaError: the video cannot be read.
      Cancelled: `cancel` was set.
    """
    request = request_lib.Request(
      num_samples=num_samples,
      seed=seed,
      generator=generator,
      steps=steps,
      solver=solver,
      temperature=temperature,
      top_k=top_k,
      top_p=top_p,
      guidance=guidance,
      guidance_video=guidance_video,
      guidance_text=guidance_text,
      guidance_transcript=guidance_transcript,
      prompt=prompt,
      negative_prompt=negative_prompt,
      transcript=transcript,
      word_times_s=None if word_times_s is None else tuple(word_times_s),
    )
    source = request_lib.Input(None if video is None else pathlib.Path(video), start_s, duration_s)
    result = next(self.run([(source, request)], progress=progress, cancel=cancel))
    if result.exception is not None:
      raise result.exception
    return result.soundtracks

  def resolve(self, request: request_lib.Request, has_video: bool) -> request_lib.ResolvedRequest:
    """Returns a request with the model's defaults filled in. Raises ValueError where it has no meaning."""
    return request_lib.resolve(self.bundle, request, request_lib.conditions_of(request, has_video))

  def run(
    self,
    jobs: Sequence[tuple[AnyInput, request_lib.Request]],
    *,
    progress: ProgressFn | None = None,
    cancel: threading.Event | None = None,
    is_ranked: bool = True,
    truncate_texts: bool = False,
  ) -> Iterator[Result]:
    """Yields the result of every input, in order.

    Args:
      jobs: inputs, each with its request. An input that cannot be used costs the others nothing: see
        Result.exception.
      progress: called with (windows done, windows known so far).
      cancel: ends the run before the next window when it is set.
      is_ranked: whether soundtracks are scored by their similarity to the video, and videos by how usual they
        are; costs a pass of the sync model and of the conditioner.
      truncate_texts: whether texts longer than the model reads are cut, instead of being an error.

    Raises:
      ValueError: a request has no meaning for this model.
      Cancelled: see cancel.
    """
    resolved = [self._resolved(*job, truncate_texts) for job in jobs]
    progress = progress or (lambda done, total: None)
    return self._run([*zip(jobs, resolved)], progress, cancel, is_ranked, truncate_texts)

  def _resolved(
    self, source: AnyInput, request: request_lib.Request, truncate_texts: bool
  ) -> request_lib.ResolvedRequest:
    if not truncate_texts:
      request_lib.check_texts(self.bundle, request)
    return self.resolve(request, isinstance(source, request_lib.FrameInput) or source.path is not None)

  def _run(self, waiting, progress, cancel, is_ranked, truncate_texts) -> Iterator[Result]:
    waiting = list(enumerate(waiting))
    slots: list[_Slot] = []
    finished: dict[int, Result] = {}
    done, total, next_index = 0, 0, 0
    while waiting or slots:
      while waiting and len(slots) < self.num_slots:
        index, ((source, request), resolved) = waiting.pop(0)
        try:
          job = _Job(self.bundle, index, source, request, resolved, truncate_texts)
        except Exception as error:  # noqa: BLE001 the boundary of one input
          finished[index] = _failed(error, source)
          continue
        total += len(job.starts) * request.num_samples
        slots += [_Slot(job, sample) for sample in range(request.num_samples)]
      # Requests with other branches of guidance or other settings are other programs, so they run apart.
      active = [slot for slot in slots if slot.job.batch_key == slots[0].job.batch_key][: self.num_slots]
      if active:
        if cancel is not None and cancel.is_set():
          raise Cancelled(f'cancelled after {done} of {total} windows')
        progress(done, total)
        self._sample(active)
        done += len(active)
      for slot in active:
        if slot.window == len(slot.job.starts):
          slots.remove(slot)
          slot.job.num_left -= 1
          if not slot.job.num_left:
            finished[slot.job.index] = self._finish(slot.job, is_ranked)
      progress(done, total)
      while next_index in finished:
        yield finished.pop(next_index)
        next_index += 1

  def _sample(self, slots: list['_Slot']) -> None:
    """Samples the current window of every slot."""
    start = time.perf_counter()
    resolved, num_latents = slots[0].job.resolved, self.bundle.clip_spec.num_latents
    rows = [slot.row(num_latents) for slot in slots]
    rows += rows[-1:] * (self.num_slots - len(rows))
    inputs = stack(self.bundle, resolved, rows)
    encoded_BTC = np.asarray(self.bundle.sample(inputs, resolved.weights_G, **resolved.static))
    for slot, encoded_TC in zip(slots, encoded_BTC):
      first = slot.job.starts[slot.window]
      slot.job.encoded[slot.sample][first : first + num_latents] = encoded_TC
      slot.window += 1
      slot.job.timings_s['sample'] += (time.perf_counter() - start) / len(slots)

  def _finish(self, job: '_Job', is_ranked: bool) -> Result:
    try:
      return self._decode(job, *self._rank(job, is_ranked))
    except Exception as error:  # noqa: BLE001 the boundary of one input
      return _failed(error, job.source)

  def _rank(self, job: '_Job', is_ranked: bool) -> tuple[list, list, tuple[float, float] | None, np.ndarray]:
    """Returns scores and ranks of the samples, out-of-distribution score and motion of the video."""
    start = time.perf_counter()
    scores: list[float | None] = [None] * len(job.encoded)
    ranks: list[int | None] = [None] * len(job.encoded)
    ood, motion_L = None, np.zeros(0, np.float32)
    if is_ranked and job.frames.has_video:
      if {'sync', 'codec'} <= set(self.bundle.exports):
        scores = [similarity(self.bundle, job.frames, job.starts, encoded_TC) for encoded_TC in job.encoded]
        best_first = sorted(range(len(scores)), key=lambda index: -scores[index])
        ranks = [best_first.index(index) + 1 for index in range(len(scores))]
      ood = self._ood_score(job)
      motion_L = job.frames.motion()
    job.timings_s['rank'] = time.perf_counter() - start
    return scores, ranks, ood, motion_L

  def _ood_score(self, job: '_Job') -> tuple[float, float] | None:
    """Returns the out-of-distribution score of the most unusual window, and the threshold of a warning."""
    found = self.bundle.ood_detector(job.request.generator)
    if found is None:
      return None
    scores = []
    for window in range(len(job.starts)):
      frames = [frame_NYX3[None] for frame_NYX3 in job.frames.window(window)]
      scores.append(found.score(np.asarray(self.bundle.ood_features(*frames, job.request.generator)))[0])
    score = float(max(scores))
    return (score, found.threshold) if np.isfinite(score) else None

  def _decode(self, job: '_Job', scores, ranks, ood, motion_L) -> Result:
    start = time.perf_counter()
    # The frames of a long clip are as large as its waveforms.
    job.frames = frames_lib.NoFrames(self.bundle.clip_spec)
    is_whole = isinstance(job.source, request_lib.Input) and job.source.duration_s is None
    soundtracks = [
      soundtrack_lib.Soundtrack(
        _limited(windows.decode(self.bundle, encoded_TC, job.num_samples)),
        self.sample_rate_hz,
        job.request.seed,
        index,
        scores[index],
        ranks[index],
        start_s=job.start_s,
        is_whole=is_whole,
      )
      for index, encoded_TC in enumerate(job.encoded)
    ]
    job.timings_s['decode'] = time.perf_counter() - start
    return Result(
      soundtracks,
      motion_L,
      job.timings_s,
      job.resolved.settings,
      ood=ood,
      input_fingerprint=job.input_fingerprint,
    )


def load(
  name_or_dir: str | pathlib.Path,
  devices: Sequence | None = None,
  generator: str | None = None,
  mesh_sizes: Mapping[str, int] | None = None,
) -> Pipeline:
  """Returns the pipeline of a packaged model by name, or of a folder; see `bundle.load`.

  Args:
    name_or_dir: name of a packaged model, a bundle, or the training folder of a generator.
    devices: that it works on; None for all.
    generator: default generator; None for the model's first.
    mesh_sizes: how weights and batch slots are split over the devices; None replicates the weights.

  Raises:
    FileNotFoundError: there is no such model.
    ValueError: the folder holds something else, or weights that are not finite.
  """
  return Pipeline(bundle_lib.load(name_or_dir, devices, generator, mesh_sizes))


class _Job:
  """One input with its request: frames, transcripts and what is sampled so far of each sample."""

  def __init__(
    self,
    bundle: bundle_lib.Bundle,
    index: int,
    source: AnyInput,
    request: request_lib.Request,
    resolved: request_lib.ResolvedRequest,
    truncate_texts: bool = False,
  ):
    start = time.perf_counter()
    spec, generator = bundle.clip_spec, bundle.generator(request.generator)
    self.index, self.source, self.request, self.resolved = index, source, request, resolved
    self.batch_key = resolved.batch_key
    self.duration_s = _duration(source, spec)
    self.num_samples = round(self.duration_s * spec.sample_rate_hz)
    path = source.path if isinstance(source, request_lib.Input) else None
    # Before the frames are read, so that a later change of the file is noticed.
    self.input_fingerprint = None if path is None else files.fingerprint(path)
    self.starts = windows.starts(spec, self.num_samples, generator.config.generation.overlap_s)
    self.transcripts = self._window_transcripts(spec)
    if not truncate_texts:
      self._check_transcripts(spec)
    self.frames = self._read_frames(spec)
    num_steps = self.starts[-1] + spec.num_latents
    self.encoded = [generator.initial_canvas(num_steps) for _ in range(request.num_samples)]
    self.num_left = request.num_samples
    self.timings_s = {'read': time.perf_counter() - start, 'sample': 0.0}

  @property
  def start_s(self) -> float:
    """Begin of the clip within its video."""
    return self.source.start_s if isinstance(self.source, request_lib.Input) else 0.0

  def _window_transcripts(self, spec: clip.ClipSpec) -> list[str]:
    """Returns the words of each window."""
    transcript, times_s = (self.request.transcript or '').strip(), self.request.word_times_s
    if times_s is None and len(self.starts) == 1:
      return [transcript]
    if times_s is not None:
      times_s = tuple(time_s - self.start_s for time_s in times_s)
    begins = [spec.time_s(first) for first in self.starts]
    return [
      windows.transcript_in_window(
        transcript, float(begin_s), float(begin_s + spec.duration_s), self.duration_s, times_s
      )
      for begin_s in begins
    ]

  def _check_transcripts(self, spec: clip.ClipSpec) -> None:
    """Raises ValueError where a window has more words than the model reads."""
    for first, transcript in zip(self.starts, self.transcripts):
      size = len(transcript.encode())
      if size > spec.num_transcript_bytes:
        path = self.source.path if isinstance(self.source, request_lib.Input) else None
        begin_s = self.start_s + float(spec.time_s(first))
        raise ValueError(
          f'{"the clip" if path is None else path}: the window from {begin_s:g} s to '
          f'{begin_s + float(spec.duration_s):g} s must hold at most {spec.num_transcript_bytes} bytes of '
          f'transcript; got {size}.'
        )

  def _read_frames(self, spec: clip.ClipSpec) -> frames_lib.Frames:
    source = self.source
    if isinstance(source, request_lib.FrameInput):
      return frames_lib.ArrayFrames(source.semantic_frame_MYX3, source.sync_frame_LYX3, spec, self.starts)
    if source.path is None:
      return frames_lib.NoFrames(spec)
    return frames_lib.FileFrames(source.path, spec, self.starts, source.start_s, self.duration_s)


@dataclasses.dataclass(eq=False)
class _Slot:
  """One sample of one job, at one of its windows."""

  job: _Job
  sample: int
  window: int = 0

  def row(self, num_latents: int) -> 'Row':
    """Returns the inputs of the current window."""
    job, first = self.job, self.job.starts[self.window]
    num_prefix = job.starts[self.window - 1] + num_latents - first if self.window else 0
    return Row(
      job.request,
      self.sample,
      first,
      job.transcripts[self.window],
      job.frames.has_video,
      *job.frames.window(self.window),
      job.encoded[self.sample][first : first + num_latents],
      num_prefix,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Row:
  """One window of one sample, to be sampled.

  Attributes:
    request: its prompts and seed are read here; its transcript is not.
    sample: number of the sample.
    first: latent step of the clip at which the window begins.
    transcript: words of the window; what is longer than the model reads is cut.
    has_video: whether the frames are a condition.
    semantic_frame_MYX3, sync_frame_LYX3: frames of the window.
    prefix_TC: the window as far as it is sampled.
    num_prefix: steps of it that are.
  """

  request: request_lib.Request
  sample: int
  first: int
  transcript: str
  has_video: bool
  semantic_frame_MYX3: np.ndarray
  sync_frame_LYX3: np.ndarray
  prefix_TC: np.ndarray
  num_prefix: int = 0


def stack(
  bundle: bundle_lib.Bundle, resolved: request_lib.ResolvedRequest, rows: Sequence[Row]
) -> dict[str, np.ndarray]:
  """Returns the inputs of Bundle.sample for a batch of rows.

  Args:
    bundle: the model.
    resolved: of all rows.
    rows: of one batch key.
  """
  spec, generator = bundle.clip_spec, bundle.generator(resolved.static['generator'])
  text_BU, text_length_B = text_lib.to_bytes([row.request.prompt or '' for row in rows], spec.num_text_bytes)
  negative_BU, negative_length_B = text_lib.to_bytes(
    [request_lib.negative_prompt(bundle, row.request) for row in rows], spec.num_text_bytes
  )
  transcript_BW, transcript_length_B = text_lib.to_bytes(
    [row.transcript for row in rows], spec.num_transcript_bytes
  )
  return {
    'semantic_frame_BMYX3': np.stack([row.semantic_frame_MYX3 for row in rows]),
    'sync_frame_BLYX3': np.stack([row.sync_frame_LYX3 for row in rows]),
    'has_video_B': np.array([row.has_video for row in rows]),
    'prefix_BTC': np.stack([row.prefix_TC for row in rows]),
    'prefix_mask_BT': np.stack([np.arange(spec.num_latents) < row.num_prefix for row in rows]),
    **generator.initial_noise(
      [row.request.seed for row in rows], [row.sample for row in rows], [row.first for row in rows]
    ),
    'text_BU': text_BU,
    'text_length_B': text_length_B,
    'negative_BU': negative_BU,
    'negative_length_B': negative_length_B,
    'transcript_BW': transcript_BW,
    'transcript_length_B': transcript_length_B,
  }


def similarity(
  bundle: bundle_lib.Bundle, frames: frames_lib.Frames, starts: Sequence[int], encoded_TC: np.ndarray
) -> float:
  """Returns the audio-video similarity of a clip in [-1, 1], the mean over its windows.

  Args:
    bundle: a model with a sync model.
    frames: of the clip.
    starts: first latent steps of the windows.
    encoded_TC: latents or codes of the clip.
  """
  spec, values = bundle.clip_spec, []
  for window, first in enumerate(starts):
    window_BTC = encoded_TC[None, first : first + spec.num_latents]
    if np.issubdtype(encoded_TC.dtype, np.integer):
      # The sync model reads latents: those of the waveform that the codes decode to.
      window_BTC = bundle.encode(bundle.decode(window_BTC))
    values.append(float(bundle.similarity(frames.window(window)[1][None], window_BTC)[0]))
  return float(np.mean(values))


def _failed(error: Exception, source: AnyInput) -> Result:
  path = source.path if isinstance(source, request_lib.Input) else None
  return Result([], np.zeros(0, np.float32), {}, {}, error, input_errors.format_error(error, path))


def _limited(wave_NA: np.ndarray) -> np.ndarray:
  """Returns the waveform, attenuated in place as a whole where its peak would clip."""
  peak = level.peak(wave_NA)
  if peak > MAX_PEAK:
    wave_NA *= np.float32(MAX_PEAK / peak)
  return wave_NA


def _duration(source: AnyInput, spec: clip.ClipSpec) -> float:
  """Returns the length of the soundtrack in seconds.

  Raises:
    ValueError: it is not defined, or not within flags.MIN_DURATION_S and MAX_DURATION_S.
  """
  if isinstance(source, request_lib.FrameInput):
    if source.num_samples is None:
      return len(source.sync_frame_LYX3) / spec.sync_fps
    return source.num_samples / spec.sample_rate_hz
  duration_s = _duration_of_part(source)
  if not flags.MIN_DURATION_S <= duration_s + _CLOCK_ERROR_S or not duration_s <= flags.MAX_DURATION_S:
    name = '' if source.path is None else f'{source.path}: '
    raise ValueError(
      f'{name}the part from {source.start_s:.12g} s on lasts {duration_s:.3g} s; wanted '
      f'{flags.MIN_DURATION_S:g}..{flags.MAX_DURATION_S:g} s.'
    )
  return duration_s


def _duration_of_part(source: request_lib.Input) -> float:
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
