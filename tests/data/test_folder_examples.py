"""Evaluation examples from folders of records and of videos, and errors in them."""

import json
import os

import numpy as np
import pytest

from tests.media import films
from v2a import clip as clip_lib
from v2a import files
from v2a.data import examples
from v2a.data import fake_records
from v2a.data import folder_examples
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.evaluation import evaluate
from v2a.metrics import synthetic
from v2a.synthetic import clips
from v2a.synthetic import truth as truth_lib

SPEC = clip_lib.ClipSpec(frame_size=16)


def test_records_become_examples(tmp_path):
  clip = clips.render(5, 0, scenes=('bounce',), corruption='clean', frame_size=16)
  semantic_frame_MYX3, sync_frame_LYX3 = examples.resample_frames(clip.frame_LYX3, 25, SPEC)
  record = fake_records.make(SPEC) | {
    'id': 'one',
    'wave_NA': record_schema.wave_to_int16(clip.wave_NA),
    'semantic_frame_MYX3': semantic_frame_MYX3,
    'sync_frame_LYX3': sync_frame_LYX3,
    'truth': json.dumps(clip.truth),
    'has_video': True,
    'has_audio': True,
    'num_valid_samples': SPEC.num_samples,
  }
  record_writer.write(tmp_path / 'data', [record, record | {'id': 'two', 'truth': ''}], SPEC)
  found = list(folder_examples.read(tmp_path / 'data', None, SPEC))
  assert [example.name for example in found] == ['one', 'two']
  assert found[1].truth == truth_lib.text_only(record['text'], '')
  assert found[0].truth == json.loads(json.dumps(clip.truth))
  assert found[0].paired_variant is None
  np.testing.assert_array_equal(found[0].wave_NA, record['wave_NA'])


def test_skipped_records_are_counted(tmp_path):
  truth = json.dumps(clips.render(5, 0, scenes=('bounce',), frame_size=16).truth)
  items = [fake_records.make(SPEC, seed) | {'truth': truth} for seed in range(5)]
  items[1]['truth'] = ''
  items[2]['has_audio'] = False
  record_writer.write(tmp_path / 'data', items, SPEC)
  skipped = {}
  assert len(list(folder_examples.read(tmp_path / 'data', None, SPEC, skipped))) == 4
  assert [*map(len, skipped.values())] == [1] and [*skipped] == ['no sound in the record']
  skipped = {}
  assert len(list(folder_examples.read(tmp_path / 'data', 1, SPEC, skipped))) == 1
  assert [*map(len, skipped.values())] == [4] and [*skipped] == [folder_examples.OVER_NUM_CLIPS]


def test_videos_without_ground_truth_become_examples(tmp_path):
  sound = films.clicks(5.0, 44100)
  for name, duration_s in (('a', 5.0), ('b', 5.0), ('short', 2.0)):
    films.make(tmp_path / name, duration_s=duration_s, wave_NA=sound)
  films.make(tmp_path / 'mute', duration_s=5.0)
  films.make(tmp_path / 'empty', duration_s=5.0, wave_NA=np.zeros((5 * 44100, 2), np.float32))
  late_NA = sound * (np.arange(len(sound)) > 4.2 * 44100)[:, None]  # silence in the part that is evaluated
  films.make(tmp_path / 'late', duration_s=5.0, wave_NA=late_NA.astype(np.float32))
  (tmp_path / 'broken.mp4').write_text('no video')
  (tmp_path / 'a.txt').write_text('a  dog barks\n')
  # Words without times may be spoken after the first seconds.
  (tmp_path / 'b.json').write_text('{"annotation": "rain", "transcript": "hello"}')
  films.make(tmp_path / 'c', duration_s=4.0, wave_NA=sound)
  (tmp_path / 'c.json').write_text('{"transcript": "hello"}')
  films.make(tmp_path / 'd', duration_s=5.0, wave_NA=sound)
  spoken = [{'word': 'now', 'start_s': 1.0}, {'word': 'later', 'start_s': 4.5}]
  (tmp_path / 'd.json').write_text(json.dumps({'words': spoken}))
  skipped = {}
  a, b, c, d = folder_examples.read(tmp_path, None, SPEC, skipped)
  assert (a.name, a.truth) == ('a', truth_lib.text_only('a dog barks', ''))
  assert (b.name, b.truth) == ('b', truth_lib.text_only('rain', ''))
  assert (c.truth['transcript'], d.truth['transcript']) == ('hello', 'now')
  assert a.wave_NA.shape == (64000, 2) and a.frames[1].shape == (100, 16, 16, 3)
  short, silent = 'the video is shorter than 4 s', 'no sound in the video'
  unreadable = 'the video or its sidecar cannot be read'
  assert skipped == {short: ['short'], silent: ['empty', 'late', 'mute'], unreadable: ['broken']}
  assert not any(metric.selects(b.truth) for metric in synthetic.METRICS.values())
  with pytest.raises(ValueError, match='none of which can be evaluated on: 1 x the video is shorter'):
    (tmp_path / 'mute').mkdir()
    (tmp_path / 'short.mp4').rename(tmp_path / 'mute' / 'short.mp4')
    list(folder_examples.read(tmp_path / 'mute', None, SPEC))


def test_a_video_may_have_any_file_name(tmp_path):
  film = films.make(tmp_path / 'a', duration_s=4.0, wave_NA=films.clicks(4.0, 44100))
  film.rename(os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9\n.mp4'))
  (example,) = folder_examples.read(tmp_path, None, SPEC)
  assert example.name == 'caf\\xe9\\n' and example.video.is_file()


def test_subtitles_become_a_transcript_with_times(tmp_path):
  films.make(tmp_path / 'a', duration_s=5.0, wave_NA=films.clicks(5.0, 44100))
  cues = [('1.000', '3.000', '<i>one</i> two'), ('3.500', '4.700', 'three four')]
  for suffix, mark, point in (('.vtt', 'WEBVTT\n\n', '.'), ('.srt', '', ',')):
    blocks = [
      f'{k}\n00:00:0{begin} --> 00:00:0{end}\n{text}\n' for k, (begin, end, text) in enumerate(cues, 1)
    ]
    (tmp_path / f'a{suffix}').write_text(mark + '\n'.join(blocks).replace('.', point))
    (example,) = folder_examples.read(tmp_path, None, SPEC)
    assert example.truth['transcript'] == 'one two three'
    condition = examples.generation_inputs(example, 'clean', '', 0)
    assert (condition.transcript, condition.word_times_s) == ('one two three', pytest.approx((1.5, 2.5, 3.8)))
    (tmp_path / f'a{suffix}').unlink()
  (example,) = folder_examples.read(tmp_path, None, SPEC)
  assert examples.generation_inputs(example, 'clean', '', 0).word_times_s is None


def test_a_missing_or_empty_folder_is_an_error(tmp_path):
  with pytest.raises(FileNotFoundError, match='no folder'):
    list(folder_examples.read(tmp_path / 'absent', None, SPEC))
  with pytest.raises(ValueError, match='neither records'):
    list(folder_examples.read(tmp_path, None, SPEC))


BAD_SIDECARS = {
  'no json': '{',
  'no object': '[1]',
  'not utf-8': None,
  'deep': '[' * 100000,
  'a truth that lacks keys': '{"scene": "bounce"}',
  'words': '{"words": 3}',
  'annotation': '{"annotation": 3}',
  'a truth of other types': json.dumps(truth_lib.text_only('a', 'b') | {'events': [3]}),
}


@pytest.mark.parametrize('name', BAD_SIDECARS)
def test_a_malformed_sidecar_skips_one_video_only(name, tmp_path):
  sound = films.clicks(4.0, 44100)
  for stem in ('a', 'b'):
    films.make(tmp_path / stem, duration_s=4.0, wave_NA=sound)
  text = BAD_SIDECARS[name]
  (tmp_path / 'a.json').write_bytes(b'{"annotation": "\xff"}' if text is None else text.encode())
  lines, skipped, failures = [], {}, []
  found = list(folder_examples.read(tmp_path, None, SPEC, skipped, lines.append, failures))
  assert [example.name for example in found] == ['b']
  assert len(failures) == 1 and str(tmp_path / 'a') in failures[0] and '\n' not in failures[0]
  assert lines == [f'left out: {failures[0]}'] and [*skipped.values()] == [['a']]


def test_any_error_of_a_decoder_skips_one_video_only(tmp_path, monkeypatch):
  sound = films.clicks(4.0, 44100)
  for stem in ('a', 'b'):
    films.make(tmp_path / stem, duration_s=4.0, wave_NA=sound)
  frames = folder_examples.media_read.frames

  def broken(path, *args):
    if path.stem == 'a':
      raise IndexError('list index out of range')
    return frames(path, *args)

  monkeypatch.setattr(folder_examples.media_read, 'frames', broken)
  failures = []
  assert [example.name for example in folder_examples.read(tmp_path, None, SPEC, failures=failures)] == ['b']
  assert failures == [f'{tmp_path}/a.mp4: IndexError: list index out of range (V2A_DEBUG=1 shows where)']


@pytest.mark.stores
def test_records_of_an_object_store_become_examples(s3, tmp_path, monkeypatch):
  monkeypatch.setenv('V2A_CACHE', str(tmp_path))
  record_writer.write(s3 / 'data', [fake_records.make(SPEC, seed) | {'truth': ''} for seed in range(3)], SPEC)
  evaluate.EvaluateConfig(f'{s3}/data').check()
  found = list(folder_examples.read(f'{s3}/data', 2, SPEC))
  assert [example.name for example in found] == ['fake/0', 'fake/1']
  with pytest.raises(FileNotFoundError, match="got 's3://.*/none'"):
    evaluate.EvaluateConfig(f'{s3}/none').check()
  files.write_text(s3 / 'videos' / 'a.mp4', '')
  with pytest.raises(ValueError, match='holds no records .*; videos are read from local folders'):
    evaluate.EvaluateConfig(f'{s3}/videos').check()
