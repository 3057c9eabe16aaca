"""The round trip of sounds through codecs: what the codec loses, no generator can give back.

  for codec in round_trip.of_model('default'):
    output_NA = codec.reconstruct(wave_NA)

A sound of any length is encoded in pieces with context on both sides, and decoded as soundtracks are
(`sampling.windows.decode`), at the rate and number of channels of the codec.
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import math
import os
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import builders
from v2a import clip
from v2a import file_names
from v2a import storage
from v2a import weights
from v2a.config import schema
from v2a.media import audio_reader
from v2a.media import probe
from v2a.media import read
from v2a.sampling import bundle
from v2a.sampling import windows

PIECE_S, CONTEXT_S = 8.0, 1.0
TRUTH = 'true'  # the name of the true sound, beside those of codecs


class Codec:
  """A codec by itself, compiled.

  Attributes:
    name: in reports.
    clip_spec: its rates.
    bottleneck: 'kl' or 'rvq'.
    decode: (latent_BTC or codes_BTK, prefix_BNA or None) -> wave_BNA.
  """

  def __init__(self, name: str, export: weights.Export):
    """Builds the network.

    Args:
      name: in reports.
      export: of the codec.

    Raises:
      ValueError: it is no codec.
    """
    c = export.config
    if c.task != 'codec':
      raise ValueError(f'{export.folder or name} is a model of the task {c.task!r}; wanted a codec.')
    self.name, self.clip_spec, self.bottleneck = name, schema.clip_spec(c), c.codec.bottleneck
    self._codebook_bits = c.codec.num_codebooks * math.log2(c.codec.codebook_size)
    graph, state = nnx.split(nnx.eval_shape(lambda: builders.codec(c, nnx.Rngs(0))))
    state = jax.device_put(weights.unflatten(dict(export.arrays), state, name))
    is_codes = self.bottleneck == 'rvq'

    @jax.jit
    def encode(state, wave_BNA):
      codec = nnx.merge(graph, state)
      if is_codes:
        codes_BTK = codec.encode_tokens(wave_BNA)
        return codes_BTK, jnp.full(codes_BTK.shape[:2], self._codebook_bits)
      mean_BTC, std_BTC = codec.encode(wave_BNA)
      nats_BTC = 0.5 * (jnp.square(mean_BTC) + jnp.square(std_BTC) - 1) - jnp.log(std_BTC)
      return mean_BTC, jnp.sum(nats_BTC, axis=-1) / np.log(2)

    @jax.jit
    def decode(state, encoded_BTF, prefix_BNA):
      codec = nnx.merge(graph, state)
      return (codec.decode_tokens if is_codes else codec.decode)(encoded_BTF, prefix_BNA)

    self._encode: Callable = lambda wave_BNA: encode(state, wave_BNA)
    self.decode: Callable = lambda encoded_BTF, prefix_BNA=None: decode(state, encoded_BTF, prefix_BNA)

  def encode(self, wave_NA: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the latents (means) or codes of a sound as encoded_TF, and their bits per second.

    The bit rate of codes is that of uniformly distributed ones. That of latents is their divergence from a
    standard normal (`codecs.loss` eq. 3). Both are upper bounds of the information.

    Args:
      wave_NA: at the rate and number of channels of the codec; the last step is filled with silence.
    """
    spec = self.clip_spec
    hop, piece, context = spec.latent_hop_samples, spec.latents_in(PIECE_S), spec.latents_in(CONTEXT_S)
    num_latents = -(-len(wave_NA) // hop)
    num_pieces = -(-num_latents // piece)
    after = (num_pieces * piece + context) * hop - len(wave_NA)
    padded_NA = np.pad(wave_NA, ((context * hop, after), (0, 0)))
    encoded, bits = [], []
    for begin in range(0, num_pieces * piece, piece):
      part_NA = padded_NA[begin * hop : (begin + piece + 2 * context) * hop]
      encoded_BTF, bits_BT = self._encode(part_NA[None])
      encoded.append(np.asarray(encoded_BTF[0, context : context + piece]))
      bits.append(np.asarray(bits_BT[0, context : context + piece]))
    bits_per_s = float(np.concatenate(bits)[:num_latents].mean()) * spec.latent_rate_hz
    return np.concatenate(encoded)[:num_latents], bits_per_s

  def reconstruct(self, wave_NA: np.ndarray) -> np.ndarray:
    """Returns a sound after the round trip; see `encode`."""
    return windows.decode(self, self.encode(wave_NA)[0], len(wave_NA))


def of_model(name: str) -> Iterator[Codec]:
  """Yields the codecs of a model.

  Args:
    name: a packaged model, or a folder of one.

  Raises:
    FileNotFoundError: there is no such model.
    ValueError: it is damaged.
  """
  model = bundle.load(name)
  for part in ('codec', 'codec_rvq'):
    if part in model.exports:
      yield Codec(part, model.exports[part])


def names_of(paths: Sequence[storage.Path]) -> dict[storage.Path, str]:
  """Returns a name for each folder, its own one, with as many folders above it as make all names differ.

  Args:
    paths: of codecs; each counts once. No name is TRUTH.
  """
  # Not resolved: a link has a name of its own.
  full = {str(path if storage.is_remote(path) else os.path.abspath(path)): path for path in paths}
  parts = {path: text.strip('/').split('/') for text, path in full.items()}
  names: dict[storage.Path, str] = {}
  for num_parts in range(1, max(map(len, parts.values())) + 1):
    names = {path: file_names.file_name('-'.join(each[-num_parts:]), 80) for path, each in parts.items()}
    if len({*names.values(), TRUTH}) > len(names):
      break
  return names


def of_run(path: storage.Path) -> Codec:
  """Returns the codec of a training folder or of an exported model; see `weights.load_export`."""
  return of_runs([path])[0]


def of_runs(paths: Sequence[storage.Path]) -> list[Codec]:
  """Returns the codecs of training folders or exported models, named by `names_of`.

  Raises:
    FileNotFoundError: there is none.
    ValueError: one is damaged or no codec, or their forms differ, see `check_forms`.
  """
  codecs = [Codec(name, weights.load_export(path)) for path, name in names_of(paths).items()]
  check_forms({codec.name: codec.clip_spec for codec in codecs})
  return codecs


def check_forms(specs: Mapping[str, clip.ClipSpec]) -> None:
  """Raises ValueError where codecs differ in sample rate or channels, so that their numbers do not compare.

  Args:
    specs: of codecs by name.
  """
  forms = {name: (spec.sample_rate_hz, spec.num_channels) for name, spec in specs.items()}
  if len(set(forms.values())) > 1:
    shown = ', '.join(
      f'{rate_hz} Hz with {channels} channel(s) of {name}' for name, (rate_hz, channels) in forms.items()
    )
    raise ValueError(
      f'codecs of one table must have one sample rate and number of channels; got {shown}. Each can be '
      'measured by itself.'
    )


def of_file(
  codec: Codec, path: pathlib.Path, duration_s: float | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
  """Returns the sound of a file at the rate of a codec, its reconstruction, and the bits per second.

  Args:
    codec: that encodes and decodes it.
    path: a video or a sound.
    duration_s: of its beginning; None for all, and all of a file that is shorter.

  Raises:
    MediaError: the file cannot be read.
    ValueError: it has no sound, or is silent.
  """
  info = probe.probe(path)
  if not info.has_audio:
    raise ValueError(f'{path}: has no sound.')
  spec = codec.clip_spec
  length_s = info.duration_s if duration_s is None else min(duration_s, info.duration_s)
  true_NA = read.wave(path, spec.sample_rate_hz, spec.num_channels, 0.0, length_s)
  if audio_reader.is_silent(true_NA):
    raise ValueError(f'{path}: is silent.')
  encoded_TF, bits_per_s = codec.encode(true_NA)
  return true_NA, windows.decode(codec, encoded_TF, len(true_NA)), bits_per_s
