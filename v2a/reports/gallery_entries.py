"""One entry of the gallery: a clip, its request, and the soundtracks that were generated."""

import dataclasses
import pathlib

import numpy as np

from v2a import shapes


@dataclasses.dataclass(frozen=True)
class Sample:
  """One generated soundtrack.

  Attributes:
    index: its number, from 0.
    mel_db_RJ: its spectrogram, see `spectrogram.mel_spectrogram`; the waveform may be too long for memory.
    wav: the sound file.
    video: the video with this soundtrack; None without a video.
    score: audio-video similarity, higher is better; None where nothing was ranked.
    rank: among the samples, 1 is best; None where nothing was ranked.
    rms_db: RMS level in decibels of full scale (the spectrogram is relative to its own peak).
  """

  index: int
  mel_db_RJ: np.ndarray
  wav: pathlib.Path
  video: pathlib.Path | None = None
  score: float | None = None
  rank: int | None = None
  rms_db: float | None = None

  @property
  def details(self) -> list[str]:
    """Rank, score and level as text, without what is not known."""
    known = (('rank {}', self.rank), ('score {:.3f}', self.score), ('{:.0f} dB RMS', self.rms_db))
    return [words.format(value) for words, value in known if value is not None]


@dataclasses.dataclass(frozen=True)
class Entry:
  """One clip of the gallery.

  Attributes:
    title: its heading.
    duration_s: length of the sound in seconds.
    samples: the soundtracks, at least one.
    prompt: the sound that was wanted.
    negative_prompt: the sound that was not wanted.
    transcript: the words of the dialogue.
    note: a remark under the heading.
    motion_L: mean absolute change of each frame, 0..1, evenly spread over the clip; may be empty.
    thumbnail_MYX3: frames evenly spread over the clip, uint8, each standing for the span in whose middle it
      is; None without a video.
    aspect: width over height of the video as shown.
    event_times_s: times of known events, plotted as ticks.
  """

  title: str
  duration_s: float
  samples: tuple[Sample, ...]
  prompt: str = ''
  negative_prompt: str = ''
  transcript: str = ''
  note: str = ''
  motion_L: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
  thumbnail_MYX3: np.ndarray | None = None
  aspect: float = 1.0
  event_times_s: tuple[float, ...] = ()

  def __post_init__(self):
    if not self.samples:
      raise ValueError(f'the entry {self.title!r} has no samples; wanted at least one.')
    shapes.check(motion_L=self.motion_L, thumbnail_MYX3=self.thumbnail_MYX3)
    for sample in self.samples:
      shapes.check(level_RJ=sample.mel_db_RJ)

  @property
  def best(self) -> Sample:
    """The sample of rank 1; the first where nothing was ranked."""
    return min(self.samples, key=lambda sample: (sample.rank or 0, sample.index))

  def details_of(self, sample: Sample) -> list[str]:
    """Returns `Sample.details` of one of the samples; a single one has no rank."""
    return sample.details if len(self.samples) > 1 else dataclasses.replace(sample, rank=None).details

  @property
  def details(self) -> list[tuple[str, str]]:
    """The texts of the request as (name, text), without empty ones."""
    texts = (('prompt', self.prompt), ('without', self.negative_prompt), ('dialogue', self.transcript))
    return [(name, text) for name, text in texts if text]


def ticks(duration_s: float) -> list[float]:
  """Returns times in seconds for a readable axis: 4 to 9 ticks at round numbers, starting with 0."""
  for step_s in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200):
    if duration_s / step_s < 9:
      break
  return [round(number * step_s, 1) for number in range(int(duration_s / step_s + 1e-6) + 1)]


def tick_label(time_s: float) -> str:
  """Returns a time as on the axes: 2, 0.5 or 1:30."""
  if time_s < 60:
    return f'{time_s:g}'
  return f'{int(time_s // 60)}:{int(time_s % 60):02d}'
