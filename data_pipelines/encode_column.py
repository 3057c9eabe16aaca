"""Encodes media records by a codec, and stores latents or codes as a column beside them.

  encode_column.encode(folder, export)

Each clip is encoded whole, at its own length; training reads the steps of its segment. Clips of similar
length share a batch: lengths are rounded up to whole blocks (about a second), so that few programs are
compiled, and a batch has a bounded number of samples. Batches are split over all devices.

Only the sound is decoded. A shard appears when it is complete; what was interrupted continues after it.
"""

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import sys
import time

from flax import nnx
import jax
import numpy as np

from v2a import builders
from v2a import clip as clip_lib
from v2a import storage
from v2a import weights
from v2a.codecs import autoencoder
from v2a.config import schema
from v2a.data import feature_columns
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import media_source
from v2a.data import record_schema

# Samples of a batch on each device, over all channels: about 1.5 GB of activations of the default codec.
MAX_SAMPLES = 16_000 * 2 * 120
_AXIS = 'data'


def encode(
  folder: media_folder.MediaFolder,
  export: weights.Export,
  is_replaced: bool = False,
  report: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> str:
  """Adds the column of a codec to media records, and returns its name.

  Args:
    folder: of the media records.
    export: the codec.
    is_replaced: whether the column of another codec is deleted first.
    report: takes a line of progress after each shard.

  Raises:
    FileExistsError: there is the column of another codec.
    ValueError: the model is not a codec.
  """
  if export.config.task != 'codec':
    raise ValueError(f'{export.folder} must be a codec; got task {export.config.task}.')
  name = media_source.COLUMNS[export.config.codec.bottleneck]
  about = {'path': str(export.folder), 'digest': weights.codec_digest(export)}
  if is_replaced and not _is_of(folder, name, about['digest']):
    with contextlib.suppress(FileNotFoundError):
      storage.remove_folder(feature_columns.path_of(folder, name))
  writer, encoder = feature_columns.Writer(folder, name, about), _Encoder(export)
  missing, start_s, done = writer.missing(), time.monotonic(), 0
  total = sum(folder.shards[shard].num_records for shard in missing)
  for shard in missing:
    indices = folder.indices(shard)
    rows = encoder.rows([folder[index] for index in indices])
    writer.write(shard, rows)
    done += len(indices)
    passed_s = time.monotonic() - start_s
    report(f'{name}: {done} of {total} clips, about {passed_s * (total - done) / done:.0f} s left')
  writer.finish()
  return name


def _is_of(folder: media_folder.MediaFolder, name: str, digest: str) -> bool:
  try:
    feature_columns.Writer(folder, name, {'digest': digest})
  except FileExistsError:
    return False
  return True


class _Encoder:
  """Runs a codec on all devices."""

  def __init__(self, export: weights.Export):
    self._spec: clip_lib.ClipSpec = schema.clip_spec(export.config)
    model = builders.codec(export.config, nnx.Rngs(0))
    weights.assign(model, export.arrays, source=export.folder or '')
    graphdef, state = nnx.split(model)
    mesh = jax.make_mesh(
      (jax.local_device_count(),), (_AXIS,), (jax.sharding.AxisType.Auto,), devices=jax.local_devices()
    )
    self._sharding = jax.NamedSharding(mesh, jax.P(_AXIS))
    self._state = jax.device_put(state, jax.NamedSharding(mesh, jax.P()))
    self._run = jax.jit(lambda state, wave_BNA: encoded_fields(nnx.merge(graphdef, state), wave_BNA))

  def rows(self, items: list[media_records.MediaRecord]) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields id and arrays of each record, in their order."""
    found: dict[int, dict[str, np.ndarray]] = {}
    lengths = [self._length(item) for item in items]
    for length in sorted(set(lengths)):
      rows = [row for row, other in enumerate(lengths) if other == length]
      size = self._batch_size(length, len(rows))
      for first in range(0, len(rows), size):
        batch = rows[first : first + size]
        found |= zip(batch, self._encode([items[row] for row in batch], length, size))
    for row, item in enumerate(items):
      yield item.id, found[row]

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
    num_steps = []
    for row, item in enumerate(items):
      wave_NA = media_source.wave(item, self._spec.sample_rate_hz, self._spec.num_channels)[:length]
      wave_BNA[row, : len(wave_NA)] = wave_NA
      num_samples = max(1, round(item.duration_s * self._spec.sample_rate_hz))
      num_steps.append(-(-num_samples // self._spec.latent_hop_samples))
    fields = self._run(self._state, jax.device_put(wave_BNA, self._sharding))
    fields = {name: np.asarray(rows, record_schema.NOT_ENCODED[name].dtype) for name, rows in fields.items()}
    for row, steps in enumerate(num_steps):
      yield {name: rows[row, :steps] for name, rows in fields.items()}


def encoded_fields(codec: autoencoder.Autoencoder, wave_BNA: jax.Array) -> dict[str, jax.Array]:
  """Returns the fields to store, by name, with a leading batch axis."""
  if codec.bottleneck == 'rvq':
    return {'codes_TK': codec.encode_tokens(wave_BNA)}
  mean_BTC, std_BTC = codec.encode(wave_BNA)
  return {'latent_mean_TC': mean_BTC, 'latent_std_TC': std_BTC}
