"""Evaluation examples of the synthetic set."""

import numpy as np
import pytest

from v2a import clip as clip_lib
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.synthetic import clips

SPEC = clip_lib.ClipSpec(frame_size=16)


def test_data_is_a_seed_or_a_folder():
  assert synthetic_examples.parse_seed('synthetic:heldout') == synthetic_examples.HELDOUT_SEED
  assert synthetic_examples.parse_seed('synthetic:7') == 7
  assert synthetic_examples.parse_seed('some/folder') is None
  with pytest.raises(ValueError, match="got 'synthetic:-3'"):
    synthetic_examples.parse_seed('synthetic:-3')


def test_examples_have_clean_frames_and_paired_variants_with_the_same_audio():
  example = next(synthetic_examples.render(5, 1, SPEC, scenes=('strike',)))
  assert example.truth['look'] == 'clean'
  variant_MYX3 = example.paired_variant('archive')[0]
  assert variant_MYX3.shape == example.frames[0].shape and (variant_MYX3 != example.frames[0]).any()
  clip = clips.render(5, 0, scenes=('strike',), corruption='clean', frame_size=16)
  np.testing.assert_array_equal(example.wave_NA, record_schema.wave_to_int16(clip.wave_NA))
  no_music_NA = clip.wave_NA - clip.stems['music']
  np.testing.assert_array_equal(example.no_music_wave_NA, record_schema.wave_to_int16(no_music_NA))


def test_every_scene_has_the_same_number_of_clips_with_unique_names():
  found = list(synthetic_examples.render_every_scene(5, 2, SPEC))
  assert [example.truth['scene'] for example in found] == [scene for scene in clips.SCENES for _ in range(2)]
  assert len({example.name for example in found}) == len(found)
  alone = list(synthetic_examples.render(5, 2, SPEC, scenes=('strike',)))
  strikes = [example for example in found if example.truth['scene'] == 'strike']
  for example, same in zip(strikes, alone):
    assert example.truth == same.truth
    np.testing.assert_array_equal(example.wave_NA, same.wave_NA)
    np.testing.assert_array_equal(example.paired_variant('archive')[1], same.paired_variant('archive')[1])
