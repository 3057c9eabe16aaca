"""The packaged embedder on clips that it was not trained on: its tags, and distances of degraded audio."""

import numpy as np
import pytest

from scripts import train_classifiers
from scripts import train_embedder
from v2a.data import synthetic_examples
from v2a.evaluation import check_classifiers
from v2a.metrics import set_distances
from v2a.metrics import spectra
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import synthetic

SCENES = ('strike', 'engine', 'rain', 'keys', 'dialogue', 'still')


@pytest.fixture(scope='module')
def held_out():
  """Returns a few clips of each of some scenes, and their tags."""
  rendered = [
    pair
    for scene in SCENES
    for pair in check_classifiers.render_ground_truth(check_classifiers.CHECK_SEED + 3, 2, (scene,))
  ]
  clips = [embedder_lib.Clip(wave_NA, spectra.RATE_HZ) for wave_NA, _ in rendered]
  return clips, np.stack([synthetic.tags(truth) for _, truth in rendered])


def embed(net, clips):
  """Returns rows and logits."""
  embedded = [net.embed(clip) for clip in clips]
  rows_NF = np.concatenate([arrays['rows_NF'] for arrays in embedded])
  return rows_NF, np.stack([arrays['logits_O'] for arrays in embedded])


def test_seeds_of_training_and_evaluation_differ():
  seeds = (
    train_embedder.TRAIN_SEED,
    train_classifiers.TRAIN_SEED,
    synthetic_examples.HELDOUT_SEED,
    check_classifiers.CHECK_SEED,
    0,
  )
  assert len(set(seeds)) == len(seeds)


def test_packaged_weights_are_small():
  assert synthetic.FILE.stat().st_size < 1_000_000


def test_logits_agree_with_the_tags(held_out):
  clips, tag_BO = held_out
  rows_NF, logits_BO = embed(synthetic.load(), clips)
  assert rows_NF.shape == (len(clips), train_embedder.WIDTHS[-1]) and logits_BO.shape == tag_BO.shape
  assert ((logits_BO > 0) == (tag_BO > 0.5)).mean() > 0.95
  assert (tag_BO.sum(axis=1) >= 1).all()


def test_frechet_distance_grows_with_noise_and_low_pass_filtering(held_out):
  clips, _ = held_out
  net, rng = synthetic.load(), np.random.default_rng(0)
  rows_NF, _ = embed(net, clips)

  def distance(change):
    changed = [embedder_lib.Clip(change(clip.wave_NA), spectra.RATE_HZ) for clip in clips]
    return set_distances.frechet(rows_NF, embed(net, changed)[0])

  def noisy(level_db):
    return distance(lambda wave_NA: wave_NA + rng.standard_normal(wave_NA.shape) * 10 ** (level_db / 20))

  def low_passed(keep):
    def change(wave_NA):
      spectrum_FA = np.fft.rfft(wave_NA, axis=0)
      spectrum_FA[int(keep * len(spectrum_FA)) :] = 0
      return np.fft.irfft(spectrum_FA, len(wave_NA), axis=0)

    return distance(change)

  assert noisy(-70) < noisy(-50) < noisy(-35)
  assert low_passed(0.8) < low_passed(0.3) < low_passed(0.1)


def test_any_sample_rate_channel_order_and_duration_is_embedded(held_out):
  clips, _ = held_out
  net, clip = synthetic.load(), clips[2]
  rows_NF = net.embed(clip)['rows_NF']
  swapped = embedder_lib.Clip(clip.wave_NA[:, ::-1], clip.sample_rate_hz)
  np.testing.assert_allclose(net.embed(swapped)['rows_NF'], rows_NF, atol=1e-5)
  short = embedder_lib.Clip(clip.wave_NA[:1000], 44100)
  assert np.isfinite(net.embed(short)['rows_NF']).all()
  assert net.scores(net.embed(clip)) == {} and net.metrics == synthetic.METRICS


def test_training_is_repeatable_and_scales_features_to_unit_variance(tmp_path):
  window_BSJR, tag_BO = train_embedder.render_examples(20)
  params = train_embedder.fit(window_BSJR, tag_BO, 20)
  features_BF, logits_BO = synthetic.apply(params, window_BSJR.astype(np.float32), np)
  plain = train_embedder.initialise(window_BSJR)
  both = [
    synthetic.apply(p, window_BSJR.astype(np.float32), np)
    for p in (plain, train_embedder.normalize_variance(plain, window_BSJR))
  ]
  assert both[0][0].var(axis=0).sum() > 1.1
  np.testing.assert_allclose(both[1][1], both[0][1], rtol=1e-4, atol=1e-4)
  assert features_BF.var(axis=0).sum() == pytest.approx(1.0, rel=1e-3)
  assert ((logits_BO > 0) == (tag_BO > 0.5)).mean() > 0.9
  for name in ('a.npz', 'b.npz'):
    synthetic.save(tmp_path / name, train_embedder.fit(window_BSJR, tag_BO, 20))
  assert (tmp_path / 'a.npz').read_bytes() == (tmp_path / 'b.npz').read_bytes()
  loaded = synthetic.load(tmp_path / 'a.npz')
  np.testing.assert_allclose(loaded.params['weight_3_IO'], params['weight_3_IO'], rtol=1e-3, atol=1e-4)


def test_missing_file_and_other_tags_are_refused(tmp_path, monkeypatch):
  with pytest.raises(FileNotFoundError, match=r'scripts\.train_embedder` trains it'):
    synthetic.load(tmp_path / 'synthetic.npz')
  synthetic.save(tmp_path / 'synthetic.npz', {'bias_0_O': np.zeros(1)})
  monkeypatch.setattr(synthetic, 'TAGS', ('one',))
  with pytest.raises(ValueError, match='was trained for the tags wood, .*; wanted one'):
    synthetic.load(tmp_path / 'synthetic.npz')
