"""Music scenes: piano keys with visible notes, and a score that is described by the annotation only."""

import numpy as np

from v2a.synthetic import backdrop
from v2a.synthetic import canvas as canvases
from v2a.synthetic import impacts
from v2a.synthetic import mixing
from v2a.synthetic import random_streams
from v2a.synthetic import scene
from v2a.synthetic import tones

WHITE = (60, 62, 64, 65, 67, 69, 71, 72, 74, 76)  # MIDI notes of the keys, left to right
MOODS = {
  'calm': ('major', 66, 84, 'chords'),
  'sad': ('minor', 60, 80, 'both'),
  'happy': ('major', 116, 144, 'both'),
  'tense': ('minor', 120, 150, 'arpeggio'),
  'bright': ('major', 104, 132, 'arpeggio'),
  'dark': ('minor', 66, 88, 'chords'),
}


def keys(streams: random_streams.RandomStreams, spec: scene.SceneSpec) -> scene.Scene:
  """Piano keys that light up and go down with their notes."""
  rng = streams.rng('keys')
  tempo_bpm = round(float(rng.uniform(70, 150)), 1)
  beat_s = 60 / tempo_bpm
  steps = streams.rng('melody')
  time_s, at = float(rng.uniform(0.1, 0.5)), int(rng.integers(len(WHITE)))
  notes = []
  while time_s < spec.clip_s - 0.06:
    length_s = beat_s * random_streams.pick(steps, (0.5, 0.5, 1.0, 1.0, 1.5))
    notes.append(
      {
        'time_s': round(time_s, 5),
        'duration_s': round(length_s, 5),
        'pitch_hz': round(tones.midi_to_hz(WHITE[at]), 3),
        'x': round((at + 0.5) / 5 - 1, 4),
        'key': at,
        'speed': round(float(steps.uniform(0.55, 1.0)), 3),
      }
    )
    time_s += length_s
    at = int(np.clip(at + random_streams.pick(steps, (-3, -2, -1, -1, 0, 1, 1, 2, 3)), 0, len(WHITE) - 1))
  wave_NA = spec.silence()
  for played in notes:
    mono_N = tones.note(played['pitch_hz'], played['duration_s'] + 0.1, spec.sample_rate_hz)
    mixing.add_panned(
      wave_NA,
      mono_N,
      int(round(played['time_s'] * spec.sample_rate_hz)),
      0.8 * played['x'],
      0.42 * played['speed'],
    )
  light = backdrop.color(rng.random(), 0.75, 1.0)
  top = rng.uniform(0.3, 0.5)
  back = backdrop.Backdrop(rng, None, is_busy=False)
  tone = rng.uniform(0.85, 1.0)

  def render(time_L, size):
    canvas = back.render(time_L, size)
    canvas.box(0.5, top - 0.03, 0.52, 0.035, (0.12, 0.07, 0.05))
    for number in range(len(WHITE)):
      press_L = np.zeros(len(time_L))
      for played in notes:
        if played['key'] == number:
          since = time_L - played['time_s']
          press_L = np.maximum(press_L, (since >= -1e-6) * (since < played['duration_s'] - 0.02))
      _white_key(canvas, number, press_L, top, tone, light)
    for number in (0, 1, 3, 4, 5, 7, 8):
      canvas.box((number + 1) / 10, top + 0.12, 0.028, 0.13, (0.07, 0.07, 0.08), corner=0.008)
    return canvas.pixels_3LYX

  events = [
    impacts.event(played['time_s'], 'key', None, played['speed'], 0.5 + 0.4 * played['x']) for played in notes
  ]
  truth_notes = [
    {name: played[name] for name in ('time_s', 'duration_s', 'pitch_hz', 'x')} for played in notes
  ]
  facts = {'action': 'keys', 'tempo_bpm': tempo_bpm}
  return scene.Scene(
    render,
    {'effects': mixing.add_early_reflections(wave_NA, spec.sample_rate_hz)},
    {'events': events, 'notes': truth_notes, 'tempo_bpm': tempo_bpm},
    facts,
  )


def _white_key(canvas: canvases.Canvas, number: int, press_L: np.ndarray, top: float, tone: float, light):
  x = (number + 0.5) / 10
  bottom_L = top + 0.42 + 0.035 * press_L
  canvas.box(x, top + 0.25, 0.048, 0.26, (0.1, 0.1, 0.1))
  canvas.box(x, (top + bottom_L) / 2, 0.044, (bottom_L - top) / 2, (tone, tone, 0.96 * tone), corner=0.01)
  if press_L.any():
    canvas.box(x, (top + bottom_L) / 2, 0.044, (bottom_L - top) / 2, light, 0.85 * press_L, corner=0.01)


def score(streams: random_streams.RandomStreams, spec: scene.SceneSpec) -> scene.Scene:
  """A slowly changing colour gradient, and music of the mood and tempo in the annotation."""
  rng = streams.rng('score')
  mood = random_streams.pick(rng, tuple(MOODS))
  mode, slowest, fastest, style = MOODS[mood]
  tempo_bpm = round(float(rng.uniform(slowest, fastest)), 1)
  notes = tones.compose(streams.rng('composition'), spec.clip_s, mode, tempo_bpm, style)
  wave_NA = tones.synthesize(notes, spec.num_samples, spec.sample_rate_hz, 0.55)
  hue, drift = rng.random(), rng.uniform(0.01, 0.03)
  angle, depth = rng.uniform(0, 6.28), rng.uniform(0.15, 0.4)

  def render(time_L, size):
    canvas = canvases.Canvas(len(time_L), size)
    angle_L = angle + 0.25 * time_L
    u, v = canvas.offsets((slice(0, size), slice(0, size)), 0.5, 0.5)
    ramp = u * np.cos(angle_L, dtype=np.float32).reshape(-1, 1, 1) + v * np.sin(
      angle_L, dtype=np.float32
    ).reshape(-1, 1, 1)
    for channel in range(3):
      base_L = 0.5 + 0.22 * np.cos(2 * np.pi * (hue + drift * time_L + channel / 3))
      canvas.pixels_3LYX[channel] = base_L.reshape(-1, 1, 1) + depth * ramp
    return canvas.pixels_3LYX

  truth_notes = [
    {name: round(float(played[name]), 4) for name in ('time_s', 'duration_s', 'pitch_hz', 'x')}
    for played in notes
  ]
  truth = {'notes': truth_notes, 'tempo_bpm': tempo_bpm, 'has_music': True, 'is_music_named': True}
  return scene.Scene(
    render,
    {'music': wave_NA},
    truth,
    {'action': 'score', 'mood': mood, 'mode': mode, 'tempo_bpm': tempo_bpm, 'style': style},
  )
