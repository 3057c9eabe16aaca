"""A face that fills the frame, with mouth shapes of phoneme classes (visemes)."""

import dataclasses

import numpy as np

from v2a.synthetic import backdrop
from v2a.synthetic import canvas as canvases
from v2a.synthetic import random_streams


@dataclasses.dataclass
class Face:
  """Colours and proportions of a face."""

  skin: tuple[float, float, float]
  hair: tuple[float, float, float]
  eyes: tuple[float, float, float]
  lips: tuple[float, float, float]
  x: float
  mouth_y: float
  width: float
  has_fringe: bool


def random_face(rng: np.random.Generator) -> Face:
  """Samples a face."""
  tone = rng.uniform(0.45, 1.0)
  skin = (0.95 * tone, (0.76 - 0.08 * (1 - tone)) * tone, (0.63 - 0.15 * (1 - tone)) * tone)
  hair = random_streams.pick(
    rng, ((0.12, 0.08, 0.06), (0.35, 0.2, 0.1), (0.75, 0.6, 0.3), (0.5, 0.5, 0.5), (0.5, 0.15, 0.08))
  )
  lips = (min(0.95, 0.85 * tone + 0.05), 0.32 * tone, 0.33 * tone)
  return Face(
    skin,
    hair,
    backdrop.color(rng.uniform(0.05, 0.65), 0.6, 0.5),
    lips,
    rng.uniform(0.46, 0.54),
    rng.uniform(0.68, 0.73),
    rng.uniform(0.36, 0.41),
    rng.random() < 0.5,
  )


def shifted(face: Face, shift_L: np.ndarray) -> Face:
  """Returns the face shifted horizontally, by one value per frame."""
  return dataclasses.replace(face, x=face.x + shift_L)


def render(canvas: canvases.Canvas, face: Face, mouth_L5: np.ndarray, blink_L: np.ndarray) -> None:
  """Renders a face.

  Args:
    canvas: the canvas to render on.
    face: its colours and proportions.
    mouth_L5: one row per frame: opening, width, rounding, teeth, closed lips, each 0..1.
    blink_L: how far the eyes are closed, 0..1.
  """
  x = face.x
  shade, blush = (
    tuple(0.8 * value for value in face.skin),
    (face.lips[0], 0.7 * face.skin[1], 0.7 * face.skin[2]),
  )
  canvas.ellipse(x, 0.4, face.width + 0.05, 0.42, face.hair)
  canvas.ellipse(x, 1.08, 0.45, 0.16, face.eyes)
  canvas.box(x, 0.97, 0.14, 0.14, shade, corner=0.05)
  for side in (-1, 1):
    canvas.ellipse(x + side * (face.width - 0.005), 0.47, 0.035, 0.075, shade)
  canvas.ellipse(x, 0.5, face.width, 0.46, face.skin)
  for side in (-1, 1):
    canvas.ellipse(x + side * 0.22, 0.57, 0.05, 0.04, blush, 0.3, softness=0.09)
    _eye(canvas, face, x + side * 0.16, side, blink_L, shade)
  canvas.ellipse(x, 0.5, 0.028, 0.09, shade, 0.45, softness=0.04)
  canvas.ellipse(x, 0.565, 0.045, 0.022, shade, 0.8, softness=0.02)
  _fringe(canvas, face)
  _mouth(canvas, face, x, face.mouth_y, mouth_L5.astype(np.float32))


def _eye(canvas, face, x, side, blink_L, shade):
  open_L = 0.05 * (1 - blink_L)
  canvas.ellipse(x, 0.38, 0.075, 0.05, shade)
  canvas.ellipse(x, 0.38, 0.072, np.maximum(open_L, 1e-3), (0.97, 0.97, 0.97), open_L > 0.004)
  for radius, color in ((0.036, face.eyes), (0.018, (0.03, 0.03, 0.03))):
    canvas.ellipse(
      x,
      0.38,
      np.minimum(radius, open_L + 1e-3),
      np.minimum(1.1 * radius, open_L + 1e-3),
      color,
      open_L > 0.004,
    )
  canvas.disc(x + 0.013, 0.368, 0.007, (1, 1, 1), open_L > 0.025)
  canvas.line(x - 0.07, 0.38 - open_L * 0.55 + 0.012, x, 0.38 - open_L, 0.008, (0.12, 0.08, 0.07))
  canvas.line(x, 0.38 - open_L, x + 0.07, 0.38 - open_L * 0.55 + 0.012, 0.008, (0.12, 0.08, 0.07))
  canvas.line(x - side * 0.065, 0.292, x + side * 0.01, 0.278, 0.013, face.hair)
  canvas.line(x + side * 0.01, 0.278, x + side * 0.075, 0.3, 0.011, face.hair)


def _fringe(canvas, face):
  """Renders the hair on the forehead, within the outline of the head."""
  window = canvas.window(face.x, 0.17, face.width + 0.05, 0.2)
  u, v = canvas.offsets(window, face.x, 0.5)
  head = np.sqrt((u / np.float32(face.width + 0.02)) ** 2 + (v / 0.48) ** 2)
  parting = u - (0.1 if face.has_fringe else 0.0)
  line = -0.33 + (0.5 if face.has_fringe else 0.9) * parting * parting
  canvas.paint(window, canvas.coverage((head - 1) * face.width) * canvas.coverage(v - line), face.hair)


def _mouth(canvas, face, x, y, mouth_L5):
  opening, width, rounding, teeth, closed = mouth_L5.T
  gap = 1 - closed
  half_x = 0.15 + 0.06 * width - 0.075 * rounding
  half_y = 0.012 + 0.125 * opening * gap
  lip = 0.03 + 0.012 * rounding - 0.012 * closed
  middle = y + 0.35 * half_y
  canvas.ellipse(x, middle, half_x + lip, half_y + lip, face.lips)
  canvas.ellipse(x, middle + half_y + 0.4 * lip, 0.5 * half_x, 0.3 * lip, (1, 0.9, 0.9), 0.25, softness=0.02)
  window = canvas.window(x, middle, np.max(half_x) + 0.02, np.max(half_y) + 0.02)
  u, v = canvas.offsets(window, x, middle)

  def column(value):
    return np.maximum(np.asarray(value, np.float32), 1e-3).reshape(-1, 1, 1)

  inside = np.sqrt((u / column(half_x)) ** 2 + (v / column(half_y * gap)) ** 2)
  inside = canvas.coverage((inside - 1) * column(half_y * gap))
  canvas.paint(window, inside, (0.16, 0.03, 0.04), gap)
  tongue = np.sqrt(
    (u / column(0.62 * half_x)) ** 2 + ((v - 0.6 * column(half_y)) / column(0.45 * half_y)) ** 2
  )
  canvas.paint(
    window,
    inside * canvas.coverage((tongue - 1) * column(0.45 * half_y)),
    (0.75, 0.3, 0.33),
    gap * np.clip(opening * 2, 0, 1),
  )
  edge = v + column(half_y) * 0.45 - 0.012
  canvas.paint(window, inside * canvas.coverage(edge), (0.96, 0.95, 0.9), teeth * gap)
  canvas.line(x - 0.9 * half_x, middle, x + 0.9 * half_x, middle, 0.006, (0.3, 0.08, 0.08), closed)
