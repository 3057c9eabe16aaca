"""Metrics of training: averaged between two log lines, printed, and written to TensorBoard files.

TensorBoard's own event writer needs no TensorFlow, unlike clu.metric_writers.
"""

from collections.abc import Mapping
import contextlib
import dataclasses
import io
import math
import pathlib
import time
from typing import TextIO

import jax
import numpy as np
from PIL import Image
import soundfile
from tensorboard.compat.proto import event_pb2
from tensorboard.compat.proto import summary_pb2
from tensorboard.summary.writer import event_file_writer

from v2a.training import console


@dataclasses.dataclass(frozen=True)
class AudioSummary:
  """An audio clip: samples at full scale 1, and their rate."""

  wave_NA: np.ndarray
  sample_rate_hz: int


@dataclasses.dataclass(frozen=True)
class ImageSummary:
  """An image, uint8 RGB."""

  pixels_YX3: np.ndarray


_SHARES = {'data_wait': 'data', 'mfu': 'MFU', 'goodput': 'goodput'}


class MetricAccumulator:
  """Metrics of the steps since the last log line, on the host."""

  def __init__(self):
    self._values: dict[str, list[float]] = {}

  def add(self, values: dict[str, float]) -> None:
    """Adds the metrics of one step."""
    for name, value in values.items():
      self._values.setdefault(name, []).append(value)

  def flush(self) -> dict[str, float]:
    """Returns the means of values that are not NaN, and resets."""
    valid = {
      name: [value for value in values if not math.isnan(value)] for name, values in self._values.items()
    }
    means = {name: float(np.mean(values)) for name, values in valid.items() if values}
    self._values = {}
    return means


class Log:
  """Writes scalars to a TensorBoard file and lines to stdout, on process 0 alone."""

  def __init__(self, folder: str | pathlib.Path, num_steps: int, stream: TextIO | None = None):
    """The file is created with the first event, so that a run that is refused leaves none.

    Args:
      folder: of logs, see `log_folder`.
      num_steps: of the run.
      stream: for the lines; None for stdout.
    """
    self._is_silent = jax.process_index() != 0
    self._num_steps = num_steps
    self._stream = stream
    self._has_reported = False
    self._folder = pathlib.Path(folder) / 'tensorboard'
    self._writer = None

  def line(self, text: str) -> None:
    """Prints one line; see `console.line`."""
    if not self._is_silent:
      console.line(text, self._stream)

  def scalars(self, step: int, values: dict[str, float]) -> None:
    """Writes values of a step to the TensorBoard file."""
    if self._is_silent:
      return
    summary = summary_pb2.Summary(
      value=[
        summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in sorted(values.items())
      ]
    )
    self._add(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))

  def write_media(self, step: int, values: Mapping[str, AudioSummary | ImageSummary]) -> None:
    """Writes audio clips and images of a step to the TensorBoard file."""
    if self._is_silent:
      return
    summary = summary_pb2.Summary(value=[_media_value(name, value) for name, value in sorted(values.items())])
    self._add(event_pb2.Event(wall_time=time.time(), step=step, summary=summary))

  def _add(self, event: event_pb2.Event) -> None:
    # The writer's thread raises on a full disk with the next event, and with each later one.
    try:
      if self._writer is None:
        self._writer = event_file_writer.EventFileWriter(str(self._folder))
      self._writer.add_event(event)
    except OSError as error:
      if not self._has_reported:
        self.line(f'TensorBoard files cannot be written ({error}); training continues without them.')
      self._has_reported = True

  def progress(self, step: int, values: dict[str, float], rates: dict[str, float]) -> None:
    """Prints and writes the mean metrics of the last steps, rates (see `step_timer`) and the time left."""
    self.scalars(step, values | rates)
    self.line(f'step {step}/{self._num_steps} {format_metrics(values)} | {self._format_rates(step, rates)}')

  def _format_rates(self, step: int, rates: dict[str, float]) -> str:
    if not rates:
      return 'not timed'
    shares = ', '.join(f'{label} {rates[name]:.0%}' for name, label in _SHARES.items() if name in rates)
    left = format_duration((self._num_steps - step) / rates['steps_per_s'])
    return (
      f'{rates["steps_per_s"]:.3g} steps/s, {rates["clips_per_s"]:.3g} clips/s, step '
      f'{rates["step_s_p50"]:.3g} s (p99 {rates["step_s_p99"]:.3g}), {shares}, {left} left'
    )

  def close(self) -> None:
    """Flushes the file."""
    if self._writer is not None:
      with contextlib.suppress(OSError):
        self._writer.close()


def _media_value(name: str, value: AudioSummary | ImageSummary) -> summary_pb2.Summary.Value:
  buffer = io.BytesIO()
  if isinstance(value, AudioSummary):
    wave_NA = np.clip(value.wave_NA, -1.0, 1.0)
    soundfile.write(buffer, wave_NA, value.sample_rate_hz, format='WAV', subtype='PCM_16')
    audio = summary_pb2.Summary.Audio(
      sample_rate=value.sample_rate_hz,
      num_channels=wave_NA.shape[1],
      length_frames=len(wave_NA),
      encoded_audio_string=buffer.getvalue(),
      content_type='audio/wav',
    )
    return summary_pb2.Summary.Value(tag=name, audio=audio)
  Image.fromarray(value.pixels_YX3).save(buffer, 'PNG')
  height, width = value.pixels_YX3.shape[:2]
  image = summary_pb2.Summary.Image(
    height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue()
  )
  return summary_pb2.Summary.Value(tag=name, image=image)


def format_metrics(values: dict[str, float]) -> str:
  """Returns metrics as text, the loss first."""
  names = sorted(values, key=lambda name: (name != 'loss', name))
  return ', '.join(f'{name} {values[name]:.4g}' for name in names)


def format_duration(seconds: float) -> str:
  """Returns seconds as 45s, 3m05s or 2h07m."""
  if not math.isfinite(seconds):
    return 'unknown time'
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds}s'
  if seconds < 3600:
    return f'{seconds // 60}m{seconds % 60:02d}s'
  return f'{seconds // 3600}h{seconds % 3600 // 60:02d}m'
