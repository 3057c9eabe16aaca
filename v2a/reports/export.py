"""Writes the outputs of an input: sound files, videos with the new soundtrack, manifest, plot.

For a clip of the name NAME and sample i: NAME.i.mp4, NAME.i.wav, NAME.json and NAME.png. All are written to a
hidden folder and renamed together, the manifest last: where there is a manifest, the outputs are complete.
`v2a.reports.outputs` decides what may be replaced.
"""

from collections.abc import Iterable
import dataclasses
import json
import pathlib
import time

import numpy as np

import v2a
from v2a import file_names
from v2a import files
from v2a import manifests
from v2a.media import audio_file
from v2a.media import level
from v2a.media import probe
from v2a.media import read
from v2a.media import write
from v2a.reports import gallery_entries
from v2a.reports import gallery_plot
from v2a.reports import outputs
from v2a.reports import spectrogram
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib

NUM_THUMBNAILS = 12
THUMBNAIL_SIZE = 160
# Up to this length all thumbnails come from one pass over the file; beyond it each is sought, except in
# animations, which are decoded from their first frame.
ONE_PASS_S = 20.0
# The level of silence in decibels; JSON has no infinity.
_SILENCE_DB = -120.0


@dataclasses.dataclass(frozen=True)
class WrittenOutputs:
  """What was written for one input: its manifest, the path of that, and its entry in a gallery."""

  manifest: dict
  path: pathlib.Path
  entry: gallery_entries.Entry


def thumbnails(info: probe.Probe, start_s: float, duration_s: float) -> np.ndarray | None:
  """Returns frame_MYX3 at the middles of equal spans of a part of a file; None without a video stream.

  Args:
    info: the file.
    start_s: begin of the part in seconds.
    duration_s: length of the part in seconds.
  """
  if not info.has_video or duration_s <= 0:
    return None
  if info.is_image:
    return read.frames(info.path, 1, THUMBNAIL_SIZE, 0.0, 1.0)
  last_s = max(0.0, info.duration_s - start_s)
  span_s = min(duration_s, last_s) / NUM_THUMBNAILS
  if duration_s <= ONE_PASS_S or info.is_animation:
    part_s = span_s * NUM_THUMBNAILS - span_s / 2
    return read.frames(info.path, 1 / span_s, THUMBNAIL_SIZE, start_s + span_s / 2, part_s)
  times_s = [start_s + (number + 0.5) * span_s for number in range(NUM_THUMBNAILS)]
  return np.concatenate([read.frames(info.path, 1.0, THUMBNAIL_SIZE, time_s, 1.0) for time_s in times_s])


def _level_db(value: float) -> float:
  return round(max(_SILENCE_DB, 20.0 * float(np.log10(max(value, 1e-12)))), 2)


def _input(
  source: request_lib.Input,
  info: probe.Probe | None,
  fingerprint: files.Fingerprint | None,
  duration_s: float,
) -> dict:
  part = {
    'start_s': source.start_s,
    'duration_s': duration_s,
    'requested_duration_s': source.duration_s,
  }
  if info is None or source.path is None or fingerprint is None:
    return {'path': None, 'uri': None, 'sha256': None, **part}
  return {
    'path': str(source.path),
    'uri': source.path.absolute().as_uri(),  # identifies the file whatever the encoding of its name
    'sha256': fingerprint.sha256,
    **part,
    'is_image': info.is_image,
    'width': info.width,
    'height': info.height,
    'fps': round(info.fps, 3),
    'video_codec': info.video_codec,
  }


def _samples(
  result: pipeline.Result,
  source: request_lib.Input,
  info: probe.Probe | None,
  folder: pathlib.Path,
  stem: pathlib.Path,
  sample_rate_hz: int,
  audio: str,
) -> tuple[list[gallery_entries.Sample], list[dict], list[str]]:
  """Writes samples into a folder; returns them, their entries of the manifest, and what was not copied."""
  samples, described, losses = [], [], []
  while result.soundtracks:
    # Taken out, since long ones fill the memory.
    soundtrack = result.soundtracks.pop(0)
    index, wave_NA = soundtrack.index, soundtrack.waveform
    wav = folder / f'{stem.name}.{index}.wav'
    audio_file.wav(wav, wave_NA, sample_rate_hz)
    video = None
    if info is not None:
      # Without --duration the whole video is written; else it ends with the soundtrack.
      is_whole = source.duration_s is None and not info.is_image
      duration_s = None if is_whole else len(wave_NA) / sample_rate_hz
      muxed = write.mux(
        info.path,
        wave_NA,
        sample_rate_hz,
        folder / f'{stem.name}.{index}.mp4',
        audio=audio,
        start_s=source.start_s,
        duration_s=duration_s,
      )
      video, losses = muxed.path, list(muxed.not_copied)
    level_RJ = spectrogram.mel_spectrogram(wave_NA, sample_rate_hz)
    rms_db = _level_db(level.rms(wave_NA))
    wav, video = stem.with_name(wav.name), video and stem.with_name(video.name)
    samples.append(
      gallery_entries.Sample(index, level_RJ, wav, video, soundtrack.score, soundtrack.rank, rms_db)
    )
    described.append(_describe(samples[-1], level.peak(wave_NA)))
  return samples, described, losses


def _describe(sample: gallery_entries.Sample, peak: float) -> dict:
  return {
    'index': sample.index,
    'video': sample.video.name if sample.video else None,
    'wav': sample.wav.name,
    'score': sample.score,
    'rank': sample.rank,
    'peak': round(peak, 4),
    'rms_db': sample.rms_db,
  }


def _entry(
  title: str,
  source: request_lib.Input,
  request: request_lib.Request,
  result: pipeline.Result,
  info: probe.Probe | None,
  duration_s: float,
  samples: Iterable[gallery_entries.Sample],
) -> gallery_entries.Entry:
  return gallery_entries.Entry(
    title=title,
    duration_s=duration_s,
    samples=tuple(samples),
    prompt=request.prompt or '',
    negative_prompt=request.negative_prompt or '',
    transcript=request.transcript or '',
    motion_L=np.asarray(result.motion_L, np.float32),
    thumbnail_MYX3=thumbnails(info, source.start_s, duration_s) if info else None,
    aspect=info.width / info.height if info and info.has_video else 1.0,
  )


def _request_fields(request: request_lib.Request) -> dict:
  return {
    'seed': request.seed,
    'prompt': request.prompt,
    'negative_prompt': request.negative_prompt,
    'transcript': request.transcript,
    'word_times_s': request.word_times_s and list(request.word_times_s),
  }


def _ood(result: pipeline.Result) -> dict | None:
  if result.ood is None:
    return None
  score, threshold = (round(value, 3) for value in result.ood)
  # JSON has no infinity, which is the threshold of a detector that is not calibrated.
  finite = threshold if np.isfinite(threshold) else None
  return {'score': score, 'threshold': finite, 'is_ood': score > threshold}


def check(
  guard: outputs.OverwriteGuard,
  inputs: Iterable[request_lib.Input],
  stems: Iterable[pathlib.Path],
  request: request_lib.Request,
  audio: str,
  model: bundle.Bundle,
) -> None:
  """Raises FileExistsError where an output of a run would replace what it may not, see `outputs`.

  Args:
    guard: of the run.
    inputs: of the run.
    stems: folder and name of the files of each.
    request: of all inputs.
    audio: see `write_outputs`.
    model: that will generate.
  """
  names = 'seed', 'prompt', 'negative_prompt', 'transcript', 'word_times_s'
  texts = {name: getattr(request, name) for name in names}
  for source, stem in zip(inputs, stems, strict=True):
    known = {**texts, 'audio': audio}
    known |= {'start_s': source.start_s, 'requested_duration_s': source.duration_s}
    conditions = request_lib.conditions_of(request, has_video=source.path is not None)
    settings = request_lib.resolve(model, request, conditions).settings
    known |= {**settings, 'model': model.digest(request.generator)}
    guard.check(stem, source.path, known)


def write_outputs(
  model: bundle.Bundle,
  source: request_lib.Input,
  request: request_lib.Request,
  result: pipeline.Result,
  stem: pathlib.Path,
  audio: str = 'replace',
  title: str = '',
  guard: outputs.OverwriteGuard | None = None,
) -> WrittenOutputs:
  """Writes everything for one input.

  Args:
    model: the model that generated.
    source: the input.
    request: of the input.
    result: what was generated, without error; its soundtracks are taken out.
    stem: folder and name of the files without endings.
    audio: 'replace' the sound of the video or 'mix' with it.
    title: heading of the plot; '' is the name.
    guard: of the whole run; None is a run of this input alone.

  Returns:
    The manifest, its path, and the entry for a gallery.

  Raises:
    MediaError: the video cannot be muxed with the sound.
    ValueError: the input has changed since it was read.
    FileExistsError: a file is in the way, see `outputs`.
  """
  start_s = time.perf_counter()
  info = None if source.path is None else probe.probe(source.path)
  sample_rate_hz, content = model.sample_rate_hz, result.input_fingerprint
  duration_s = result.soundtracks[0].duration_s
  with outputs.staging_folder(stem) as folder:
    samples, described, losses = _samples(result, source, info, folder, stem, sample_rate_hz, audio)
    title = title or file_names.printable(source.path.stem if source.path else stem.name)
    entry = _entry(title, source, request, result, info, duration_s, samples)
    write_s = time.perf_counter() - start_s
    gallery_plot.write(folder / f'{stem.name}.png', [entry])
    plot_s = time.perf_counter() - start_s - write_s
    timings_s = {**result.timings_s, 'write': write_s, 'plot': plot_s}
    manifest = {
      'version': v2a.__version__,
      'model': model.name,
      'model_digest': model.digest(request.generator),
      'input': _input(source, info, content, duration_s),
      **_request_fields(request),
      'settings': {**result.settings, 'num_samples': request.num_samples, 'audio': audio},
      'ood': _ood(result),
      'timings_s': {name: round(value, 4) for name, value in timings_s.items()},
      'plot': f'{stem.name}.png',
      'samples': described,
      'not_copied': losses,
    }
    path = stem.with_name(f'{stem.name}.json')
    digests = {file.name: files.fingerprint(file).sha256 for file in sorted(folder.iterdir())}
    manifest = manifests.with_digests(manifest, path.name, digests)
    files.write_text(folder / path.name, json.dumps(manifest, indent=1) + '\n')
    if content:
      content.check()
    guard = guard or outputs.OverwriteGuard([source.path], request.num_samples)
    earlier = guard.check(
      stem, source.path, manifests.request_fields(manifest), content.sha256 if content else None
    )
    outputs.publish(folder, stem, earlier)
  return WrittenOutputs(manifest, path, entry)
