"""Tags, onsets and captions by signal analysis: no server, no weights, on every machine.

Tags: loudness_lufs, onsets, pitch_hz, brightness_hz, silent_share, and the likelihoods speech, music and
noise of `data_pipelines.filters.content`, which are no probabilities. Events: onsets. Captions: 'short' and
'detailed', composed from these numbers and, where there is one, from a label (`zero_shot`, or by humans) and
the transcript. They say how something sounds, and without a label hardly what it is. Their confidence is 0.2,
with a label 0.3, so that those of a model outweigh them where a clip has both (v2a.data.caption_choice).
"""

import dataclasses
import math

import numpy as np

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.filters import content
from v2a.data import annotations as annotations_lib
from v2a.media import audio_reader
from v2a.metrics import curves
from v2a.metrics import onsets
from v2a.metrics import signal
from v2a.metrics import spectra

NAME, VERSION = 'signal-analysis', '1'
CONFIDENCE, LABELLED_CONFIDENCE = 0.2, 0.3
ONSET = 'onset'
# Levels, rates and pitches are measured; onsets and likelihoods are estimates.
_MEASURED, _ESTIMATED, _WEAK = 1.0, 0.5, 0.3
_MIN_S = 0.4  # shorter sounds have no loudness
# Words for intervals of a number: each up to its limit.
_LOUDNESS = ((-45.0, 'very quiet'), (-32.0, 'quiet'), (-20.0, 'moderately loud'), (-12.0, 'loud'))
_BRIGHTNESS = ((400.0, 'deep'), (1200.0, 'low'), (2800.0, 'bright'))
_VOICED, _PITCHED_SHARE = 0.5, 0.4
_DENSE_HZ, _REGULAR = 4.0, 0.25
_CHANGE_DB, _QUIET_SHARE = 9.0, 0.25
_NOTES = ('C', 'C sharp', 'D', 'E flat', 'E', 'F', 'F sharp', 'G', 'A flat', 'A', 'B flat', 'B')
_NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
_MAX_QUOTED = 12  # words of a transcript that a short caption quotes


@dataclasses.dataclass(frozen=True)
class Analysis:
  """What is measured in a sound.

  Attributes:
    loudness_lufs: integrated.
    onset_s: times of onsets in the sound.
    pitch_hz: median of the voiced frames; None where fewer than 40 % of those with sound are voiced.
    brightness_hz: spectral centroid of the power.
    silent_share: share of time below -60 dBFS.
    change_db: level of the second half over that of the first.
    speech, music, noise: likelihoods, 0 to 1.
  """

  loudness_lufs: float
  onset_s: tuple[float, ...]
  pitch_hz: float | None
  brightness_hz: float
  silent_share: float
  change_db: float
  speech: float
  music: float
  noise: float


def analyse(wave_NA: np.ndarray, sample_rate_hz: int) -> Analysis | None:
  """Returns what is measured in a sound; None for one that is silent or shorter than 0.4 s.

  Args:
    wave_NA: the sound.
    sample_rate_hz: its rate.
  """
  if len(wave_NA) < _MIN_S * sample_rate_hz or audio_reader.is_silent(wave_NA):
    return None
  loudness_lufs = signal.loudness_lufs(wave_NA, sample_rate_hz)
  if loudness_lufs is None:
    return None
  resampled_NA = spectra.resample(wave_NA, sample_rate_hz)
  found = content.features(wave_NA, sample_rate_hz)
  is_too_short = isinstance(found, str)
  half = len(wave_NA) // 2
  levels_db = [
    20 * math.log10(float(np.sqrt((part_NA.astype(np.float64) ** 2).mean())) + 1e-6)
    for part_NA in (wave_NA[:half], wave_NA[half:])
  ]
  return Analysis(
    loudness_lufs=loudness_lufs,
    onset_s=tuple(float(time_s) for time_s in onsets.detect(resampled_NA, spectra.RATE_HZ)),
    pitch_hz=_median_pitch_hz(resampled_NA),
    brightness_hz=_centroid_hz(resampled_NA),
    silent_share=signal.silence_share(wave_NA, sample_rate_hz),
    change_db=levels_db[1] - levels_db[0],
    speech=0.0 if is_too_short else content.speech_likelihood(found),
    music=0.0 if is_too_short else content.music_likelihood(found),
    noise=0.0 if is_too_short else content.noise_likelihood(found),
  )


def _median_pitch_hz(wave_NA: np.ndarray) -> float | None:
  num_frames = len(wave_NA) * curves.CURVE_HZ // spectra.RATE_HZ
  pitch_J, clarity_J = curves.pitch(wave_NA, num_frames, 60.0, 1000.0)
  level_J = curves.level(wave_NA, num_frames, 0.05)
  is_active_J = level_J > 0.03 * level_J.max()
  is_voiced_J = is_active_J & (clarity_J > _VOICED)
  if is_voiced_J.sum() < _PITCHED_SHARE * is_active_J.sum():
    return None
  return float(np.median(pitch_J[is_voiced_J]))


def _centroid_hz(wave_NA: np.ndarray) -> float:
  power_F = sum((np.abs(spectra.stft(wave_N)) ** 2).sum(axis=0) for wave_N in wave_NA.T)
  hz_F = np.arange(spectra.WINDOW_SAMPLES // 2 + 1) * spectra.RATE_HZ / spectra.WINDOW_SAMPLES
  return float((power_F * hz_F).sum() / max(power_F.sum(), 1e-30))


def compose(found: Analysis, label: str = '', words: str = '') -> tuple[str, str]:
  """Returns a short and a detailed caption.

  Args:
    found: what is measured.
    label: what makes the sound, or ''.
    words: what is spoken, or ''.
  """
  words = ' '.join(words.split())
  loudness = _word(_LOUDNESS, found.loudness_lufs, 'very loud')
  subject = _capitalized(label) if label else _subject(found)
  events = _events(found)
  quote = ' '.join(words.split()[:_MAX_QUOTED]) + (' ...' if len(words.split()) > _MAX_QUOTED else '')
  parts = [subject, *([f'with {events}'] if events else []), loudness]
  short = ', '.join(parts) + (f'; a voice says "{quote}"' if words else '') + '.'
  detailed = [f'{subject}.']
  if label:
    detailed.append(f'{_capitalized(_subject(found))}.')
  if events:
    detailed.append(f'{_capitalized(events)}{_pace(found)}.')
  tone = f'The sound is {loudness} and {_word(_BRIGHTNESS, found.brightness_hz, "sharp and hissing")}'
  if found.pitch_hz is not None:
    tone += f', with a pitch around {found.pitch_hz:.0f} Hz ({note(found.pitch_hz)})'
  detailed.append(f'{tone}.')
  detailed += _development(found)
  if words:
    detailed.append(f'A voice says: "{words}".')
  return short, ' '.join(detailed)


def _subject(found: Analysis) -> str:
  # Short noises with pauses are not steady.
  noise = found.noise if found.silent_share < _QUIET_SHARE else 0.0
  kinds = [(found.speech, 'a voice'), (found.music, 'music or held tones'), (noise, 'steady noise')]
  likelihood, kind = max(kinds)
  if likelihood >= 0.5:
    return _capitalized(kind)
  return 'Separate sounds' if 0 < len(found.onset_s) and _rate_hz(found) < _DENSE_HZ else 'A continuous sound'


def _events(found: Analysis) -> str:
  num = len(found.onset_s)
  if not num:
    return ''
  if _rate_hz(found) >= _DENSE_HZ:
    return f'a dense series of about {_rate_hz(found):.0f} onsets a second'
  count = _NUMBERS[num] if num < len(_NUMBERS) else str(num)
  return f'{count} distinct onset{"s" if num > 1 else ""}'


def _rate_hz(found: Analysis) -> float:
  """Returns the onsets a second between the first and the last one."""
  if len(found.onset_s) < 3:
    return 0.0
  return (len(found.onset_s) - 1) / (found.onset_s[-1] - found.onset_s[0])


def _pace(found: Analysis) -> str:
  """Returns how regular the onsets are, and how fast."""
  if len(found.onset_s) < 4 or _rate_hz(found) >= _DENSE_HZ:
    return ''
  step_s = np.diff(found.onset_s)
  kind = 'regular' if np.std(step_s) < _REGULAR * np.mean(step_s) else 'irregular'
  return f' at {"a" if kind == "regular" else "an"} {kind} pace, about one every {np.mean(step_s):.1f} s'


def _development(found: Analysis) -> list[str]:
  lines = []
  if found.change_db < -_CHANGE_DB:
    lines.append('It is much quieter in the second half.')
  elif found.change_db > _CHANGE_DB:
    lines.append('It is much louder in the second half.')
  if found.silent_share > _QUIET_SHARE:
    lines.append(f'About {100 * found.silent_share:.0f} percent of the time is silent.')
  return lines


def note(hz: float) -> str:
  """Returns the name of the note of equal temperament (A4 is 440 Hz) nearest to a frequency."""
  number = round(69 + 12 * math.log2(hz / 440.0))
  return f'{_NOTES[number % 12]}{number // 12 - 1}'


def _word(limits: tuple[tuple[float, str], ...], value: float, above: str) -> str:
  return next((word for limit, word in limits if value < limit), above)


def _capitalized(text: str) -> str:
  return text[:1].upper() + text[1:]


@dataclasses.dataclass(frozen=True)
class Tagger:
  """See the module."""

  @property
  def name(self) -> str:
    """See `Annotator`."""
    return NAME

  @property
  def version(self) -> str:
    """See `Annotator`."""
    return VERSION

  @property
  def reads(self) -> tuple[str, ...]:
    """Labels and transcripts are parts of the captions."""
    return ('captions', 'transcript')

  def check(self) -> None:
    """See `Annotator`; nothing is needed."""

  def annotate(
    self, clip: decoded.DecodedClip, known: annotations_lib.Annotations
  ) -> annotations_lib.Annotations:
    """See `Annotator`; a clip without sound gets nothing, a silent one says so."""
    if not clip.has_audio:
      return annotations_lib.Annotations()
    found, by = analyse(clip.wave_NA, clip.sample_rate_hz), annotator.origin(self)
    if found is None:
      is_silent = audio_reader.is_silent(clip.wave_NA)
      texts = (('short', 'Silence.'), ('detailed', 'Nothing is audible.')) if is_silent else ()
      return annotations_lib.Annotations(
        captions=tuple(annotations_lib.Caption(text, style, by, 0.9) for style, text in texts)
      )
    label = _best_label(known)
    confidence = LABELLED_CONFIDENCE if label else CONFIDENCE
    short, detailed = compose(found, label, known.transcript.text)
    return dataclasses.replace(
      annotator.tags(self, _tags(found)),
      captions=(
        annotations_lib.Caption(short, 'short', by, confidence),
        annotations_lib.Caption(detailed, 'detailed', by, confidence),
      ),
      events=tuple(
        annotations_lib.Event(clip.start_s + time_s, clip.start_s + time_s, ONSET, by, _ESTIMATED)
        for time_s in found.onset_s
      ),
    )


def _best_label(known: annotations_lib.Annotations) -> str:
  """Returns the label by humans, or the most confident one, or ''."""
  labels = [each for each in known.captions if each.style == 'label']
  order = lambda each: (each.origin == annotator.HUMAN, each.confidence or 0.0)
  return max(labels, key=order).text if labels else ''


def _tags(found: Analysis) -> list[tuple[str, str, float | None]]:
  tags: list[tuple[str, str, float | None]] = [
    ('loudness_lufs', f'{found.loudness_lufs:.1f}', _MEASURED),
    ('silent_share', f'{found.silent_share:.3f}', _MEASURED),
    ('brightness_hz', f'{found.brightness_hz:.0f}', _MEASURED),
    ('onsets', str(len(found.onset_s)), _ESTIMATED),
    ('speech', f'{found.speech:.2f}', _WEAK),
    ('music', f'{found.music:.2f}', _WEAK),
    ('noise', f'{found.noise:.2f}', _WEAK),
  ]
  return tags if found.pitch_hz is None else [*tags, ('pitch_hz', f'{found.pitch_hz:.1f}', _ESTIMATED)]
