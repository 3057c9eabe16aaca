"""Impact scenes: bodies that bounce, collide or are struck, and bodies of hidden material."""

from collections.abc import Iterator
import itertools
from typing import Any

import numpy as np

from v2a.synthetic import backdrop
from v2a.synthetic import bodies
from v2a.synthetic import canvas as canvases
from v2a.synthetic import mixing
from v2a.synthetic import modal
from v2a.synthetic import random_streams
from v2a.synthetic import scene as scene_lib

GAP_S = 0.125  # minimum distance of the events of a clip, so that a detector can separate them


def event(time_s: float, kind: str, material: str | None, speed: float, x: float) -> dict:
  """Returns one entry of truth['events'].

  Args:
    time_s: seconds from the start of the clip.
    kind: 'bounce', 'collision', 'wall', 'strike' or 'key'.
    material: a key of modal.MATERIALS; None for keys.
    speed: of the impact, 0..1.
    x: horizontal position in frame widths, 0..1; the entry has it as stereo position in -1..1.
  """
  return {
    'time_s': round(float(time_s), 5),
    'kind': kind,
    'material': material,
    'speed': round(float(speed), 4),
    'x': round(float(2 * x - 1), 4),
    'visible': True,
  }


def ring(spec: scene_lib.SceneSpec, events: list[dict], scales: list[float]) -> np.ndarray:
  """Synthesizes the impacts of all events as wave_NA; scales: pitch scales of their bodies."""
  wave_NA = spec.silence()
  for hit, scale in zip(events, scales):
    mono_N = modal.impact(hit['material'], scale, hit['speed'], spec.sample_rate_hz)
    mixing.add_panned(wave_NA, mono_N, int(round(hit['time_s'] * spec.sample_rate_hz)), hit['x'])
  return mixing.add_early_reflections(wave_NA, spec.sample_rate_hz)


def scale_of(body: bodies.Body) -> float:
  """Returns the pitch scale of a body."""
  return modal.pitch_scale(body.radius, bodies.MIN_RADIUS, bodies.MAX_RADIUS)


class BouncingBody:
  """A body thrown into the scene: it bounces on the floor until it comes to rest, then fades.

  Attributes:
    hits_S, speeds_S: times in seconds and speeds in frame widths per second of its impacts.
  """

  def __init__(
    self, rng: np.random.Generator, start_s: float, body: bodies.Body, floor: float, gravity: float
  ):
    """Computes the trajectory.

    Args:
      rng: source of the throw: from above or from a side.
      start_s: time at which the body appears, in seconds; may be negative.
      body: its radius, shape and material (for the restitution) are read.
      floor: y of the floor in frame widths.
      gravity: in frame widths per second squared.
    """
    self.start_s, self.gravity, self.body = start_s, gravity, body
    self.rest_y = floor - body.radius * (1.0 if body.shape == 'disc' else 0.92)
    restitution = modal.MATERIALS[body.material].restitution * rng.uniform(0.92, 1.06)
    if rng.random() < 0.5:
      self.x0, self.vx = rng.uniform(0.15, 0.85), rng.uniform(-0.12, 0.12)
      self.y0 = -body.radius - rng.uniform(0, 0.1)
      self.vy0 = rng.uniform(0, 1.2)
    else:
      side = int(rng.integers(2))
      self.x0 = -body.radius if side == 0 else 1 + body.radius
      self.vx = rng.uniform(0.3, 0.75) * (1 - 2 * side)
      self.y0, self.vy0 = rng.uniform(0.1, 0.55), rng.uniform(-0.9, 0.2)
    fall = self.rest_y - self.y0
    speed = float(np.sqrt(self.vy0**2 + 2 * gravity * fall))
    time_s = start_s + (speed - self.vy0) / gravity
    hits, speeds = [], []
    while True:
      hits.append(time_s)
      speeds.append(speed)
      speed *= restitution
      flight_s = 2 * speed / gravity
      if flight_s < GAP_S + 0.02 or not 0.02 < self.x(time_s + flight_s) < 0.98:
        break
      time_s += flight_s
    self._leaves = flight_s >= GAP_S + 0.02
    self._restitution = restitution
    self.hits_S, self.speeds_S = np.array(hits), np.array(speeds)
    self.end_s = time_s + (flight_s if self._leaves else rng.uniform(0.25, 0.6))
    self.turn = self.vx / body.radius if body.shape == 'disc' else self.vx * 4

  def x(self, time: float | np.ndarray) -> Any:
    """Returns the horizontal position at times in seconds."""
    return self.x0 + self.vx * (time - self.start_s)

  def shift(self, delay_s: float) -> None:
    """Shifts the whole trajectory in time."""
    self.start_s += delay_s
    self.hits_S = self.hits_S + delay_s
    self.end_s += delay_s

  def y(self, time_L: np.ndarray) -> np.ndarray:
    """Returns the vertical position at times in seconds, a piecewise parabola."""
    piece = np.searchsorted(self.hits_S, time_L, side='right')
    since = time_L - np.concatenate([[self.start_s], self.hits_S])[piece]
    up = self._restitution * self.speeds_S
    if not self._leaves:
      up[-1] = 0
    velocity = np.concatenate([[self.vy0], -up])[piece]
    base = np.where(piece == 0, self.y0, self.rest_y)
    y = base + velocity * since + 0.5 * self.gravity * since**2
    return np.where((piece == len(self.hits_S)) & (not self._leaves), self.rest_y, np.minimum(y, self.rest_y))

  def render(self, canvas: canvases.Canvas, time_L: np.ndarray, floor: float) -> None:
    """Renders the body and its shadow in the frames that show it."""
    visible = np.flatnonzero((time_L > self.start_s) & (time_L < self.end_s + 0.2))
    if not len(visible):
      return
    part = slice(visible[0], visible[-1] + 1)
    time_L = time_L[part]
    view = canvas.select_frames(part)
    x_L = self.x(
      np.minimum(time_L, self.end_s) if self._leaves else np.minimum(time_L, self.hits_S[-1] + 0.1)
    )
    y_L = self.y(np.minimum(time_L, self.end_s))
    alpha_L = np.clip((self.end_s + 0.2 - time_L) / 0.2, 0, 1) * (time_L >= self.start_s)
    since = time_L[:, None] - self.hits_S[None, :]
    squash = np.where(since >= 0, np.exp(-np.abs(since) / 0.035), 0) * self.speeds_S
    soft = {'rubber': 0.22}.get(self.body.material, 0.05) if not self.body.is_hidden else 0.05
    bodies.render_shadow(view, self.body, x_L, y_L + self.body.radius, floor, alpha_L)
    bodies.render(
      view,
      self.body,
      x_L,
      y_L,
      self.turn * (x_L - self.x0) / self.vx if self.vx else x_L * 0,
      alpha_L,
      1 + soft * squash.max(1),
    )


def _random_drops(
  streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec, make_body, num_lanes: int, floor: float
) -> list[BouncingBody]:
  gravity = streams.rng('gravity').uniform(4.2, 6.5)
  drops: list[BouncingBody] = []
  hits_S = np.zeros(0)
  for lane in range(num_lanes):
    rng = streams.rng(f'lane {lane}')
    body = make_body(rng)
    start_s = rng.uniform(-0.25, 0.15) if lane == 0 else rng.uniform(0.2, 0.9)
    while start_s < spec.clip_s:
      drop = BouncingBody(rng, start_s, body, floor, gravity)
      if drop.hits_S[0] < 0.06:
        drop.shift(0.06 - drop.hits_S[0] + rng.uniform(0, 0.1))
      while len(hits_S) and np.abs(drop.hits_S[:, None] - hits_S[None, :]).min() < 1.3 * GAP_S:
        drop.shift(0.023)
      hits_S = np.concatenate([hits_S, drop.hits_S])
      drops.append(drop)
      start_s = drop.end_s + rng.uniform(-0.1, 0.5)
  return drops


def _sound_events(spec: scene_lib.SceneSpec, hits: list[tuple[dict, float]]) -> tuple[list[dict], np.ndarray]:
  """Sorts hits (event, pitch scale), removes those outside the clip, and returns (events, wave_NA)."""
  hits = sorted(
    (hit for hit in hits if 0 <= hit[0]['time_s'] < spec.clip_s - 0.02), key=lambda h: h[0]['time_s']
  )
  events = [hit for hit, _ in hits]
  return events, ring(spec, events, [scale for _, scale in hits])


def common_material(events: list[dict]) -> str | None:
  """Returns the material of all events if it is the same, else None."""
  materials = {hit['material'] for hit in events}
  return materials.pop() if len(materials) == 1 else None


def facts_of(events: list[dict], clip_s: float) -> dict:
  """Returns the facts of impacts for annotations: materials, rate, loudness."""
  rate_hz = len(events) / clip_s
  loud = float(np.mean([hit['speed'] for hit in events])) if events else 0.0
  order = list(dict.fromkeys(hit['material'] for hit in events))
  return {'materials': order, 'rate_hz': rate_hz, 'loudness': loud, 'count': len(events)}


def bounce(
  streams: random_streams.RandomStreams,
  spec: scene_lib.SceneSpec,
  is_hidden: bool = False,
  num_bodies: int | None = None,
) -> scene_lib.Scene:
  """Returns a scene in which bodies fall and bounce.

  Args:
    streams: random streams of the clip.
    spec: duration and sample rate.
    is_hidden: whether the material is not visible; then there is one body, unless num_bodies is given.
    num_bodies: number of bodies that fall at the same time; None samples 1 or 2.
  """
  rng = streams.rng('bounce')
  floor = rng.uniform(0.82, 0.92)
  names = ('wood', 'metal', 'glass') if is_hidden else modal.MATERIAL_NAMES
  first = random_streams.pick(rng, names)
  sampled_count = 1 if is_hidden or rng.random() < 0.55 else 2
  num_bodies = num_bodies or sampled_count
  materials = [first, first if rng.random() < 0.5 else random_streams.pick(rng, names)]
  order = itertools.cycle(materials)
  drops = _random_drops(
    streams, spec, lambda rng: bodies.random_body(rng, next(order), is_hidden), num_bodies, floor
  )
  back = backdrop.Backdrop(rng, floor)
  for drop in drops:
    drop.body.set_contrasting_grey(back.brightness)
  top_speed = float(np.sqrt(2 * 6.5 * 0.95))
  hits = [
    (
      event(time_s, 'bounce', drop.body.material, np.clip(speed / top_speed, 0.15, 1), drop.x(time_s)),
      scale_of(drop.body),
    )
    for drop in drops
    for time_s, speed in zip(drop.hits_S, drop.speeds_S)
  ]
  events, wave_NA = _sound_events(spec, hits)

  def render(time_L, size):
    canvas = back.render(time_L, size)
    for drop in drops:
      drop.render(canvas, time_L, floor)
    return canvas.pixels_3LYX

  facts = dict(facts_of(events, spec.clip_s), action='bounce')
  return scene_lib.Scene(
    render, {'effects': wave_NA}, {'events': events, 'material': common_material(events)}, facts
  )


class CollidingBodies:
  """Balls of equal mass on a line between two walls: one ball moves at a time and passes its momentum on.

  In the coordinate u, which excludes the diameters of all balls, one point moves back and forth between the
  walls through points at rest; each wall gives it a new speed. Every position is thus a closed form of time.
  """

  def __init__(self, rng: np.random.Generator, body_list: list[bodies.Body], until_s: float):
    self.radius_S = np.array([body.radius for body in body_list])
    self.left, self.right = 0.05, 0.95
    self.span = self.right - self.left - 2 * self.radius_S.sum()
    count = len(body_list)
    gap = {1: 0.3, 2: 0.17, 3: 0.13}[count]
    slack = self.span - gap * count
    cuts = np.sort(rng.random(count - 1)) * slack
    self.rest_S = cuts + gap * np.arange(1, count)
    fastest = gap / GAP_S
    low, high = 0.35 * min(fastest, 1.5), min(0.97 * fastest, 1.5)
    self.top_speed = 1.5
    u, sign = rng.uniform(0.05, 0.95) * self.span, random_streams.pick(rng, (-1, 1))
    time_s, self.times, self.waypoints, self.speeds = 0.0, [0.0], [u], []
    while time_s < until_s + 0.1:
      speed = rng.uniform(low, high)
      target = self.span if sign > 0 else 0.0
      time_s += abs(target - u) / speed
      self.times.append(time_s)
      self.waypoints.append(target)
      self.speeds.append(speed)
      u, sign = target, -sign

  def mover(self, time: np.ndarray) -> np.ndarray:
    """Returns the coordinate u of the moving point."""
    return np.interp(time, self.times, self.waypoints)

  def positions(self, time_L: np.ndarray) -> np.ndarray:
    """Returns the centres of the bodies, one row per frame, in frame widths."""
    points = np.concatenate(
      [self.mover(time_L)[:, None], np.broadcast_to(self.rest_S, (len(time_L), len(self.rest_S)))], axis=1
    )
    shift = self.left + np.cumsum(2 * self.radius_S) - self.radius_S
    return np.sort(points, axis=1) + shift

  def hits(self) -> Iterator[tuple[float, float, str, int]]:
    """Yields (time_s, speed, kind, index of the body) of all impacts."""
    for leg, speed in enumerate(self.speeds):
      start, end, start_s = self.waypoints[leg], self.waypoints[leg + 1], self.times[leg]
      crossed = [
        (abs(rest - start) / speed, number)
        for number, rest in enumerate(self.rest_S)
        if min(start, end) < rest < max(start, end)
      ]
      for delay_s, number in sorted(crossed):
        yield start_s + delay_s, speed, 'collision', number
      out = self.speeds[leg + 1] if leg + 1 < len(self.speeds) else speed
      yield self.times[leg + 1], max(speed, out), 'wall', len(self.rest_S) if end > 0 else 0


def collide(streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec) -> scene_lib.Scene:
  """Bodies that slide on a floor, hit each other and the walls; all of one material."""
  rng = streams.rng('collide')
  material = random_streams.pick(rng, modal.MATERIAL_NAMES)
  count = random_streams.pick(rng, (1, 2, 2, 3))
  floor = rng.uniform(0.68, 0.88)
  shape = random_streams.pick(rng, ('disc', 'box'))
  body_list = [bodies.random_body(rng, material, shape=shape) for _ in range(count)]
  for body in body_list:
    body.radius = min(body.radius, 0.095)
  run = CollidingBodies(rng, body_list, spec.clip_s)
  back = backdrop.Backdrop(rng, floor)
  wall_color = bodies.accent_color(rng)
  hits, last_s = [], 0.02
  for time_s, speed, kind, number in run.hits():
    if time_s - last_s < GAP_S and last_s > 0.02 or time_s < 0.03:
      continue
    last_s = time_s
    x_S = run.positions(np.array([time_s]))[0]
    x = x_S[number] + run.radius_S[number] if kind == 'collision' else x_S[number]
    hits.append(
      (event(time_s, kind, material, np.clip(speed / run.top_speed, 0.15, 1), x), scale_of(body_list[number]))
    )
  events, wave_NA = _sound_events(spec, hits)

  def render(time_L, size):
    canvas = back.render(time_L, size)
    canvas.box(0.0, floor - 0.1, 0.05, 0.12, wall_color, corner=0.01)
    canvas.box(1.0, floor - 0.1, 0.05, 0.12, wall_color, corner=0.01)
    x_LS = run.positions(time_L)
    for number, body in enumerate(body_list):
      height = floor - body.radius * (1 if body.shape == 'disc' else 0.92)
      angle = x_LS[:, number] / body.radius if body.shape == 'disc' else np.zeros(1)
      bodies.render_shadow(canvas, body, x_LS[:, number], floor, floor)
      bodies.render(canvas, body, x_LS[:, number], height, angle)
    return canvas.pixels_3LYX

  facts = dict(facts_of(events, spec.clip_s), action='collide', materials=[material])
  return scene_lib.Scene(render, {'effects': wave_NA}, {'events': events, 'material': material}, facts)


def _beats(rng, until_s: float) -> tuple[np.ndarray, np.ndarray]:
  """Samples times and speeds of strokes, rhythmic or irregular."""
  period_s = rng.uniform(0.32, 0.85)
  is_regular = rng.random() < 0.55
  accent = int(rng.integers(2, 5))
  time_s, times, speeds = rng.uniform(0.12, 0.5), [], []
  while time_s < until_s + 1:
    times.append(time_s)
    strong = (len(times) - 1) % accent == 0
    speeds.append(float(np.clip(rng.uniform(0.75, 1) if strong else rng.uniform(0.25, 0.7), 0.2, 1)))
    time_s += period_s if is_regular else float(rng.uniform(0.2, 1.1))
  return np.array(times), np.array(speeds)


def strike(
  streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec, is_hidden: bool = False
) -> scene_lib.Scene:
  """A stick swings and strikes an object."""
  rng = streams.rng('strike')
  material = random_streams.pick(rng, ('wood', 'metal', 'glass') if is_hidden else modal.MATERIAL_NAMES)
  body = bodies.random_body(rng, material, is_hidden)
  body.radius *= 1.25
  floor = rng.uniform(0.8, 0.92)
  x = rng.uniform(0.18, 0.82)
  side = 1 if x < 0.5 else -1
  time_S, speed_S = _beats(streams.rng('beats'), spec.clip_s)
  back = backdrop.Backdrop(rng, floor)
  body.set_contrasting_grey(back.brightness)
  colors = bodies.accent_color(rng), bodies.accent_color(rng)
  stick = bodies.stick_color(back.brightness)
  top = floor - 0.14 - 2 * body.radius
  length = rng.uniform(0.38, 0.5)
  hits = [
    (
      event(time_s, 'strike', material, speed, x),
      modal.pitch_scale(body.radius / 1.25, bodies.MIN_RADIUS, bodies.MAX_RADIUS),
    )
    for time_s, speed in zip(time_S, speed_S)
  ]
  events, wave_NA = _sound_events(spec, hits)

  def lift(time_L):
    after = np.searchsorted(time_S, time_L, side='right')
    next_s = time_S[np.minimum(after, len(time_S) - 1)] - time_L
    next_speed = speed_S[np.minimum(after, len(time_S) - 1)]
    since = np.where(after > 0, time_L - time_S[np.maximum(after - 1, 0)], 9.0)
    last_speed = speed_S[np.maximum(after - 1, 0)]
    down = (0.45 + 0.6 * next_speed) * np.clip(next_s / 0.14, 0, 1) ** 0.8
    back_up = (0.25 + 0.6 * last_speed) * np.clip(since / 0.16, 0, 1) ** 0.7 + 0.3 * np.clip(
      since - 0.16, 0, 1
    )
    wobble = 0.016 * last_speed * np.exp(-since / 0.06) * np.cos(2 * np.pi * 14 * since)
    return np.minimum(np.where(next_s < 0, 9.0, down), back_up), wobble

  def render(time_L, size):
    canvas = back.render(time_L, size)
    angle_L, wobble_L = lift(time_L)
    canvas.box(x, floor - 0.07, 0.022, 0.075, colors[0])
    canvas.box(x, floor - 0.005, 0.09, 0.015, colors[0], corner=0.01)
    bodies.render(canvas, body, x + wobble_L, floor - 0.14 - body.radius + np.abs(wobble_L), 0.0)
    grip_x, grip_y = x + side * length, top - 0.06
    tip_x = grip_x - side * length * np.cos(angle_L)
    tip_y = grip_y + 0.035 - length * np.sin(angle_L)
    canvas.line(grip_x, grip_y, tip_x, tip_y, 0.015, stick)
    canvas.disc(tip_x, tip_y, 0.039, stick)
    canvas.disc(tip_x, tip_y, 0.031, colors[1])
    canvas.disc(grip_x + side * 0.02, grip_y, 0.045, (0.86, 0.66, 0.52))
    return canvas.pixels_3LYX

  facts = dict(facts_of(events, spec.clip_s), action='strike', materials=[material])
  return scene_lib.Scene(render, {'effects': wave_NA}, {'events': events, 'material': material}, facts)


def hidden(streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec) -> scene_lib.Scene:
  """A body whose material is not visible: only the annotation names it."""
  build = random_streams.pick(streams.rng('hidden'), (bounce, strike))
  scene = build(streams, spec, is_hidden=True)
  scene.truth['is_material_hidden'] = True
  return scene
