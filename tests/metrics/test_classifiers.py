"""The shipped classifiers on held-out clips, and a small training."""

import numpy as np
import pytest

from scripts import train_classifiers as pipeline
from v2a.data import synthetic_examples
from v2a.evaluation import check_classifiers
from v2a.metrics import classifiers


def test_seeds_are_distinct():
  assert len({pipeline.TRAIN_SEED, synthetic_examples.HELDOUT_SEED, check_classifiers.CHECK_SEED, 0}) == 4


def test_shipped_weights_are_small():
  assert sum(path.stat().st_size for path in classifiers.FOLDER.glob('*.npz')) < 1_000_000


def test_classifiers_on_a_few_held_out_clips():
  impacts = check_classifiers.render_ground_truth(
    check_classifiers.CHECK_SEED + 1, 16, ('bounce', 'collide', 'strike', 'hidden')
  )
  spoken = check_classifiers.render_ground_truth(check_classifiers.CHECK_SEED + 1, 4, ('dialogue',))
  result = check_classifiers.measure(impacts + spoken)
  assert result['onset_f1']['truth'] > 0.95
  assert result['material_accuracy']['truth'] > 0.9
  assert result['word_error_rate']['truth'] < 0.15
  assert result['music_rate']['truth'] > 0.85


@pytest.mark.slow
def test_classifiers_on_many_held_out_clips():
  result = check_classifiers.measure(check_classifiers.render_ground_truth(check_classifiers.CHECK_SEED, 400))
  assert result['onset_f1']['truth'] >= 0.98
  assert result['material_accuracy']['truth'] >= 0.98
  assert result['music_rate']['truth'] >= 0.98 and result['music_rate']['other'] <= 0.02
  assert result['word_error_rate']['truth'] <= 0.05
  assert result['panning_correlation']['truth'] >= 0.9
  assert result['lip_lag_ms']['truth'] <= 20


def test_nothing_is_detected_in_silence():
  loaded = classifiers.load()
  silence_NA = np.zeros((64000, 2))
  assert len(loaded.onsets(silence_NA)) == 0
  assert loaded.material(silence_NA) is None
  assert loaded.words(silence_NA) == []
  assert not loaded.has_music(silence_NA)


def test_words_are_normalized():
  assert classifiers.split_words("  Mary's dog, RUNS home! ") == ["mary's", 'dog', 'runs', 'home']


def test_missing_weights_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'onset\.npz.*scripts\.train_classifiers'):
    classifiers.load(tmp_path)


def test_small_training_learns_and_is_deterministic(tmp_path):
  pipeline.train(tmp_path, ('onset',), scale=0.06)
  loaded = classifiers.load_some(tmp_path, ('onset',))
  clips = check_classifiers.render_ground_truth(check_classifiers.CHECK_SEED + 2, 4, ('strike',))
  found = [len(loaded.onsets(wave_NA)) for wave_NA, _ in clips]
  assert sum(found) > 0
  again = tmp_path / 'again'
  pipeline.train(again, ('onset',), scale=0.06)
  assert (again / 'onset.npz').read_bytes() == (tmp_path / 'onset.npz').read_bytes()
