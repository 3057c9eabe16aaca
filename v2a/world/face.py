"""A face that fills the frame; its mouth takes the shapes of phoneme classes."""

import dataclasses

import numpy as np

from v2a.world import backdrop, draws
from v2a.world import canvas as canvases


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


def random_face(rng) -> Face:
  """Draws a face."""
  tone = rng.uniform(0.45, 1.0)
  skin = (0.95 * tone, (0.76 - 0.08 * (1 - tone)) * tone, (0.63 - 0.15 * (1 - tone)) * tone)
  hair = draws.pick(rng, ((0.12, 0.08, 0.06), (0.35, 0.2, 0.1), (0.75, 0.6, 0.3), (0.5, 0.5, 0.5), (0.5, 0.15, 0.08)))
  lips = (min(0.95, 0.85 * tone + 0.05), 0.32 * tone, 0.33 * tone)
  return Face(skin, hair, backdrop.color(rng.uniform(0.05, 0.65), 0.6, 0.5), lips, rng.uniform(0.46, 0.54),
              rng.uniform(0.68, 0.73), rng.uniform(0.36, 0.41), rng.random() < 0.5)


def moved(face: Face, shift_L: np.ndarray) -> Face:
  """Returns the face moved sideways, by one shift a frame."""
  return dataclasses.replace(face, x=face.x + shift_L)


def draw(canvas: canvases.Canvas, face: Face, mouth_L5: np.ndarray, blink_L: np.ndarray):
  """Draws a face.

  Args:
    canvas: drawn on.
    face: its looks.
    mouth_L5: a row a frame: opening, width, rounding, teeth, closed lips, each 0..1.
    blink_L: how far the eyes are closed, 0..1.
  """
  x, y = face.x, face.mouth_y
  canvas.ellipse(x, 0.4, face.width + 0.05, 0.42, face.hair)
  canvas.box(x, 1.0, 0.15, 0.16, tuple(0.85 * value for value in face.skin), corner=0.05)
  canvas.ellipse(x, 0.5, face.width, 0.46, face.skin)
  if face.has_fringe:
    canvas.ellipse(x, 0.1, face.width, 0.13, face.hair)
  for side in (-1, 1):
    eye_x = x + side * 0.16
    open_L = 0.05 * (1 - 0.92 * blink_L)
    canvas.ellipse(eye_x, 0.38, 0.075, open_L, (0.97, 0.97, 0.97))
    canvas.ellipse(eye_x, 0.38, np.minimum(0.035, open_L + 0.01), np.minimum(0.04, open_L), face.eyes)
    canvas.ellipse(eye_x, 0.38, np.minimum(0.016, open_L), np.minimum(0.018, open_L), (0.03, 0.03, 0.03))
    canvas.line(eye_x - 0.07, 0.295, eye_x + 0.07, 0.295, 0.014, face.hair)
  canvas.ellipse(x, 0.53, 0.04, 0.05, tuple(0.86 * value for value in face.skin), softness=0.03)
  _mouth(canvas, face, x, y, mouth_L5.astype(np.float32))


def _mouth(canvas, face, x, y, mouth_L5):
  opening, width, rounding, teeth, closed = mouth_L5.T
  half_x = 0.15 + 0.06 * width - 0.075 * rounding
  half_y = 0.012 + 0.125 * opening * (1 - closed)
  lip = 0.03 + 0.012 * rounding - 0.012 * closed
  middle = y + 0.35 * half_y
  canvas.ellipse(x, middle, half_x + lip, half_y + lip, face.lips)
  canvas.ellipse(x, middle, half_x, half_y * (1 - closed), (0.16, 0.03, 0.04), 1 - closed)
  canvas.ellipse(x, middle + 0.55 * half_y, 0.62 * half_x, 0.4 * half_y * (1 - closed), (0.75, 0.3, 0.33),
                 (1 - closed) * np.clip(opening * 2, 0, 1))
  canvas.box(x, middle - 0.45 * half_y, 0.75 * half_x, 0.012 + 0.25 * half_y, (0.96, 0.95, 0.9), teeth * (1 - closed),
             corner=0.008)
  canvas.line(x - 0.9 * half_x, middle, x + 0.9 * half_x, middle, 0.006, (0.3, 0.08, 0.08), closed)
