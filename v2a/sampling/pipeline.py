"""Pipeline: from video, text or both to any number of soundtracks of any length.

  pipeline = load('NAME')
  for soundtrack in pipeline.generate('film.mp4', prompt='rain on a tin roof', num_samples=3):
    soundtrack.mux('film.mp4', f'film.{soundtrack.index}.mp4')

A clip is sampled window by window: latents by a flow, codes by a token generator (`v2a.sampling.samplers`).
Windows start at multiples of a block of latent steps (`windows.starts`) and overlap by at least `overlap_s`;
the overlap is the prefix of the next window, which is inpainted from it. After the last window the latents or
codes of the clip are decoded in chunks, each with context on both sides (`windows.decode`).

The noise of sample i depends on (seed, i) alone, so batch size, number of devices and other samples do not
change a soundtrack. Continuous batching: a compiled program has a fixed number of batch slots, each with the
current window of one sample; a finished sample is replaced by the next one, of the same or another clip. The
number of slots is fixed since matmul results depend on the batch size.

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

from v2a import arguments
from v2a import files
from v2a import input_errors
from v2a.media import level
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import frames as frames_lib
from v2a.sampling import jobs as jobs_lib
from v2a.sampling import request as request_lib
from v2a.sampling import soundtrack as soundtrack_lib
from v2a.sampling import windows

MAX_PEAK = 0.98

ProgressFn = Callable[[int, int], None]


class Cancelled(Exception):
  """Generation was cancelled by its caller."""


@dataclasses.dataclass
class Result:
  """What was generated for one input.

  Attributes:
    soundtracks: one per sample, by index.
    motion_L: mean absolute change of the frames in 0..1 at the sync rate, for plots; empty without video.
    timings_s: seconds by stage.
    settings: everything that was used, defaults resolved.
    exception: why the input could not be used; everything else is empty then.
    error: its message in one line.
    ood: out-of-distribution score of the video, and the threshold above which a warning is printed
      (v2a.ood.detector); None without video or detector.
    input_fingerprint: of the input file, computed before it was read; None without a file.
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
    num_slots: batch size: windows that are sampled together.
  """

  def __init__(self, bundle: bundle_lib.Bundle, num_slots: int | None = None):
    """Takes a model.

    Args:
      bundle: see `bundle.load`.
      num_slots: a multiple of bundle.num_shards; None is the bundle's default.

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
      num_samples: how many soundtracks, 1..1000.
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
      One Soundtrack per sample, by index.

    Raises:
      TypeError: an argument has another type.
      ValueError: an argument is invalid, or not an option of this generator.
      MediaError: the video cannot be read.
      Cancelled: `cancel` was set.
    """
    # These two are converted; all other types are checked by `run`.
    arguments.check('video', video, pathlib.Path | None)
    arguments.check('word_times_s', word_times_s, Sequence[float] | None)
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
    """Returns a request with the model's defaults filled in. Raises ValueError where it is invalid."""
    return request_lib.resolve(self.bundle, request, request_lib.conditions_of(request, has_video))

  def run(
    self,
    jobs: Sequence[tuple[request_lib.AnyInput, request_lib.Request]],
    *,
    progress: ProgressFn | None = None,
    cancel: threading.Event | None = None,
    is_ranked: bool = True,
    truncate_texts: bool = False,
  ) -> Iterator[Result]:
    """Yields the result of every input, in order.

    Args:
      jobs: inputs, each with its request. An input that cannot be used does not stop the run: its result has
        the error, see Result.exception.
      progress: called with (windows done, windows known so far).
      cancel: ends the run before the next window when it is set.
      is_ranked: whether soundtracks are ranked by their audio-video similarity, and videos get an
        out-of-distribution score; this evaluates the sync model and the conditioner on each window.
      truncate_texts: whether texts longer than the model reads are cut, instead of being an error.

    Raises:
      TypeError: an argument, or a field of an input or a request, has another type.
      ValueError: a request is invalid for this model.
      Cancelled: see cancel.
    """
    arguments.check('progress', progress, Callable | None)
    arguments.check('cancel', cancel, threading.Event | None)
    resolved = [self._resolved(*job, truncate_texts) for job in jobs]
    progress = progress or (lambda done, total: None)
    return self._run([*zip(jobs, resolved)], progress, cancel, is_ranked, truncate_texts)

  def _resolved(
    self, source: request_lib.AnyInput, request: request_lib.Request, truncate_texts: bool
  ) -> request_lib.ResolvedRequest:
    if isinstance(source, request_lib.Input):
      source.check_types()
    request.validate()
    if not truncate_texts:
      request_lib.check_texts(self.bundle, request)
    return self.resolve(request, isinstance(source, request_lib.FrameInput) or source.path is not None)

  def _run(self, waiting, progress, cancel, is_ranked, truncate_texts) -> Iterator[Result]:
    waiting = list(enumerate(waiting))
    slots: list[jobs_lib.Slot] = []
    finished: dict[int, Result] = {}
    done, total, next_index = 0, 0, 0
    while waiting or slots:
      while waiting and len(slots) < self.num_slots:
        index, ((source, request), resolved) = waiting.pop(0)
        try:
          job = jobs_lib.Job(self.bundle, index, source, request, resolved, truncate_texts)
        except Exception as error:  # noqa: BLE001 an error of one input must not stop the others
          finished[index] = _failed(error, source)
          continue
        total += len(job.starts) * request.num_samples
        slots += [jobs_lib.Slot(job, sample) for sample in range(request.num_samples)]
      # A compiled program has fixed guidance branches and settings: a batch has slots of one program only.
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

  def _sample(self, slots: list[jobs_lib.Slot]) -> None:
    """Samples the current window of every slot."""
    start = time.perf_counter()
    resolved, num_latents = slots[0].job.resolved, self.bundle.clip_spec.num_latents
    rows = [slot.row(num_latents) for slot in slots]
    rows += rows[-1:] * (self.num_slots - len(rows))
    inputs = jobs_lib.stack(self.bundle, resolved, rows)
    encoded_BTF = np.asarray(self.bundle.sample(inputs, resolved.weights_G, **resolved.static))
    for slot, encoded_TF in zip(slots, encoded_BTF):
      first = slot.job.starts[slot.window]
      slot.job.encoded[slot.sample][first : first + num_latents] = encoded_TF
      slot.window += 1
      slot.job.timings_s['sample'] += (time.perf_counter() - start) / len(slots)

  def _finish(self, job: jobs_lib.Job, is_ranked: bool) -> Result:
    """Returns the decoded and ranked soundtracks of a job."""
    try:
      start = time.perf_counter()
      uses_frames = is_ranked and job.frames.has_video
      scores = self._similarities(job) if uses_frames else [None] * len(job.encoded)
      ood = self._ood_score(job) if uses_frames else None
      motion_L = job.frames.motion() if uses_frames else np.zeros(0, np.float32)
      job.timings_s['rank'] = time.perf_counter() - start
      soundtracks = self._decode(job, scores)
    except Exception as error:  # noqa: BLE001 an error of one input must not stop the others
      return _failed(error, job.source)
    return Result(
      soundtracks,
      motion_L,
      job.timings_s,
      job.resolved.settings,
      ood=ood,
      input_fingerprint=job.input_fingerprint,
    )

  def _similarities(self, job: jobs_lib.Job) -> list[float | None]:
    if not {'sync', 'codec'} <= set(self.bundle.exports):
      return [None] * len(job.encoded)
    return [similarity(self.bundle, job.frames, job.starts, encoded_TF) for encoded_TF in job.encoded]

  def _ood_score(self, job: jobs_lib.Job) -> tuple[float, float] | None:
    """Returns the largest out-of-distribution score of all windows, and the threshold of a warning."""
    found = self.bundle.ood_detector(job.request.generator)
    if found is None:
      return None
    scores = []
    for window in range(len(job.starts)):
      frames = [frame_NYX3[None] for frame_NYX3 in job.frames.window(window)]
      scores.append(found.score(np.asarray(self.bundle.ood_features(*frames, job.request.generator)))[0])
    score = float(max(scores))
    return (score, found.threshold) if np.isfinite(score) else None

  def _decode(self, job: jobs_lib.Job, scores: list[float | None]) -> list[soundtrack_lib.Soundtrack]:
    start = time.perf_counter()
    # Frees memory: the frames of a long clip are as large as its waveforms.
    job.frames = frames_lib.NoFrames(self.bundle.clip_spec)
    is_whole = isinstance(job.source, request_lib.Input) and job.source.duration_s is None
    soundtracks = [
      soundtrack_lib.Soundtrack(
        _limited(windows.decode(self.bundle, encoded_TF, job.num_audio_samples)),
        self.sample_rate_hz,
        job.request.seed,
        index,
        scores[index],
        rank,
        start_s=job.start_s,
        is_whole=is_whole,
      )
      for index, (encoded_TF, rank) in enumerate(zip(job.encoded, _ranks(scores), strict=True))
    ]
    job.timings_s['decode'] = time.perf_counter() - start
    return soundtracks


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
    TypeError: `name_or_dir` is no path.
    FileNotFoundError: there is no such model.
    ValueError: the folder holds something else, or weights that are not finite.
  """
  return Pipeline(bundle_lib.load(name_or_dir, devices, generator, mesh_sizes))


def similarity(
  bundle: bundle_lib.Bundle, frames: frames_lib.Frames, starts: Sequence[int], encoded_TF: np.ndarray
) -> float:
  """Returns the audio-video similarity of a clip in [-1, 1], the mean over its windows.

  Args:
    bundle: a model with a sync model.
    frames: of the clip.
    starts: first latent steps of the windows.
    encoded_TF: latents or codes of the clip.
  """
  spec, values = bundle.clip_spec, []
  for window, first in enumerate(starts):
    window_BTF = encoded_TF[None, first : first + spec.num_latents]
    is_codes = np.issubdtype(encoded_TF.dtype, np.integer)
    # The sync model reads latents; for codes, those of the waveform that they decode to.
    latent_BTC = bundle.encode(bundle.decode(window_BTF)) if is_codes else window_BTF
    values.append(float(bundle.similarity(frames.window(window)[1][None], latent_BTC)[0]))
  return float(np.mean(values))


def _ranks(scores: list[float | None]) -> list[int | None]:
  """Returns the rank of each score, 1 for the highest; None where there are no scores."""
  known = [score for score in scores if score is not None]
  if len(known) < len(scores):
    return [None] * len(scores)
  best_first = sorted(range(len(known)), key=lambda index: -known[index])
  return [best_first.index(index) + 1 for index in range(len(scores))]


def _failed(error: Exception, source: request_lib.AnyInput) -> Result:
  path = source.path if isinstance(source, request_lib.Input) else None
  return Result([], np.zeros(0, np.float32), {}, {}, error, input_errors.format_error(error, path))


def _limited(wave_NA: np.ndarray) -> np.ndarray:
  """Returns the waveform, scaled down (in place) to a peak of MAX_PEAK where it exceeds that."""
  peak = level.peak(wave_NA)
  if peak > MAX_PEAK:
    wave_NA *= np.float32(MAX_PEAK / peak)
  return wave_NA
