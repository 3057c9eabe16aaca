"""Scenes of continuous sound: an engine, rain, wind, a bee or drone that flies past."""

import numpy as np

from v2a.synthetic import backdrop
from v2a.synthetic import bodies
from v2a.synthetic import random_streams
from v2a.synthetic import scene
from v2a.synthetic import textures


def _sampled(spec: scene.SceneSpec, curve) -> list[float]:
  """Returns the values of a curve at the times of the ground truth, rounded for JSON."""
  return np.round(np.asarray(curve(spec.curve_time_S), float), 4).tolist()


def engine(streams: random_streams.RandomStreams, spec: scene.SceneSpec) -> scene.Scene:
  """A wheel with spokes and a crank: the faster it turns, the higher and louder its sound."""
  rng = streams.rng('engine')
  speed = random_streams.RandomCurve(streams.rng('speed'), 0.0, 1.0, (0.5, 1.6), spec.clip_s)

  def pitch(time):
    return 60 + 190 * speed(time)

  def level(time):
    return 0.3 + 0.7 * speed(time)

  def turns(time):
    return 0.35 + 1.75 * speed(time)  # per second; four spokes stay below half the frame rate

  mono_N = textures.oscillate(spec.interpolate_curve(pitch), spec.sample_rate_hz, textures.ENGINE_HARMONICS)
  mono_N = mono_N * spec.interpolate_curve(level) * np.float32(0.42)
  x, y, radius = rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.55), rng.uniform(0.22, 0.29)
  floor = y + radius + 0.06
  spokes = int(rng.integers(3, 5))
  direction = random_streams.pick(rng, (-1, 1))
  rim, hub = bodies.accent_color(rng), bodies.accent_color(rng)
  grid = np.arange(0, spec.clip_s + 0.2, 0.005)
  angle_S = direction * 2 * np.pi * np.cumsum(turns(grid)) * 0.005
  back = backdrop.Backdrop(rng, floor)
  side = random_streams.pick(rng, (-1, 1))

  def render(time_L, size):
    canvas = back.render(time_L, size)
    angle_L = np.interp(time_L, grid, angle_S)
    speed_L = speed(time_L)
    canvas.box(x, floor - 0.02, 0.2, 0.035, hub, corner=0.01)
    canvas.disc(x, y, radius, rim)
    canvas.disc(x, y, radius * 0.82, (0.1, 0.1, 0.12))
    for spoke in range(spokes):
      spoke_angle_L = angle_L + 2 * np.pi * spoke / spokes
      canvas.line(
        x,
        y,
        x + 0.84 * radius * np.cos(spoke_angle_L),
        y + 0.84 * radius * np.sin(spoke_angle_L),
        0.022,
        (0.92, 0.9, 0.82) if spoke else (0.95, 0.35, 0.15),
      )
    canvas.disc(x, y, 0.05, hub)
    pin_x, pin_y = x + 0.55 * radius * np.cos(angle_L), y + 0.55 * radius * np.sin(angle_L)
    rod_x = x + side * (radius + 0.14) + 0.3 * (pin_x - x)
    canvas.line(pin_x, pin_y, rod_x, y, 0.016, (0.75, 0.75, 0.8))
    canvas.box(rod_x, y, 0.045, 0.035, (0.55, 0.57, 0.62), corner=0.008)
    glow_L = 0.15 + 0.85 * speed_L
    canvas.disc(x - side * (radius + 0.06), floor - 0.09, 0.03, (1.0, 0.3, 0.1), glow_L, 0.03)
    return canvas.pixels_3LYX

  speed_S = speed(spec.curve_time_S)
  truth = {
    'envelope': _sampled(spec, level),
    'pitch_hz': _sampled(spec, pitch),
    'x': _sampled(spec, lambda time: np.full(len(time), 2 * x - 1)),
  }
  facts = {'action': 'engine', 'speed': float(speed_S.mean()), 'trend': float(speed_S[-1] - speed_S[0])}
  return scene.Scene(render, {'effects': spec.spatialize(mono_N, 2 * x - 1)}, truth, facts)


def rain(streams: random_streams.RandomStreams, spec: scene.SceneSpec) -> scene.Scene:
  """Rain: the more drops fall, the louder the noise."""
  rng = streams.rng('rain')
  level = random_streams.RandomCurve(streams.rng('density'), 0.0, 1.0, (0.7, 1.9), spec.clip_s)

  def loudness(time):
    return 0.06 + 0.94 * level(time) ** 1.3

  wave_N = textures.rain(rng, spec.interpolate_curve(loudness), spec.sample_rate_hz)
  wave_NA = np.stack(
    [wave_N, textures.rain(rng, spec.interpolate_curve(loudness), spec.sample_rate_hz)], axis=1
  )
  floor = rng.uniform(0.78, 0.88)
  back = backdrop.Backdrop(rng, floor, value=(0.2, 0.5))
  count = 48
  x_G, phase_G, rank_G = rng.random(count), rng.random(count), (np.arange(count) + 0.5) / count
  x_G = (np.arange(count) * 0.618034 + 0.05 * x_G) % 1
  slant, fall_s = rng.uniform(-0.08, 0.08), rng.uniform(0.28, 0.36)

  def render(time_L, size):
    canvas = back.render(time_L, size)
    density_L = level(time_L)
    for x, phase, rank in zip(x_G, phase_G, rank_G):
      alpha_L = np.clip((density_L * 1.05 + 0.06 - rank) * 12, 0, 1)
      if not alpha_L.any():
        continue
      cycle_L = time_L / fall_s + phase
      fraction_L = cycle_L % 1
      drop_x = (x + 0.381966 * np.floor(cycle_L)) % 1
      y_L = -0.15 + (floor + 0.2) * fraction_L
      shown = np.flatnonzero(alpha_L > 0.02)
      _streak(canvas, shown, drop_x[shown] + slant * fraction_L[shown], y_L[shown], 0.75 * alpha_L[shown])
      _splash(
        canvas,
        shown,
        drop_x[shown] + slant,
        np.full(len(shown), floor + 0.02 + 0.08 * rank),
        0.012 + 0.05 * fraction_L[shown],
        0.7 * alpha_L[shown] * (1 - fraction_L[shown]) ** 2,
      )
    return canvas.pixels_3LYX

  level_S = loudness(spec.curve_time_S)
  facts = {'action': 'rain', 'speed': float(level_S.mean()), 'trend': float(level_S[-1] - level_S[0])}
  return scene.Scene(render, {'effects': wave_NA}, {'envelope': _sampled(spec, loudness)}, facts)


def _around(canvas, position_G, reach: int) -> np.ndarray:
  """Returns the offsets in pixels of the surrounding pixels from each position, (G, 2 reach + 1)."""
  pixel_G = np.floor(position_G * canvas.size)
  return pixel_G[:, None] + 0.5 + np.arange(-reach, reach + 1) - position_G[:, None] * canvas.size


def _streak(canvas, frame_G, x_G, y_G, alpha_G):
  size = canvas.size
  # The same fraction of the frame at any size; at 32 pixels this is the thinnest possible line.
  half, radius = 0.05 * size, max(0.0125 * size, 0.4)
  u = np.abs(_around(canvas, x_G, int(radius + 1.5)))[:, None, :]
  v = np.maximum(np.abs(_around(canvas, y_G, int(half + 2)))[:, :, None] - half, 0)
  cover = np.clip(radius + 0.5 - np.sqrt(u * u + v * v), 0, 1) * alpha_G[:, None, None]
  canvas.stamp(frame_G, x_G, y_G, cover.astype(np.float32), (0.8, 0.88, 1.0))


def _splash(canvas, frame_G, x_G, y_G, radius_G, alpha_G):
  size = canvas.size
  reach = int(0.065 * size + 2)
  u = _around(canvas, x_G, reach)[:, None, :]
  v = _around(canvas, y_G, int(0.5 * reach + 1))[:, :, None] * 2.2
  norm = np.sqrt(u * u + v * v) - radius_G[:, None, None] * size
  cover = np.clip(1 - np.abs(norm) / max(size / 32, 1), 0, 1) * alpha_G[:, None, None]
  canvas.stamp(frame_G, x_G, y_G, cover.astype(np.float32), (0.8, 0.88, 1.0))


def wind(streams: random_streams.RandomStreams, spec: scene.SceneSpec) -> scene.Scene:
  """Wind that bends grass and moves streaks: faster is louder and brighter."""
  rng = streams.rng('wind')
  level = random_streams.RandomCurve(streams.rng('gusts'), 0.0, 1.0, (0.7, 1.8), spec.clip_s)

  def loudness(time):
    return 0.1 + 0.9 * level(time)

  level_N = spec.interpolate_curve(loudness)
  wave_NA = np.stack([textures.wind(rng, level_N, spec.sample_rate_hz) for _ in range(2)], axis=1)
  floor = rng.uniform(0.78, 0.88)
  back = backdrop.Backdrop(rng, floor)
  grid = np.arange(0, spec.clip_s + 0.2, 0.01)
  run_S = np.cumsum(0.15 + 2.2 * level(grid)) * 0.01
  direction = random_streams.pick(rng, (-1, 1))
  green = backdrop.color(rng.uniform(0.15, 0.4), rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.7))
  blades = [
    (0.04 + 0.92 * (k + rng.random() * 0.6) / 14, rng.uniform(0.2, 0.42), rng.random() * 6.28)
    for k in range(14)
  ]
  streaks = [(rng.random() * 1.4, rng.uniform(0.08, 0.6), rng.uniform(0.8, 1.2)) for _ in range(7)]

  def render(time_L, size):
    canvas = back.render(time_L, size)
    level_L, run_L = level(time_L), np.interp(time_L, grid, run_S)
    for start, height, pace in streaks:
      x_L = (start + pace * run_L) % 1.6 - 0.3
      x_L = x_L if direction > 0 else 1 - x_L
      reach_L = 0.03 + 0.11 * level_L
      canvas.line(
        x_L - reach_L, height, x_L + reach_L, height, 0.008, (0.95, 0.95, 1.0), 0.15 + 0.6 * level_L, 0.01
      )
    for x, height, phase in blades:
      sway_L = 0.12 + 1.0 * level_L + (0.06 + 0.12 * level_L) * np.sin(4.2 * run_L + phase + 3 * x)
      middle_x = x + direction * 0.35 * height * np.sin(0.45 * sway_L)
      middle_y = floor + 0.04 - 0.52 * height * np.cos(0.45 * sway_L)
      tip_x = middle_x + direction * 0.55 * height * np.sin(1.1 * sway_L)
      tip_y = middle_y - 0.5 * height * np.cos(1.1 * sway_L)
      canvas.line(x, floor + 0.06, middle_x, middle_y, 0.014, green)
      canvas.line(middle_x, middle_y, tip_x, tip_y, 0.01, green)
    return canvas.pixels_3LYX

  level_S = loudness(spec.curve_time_S)
  facts = {'action': 'wind', 'speed': float(level_S.mean()), 'trend': float(level_S[-1] - level_S[0])}
  return scene.Scene(render, {'effects': wave_NA}, {'envelope': _sampled(spec, loudness)}, facts)


def fly_past(streams: random_streams.RandomStreams, spec: scene.SceneSpec) -> scene.Scene:
  """A drone or a bee with a steady hum that moves left and right, near and far."""
  rng = streams.rng('pass')
  across = random_streams.RandomCurve(streams.rng('across'), -1.0, 1.0, (0.7, 1.8), spec.clip_s)
  near = random_streams.RandomCurve(streams.rng('near'), 0.0, 1.0, (0.9, 2.2), spec.clip_s)
  high = random_streams.RandomCurve(streams.rng('high'), 0.3, 0.62, (0.8, 2.0), spec.clip_s)

  def distance(time):
    return 1 + 2.5 * (1 - near(time))

  def level(time):
    return 1 / distance(time) ** 1.2

  def side(time):
    return np.clip(1.25 * across(time), -1, 1) * 0.95

  is_bee = rng.random() < 0.5
  pitch_hz = rng.uniform(185, 235) if is_bee else rng.uniform(105, 145)

  def wobble(time):
    return pitch_hz * (1 + 0.006 * np.sin(2 * np.pi * 5.3 * time))

  mono_N = textures.oscillate(spec.interpolate_curve(wobble), spec.sample_rate_hz, textures.HUM_HARMONICS)
  wave_NA = spec.spatialize(
    mono_N * spec.interpolate_curve(level) * np.float32(0.45), spec.interpolate_curve(side)
  )
  back = backdrop.Backdrop(rng, rng.uniform(0.8, 0.95) if rng.random() < 0.6 else None)
  color = backdrop.color(rng.random(), 0.6, rng.uniform(0.25, 0.6))

  def render(time_L, size):
    canvas = back.render(time_L, size)
    x_L, y_L = 0.5 + 0.5 * side(time_L) * 0.95, high(time_L) + 0.012 * np.sin(9 * time_L)
    grow_L = 1 / distance(time_L) ** 0.75
    canvas.ellipse(x_L, 0.95, 0.12 * grow_L, 0.02, (0, 0, 0), 0.35, 0.02)
    blur_L = 0.35 + 0.25 * np.cos(2 * np.pi * 11.3 * time_L)
    if is_bee:
      _bee(canvas, x_L, y_L, grow_L, blur_L)
    else:
      _drone(canvas, x_L, y_L, grow_L, blur_L, color)
    return canvas.pixels_3LYX

  truth = {'envelope': _sampled(spec, level), 'x': _sampled(spec, side)}
  x_S = side(spec.curve_time_S)
  facts = {
    'action': 'pass',
    'thing': 'bee' if is_bee else 'drone',
    'trend': float(x_S[-1] - x_S[0]),
    'speed': float(np.abs(np.diff(x_S)).sum() / spec.clip_s),
  }
  return scene.Scene(render, {'effects': wave_NA}, truth, facts)


def _bee(canvas, x_L, y_L, grow_L, blur_L):
  """Renders a bee of a size `grow_L` whose wings have an opacity `blur_L`."""
  for way in (-1, 1):
    canvas.ellipse(
      x_L + way * 0.07 * grow_L,
      y_L - 0.13 * grow_L,
      0.06 * grow_L,
      0.09 * grow_L,
      (0.95, 0.97, 1.0),
      blur_L,
      0.01,
    )
  canvas.ellipse(x_L, y_L, 0.17 * grow_L, 0.11 * grow_L, (0.96, 0.76, 0.1))
  for way in (-0.55, 0.05, 0.6):
    canvas.box(
      x_L + way * 0.17 * grow_L, y_L, 0.022 * grow_L, (0.1 - 0.05 * abs(way)) * grow_L, (0.1, 0.08, 0.05)
    )
  canvas.disc(x_L - 0.16 * grow_L, y_L - 0.01 * grow_L, 0.065 * grow_L, (0.15, 0.11, 0.06))


def _drone(canvas, x_L, y_L, grow_L, blur_L, color):
  """Renders a drone of a size `grow_L`; `blur_L` changes the opacity of its rotors."""
  for way in (-1, 1):
    canvas.line(x_L, y_L, x_L + way * 0.2 * grow_L, y_L - 0.06 * grow_L, 0.014 * grow_L, (0.15, 0.15, 0.17))
    canvas.ellipse(
      x_L + way * 0.2 * grow_L,
      y_L - 0.09 * grow_L,
      0.13 * grow_L,
      0.018 * grow_L,
      (0.85, 0.9, 0.95),
      0.3 + blur_L,
      0.01,
    )
  canvas.ellipse(x_L, y_L, 0.13 * grow_L, 0.075 * grow_L, color)
  canvas.disc(x_L, y_L + 0.03 * grow_L, 0.035 * grow_L, (0.9, 0.2, 0.15))
