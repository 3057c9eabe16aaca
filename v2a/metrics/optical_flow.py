"""Dense optical flow between video frames, by polynomial expansion.

Around each pixel a frame is approximated by a quadratic polynomial, by least squares under a Gaussian weight:

  f(x) ~ x^T A x + b^T x + c                                                                        (1)

If the neighbourhood of a pixel moves by d, then A_2 = A_1 and b_2 = b_1 - 2 A_1 d. With a first guess d' of
the flow, A = (A_1(x) + A_2(x + d')) / 2 and h = (b_1(x) - b_2(x + d')) / 2 + A d', the flow is

  d = (sum A^T A)^-1 sum A^T h                                                                      (2)

over a square window, iterated at each level of a pyramid, coarse to fine. Farneback 2003, "Two-frame motion
estimation based on polynomial expansion", eqs. 1 and 10 to 13. Parameters, borders and rounding are those of
OpenCV 5.0.0, `calcOpticalFlowFarneback(previous, next, None, 0.5, 3, 15, 3, 5, 1.2, 0)`, which it reproduces
up to rounding (tests/metrics/goldens/av_align.py).
"""

from collections.abc import Iterable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from v2a import shapes

# Pyramid: each level has half the size of the one below, down to this many pixels.
_NUM_LEVELS, _MIN_SIZE = 3, 32
_NUM_ITERATIONS = 3
_WINDOW = 15
# Half width and standard deviation, in pixels, of the weight under which polynomials are fitted.
_RADIUS, _SIGMA = 5, 1.2
# Weight of the equations of the pixels nearest to the border: their polynomials are extrapolated.
_BORDER = (0.14, 0.14, 0.4472, 0.4472, 0.4472)
# Luma of R, G and B in units of 2 ** -15.
_LUMA = (9798, 19235, 3735)


def mean_magnitudes(frames: Iterable[np.ndarray]) -> np.ndarray:
  """Returns the mean length in pixels of the flow from each frame to the next, one fewer than frames.

  Args:
    frames: frame_YX3 of one size, uint8 RGB; may be lazy, since two are in memory.
  """
  means, previous = [], None
  for frame_YX3 in frames:
    expansions = _expand(frame_YX3)
    if previous is not None:
      means.append(_mean_magnitude(previous, expansions))
    previous = expansions
  return np.array([float(mean) for mean in means])


def flow(previous_YX3: np.ndarray, next_YX3: np.ndarray) -> np.ndarray:
  """Returns flow_YX2, the displacement in pixels (along X, along Y) of each pixel of a frame to the next one.

  Args:
    previous_YX3, next_YX3: uint8 RGB.
  """
  shapes.check(previous_YX3=previous_YX3, next_YX3=next_YX3)
  return np.asarray(_flow(_expand(previous_YX3), _expand(next_YX3)))


@jax.jit
def _mean_magnitude(previous: list[jax.Array], following: list[jax.Array]) -> jax.Array:
  return jnp.linalg.norm(_flow(previous, following), axis=-1).mean()


@jax.jit
def _expand(frame_YX3: jax.Array) -> list[jax.Array]:
  """Returns the polynomials (1) of each level, fine to coarse, as coefficient_YXF: of y, x, yy, xx and xy."""
  red_YX, green_YX, blue_YX = (frame_YX3[..., k].astype(jnp.int32) for k in range(3))
  luma_YX = _LUMA[0] * red_YX + _LUMA[1] * green_YX + _LUMA[2] * blue_YX
  grey_YX = ((luma_YX + (1 << 14)) >> 15).astype(jnp.float32)
  return [_polynomials(_level(grey_YX, k)) for k in range(_num_levels(grey_YX.shape) + 1)]


def _num_levels(shape: tuple[int, ...]) -> int:
  return sum(min(shape) * 0.5**k >= _MIN_SIZE for k in range(1, _NUM_LEVELS + 1))


def _level(grey_YX: jax.Array, level: int) -> jax.Array:
  """Returns a frame blurred, and at half its size `level` times."""
  sigma = (2.0**level - 1) / 2
  width = max(3, round(5 * sigma) | 1)
  # OpenCV's kernel where none is given.
  kernel = _gaussian(width // 2, sigma) if level else np.array([0.25, 0.5, 0.25])
  for axis in (0, 1):
    grey_YX = _correlate(grey_YX, kernel, axis, 'reflect')
  return _resize(grey_YX, tuple(round(size * 0.5**level) for size in grey_YX.shape))


def _gaussian(radius: int, sigma: float) -> np.ndarray:
  weight = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
  return weight / weight.sum()


def _correlate(value_YX: jax.Array, kernel: np.ndarray, axis: int, mode: str) -> jax.Array:
  radius, size = len(kernel) // 2, value_YX.shape[axis]
  padding = [(0, 0)] * value_YX.ndim
  padding[axis] = (radius, radius)
  padded = jnp.pad(value_YX, padding, mode=mode)
  parts = (jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(len(kernel)))
  terms = (np.float32(weight) * part for weight, part in zip(kernel, parts) if weight)
  return functools.reduce(jnp.add, terms)


def _resize(value: jax.Array, size: tuple[int, ...]) -> jax.Array:
  """Returns an image at another size, its first two axes interpolated linearly between pixel centres."""
  for axis in (0, 1):
    num = value.shape[axis]
    position = np.clip((np.arange(size[axis]) + 0.5) * num / size[axis] - 0.5, 0, num - 1)
    low = np.minimum(position.astype(int), max(num - 2, 0))
    shape = [1] * value.ndim
    shape[axis] = -1
    part = (position - low).astype(np.float32).reshape(shape)
    high = np.minimum(low + 1, num - 1)
    value = jnp.take(value, low, axis) * (1 - part) + jnp.take(value, high, axis) * part
  return value


def _polynomials(grey_YX: jax.Array) -> jax.Array:
  weight = _gaussian(_RADIUS, _SIGMA).astype(np.float32).astype(np.float64)
  x = np.arange(-_RADIUS, _RADIUS + 1)
  order_0, order_1, order_2 = weight, weight * x, weight * x**2
  # Inverse of the Gram matrix of 1, x, y, x^2, y^2 and xy.
  one, two, four = weight.sum(), (weight * x**2).sum(), (weight * x**4).sum()
  gram = np.diag([one**2, two * one, two * one, four * one, four * one, two**2])
  gram[0, 3:5] = gram[3:5, 0] = two * one
  gram[3, 4] = gram[4, 3] = two**2
  inverse = np.linalg.inv(gram)
  along = functools.partial(_correlate, mode='edge')
  rows = [along(grey_YX, kernel, 0) for kernel in (order_0, order_1, order_2)]
  mean_YX = along(rows[0], order_0, 1) * np.float32(inverse[0, 3])
  return jnp.stack(
    [
      along(rows[1], order_0, 1) * np.float32(inverse[1, 1]),
      along(rows[0], order_1, 1) * np.float32(inverse[1, 1]),
      along(rows[2], order_0, 1) * np.float32(inverse[3, 3]) + mean_YX,
      along(rows[0], order_2, 1) * np.float32(inverse[3, 3]) + mean_YX,
      along(rows[1], order_1, 1) * np.float32(inverse[5, 5]),
    ],
    axis=-1,
  )


@jax.jit
def _flow(previous: list[jax.Array], following: list[jax.Array]) -> jax.Array:
  flow_YX2 = jnp.zeros((*previous[-1].shape[:2], 2))
  for a_YXF, b_YXF in zip(previous[::-1], following[::-1]):
    flow_YX2 = 2.0 * _resize(flow_YX2, a_YXF.shape[:2])
    step = lambda _, flow_YX2, a_YXF=a_YXF, b_YXF=b_YXF: _solve(_equations(a_YXF, b_YXF, flow_YX2))
    flow_YX2 = jax.lax.fori_loop(0, _NUM_ITERATIONS, step, flow_YX2)
  return flow_YX2


def _equations(a_YXF: jax.Array, b_YXF: jax.Array, flow_YX2: jax.Array) -> jax.Array:
  """Returns each pixel's part of eq. 2 as equation_YXF: A^T A (yy, xy, xx) and A^T h (y, x)."""
  height, width = flow_YX2.shape[:2]
  dx_YX, dy_YX = flow_YX2[..., 0], flow_YX2[..., 1]
  moved_YXF, is_inside_YX = _moved(b_YXF, dx_YX, dy_YX)
  y_YX, x_YX, yy_YX, xx_YX, xy_YX = (a_YXF[..., k] for k in range(5))
  # Where a pixel leaves the frame the first polynomial counts for both.
  change = lambda one_YX, k: 0.5 * jnp.where(is_inside_YX, one_YX - moved_YXF[..., k], one_YX)
  average = lambda one_YX, k: jnp.where(is_inside_YX, 0.5 * (one_YX + moved_YXF[..., k]), one_YX)
  yy_YX, xx_YX, xy_YX = average(yy_YX, 2), average(xx_YX, 3), 0.5 * average(xy_YX, 4)
  y_YX = change(y_YX, 0) + yy_YX * dy_YX + xy_YX * dx_YX
  x_YX = change(x_YX, 1) + xy_YX * dy_YX + xx_YX * dx_YX
  weight_YX = np.outer(_border_weight(height), _border_weight(width)) ** 2
  parts = (
    yy_YX**2 + xy_YX**2,
    (yy_YX + xx_YX) * xy_YX,
    xx_YX**2 + xy_YX**2,
    yy_YX * y_YX + xy_YX * x_YX,
    xy_YX * y_YX + xx_YX * x_YX,
  )
  return jnp.stack([weight_YX * part_YX for part_YX in parts], axis=-1)


def _moved(value_YXF: jax.Array, dx_YX: jax.Array, dy_YX: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns the values at each pixel plus its flow, and whether that is inside of the frame."""
  height, width = dx_YX.shape
  y_YX = jnp.arange(height, dtype=jnp.float32)[:, None] + dy_YX
  x_YX = jnp.arange(width, dtype=jnp.float32)[None] + dx_YX
  low_y_YX, low_x_YX = jnp.floor(y_YX), jnp.floor(x_YX)
  is_inside_YX = (low_y_YX >= 0) & (low_y_YX < height - 1) & (low_x_YX >= 0) & (low_x_YX < width - 1)
  y_YX1, x_YX1 = (y_YX - low_y_YX)[..., None], (x_YX - low_x_YX)[..., None]
  row_YX = jnp.clip(low_y_YX, 0, height - 2).astype(jnp.int32)
  column_YX = jnp.clip(low_x_YX, 0, width - 2).astype(jnp.int32)
  along = lambda row_YX: value_YXF[row_YX, column_YX] * (1 - x_YX1) + value_YXF[row_YX, column_YX + 1] * x_YX1
  return along(row_YX) * (1 - y_YX1) + along(row_YX + 1) * y_YX1, is_inside_YX


def _border_weight(size: int) -> np.ndarray:
  weight = np.ones(size, np.float32)
  for k, value in enumerate(_BORDER):
    weight[k] *= np.float32(value)
    weight[size - 1 - k] *= np.float32(value)
  return weight


def _solve(equation_YXF: jax.Array) -> jax.Array:
  """Returns flow_YX2 of eq. 2, summed over the window."""
  box = np.full(_WINDOW, 1 / _WINDOW)
  for axis in (0, 1):
    equation_YXF = _correlate(equation_YXF, box, axis, 'edge')
  yy_YX, xy_YX, xx_YX, y_YX, x_YX = (equation_YXF[..., k] for k in range(5))
  # The constant keeps flat neighbourhoods still.
  determinant_YX = yy_YX * xx_YX - xy_YX**2 + 1e-3
  dx_YX, dy_YX = yy_YX * x_YX - xy_YX * y_YX, xx_YX * y_YX - xy_YX * x_YX
  return jnp.stack([dx_YX, dy_YX], axis=-1) / determinant_YX[..., None]
