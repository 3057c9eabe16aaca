"""The histogram of a filter as SVG, with its threshold; texts are HTML below it, which SVG would stretch."""

import html
import math

from data_pipelines.filters import filter as filter_lib
from data_pipelines.reporting import histogram

_WIDTH, _HEIGHT, _NUM_BARS = 320, 110, 40
# A bar that counts anything is visible.
_MIN_BAR = 1.5


def number(value: float) -> str:
  """Returns a number in few digits."""
  if not math.isfinite(value):
    return '–'
  if value and (abs(value) >= 1e6 or abs(value) < 1e-3):
    return f'{value:.2e}'
  digits = max(0, 3 - math.floor(math.log10(abs(value)) + 1)) if value else 0
  text = f'{value:,.{digits}f}'
  return text.rstrip('0').rstrip('.') if '.' in text else text


def render(name: str, found: histogram.Histogram, threshold: filter_lib.Threshold) -> str:
  """Returns the HTML of a histogram, its axis and its threshold; '' without values.

  Args:
    name: of what is counted.
    found: counts of accepted and rejected clips.
    threshold: limits, which are within the range of the plot.
  """
  if not found.num_values:
    return ''
  limits = [limit for limit in (threshold.min, threshold.max) if limit is not None]
  first, last = min([found.min, *limits]), max([found.max, *limits])
  bins = found.bins(first, last, _NUM_BARS)
  low, high = min([float(bins.edges[0]), *limits]), max([float(bins.edges[-1]), *limits])
  margin = 0.01 * (high - low)
  low, high = low - margin, high + margin
  position = lambda value: _WIDTH * (value - low) / (high - low)
  highest = int(bins.counts.sum(axis=0).max())
  bars = []
  for index in range(bins.counts.shape[1]):
    left, right = position(bins.edges[index]), position(bins.edges[index + 1])
    top = float(_HEIGHT)
    # Rejected clips at the bottom, where they are seen.
    for kind, count in zip(('rejected', 'accepted'), bins.counts[:, index]):
      if count:
        height = max(_MIN_BAR, 0.96 * _HEIGHT * int(count) / highest)
        top -= height
        bars.append(
          f'<rect class="{kind}" x="{left:.2f}" y="{top:.2f}" width="{max(right - left - 0.6, 0.8):.2f}" '
          f'height="{height:.2f}"/>'
        )
  lines = ''.join(
    f'<line x1="{position(limit):.2f}" x2="{position(limit):.2f}" y1="0" y2="{_HEIGHT}"/>' for limit in limits
  )
  label = f'{name}: {found.num_values} clips from {number(found.min)} to {number(found.max)}'
  return (
    f'<svg class="bars" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
    f'aria-label="{html.escape(label, quote=True)}">{"".join(bars)}{lines}</svg>'
    f'<p class="axis"><span>{number(first)}</span><span>highest bar: {highest:,}</span>'
    f'<span>{number(last) if last > first else ""}</span></p>'
  )
