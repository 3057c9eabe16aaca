"""A clip of any length as windows: where they begin, their noise, their words, and their sound joined."""

import functools
import math

import jax
import numpy as np

from v2a import clip
from v2a import model as model_lib

DECODE_S = 4
CONTEXT_S = 1
FADE_S = 0.02


def starts(duration_s: float, window_s: float, overlap_s: float) -> list[int]:
  """Returns the first second of every window: whole seconds, overlapping by at least overlap_s.

  Raises:
    ValueError: the windows leave no room to advance.
  """
  stride = math.floor(window_s - overlap_s)
  if stride < 1:
    raise ValueError(f'generation.overlap_s={overlap_s} leaves no room in windows of {window_s} s.')
  last = max(0, math.ceil(duration_s - window_s - 1e-6))
  return [*range(0, last, stride), last]


def spoken_in(transcript: str, start_s: float, end_s: float, duration_s: float) -> str:
  """Returns the words of a transcript that fall into a window, spread evenly over the clip."""
  words = transcript.split()
  middle = [(index + 0.5) / len(words) * duration_s for index in range(len(words))]
  return ' '.join(word for word, time_s in zip(words, middle) if start_s <= time_s < end_s)


@functools.partial(jax.jit, static_argnames='shape')
def _second_noise(seed, sample, second, shape):
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), sample), second)
  return jax.random.normal(key, shape)


def noise(spec: clip.ClipSpec, num_channels: int, seed: int, sample: int, start_s: int) -> np.ndarray:
  """Returns noise_TC of a window that begins at a whole second of the clip; see the module."""
  rate = round(spec.latent_rate_hz)
  seconds = range(start_s, start_s + math.ceil(spec.num_latents / rate))
  pieces = [np.asarray(_second_noise(seed, sample, s, (rate, num_channels))) for s in seconds]
  return np.concatenate(pieces)[:spec.num_latents]


def decode(model: model_lib.Model, latent_TC: np.ndarray, num_samples: int) -> np.ndarray:
  """Returns wave_NA of latents of any length, in memory that does not grow beyond the wave itself.

  Pieces of DECODE_S seconds see CONTEXT_S of latents on both sides; each continues the phases of the
  piece before it, and takes over within FADE_S.

  Args:
    model: whose codec decodes.
    latent_TC: normalised latents.
    num_samples: length of the wave wanted.
  """
  spec = model.clip_spec
  rate, hop = round(spec.latent_rate_hz), spec.latent_hop_samples
  piece, context, fade = DECODE_S * rate, CONTEXT_S * rate, round(FADE_S * spec.sample_rate_hz)
  num_pieces = max(1, math.ceil(num_samples / (piece * hop)))
  missing = num_pieces * piece + context - len(latent_TC)
  latent_TC = np.pad(latent_TC, ((0, max(0, missing)), (0, 0)), mode='edge')
  wave_NA = np.zeros((num_pieces * piece * hop, spec.num_channels), np.float32)
  rising_N1 = np.linspace(0, 1, fade, dtype=np.float32)[:, None]
  tail_NA = None
  for begin in range(0, num_pieces * piece, piece):
    end = begin + piece
    if not begin:
      part_NA = np.asarray(model.decode(latent_TC[None, :end + context]))[0]
    else:
      first = begin - context
      known_BNA = wave_NA[None, first * hop:begin * hop]
      part_NA = np.array(model.decode(latent_TC[None, first:end + context], known_BNA))[0][context * hop:]
      part_NA[:fade] = rising_N1 * part_NA[:fade] + (1 - rising_N1) * tail_NA
    wave_NA[begin * hop:end * hop] = part_NA[:piece * hop]
    tail_NA = part_NA[piece * hop:piece * hop + fade]
  return wave_NA[:num_samples]
