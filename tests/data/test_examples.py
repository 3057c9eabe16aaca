"""Clips to evaluate on: of the world, of folders, and what is wrong with them."""

import json
import os

import numpy as np
import pytest

from tests.media import films
from v2a import clip as clip_lib
from v2a.data import examples
from v2a.data import fake_records
from v2a.data import record_schema
from v2a.data import records
from v2a.metrics import synthetic
from v2a.synthetic import clips

SPEC = clip_lib.ClipSpec(frame_size=16)


def test_frames_are_those_on_screen():
  frame_LYX3 = np.arange(100)[:, None, None, None].repeat(3, axis=3).astype(np.uint8)
  semantic_frame_MYX3, sync_frame_LYX3 = examples.resample_frames(frame_LYX3, 25, SPEC)
  assert semantic_frame_MYX3.shape[0] == 32
  np.testing.assert_array_equal(semantic_frame_MYX3[:, 0, 0, 0], np.arange(32) * 25 // 8)
  np.testing.assert_array_equal(sync_frame_LYX3[:, 0, 0, 0], np.arange(100))


def test_data_names_a_seed_a_folder_or_nothing():
  assert examples.synthetic_seed('world:heldout') == examples.HELDOUT_SEED
  assert examples.synthetic_seed('world:7') == 7
  assert examples.synthetic_seed('some/folder') is None
  with pytest.raises(ValueError, match="got 'world:-3'"):
    examples.synthetic_seed('world:-3')


def test_world_cases_have_clean_pictures_and_twins_of_the_same_sound():
  case = next(examples.from_synthetic(5, 1, SPEC, scenes=('strike',)))
  assert case.truth['look'] == 'clean'
  twin_MYX3 = case.paired_variant('archive')[0]
  assert twin_MYX3.shape == case.frames[0].shape and (twin_MYX3 != case.frames[0]).any()
  made = clips.render(5, 0, scenes=('strike',), corruption='clean', frame_size=16)
  np.testing.assert_array_equal(case.wave_NA, record_schema.wave_to_int16(made.wave_NA))
  dry_NA = made.wave_NA - made.stems['music']
  np.testing.assert_array_equal(case.no_music_wave_NA, record_schema.wave_to_int16(dry_NA))


def test_every_scene_gives_as_many_clips_with_names_of_their_own():
  found = list(examples.from_every_scene(5, 2, SPEC))
  assert [case.truth['scene'] for case in found] == [scene for scene in clips.SCENES for _ in range(2)]
  assert len({case.name for case in found}) == len(found)
  alone = list(examples.from_synthetic(5, 2, SPEC, scenes=('strike',)))
  strikes = [case for case in found if case.truth['scene'] == 'strike']
  for case, same in zip(strikes, alone):
    assert case.truth == same.truth
    np.testing.assert_array_equal(case.wave_NA, same.wave_NA)
    np.testing.assert_array_equal(case.paired_variant('archive')[1], same.paired_variant('archive')[1])


def test_records_with_truth_become_cases(tmp_path):
  made = clips.render(5, 0, scenes=('bounce',), corruption='clean', frame_size=16)
  semantic_frame_MYX3, sync_frame_LYX3 = examples.resample_frames(made.frame_LYX3, 25, SPEC)
  record = fake_records.make(SPEC) | {
    'id': 'one',
    'wave_NA': record_schema.wave_to_int16(made.wave_NA),
    'semantic_frame_MYX3': semantic_frame_MYX3,
    'sync_frame_LYX3': sync_frame_LYX3,
    'truth': json.dumps(made.truth),
    'has_video': True,
    'has_audio': True,
    'num_valid_samples': SPEC.num_samples,
  }
  records.write(tmp_path / 'data', [record, record | {'id': 'two', 'truth': ''}], SPEC)
  found = list(examples.from_folder(tmp_path / 'data', None, SPEC))
  assert [case.name for case in found] == ['one', 'two']
  assert found[1].truth == examples.text_only_truth(record['text'], '')
  assert found[0].truth == json.loads(json.dumps(made.truth))
  assert found[0].paired_variant is None
  np.testing.assert_array_equal(found[0].wave_NA, record['wave_NA'])


def test_what_is_left_out_is_counted(tmp_path):
  truth = json.dumps(clips.render(5, 0, scenes=('bounce',), frame_size=16).truth)
  made = [fake_records.make(SPEC, seed) | {'truth': truth} for seed in range(5)]
  made[1]['truth'] = ''
  made[2]['has_audio'] = False
  records.write(tmp_path / 'data', made, SPEC)
  left_out = {}
  assert len(list(examples.from_folder(tmp_path / 'data', None, SPEC, left_out))) == 4
  assert left_out == {'no sound in the record': 1}
  left_out = {}
  assert len(list(examples.from_folder(tmp_path / 'data', 1, SPEC, left_out))) == 1
  assert left_out == {examples.OVER_NUM_CLIPS: 4}


def test_videos_of_which_nothing_is_known_become_cases(tmp_path):
  sound = films.clicks(5.0, 44100)
  for name, duration_s in (('a', 5.0), ('b', 5.0), ('short', 2.0)):
    films.make(tmp_path / name, duration_s=duration_s, wave_NA=sound)
  films.make(tmp_path / 'mute', duration_s=5.0)
  films.make(tmp_path / 'empty', duration_s=5.0, wave_NA=np.zeros((5 * 44100, 2), np.float32))
  late_NA = sound * (np.arange(len(sound)) > 4.2 * 44100)[:, None]  # nothing in what is evaluated
  films.make(tmp_path / 'late', duration_s=5.0, wave_NA=late_NA.astype(np.float32))
  (tmp_path / 'broken.mp4').write_text('no video')
  (tmp_path / 'a.txt').write_text('a  dog barks\n')
  # What is said, and not when, may be said after the first seconds.
  (tmp_path / 'b.json').write_text('{"annotation": "rain", "transcript": "hello"}')
  films.make(tmp_path / 'c', duration_s=4.0, wave_NA=sound)
  (tmp_path / 'c.json').write_text('{"transcript": "hello"}')
  films.make(tmp_path / 'd', duration_s=5.0, wave_NA=sound)
  spoken = [{'word': 'now', 'start_s': 1.0}, {'word': 'later', 'start_s': 4.5}]
  (tmp_path / 'd.json').write_text(json.dumps({'words': spoken}))
  left_out = {}
  a, b, c, d = examples.from_folder(tmp_path, None, SPEC, left_out)
  assert (a.name, a.truth) == ('a', examples.text_only_truth('a dog barks', ''))
  assert (b.name, b.truth) == ('b', examples.text_only_truth('rain', ''))
  assert (c.truth['transcript'], d.truth['transcript']) == ('hello', 'now')
  assert a.wave_NA.shape == (64000, 2) and a.frames[1].shape == (100, 16, 16, 3)
  short, silent = 'the video is shorter than 4 s', 'no sound in the video'
  assert left_out == {short: 1, silent: 3, 'the video or its sidecar cannot be read': 1}
  assert not any(figure.selects(b.truth) for figure in synthetic.METRICS.values())
  with pytest.raises(ValueError, match='none of which can be evaluated on: 1 x the video is shorter'):
    (tmp_path / 'mute').mkdir()
    (tmp_path / 'short.mp4').rename(tmp_path / 'mute' / 'short.mp4')
    list(examples.from_folder(tmp_path / 'mute', None, SPEC))


def test_a_video_may_have_any_name(tmp_path):
  film = films.make(tmp_path / 'a', duration_s=4.0, wave_NA=films.clicks(4.0, 44100))
  film.rename(os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9\n.mp4'))
  (case,) = examples.from_folder(tmp_path, None, SPEC)
  assert case.name == 'caf\\xe9\\n' and case.video.is_file()


def test_subtitles_beside_a_video_are_said_in_time(tmp_path):
  films.make(tmp_path / 'a', duration_s=5.0, wave_NA=films.clicks(5.0, 44100))
  cues = [('1.000', '3.000', '<i>one</i> two'), ('3.500', '4.700', 'three four')]
  for suffix, mark, point in (('.vtt', 'WEBVTT\n\n', '.'), ('.srt', '', ',')):
    blocks = [
      f'{k}\n00:00:0{begin} --> 00:00:0{end}\n{text}\n' for k, (begin, end, text) in enumerate(cues, 1)
    ]
    (tmp_path / f'a{suffix}').write_text(mark + '\n'.join(blocks).replace('.', point))
    (case,) = examples.from_folder(tmp_path, None, SPEC)
    assert case.truth['transcript'] == 'one two three'
    condition = examples.generation_inputs(case, 'clean', '', 0)
    assert (condition.transcript, condition.word_times_s) == ('one two three', pytest.approx((1.5, 2.5, 3.8)))
    (tmp_path / f'a{suffix}').unlink()
  (case,) = examples.from_folder(tmp_path, None, SPEC)
  assert examples.generation_inputs(case, 'clean', '', 0).word_times_s is None


def test_faults_of_folders_are_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='no folder'):
    list(examples.from_folder(tmp_path / 'absent', None, SPEC))
  with pytest.raises(ValueError, match='neither records'):
    list(examples.from_folder(tmp_path, None, SPEC))
  with pytest.raises(ValueError, match='must be JSON'):
    examples.parse_truth('{', 'x.json')
  with pytest.raises(ValueError, match='lacks annotation'):
    examples.parse_truth('{"scene": "bounce"}', 'x.json')


BAD_SIDECARS = {
  'no json': '{',
  'no object': '[1]',
  'not utf-8': None,
  'deep': '[' * 100000,
  'a truth that lacks keys': '{"scene": "bounce"}',
  'words': '{"words": 3}',
  'annotation': '{"annotation": 3}',
  'a truth of other types': json.dumps(examples.text_only_truth('a', 'b') | {'events': [3]}),
}


@pytest.mark.parametrize('name', BAD_SIDECARS)
def test_one_bad_sidecar_costs_the_others_nothing(name, tmp_path):
  sound = films.clicks(4.0, 44100)
  for stem in ('a', 'b'):
    films.make(tmp_path / stem, duration_s=4.0, wave_NA=sound)
  text = BAD_SIDECARS[name]
  (tmp_path / 'a.json').write_bytes(b'{"annotation": "\xff"}' if text is None else text.encode())
  said, left_out, failures = [], {}, []
  found = list(examples.from_folder(tmp_path, None, SPEC, left_out, said.append, failures))
  assert [case.name for case in found] == ['b']
  assert len(failures) == 1 and str(tmp_path / 'a') in failures[0] and '\n' not in failures[0]
  assert said == [f'left out: {failures[0]}'] and sum(left_out.values()) == 1


def test_whatever_a_decoder_raises_costs_the_others_nothing(tmp_path, monkeypatch):
  sound = films.clicks(4.0, 44100)
  for stem in ('a', 'b'):
    films.make(tmp_path / stem, duration_s=4.0, wave_NA=sound)
  frames = examples.read.frames

  def broken(path, *args):
    if path.stem == 'a':
      raise IndexError('list index out of range')
    return frames(path, *args)

  monkeypatch.setattr(examples.read, 'frames', broken)
  failures = []
  assert [case.name for case in examples.from_folder(tmp_path, None, SPEC, failures=failures)] == ['b']
  assert failures == [f'{tmp_path}/a.mp4: IndexError: list index out of range (V2A_DEBUG=1 shows where)']
