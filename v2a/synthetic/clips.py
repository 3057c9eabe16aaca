"""Clips of the synthetic set: frames, audio and exact ground truth as a function of (seed, index).

For the ground truth of a clip see `render`. Curves are lists of scene.CURVE_HZ values per second. The physics
is analytic, so that event times depend on neither frame rate nor frame size, and a corruption changes the
frames only.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from v2a.synthetic import annotations
from v2a.synthetic import continuous
from v2a.synthetic import corruptions
from v2a.synthetic import dialogue
from v2a.synthetic import impacts
from v2a.synthetic import music
from v2a.synthetic import random_streams
from v2a.synthetic import scene as scene_lib
from v2a.synthetic import silence
from v2a.synthetic import textures
from v2a.synthetic import tones

SCENES = {
  'bounce': impacts.bounce,
  'collide': impacts.collide,
  'strike': impacts.strike,
  'hidden': impacts.hidden,
  'engine': continuous.engine,
  'rain': continuous.rain,
  'wind': continuous.wind,
  'pass': continuous.fly_past,
  'keys': music.keys,
  'score': music.score,
  'dialogue': dialogue.dialogue,
  'still': silence.still,
  'cut': silence.cut,
}
CORRUPTIONS = corruptions.CORRUPTIONS
# Sampling weights of the scenes: silence needs few examples, impacts and speech many.
SCENE_WEIGHTS = {
  'bounce': 14,
  'collide': 11,
  'strike': 12,
  'hidden': 13,
  'engine': 8,
  'rain': 6,
  'wind': 6,
  'pass': 8,
  'keys': 7,
  'score': 5,
  'dialogue': 14,
  'still': 4,
  'cut': 5,
}
WITH_MUSIC = ('bounce', 'collide', 'strike', 'hidden', 'engine', 'rain', 'wind', 'pass')
WITH_WIND = ('bounce', 'collide', 'strike', 'hidden', 'engine', 'pass')
PEAK = 0.9
_CHUNK_PIXELS = 1 << 19
_EMPTY = {
  'transcript': '',
  'events': [],
  'material': None,
  'is_material_hidden': False,
  'envelope': None,
  'pitch_hz': None,
  'x': None,
  'has_music': False,
  'has_wind': False,
  'is_music_named': False,
  'notes': [],
  'tempo_bpm': None,
  'words': [],
  'phonemes': [],
  'mouth': None,
}


@dataclasses.dataclass
class SyntheticClip:
  """One rendered clip.

  Attributes:
    frame_LYX3: uint8 RGB, frame k shows time k / fps.
    wave_NA: float32 stereo in -0.9..0.9.
    stems: 'effects', 'ambience', 'music', 'speech' -> wave_NA; their sum is the mix.
    truth: JSON-able ground truth.
  """

  frame_LYX3: np.ndarray
  wave_NA: np.ndarray
  stems: dict[str, np.ndarray]
  truth: dict


def check(
  scenes: Sequence[str] | None,
  corruption: str | None,
  clip_s: float,
  fps: float,
  frame_size: int,
  sample_rate_hz: int,
) -> None:
  """Checks the arguments of `render`.

  Args:
    scenes: names of SCENES; None means all.
    corruption: a name of CORRUPTIONS; None means a random one.
    clip_s: length in seconds, 2..30.
    fps: frames per second, 1..60.
    frame_size: height and width in pixels, 4..1080.
    sample_rate_hz: samples per second, 8,000..96,000.

  Raises:
    ValueError: an unknown scene or corruption, or a number out of range.
  """
  names = tuple(SCENES) if scenes is None else tuple(scenes)
  unknown = sorted(set(names) - set(SCENES))
  if unknown or not names:
    raise ValueError(f'scenes must be some of {", ".join(SCENES)}; got {", ".join(unknown) or "none"}.')
  if corruption is not None and corruption not in CORRUPTIONS:
    raise ValueError(f'corruption must be one of {", ".join(CORRUPTIONS)}; got {corruption!r}.')
  limits = {
    'clip_s': (clip_s, 2, 30),
    'fps': (fps, 1, 60),
    'frame_size': (frame_size, 4, 1080),
    'sample_rate_hz': (sample_rate_hz, 8000, 96000),
  }
  for name, (value, low, high) in limits.items():
    if not low <= value <= high:
      raise ValueError(f'{name} must be {low}..{high}; got {value}.')


def _ambience(streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec) -> np.ndarray:
  rng = streams.rng('ambience')
  gusts = random_streams.RandomCurve(rng, 0.25, 0.7, (0.8, 2.0), spec.clip_s)
  level_N = spec.interpolate_curve(gusts)
  return np.stack([textures.wind(rng, level_N, spec.sample_rate_hz) for _ in range(2)], axis=1)


def _music(streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec) -> np.ndarray:
  rng = streams.rng('music')
  mode = random_streams.pick(rng, ('major', 'major', 'minor'))
  style = random_streams.pick(rng, ('chords', 'arpeggio', 'both'))
  notes = tones.compose(rng, spec.clip_s, mode, rng.uniform(70, 130), style)
  wave_NA = tones.synthesize(notes, spec.num_samples, spec.sample_rate_hz, 0.3)
  peak = float(np.abs(wave_NA).max())
  level = 0.5 * 10 ** (rng.uniform(-10, -5) / 20)
  return wave_NA * np.float32(level / max(peak, 1e-6))


def _frames(
  streams, scene: scene_lib.Scene, corruption: corruptions.Corruption, num_frames: int, fps: float, size: int
) -> np.ndarray:
  frame_LYX3 = np.empty((num_frames, size, size, 3), np.uint8)
  chunk = max(1, _CHUNK_PIXELS // (size * size))
  source_time_L = corruption.source_times(streams, np.arange(num_frames) / fps)
  for start in range(0, num_frames, chunk):
    chunk_time_L = source_time_L[start : start + chunk]
    pixels_3LYX = corruption.apply(streams, chunk_time_L, scene.render(chunk_time_L, size))
    scaled_3LYX = np.clip(pixels_3LYX * np.float32(255) + np.float32(0.5), 0, 255).astype(np.uint8)
    frame_LYX3[start : start + chunk] = np.moveaxis(scaled_3LYX, 0, -1)
  return frame_LYX3


def render(
  seed: int,
  index: int,
  scenes: Sequence[str] | None = None,
  corruption: str | None = None,
  clip_s: float = 4.0,
  fps: float = 25,
  frame_size: int = 48,
  sample_rate_hz: int = 16000,
) -> SyntheticClip:
  """Renders clip `index` of the set `seed`; the same arguments give the same clip, bit for bit.

  Args:
    seed: number of the set, >= 0.
    index: number of the clip in the set, >= 0.
    scenes: names of SCENES to sample from; None means all. The weights are SCENE_WEIGHTS.
    corruption: a name of CORRUPTIONS; None samples one (half are clean). It changes the frames, and `look`
      and `severity` of the truth.
    clip_s: length in seconds, 2..30.
    fps: frames per second, 1..60.
    frame_size: height and width in pixels, 4..1080.
    sample_rate_hz: samples per second, 8,000..96,000.

  Returns:
    The clip. Its truth always has: seed, index, scene, look, severity, clip_s, fps, sample_rate_hz, track_hz,
    annotation, transcript, events, material, is_material_hidden, envelope, pitch_hz, x, has_music, has_wind,
    is_music_named, notes, tempo_bpm, words, phonemes, mouth; None or [] if not applicable.

  Raises:
    ValueError: an unknown scene or corruption, or a number out of range.
  """
  check(scenes, corruption, clip_s, fps, frame_size, sample_rate_hz)
  names = tuple(SCENES) if scenes is None else tuple(scenes)
  streams = random_streams.RandomStreams(seed, index)
  sampled_corruption = corruptions.random_corruption(streams, corruption)
  spec = scene_lib.SceneSpec(clip_s, sample_rate_hz)
  name = random_streams.pick(streams.rng('scene'), names, [SCENE_WEIGHTS[entry] for entry in names])
  scene = SCENES[name](streams, spec)
  extras = streams.rng('extras')
  roll_music, roll_wind = extras.random(), extras.random()
  has_music, has_wind = name in WITH_MUSIC and roll_music < 0.55, name in WITH_WIND and roll_wind < 0.2
  stems = {entry: scene.stems.get(entry) for entry in ('effects', 'ambience', 'music', 'speech')}
  if has_music:
    stems['music'] = _music(streams, spec)
  if has_wind:
    stems['ambience'] = _ambience(streams, spec)
  stems = {
    entry: spec.silence() if wave_NA is None else wave_NA.astype(np.float32)
    for entry, wave_NA in stems.items()
  }
  wave_NA, stems = _mix(stems)
  truth = {
    'seed': seed,
    'index': index,
    'scene': name,
    'look': sampled_corruption.name,
    'severity': sampled_corruption.severity,
    'clip_s': clip_s,
    'fps': fps,
    'sample_rate_hz': sample_rate_hz,
    'track_hz': scene_lib.CURVE_HZ,
    **_EMPTY,
    **scene.truth,
  }
  is_hidden = truth['is_material_hidden']
  truth['annotation'], is_named = annotations.annotate(
    streams.rng('annotation'), scene.facts, has_music, has_wind, is_hidden
  )
  truth['has_music'], truth['has_wind'] = truth['has_music'] or has_music, has_wind
  truth['is_music_named'] = truth['is_music_named'] or is_named
  num_frames = int(round(clip_s * fps))
  frame_LYX3 = _frames(streams, scene, sampled_corruption, num_frames, fps, frame_size)
  return SyntheticClip(frame_LYX3, wave_NA, stems, truth)


def _mix(stems: dict) -> tuple[np.ndarray, dict]:
  """Returns the sum and the stems, both attenuated if the sum would exceed PEAK."""
  wave_NA = sum(stems.values())
  peak = float(np.abs(wave_NA).max())
  if peak > PEAK:
    stems = {name: stem_NA * np.float32(PEAK / peak * 0.999) for name, stem_NA in stems.items()}
    wave_NA = sum(stems.values())
  return wave_NA, stems
