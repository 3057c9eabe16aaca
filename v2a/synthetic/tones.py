"""Pitched notes and music: plucked and sustained notes, chords, arpeggios."""

from collections.abc import Sequence

import numpy as np

from v2a.synthetic import mixing
from v2a.synthetic import random_streams
from v2a.synthetic import textures

PIANO = (1.0, 0.55, 0.3, 0.18, 0.08, 0.05)
PAD = (1.0, 0.35, 0.15, 0.06)
MODES = {'major': (0, 2, 4, 5, 7, 9, 11), 'minor': (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = ((0, 4, 5, 3), (0, 3, 4, 0), (0, 5, 3, 4), (5, 3, 0, 4))


def midi_to_hz(midi: float) -> float:
  """Returns the frequency of a MIDI note number (69 is A4, 440 Hz)."""
  return 440.0 * 2 ** ((midi - 69) / 12)


def note(
  pitch_hz: float,
  duration_s: float,
  sample_rate_hz: int,
  gains: Sequence[float] = PIANO,
  attack_s: float = 0.002,
  decay_s: float = 0.5,
) -> np.ndarray:
  """Returns mono_N of peak about 1: attack, exponential decay, release of 50 ms at the end.

  Args:
    pitch_hz: fundamental frequency.
    duration_s: length in seconds, with the release.
    sample_rate_hz: samples per second.
    gains: of the harmonics, from the fundamental on; the table is scaled to a peak of 1.
    attack_s: length of the linear rise from 0, in seconds.
    decay_s: time in which the level falls by a factor e, in seconds; inf for a constant level.
  """
  length = int(duration_s * sample_rate_hz)
  time_N = np.arange(length, dtype=np.float32) / sample_rate_hz
  index_N = (np.arange(length) * (pitch_hz * 4096 / sample_rate_hz)).astype(np.int64) & 4095
  envelope_N = np.minimum(time_N / attack_s, 1) * np.minimum((duration_s - time_N) / 0.05, 1)
  if np.isfinite(decay_s):
    envelope_N *= np.exp(-time_N / np.float32(decay_s))
  return textures.wavetable(gains)[index_N] * envelope_N.astype(np.float32)


def compose(rng: np.random.Generator, clip_s: float, mode: str, tempo_bpm: float, style: str) -> list[dict]:
  """Composes music as long as the clip; returns notes (time_s, duration_s, pitch_hz, x, gain, held).

  Args:
    rng: source of key, progression and pattern.
    clip_s: length of the clip in seconds.
    mode: scale, a key of MODES.
    tempo_bpm: beats per minute; a bar has 2 below 100, else 4.
    style: 'chords' (held), 'arpeggio' (eighths of a chord), or anything else for both.
  """
  root = int(rng.integers(53, 63))
  scale = MODES[mode]
  progression = random_streams.pick(rng, PROGRESSIONS)
  beat_s = 60 / tempo_bpm
  bar_s = beat_s * (2 if tempo_bpm < 100 else 4)
  pattern = random_streams.pick(rng, ((0, 1, 2, 1), (0, 1, 2, 3), (2, 1, 0, 1), (0, 2, 1, 3)))
  notes, bar = [], 0
  while bar * bar_s < clip_s:
    degree = progression[bar % len(progression)]
    chord = [root + scale[(degree + step) % 7] + 12 * ((degree + step) // 7) for step in (0, 2, 4, 7)]
    if style != 'arpeggio':
      for position, midi in enumerate(chord[:3]):
        notes.append(
          {
            'time_s': bar * bar_s,
            'duration_s': bar_s + 0.04,
            'pitch_hz': midi_to_hz(midi),
            'x': 0.4 * (position - 1),
            'gain': 0.34,
            'held': True,
          }
        )
    if style != 'chords':
      step_s = beat_s / 2
      for step in range(int(round(bar_s / step_s))):
        midi = chord[pattern[step % 4]] + 12
        notes.append(
          {
            'time_s': bar * bar_s + step * step_s,
            'duration_s': max(1.2 * step_s, 0.35),
            'pitch_hz': midi_to_hz(midi),
            'x': 0.3 * (-1) ** step,
            'gain': 0.5,
            'held': False,
          }
        )
    bar += 1
  return [note for note in notes if note['time_s'] < clip_s - 0.06]


def synthesize(notes: list[dict], num_samples: int, sample_rate_hz: int, level: float) -> np.ndarray:
  """Returns wave_NA, notes synthesized with soft attacks.

  Args:
    notes: of `compose`.
    num_samples: length of the waveform; notes are cut at its end.
    sample_rate_hz: samples per second.
    level: peak of one note of gain 1, full scale 1.
  """
  wave_NA = np.zeros((num_samples, 2), np.float32)
  for played in notes:
    if played['held']:
      mono_N = note(played['pitch_hz'], played['duration_s'], sample_rate_hz, PAD, 0.06, np.inf)
    else:
      mono_N = note(played['pitch_hz'], played['duration_s'], sample_rate_hz, PAD, 0.02, 0.35)
    start = int(round(played['time_s'] * sample_rate_hz))
    mixing.add_panned(wave_NA, mono_N, start, played['x'], level * played['gain'])
  return wave_NA
