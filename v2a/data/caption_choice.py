"""Chooses one of the captions of a clip for a training step, as a pure function of a key.

First a style by weight, among those that the clip has; then a caption of that style, by confidence. So a
clip is seen with a class label, a sentence or a description, by humans and by several models, and a step that
is repeated on other hardware chooses the same. A caption that says what is not heard is no description by
itself: it is appended to a share of the others.
"""

from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import hashlib
import types

from v2a.data import annotations as annotations_lib

Key = tuple[int, int, int]  # seed, step, position in the global batch
STYLE_WEIGHTS: Mapping[annotations_lib.CaptionStyle, float] = types.MappingProxyType(
  {'label': 0.2, 'short': 0.4, 'detailed': 0.4}
)
# Of a caption of unknown confidence by an annotator; captions by humans have 1.
UNKNOWN_CONFIDENCE = 0.5
_BITS = 64


def choose(
  captions: Iterable[annotations_lib.Caption],
  key: Key,
  style_weights: Mapping[annotations_lib.CaptionStyle, float] = STYLE_WEIGHTS,
  negative_share: float = 0.1,
  min_confidence: float = 0.0,
) -> annotations_lib.Caption | None:
  """Returns the caption for a training step; None where the clip has none, so that the null text trains.

  Args:
    captions: of the clip; their order has no influence.
    key: seed, step, position.
    style_weights: by style; a style without a weight is not chosen.
    negative_share: share of steps in which a negative caption of the clip is appended.
    min_confidence: captions by annotators below it are left out.

  Raises:
    ValueError: a weight is negative, or the share is not in [0, 1].
  """
  if min(style_weights.values(), default=0.0) < 0 or not 0 <= negative_share <= 1:
    raise ValueError(
      f'weights must not be negative and a share in [0, 1]; got {dict(style_weights)} and {negative_share}.'
    )
  by_style: dict[str, list[annotations_lib.Caption]] = {}
  for each in sorted(set(captions), key=lambda each: (each.style, each.text, each.origin, _weight(each))):
    if each.origin == 'human' or _weight(each) >= min_confidence:
      by_style.setdefault(each.style, []).append(each)
  styles = sorted(style for style, weight in style_weights.items() if weight > 0 and style in by_style)
  if not styles:
    return None
  style_u, caption_u, negative_u, text_u = _uniforms(key)
  style = styles[_index([style_weights[style] for style in styles], style_u)]
  chosen = _pick(by_style[style], caption_u)
  if style != 'negative' and negative_u < negative_share and 'negative' in by_style:
    negative = _pick(by_style['negative'], text_u)
    end = '' if chosen.text.endswith(('.', '!', '?')) else '.'
    return dataclasses.replace(chosen, text=f'{chosen.text}{end} {negative.text}')
  return chosen


def _weight(caption: annotations_lib.Caption) -> float:
  if caption.origin == 'human':
    return 1.0
  return UNKNOWN_CONFIDENCE if caption.confidence is None else caption.confidence


def _pick(captions: list[annotations_lib.Caption], uniform: float) -> annotations_lib.Caption:
  weights = [_weight(each) for each in captions]
  return captions[_index(weights if sum(weights) > 0 else [1.0] * len(captions), uniform)]


def _index(weights: list[float], uniform: float) -> int:
  """Returns the index whose interval of the cumulative weights holds a number of [0, 1)."""
  rest = uniform * sum(weights)
  for index, weight in enumerate(weights):
    rest -= weight
    if rest < 0:
      return index
  return len(weights) - 1


def _uniforms(key: Key) -> tuple[float, ...]:
  """Returns four numbers in [0, 1), independent of each other and of those of other keys.

  Of a hash, whose values no release of a library changes.
  """
  digest = hashlib.sha256(f'caption {key[0]} {key[1]} {key[2]}'.encode()).digest()
  parts = (digest[index : index + _BITS // 8] for index in range(0, len(digest), _BITS // 8))
  return tuple(int.from_bytes(part, 'big') / 2**_BITS for part in parts)
