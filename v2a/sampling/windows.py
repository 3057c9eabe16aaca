"""Windows of a clip of any length: their starts, their words, and decoding of the whole clip in chunks."""

from collections.abc import Callable
import math
from typing import Protocol

import numpy as np

from v2a import clip

DECODE_S = 4
CONTEXT_S = 1
FADE_S = 0.02


def starts(spec: clip.ClipSpec, num_audio_samples: int, overlap_s: float) -> list[int]:
  """Returns the first latent step of each window, a multiple of a block; overlaps are overlap_s or more.

  Args:
    spec: of a window; see its latents_per_block.
    num_audio_samples: length of the clip, which the windows cover.
    overlap_s: seconds.

  Raises:
    ValueError: the windows leave no room to advance.
  """
  block, num_latents = spec.latents_per_block, spec.num_latents
  stride = (num_latents - spec.latents_in(overlap_s)) // block * block
  if stride < 1:
    raise ValueError(
      f'generation.overlap_s={overlap_s} leaves no room in windows of {float(spec.duration_s):g} s.'
    )
  num_missing = -(-num_audio_samples // spec.latent_hop_samples) - num_latents
  last = max(0, -(-num_missing // block) * block)
  return [*range(0, last, stride), last]


def transcript_in_window(
  transcript: str, start_s: float, end_s: float, duration_s: float, times_s: tuple[float, ...] | None = None
) -> str:
  """Returns the words of a transcript that fall into a window.

  Args:
    transcript: of the clip.
    start_s, end_s: the window; its end is left out.
    duration_s: of the clip.
    times_s: of the words, from the same origin as start_s and end_s; None spreads them evenly over the clip.
  """
  words = transcript.split()
  if times_s is None:
    times_s = tuple((index + 0.5) / len(words) * duration_s for index in range(len(words)))
  spoken = zip(words, times_s, strict=True)
  return ' '.join(word for word, time_s in spoken if start_s <= time_s < min(end_s, duration_s))


class Decoder(Protocol):
  """What decodes latents or codes: a bundle, or a codec by itself."""

  @property
  def clip_spec(self) -> clip.ClipSpec:
    """Rates of the codec."""
    ...

  @property
  def decode(self) -> Callable:
    """(latent_BTC or codes_BTK, prefix_BNA or None) -> wave_BNA."""
    ...


def decode(model: Decoder, encoded_TF: np.ndarray, num_audio_samples: int) -> np.ndarray:
  """Returns wave_NA of latents or codes of any length, in constant memory besides the waveform.

  Chunks of DECODE_S seconds are decoded with CONTEXT_S of context on both sides. Each chunk continues the
  phases of the one before it, with a linear cross-fade of FADE_S.

  Args:
    model: with the codec.
    encoded_TF: normalised latents, or codes.
    num_audio_samples: length of the wave wanted.
  """
  spec = model.clip_spec
  hop, fade = spec.latent_hop_samples, round(FADE_S * spec.sample_rate_hz)
  piece, context = spec.latents_in(DECODE_S), spec.latents_in(CONTEXT_S)
  num_pieces = max(1, math.ceil(num_audio_samples / (piece * hop)))
  missing = num_pieces * piece + context - len(encoded_TF)
  encoded_TF = np.pad(encoded_TF, ((0, max(0, missing)), (0, 0)), mode='edge')
  wave_NA = np.zeros((num_pieces * piece * hop, spec.num_channels), np.float32)
  rising_N1 = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
  tail_NA = None
  for begin in range(0, num_pieces * piece, piece):
    end = begin + piece
    if not begin:
      part_NA = np.asarray(model.decode(encoded_TF[None, : end + context]))[0]
    else:
      first = begin - context
      prefix_BNA = wave_NA[None, first * hop : begin * hop]
      part_NA = np.array(model.decode(encoded_TF[None, first : end + context], prefix_BNA))[0][
        context * hop :
      ]
      part_NA[:fade] = rising_N1 * part_NA[:fade] + (1 - rising_N1) * tail_NA
    wave_NA[begin * hop : end * hop] = part_NA[: piece * hop]
    tail_NA = part_NA[piece * hop : piece * hop + fade]
  return wave_NA[:num_audio_samples]
