"""The cache of embeddings: nothing is embedded twice, nothing is mistaken for anything else."""

import dataclasses

import numpy as np
import pytest

from tests.metrics.embedders import bands
from v2a.metrics.embedders import cache as cache_lib
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import frames


def test_a_clip_is_embedded_once(tmp_path):
  clip = bands.noise_clips(0, 1)[0]
  first, second = bands.FakeEmbedder(), bands.FakeEmbedder()
  made = cache_lib.EmbeddingCache(tmp_path).embed(first, clip)
  again = cache_lib.EmbeddingCache(tmp_path).embed(second, clip)
  assert (first.num_calls, second.num_calls) == (1, 0)
  for name in made:
    np.testing.assert_array_equal(made[name], again[name])
  assert not list(tmp_path.rglob('*.partial'))


def test_without_a_folder_nothing_is_kept():
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
def test_another_sound_has_another_entry(tmp_path, change):
  clip, embedder = bands.noise_clips(0, 1)[0], bands.FakeEmbedder()
  cache = cache_lib.EmbeddingCache(tmp_path)
  cache.embed(embedder, clip)
  cache.embed(embedder, dataclasses.replace(clip, **change))
  assert embedder.num_calls == 2


def test_other_weights_have_another_entry(tmp_path):
  clip, cache = bands.noise_clips(0, 1)[0], cache_lib.EmbeddingCache(tmp_path)
  paths = {cache.path(bands.FakeEmbedder(digest=digest * 64), clip) for digest in 'de'}
  assert len(paths) == 2 and cache.path(bands.FakeEmbedder(name='other'), clip) not in paths


def test_only_what_is_read_counts(tmp_path):
  frame_LYX3 = np.zeros((2, 4, 4, 3), np.uint8)
  clip = dataclasses.replace(bands.noise_clips(0, 1)[0], pictures=frames.Frames(frame_LYX3, 25.0))
  other = dataclasses.replace(clip, pictures=frames.Frames(frame_LYX3 + 1, 25.0))
  cache = cache_lib.EmbeddingCache(tmp_path)
  sound, both = bands.FakeEmbedder(), bands.FakeEmbedder(reads=('wave', 'pictures'))
  assert cache.path(sound, clip) == cache.path(sound, other)
  assert cache.path(both, clip) != cache.path(both, other)
  with pytest.raises(embedder_lib.UnsupportedClipError, match='the clip has no pictures'):
    cache.embed(both, bands.noise_clips(0, 1)[0])


def test_an_interrupted_write_leaves_no_entry(tmp_path, monkeypatch):
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


def test_a_refusal_is_kept(tmp_path):
  silent, embedder = embedder_lib.Clip(np.zeros((8, 1)), 16000), bands.FakeEmbedder()
  for _ in range(2):
    with pytest.raises(embedder_lib.UnsupportedClipError, match='silence has no bands'):
      cache_lib.EmbeddingCache(tmp_path).embed(embedder, silent)
  assert embedder.num_calls == 1


def test_a_damaged_entry_is_named(tmp_path):
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
    ({'wave_NA': np.full((8, 1), np.nan)}, 'finite wave; got 8 bad'),
  ],
)
def test_a_clip_that_is_none_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    embedder_lib.Clip(**{'wave_NA': np.zeros((8, 1)), 'sample_rate_hz': 16000, **fields})


@pytest.mark.parametrize(
  ('frame_LYX3', 'fps', 'message'),
  [
    (np.zeros((1, 2, 2, 3)), 25.0, 'uint8 .*; got float64'),
    (np.zeros((1, 2, 2, 3), np.uint8), None, 'rate; got fps=None'),
  ],
)
def test_pictures_that_are_none_are_refused(frame_LYX3, fps, message):
  with pytest.raises(ValueError, match=message):
    frames.Frames(frame_LYX3, fps)
