"""The cache of embeddings: no clip is embedded twice, and no two entries are confused."""

import dataclasses

import numpy as np
import pytest

from tests.metrics.embedders import bands
from v2a.metrics.embedders import cache as cache_lib
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames


def test_clip_is_embedded_once(tmp_path):
  clip = bands.noise_clips(0, 1)[0]
  first, second = bands.FakeEmbedder(), bands.FakeEmbedder()
  arrays = cache_lib.EmbeddingCache(tmp_path).embed(first, clip)
  cached = cache_lib.EmbeddingCache(tmp_path).embed(second, clip)
  assert (first.num_calls, second.num_calls) == (1, 0)
  for name in arrays:
    np.testing.assert_array_equal(arrays[name], cached[name])
  assert not list(tmp_path.rglob('*.partial'))


def test_nothing_is_cached_without_a_folder():
  embedder, cache = bands.FakeEmbedder(), cache_lib.EmbeddingCache(None)
  for _ in range(2):
    cache.embed(embedder, bands.noise_clips(0, 1)[0])
  assert embedder.num_calls == 2


@pytest.mark.parametrize(
  'change',
  [
    {'wave_NA': 2 * bands.noise_clips(0, 1)[0].wave_NA},
    {'wave_NA': bands.noise_clips(0, 1)[0].wave_NA.reshape(-1, 2)},
    {'wave_NA': bands.noise_clips(0, 1)[0].wave_NA.astype(np.float64)},
    {'sample_rate_hz': 8000},
  ],
)
def test_other_audio_has_another_entry(tmp_path, change):
  clip, embedder = bands.noise_clips(0, 1)[0], bands.FakeEmbedder()
  cache = cache_lib.EmbeddingCache(tmp_path)
  cache.embed(embedder, clip)
  cache.embed(embedder, dataclasses.replace(clip, **change))
  assert embedder.num_calls == 2


def test_other_weights_have_another_entry(tmp_path):
  clip, cache = bands.noise_clips(0, 1)[0], cache_lib.EmbeddingCache(tmp_path)
  paths = {cache.path(bands.FakeEmbedder(digest=digest * 64), clip) for digest in 'de'}
  assert len(paths) == 2 and cache.path(bands.FakeEmbedder(name='other'), clip) not in paths


def test_entries_depend_only_on_the_inputs_that_are_read(tmp_path):
  frame_LYX3 = np.zeros((2, 4, 4, 3), np.uint8)
  clip = dataclasses.replace(bands.noise_clips(0, 1)[0], frames=frames.Frames(frame_LYX3, 25.0))
  other = dataclasses.replace(clip, frames=frames.Frames(frame_LYX3 + 1, 25.0))
  cache = cache_lib.EmbeddingCache(tmp_path)
  audio, both = bands.FakeEmbedder(), bands.FakeEmbedder(reads=('audio', 'video'))
  assert cache.path(audio, clip) == cache.path(audio, other)
  assert cache.path(both, clip) != cache.path(both, other)
  with pytest.raises(embedder_lib.UnsupportedClipError, match='the clip has no video'):
    cache.embed(both, bands.noise_clips(0, 1)[0])


def test_interrupted_write_leaves_no_entry(tmp_path, monkeypatch):
  clip, embedder, cache = bands.noise_clips(0, 1)[0], bands.FakeEmbedder(), cache_lib.EmbeddingCache(tmp_path)

  def stop(file, **arrays):
    file.write_bytes(b'half')
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(np, 'savez', stop)
    with pytest.raises(KeyboardInterrupt):
      cache.embed(embedder, clip)
  assert not [path for path in tmp_path.rglob('*') if path.is_file()]
  cache.embed(embedder, clip)
  assert embedder.num_calls == 2 and cache.path(embedder, clip).is_file()


def test_unsupported_clips_are_cached(tmp_path):
  silent, embedder = embedder_lib.Clip(np.zeros((8, 1)), 16000), bands.FakeEmbedder()
  for _ in range(2):
    with pytest.raises(embedder_lib.UnsupportedClipError, match='silence has no bands'):
      cache_lib.EmbeddingCache(tmp_path).embed(embedder, silent)
  assert embedder.num_calls == 1


def test_damaged_entry_is_named_in_the_error(tmp_path):
  clip, cache = bands.noise_clips(0, 1)[0], cache_lib.EmbeddingCache(tmp_path)
  cache.embed(bands.FakeEmbedder(), clip)
  path = cache.path(bands.FakeEmbedder(), clip)
  path.write_bytes(path.read_bytes()[:40])
  with pytest.raises(ValueError, match=f'{path.name} is damaged .*; remove it'):
    cache.embed(bands.FakeEmbedder(), clip)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'wave_NA': np.zeros(8)}, r'\(samples, channels\); got \(8,\)'),
    ({'wave_NA': np.full((8, 1), np.nan)}, 'finite waveform; got 8 samples'),
  ],
)
def test_clips_need_a_finite_waveform_with_channels(fields, message):
  with pytest.raises(ValueError, match=message):
    embedder_lib.Clip(**{'wave_NA': np.zeros((8, 1)), 'sample_rate_hz': 16000, **fields})
