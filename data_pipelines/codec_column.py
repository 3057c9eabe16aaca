"""Columns of latents and codes: what a codec computes of the sound of media records.

Each clip is encoded whole, at its own length; training reads the steps of its segment. Clips of similar
length share a batch: lengths are rounded up to whole blocks (about a second), so that few programs are
compiled, and a batch has a bounded number of samples. Batches are split over all devices.

Only the sound is decoded.
"""

from collections.abc import Iterator

from flax import nnx
import jax
import numpy as np

from v2a import builders
from v2a import clip as clip_lib
from v2a import weights
from v2a.codecs import autoencoder
from v2a.config import schema
from v2a.data import feature_columns
from v2a.data import media_decoding
from v2a.data import media_records
from v2a.data import media_source
from v2a.data import record_schema
from v2a.media import audio_reader

# Samples of a batch on each device, over all channels: about 1.5 GB of activations of the default codec.
MAX_SAMPLES = 16_000 * 2 * 120
_AXIS = 'data'


class CodecEncoder:
  """Runs a codec on all devices; see `encode_column.Encoder`.

  Attributes:
    name: of the column.
    about: path and digest of the codec.
  """

  def __init__(self, export: weights.Export, is_mirrored: bool = False):
    """Puts the codec on the devices.

    Args:
      export: the codec.
      is_mirrored: whether sound with exchanged channels is encoded, too.

    Raises:
      ValueError: the model is not a codec.
    """
    if export.config.task != 'codec':
      raise ValueError(f'{export.folder} must be a codec; got task {export.config.task}.')
    self.name = media_source.CODEC_COLUMNS[export.config.codec.bottleneck]
    self.about = {
      'path': str(export.folder),
      'digest': weights.codec_digest(export),
      'is_mirrored': is_mirrored,
    }
    self._spec: clip_lib.ClipSpec = schema.clip_spec(export.config)
    model = builders.codec(export.config, nnx.Rngs(0))
    weights.assign(model, export.arrays, source=export.folder or '')
    graphdef, state = nnx.split(model)
    mesh = jax.make_mesh(
      (jax.local_device_count(),), (_AXIS,), (jax.sharding.AxisType.Auto,), devices=jax.local_devices()
    )
    self._sharding = jax.NamedSharding(mesh, jax.P(_AXIS))
    self._state = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))
    self._encode_batch = jax.jit(lambda state, wave_BNA: encoded_fields(nnx.merge(graphdef, state), wave_BNA))

  def rows(self, items: list[media_records.MediaRecord]) -> Iterator[feature_columns.Row]:
    """Yields the row of each record, in their order."""
    found: dict[int, dict[str, np.ndarray]] = {}
    lengths = [self._length(item) for item in items]
    for length in sorted(set(lengths)):
      rows = [row for row, other in enumerate(lengths) if other == length]
      size = self._batch_size(length, len(rows))
      for first in range(0, len(rows), size):
        batch = rows[first : first + size]
        found |= zip(batch, self._encode([items[row] for row in batch], length, size))
    for row, item in enumerate(items):
      yield feature_columns.Row(item.id, found[row])

  def _length(self, item: media_records.MediaRecord) -> int:
    """Returns the number of samples of a clip, in whole blocks."""
    block = self._spec.latent_hop_samples * self._spec.latents_per_block
    return -(-max(1, round(item.duration_s * self._spec.sample_rate_hz)) // block) * block

  def _batch_size(self, length: int, num_clips: int) -> int:
    """Returns a size in powers of two for each device, so that few programs are compiled."""
    num_devices = jax.local_device_count()
    largest = max(1, MAX_SAMPLES // (length * self._spec.num_channels))
    per_device = min(largest, -(-num_clips // num_devices))
    return num_devices * (1 << (per_device - 1).bit_length() if per_device < largest else largest)

  def _encode(
    self, items: list[media_records.MediaRecord], length: int, size: int
  ) -> Iterator[dict[str, np.ndarray]]:
    wave_BNA = np.zeros((size, length, self._spec.num_channels), np.float32)
    hop, num_steps = self._spec.latent_hop_samples, []
    for row, item in enumerate(items):
      wave_NA = media_decoding.wave(item, self._spec.sample_rate_hz, self._spec.num_channels)[:length]
      wave_BNA[row, : len(wave_NA)] = wave_NA
      num_samples = max(1, round(item.duration_s * self._spec.sample_rate_hz))
      num_steps.append(-(-num_samples // hop))
    fields = self._fields(wave_BNA)
    if self.about['is_mirrored']:
      mirrored = self._fields(wave_BNA[:, :, ::-1])
      fields |= {media_source.MIRRORED + name: rows for name, rows in mirrored.items()}
    for row, steps in enumerate(num_steps):
      steps_TNA = wave_BNA[row, : steps * hop].reshape(steps, hop, -1)
      is_silent_T = np.array([audio_reader.is_silent(step_NA) for step_NA in steps_TNA])
      yield {'is_silent_T': is_silent_T} | {name: rows[row, :steps] for name, rows in fields.items()}

  def _fields(self, wave_BNA: np.ndarray) -> dict[str, np.ndarray]:
    fields = self._encode_batch(self._state, jax.device_put(wave_BNA, self._sharding))
    return {name: np.asarray(rows, record_schema.NOT_ENCODED[name].dtype) for name, rows in fields.items()}


def encoded_fields(codec: autoencoder.Autoencoder, wave_BNA: jax.Array) -> dict[str, jax.Array]:
  """Returns the fields to store, by name, with a leading batch axis."""
  if codec.bottleneck == 'rvq':
    return {'codes_TK': codec.encode_tokens(wave_BNA)}
  mean_BTC, std_BTC = codec.encode(wave_BNA)
  return {'latent_mean_TC': mean_BTC, 'latent_std_TC': std_BTC}
