"""Appearance of bodies: colour and texture show the material; a hidden material is uniform grey."""

import dataclasses

import numpy as np

from v2a.synthetic import backdrop
from v2a.synthetic import canvas as canvases
from v2a.synthetic import random_streams

MIN_RADIUS, MAX_RADIUS = 0.065, 0.12


@dataclasses.dataclass
class Body:
  """Appearance of a body.

  Attributes:
    material: a key of modal.MATERIALS.
    shape: 'disc' or 'box'.
    radius: half its height, in frame widths.
    is_hidden: whether the material is hidden, by rendering the body in uniform grey.
    grey: that grey, 0..1.
    tint: factors of red, green and blue around 1 that vary the colour within the material.
    grain: phase of the texture.
  """

  material: str
  shape: str
  radius: float
  is_hidden: bool
  tint: tuple[float, float, float]
  grain: float
  grey: float = 0.47

  def set_contrasting_grey(self, brightness: float) -> None:
    """Sets the grey of a hidden body so that it contrasts with a background of this brightness."""
    self.grey = 0.72 if brightness < 0.3 else 0.47 if brightness > 0.62 else 0.2


def random_body(
  rng: np.random.Generator, material: str, is_hidden: bool = False, shape: str | None = None
) -> Body:
  """Returns a random body of a material.

  Args:
    rng: source of its shape, radius, tint and grain.
    material: a key of modal.MATERIALS.
    is_hidden: whether the body is rendered in uniform grey.
    shape: 'disc' or 'box'; None samples one, a disc twice as often.
  """
  shape = shape or random_streams.pick(rng, ('disc', 'disc', 'box'))
  value = rng.uniform(0.88, 1.12)
  red, green, blue = (value * rng.uniform(0.95, 1.05) for _ in range(3))
  return Body(
    material, shape, rng.uniform(MIN_RADIUS, MAX_RADIUS), is_hidden, (red, green, blue), rng.uniform(0, 6.28)
  )


def _texture(body: Body, u, v, spun_u, spun_v, depth):
  """Returns (color, alpha) over a window; u, v: upright, spun_*: rotating coordinates, in radii."""
  shade = np.clip(1 - 0.55 * (0.55 * u + 0.8 * v) * 0.6 - 0.1 * depth, 0.3, 1.4)
  glint = np.exp(-(((u + 0.38) ** 2 + (v + 0.42) ** 2) * 9))
  if body.material == 'wood':
    rings = 0.5 + 0.5 * np.sin(9 * spun_v + 1.6 * np.sin(2.2 * spun_u + body.grain) + body.grain)
    tone = shade * (0.74 + 0.3 * rings)
    return (0.66 * tone, 0.42 * tone, 0.2 * tone), 1.0
  if body.material == 'metal':
    sheen = 0.5 + 0.5 * np.cos(4.5 * (v + 0.35 * u) + 0.6)
    tone = 0.38 + 0.42 * sheen
    return (0.82 * tone + glint, 0.94 * tone + glint, 1.12 * tone + glint), 1.0
  if body.material == 'glass':
    rim = np.clip(depth, 0, 1) ** 3
    return (0.45 + 0.45 * rim + glint, 0.88 + 0.12 * rim + glint, 0.93 + 0.1 * rim + glint), np.clip(
      0.42 + 0.5 * rim + 0.6 * glint, 0, 1
    )
  if body.material == 'rubber':
    seam = np.clip(1 - 7 * np.abs(spun_u), 0, 1)
    tone = shade * (1 - 0.45 * seam)
    return (0.52 * tone, 0.07 * tone, 0.09 * tone), 1.0
  bands = (np.abs(np.abs(spun_v) - 0.45) < 0.14).astype(np.float32)
  tone = np.clip(shade, 0.6, 1.05)
  return (
    (0.96 - 0.75 * bands) * tone + 0.5 * glint,
    (0.94 - 0.6 * bands) * tone + 0.5 * glint,
    (0.9 - 0.1 * bands) * tone + 0.5 * glint,
  ), 1.0


def render(
  canvas: canvases.Canvas,
  body: Body,
  x: canvases.PerFrame,
  y: canvases.PerFrame,
  angle: canvases.PerFrame,
  alpha: canvases.PerFrame = 1.0,
  stretch: canvases.PerFrame = 1.0,
) -> None:
  """Renders a body at positions (a number, or one per frame), rotated by an angle in radians.

  Args:
    canvas: the canvas to render on.
    body: its appearance.
    x, y: position of its centre.
    angle: clockwise rotation in radians.
    alpha: opacity 0..1.
    stretch: factor of the aspect ratio (width over height), at constant area.
  """
  radius = body.radius
  wide, high = radius * np.sqrt(stretch), radius / np.sqrt(stretch)
  reach = 1.45 * radius * float(np.sqrt(np.max(np.maximum(stretch, 1 / np.asarray(stretch)))))
  window = canvas.window(x, y, reach, reach)
  u, v = canvas.offsets(window, x, y)
  if u.size == 0 or v.size == 0:
    return

  def column(value):
    return np.asarray(value, np.float32).reshape(-1, 1, 1)

  if body.shape == 'disc':
    norm = np.sqrt((u / column(wide)) ** 2 + (v / column(high)) ** 2)
    distance = (norm - 1) * radius
    depth = norm
  else:
    distance = canvases.box_distance(u, v, 0.92 * wide, 0.92 * high, angle, 0.18 * radius)
    depth = np.clip(1 + distance / (0.5 * radius), 0, 1)
  cover = canvas.coverage(distance)
  if body.is_hidden:
    canvas.paint(window, cover, (body.grey,) * 3, alpha)
    return
  u, v = u / np.float32(radius), v / np.float32(radius)
  cosine, sine = column(np.cos(angle)), column(np.sin(angle))
  color, opacity = _texture(body, u, v, u * cosine + v * sine, v * cosine - u * sine, depth)
  color = [np.clip(plane * tint, 0, 1) for plane, tint in zip(color, body.tint)]
  canvas.paint(window, cover * opacity, color, alpha)


def render_shadow(
  canvas: canvases.Canvas,
  body: Body,
  x: canvases.PerFrame,
  y: canvases.PerFrame,
  floor: float,
  alpha: canvases.PerFrame = 1.0,
) -> None:
  """Renders the soft shadow of a body on the floor.

  Args:
    canvas: the canvas to render on.
    body: its radius is read.
    x, y: position of the centre of the body, in frame widths; the shadow is wider and darker near the floor.
    floor: y of the floor in frame widths.
    alpha: opacity 0..1 of the body; the shadow has at most half of it.
  """
  height = np.clip((floor - y) / 0.8, 0, 1)
  canvas.ellipse(
    x,
    floor + 0.012,
    body.radius * (1.05 - 0.5 * height),
    0.02,
    (0.03, 0.03, 0.05),
    0.5 * alpha * (1 - 0.85 * height),
    0.015,
  )


def stick_color(brightness: float) -> tuple[float, float, float]:
  """Returns a colour of a stick that contrasts with a background of this brightness."""
  return (0.85, 0.72, 0.5) if brightness < 0.42 else (0.27, 0.18, 0.1)


def accent_color(rng: np.random.Generator) -> tuple[float, float, float]:
  """Samples a colour for sticks and stands, distinct from the materials."""
  return backdrop.color(rng.uniform(0.2, 0.9), rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.5))
