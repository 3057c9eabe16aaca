"""Records from folders of videos."""

import fractions
import json
import os
import pathlib
import signal
import time

import numpy as np
import pytest

from data_pipelines import clip_records
from tests.media import films
from v2a import clip
from v2a import manifests
from v2a.data import record_schema
from v2a.data import record_writer
from v2a.data import records
from v2a.media import read
from v2a.media import sidecar

SPEC = clip.ClipSpec(clip_s=1.0, frame_size=32)


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> pathlib.Path:
  """Four good videos, one bad, one too short, and their sidecars."""
  root = tmp_path_factory.mktemp('videos')
  (root / 'deep').mkdir()
  films.make(root / 'long', 'mp4', duration_s=3.6, wave_NA=films.clicks(3.6, 44100))
  films.make(root / 'deep' / 'two', 'mkv', duration_s=2.0, wave_NA=np.zeros((96000, 2), np.float32))
  films.make(root / 'mute', 'mp4', duration_s=1.2)
  films.make(root / 'short', 'mp4', duration_s=0.6, wave_NA=films.clicks(0.6, 44100))
  films.make(root / 'tiny', 'mp4', duration_s=0.2)
  films.make(root / '.hidden', 'mp4', duration_s=1.0)
  (root / 'bad.mp4').write_text('no video')
  (root / 'long.txt').write_text('a row of\n  clicks\n')
  words = [{'word': word, 'start_s': k, 'end_s': k + 0.5} for k, word in enumerate(('one', 'two', 'three'))]
  (root / 'long.json').write_text(json.dumps({'transcript': 'one two three', 'words': words, 'seed': 3}))
  nothing = {'annotation': 'nothing', 'transcript': 'said somewhere'}
  (root / 'deep' / 'two.json').write_text(json.dumps(nothing))
  (root / 'mute.json').write_text(json.dumps({'annotation': 'a wheel', 'transcript': 'hello'}))
  (root / 'readme.txt').write_text('not a video')
  return root


def test_records_of_a_folder(folder, tmp_path, capsys):
  argv = ['--source', str(folder), '--output', str(tmp_path / 'out'), '--clip-seconds', '1']
  assert clip_records.main([*argv, '--size', '32']) == 1
  lines = capsys.readouterr().err.splitlines()
  lines = [line for line in lines if 'note: ' not in line]
  assert '8 records' in lines[-3] and '6/6 videos' in lines[-3] and 'left' in lines[-3]
  assert 'bad.mp4: is not a media file' in lines[-2]
  assert 'tiny.mp4: lasts 0.20 s; wanted at least 0.5 s' in lines[-1]
  assert len(records.open(tmp_path / 'out')) == 8
  assert [path.name for path in tmp_path.iterdir()] == ['out']


def test_file_names_of_any_bytes_give_records(tmp_path, capsys):
  source = tmp_path / 'videos'
  source.mkdir()
  names = (b'caf\xe9', b'caf\\xe9', b'a\nb', '\u97f3'.encode() * 83, b'$x$ "50%d":')
  for name in names:
    video = films.make(tmp_path / 'film', 'mp4', duration_s=1.0)
    video.rename(os.fsdecode(os.fsencode(source) + b'/' + name + b'.mp4'))
  (source / os.fsdecode(b'bad\xe9.mp4')).write_text('no video')
  faults = clip_records.build(source, tmp_path / 'out', SPEC)
  (fault,) = faults
  assert f'{source}/bad\\xe9.mp4' in fault
  found = records.open(tmp_path / 'out')
  ids = ['$x$ "50%d":', 'a\\nb', 'caf\\\\xe9', 'caf\\xe9', '\u97f3' * 83]
  assert sorted(found[k]['id'] for k in range(5)) == sorted(f'{name}.mp4@0.000' for name in ids)
  output = os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9')
  assert clip_records.main(['--source', str(source), '--output', output]) == 2
  assert 'caf\\xe9: the path of records must be UTF-8' in capsys.readouterr().err


def test_a_generation_manifest_is_not_read_as_annotation(tmp_path):
  texts = {'seed': 0, 'prompt': '', 'negative_prompt': '', 'transcript': 'requested', 'word_times_s': None}
  source = {'sha256': None, 'start_s': 0.0, 'requested_duration_s': None}
  sealed = manifests.with_digests(
    {'model_digest': '', 'input': source, 'settings': {'num_samples': 1}, **texts}, 'a.json', {}
  )
  (tmp_path / 'a.json').write_text(json.dumps(sealed))
  assert sidecar.read(tmp_path / 'a.mp4') == sidecar.Sidecar()


def test_windows_have_the_frames_and_audio_of_their_time(folder, tmp_path):
  faults = clip_records.build(folder, tmp_path / 'out', SPEC, num_workers=3)
  assert len(faults) == 2
  found = records.open(tmp_path / 'out')
  all_records = [found[index] for index in range(len(found))]
  assert [record['id'] for record in all_records] == [
    'deep/two.mkv@0.000',
    'deep/two.mkv@1.000',
    'long.mp4@0.000',
    'long.mp4@1.000',
    'long.mp4@2.000',
    'long.mp4@2.600',
    'mute.mp4@0.000',
    'short.mp4@0.000',
  ]
  wave_NA = films.clicks(3.6, 16000)
  for record, start_s in zip(all_records[2:6], (0.0, 1.0, 2.0, 2.6)):
    first = round(start_s * 25)
    sync_numbers = [films.frame_number(frame_YX3) for frame_YX3 in record['sync_frame_LYX3']]
    assert sync_numbers == list(range(first, first + 25))
    semantic_numbers = [films.frame_number(frame_YX3) for frame_YX3 in record['semantic_frame_MYX3']]
    assert semantic_numbers == [first + k * 25 // 8 for k in range(8)]
    expected_N = wave_NA[round(start_s * 16000) : round((start_s + 1) * 16000), 0]
    assert abs(films.lag_s(record_schema.wave_to_float(record['wave_NA'])[:, 0], expected_N, 16000)) < 1e-3
    assert record['text'] == 'a row of clicks' and record['has_audio'] and record['has_video']
  assert [record['transcript'] for record in all_records] == ['', '', 'one', 'two', 'three', '', 'hello', '']
  assert [record['has_audio'] for record in all_records] == [
    False,
    False,
    True,
    True,
    True,
    True,
    False,
    True,
  ]
  assert all_records[0]['text'] == 'nothing' and all_records[6]['text'] == 'a wheel'
  short = all_records[7]
  assert [films.frame_number(frame_YX3) for frame_YX3 in short['sync_frame_LYX3']] == [*range(15), *[14] * 10]
  assert not short['wave_NA'][round(0.7 * 16000) :].any()
  assert [record['num_valid_samples'] for record in all_records] == [16000] * 7 + [9600]


def test_omitted_content_is_reported(tmp_path, capsys):
  root = tmp_path / 'in'
  root.mkdir()
  for name, kind, duration_s in (('a', 'mp4', 1.0), ('a', 'mov', 1.0), ('b', 'mp4', 2.3), ('c', 'mp4', 1.4)):
    films.make(root / name, kind, duration_s=duration_s)
  (root / 'a.txt').write_text('x' * 200)
  (root / 'b.json').write_text(json.dumps({'transcript': 'said somewhere', 'caption': 'x', 'label': 3}))
  argv = ['--source', str(root), '--output', str(tmp_path / 'out'), '--clip-seconds', '1']
  assert clip_records.main(argv) == 0
  notes = [line for line in capsys.readouterr().err.splitlines() if 'note: ' in line]
  for expected in (
    'a.mov and a.mp4 share a.txt: these sidecars are used for each of the videos',
    'the .json of 1 video (b.mp4) has unknown keys: caption, label; known keys are',
    'the transcript of 1 video (b.mp4) is omitted: no times, but several windows',
    'the ends of 2 videos (b.mp4, c.mp4), 0.7 s in total, are omitted',
    '2 of 5 annotations are longer than the 128 bytes that the model reads',
  ):
    assert sum(expected in note for note in notes) == 1, (expected, notes)
  assert len(notes) == 5


def test_has_audio_is_decided_per_window(tmp_path):
  (tmp_path / 'in').mkdir()
  wave_NA = films.clicks(3.0, 44100)
  wave_NA[44100:88200] = 0
  films.make(tmp_path / 'in' / 'pause', 'mp4', duration_s=3.0, wave_NA=wave_NA)
  assert not clip_records.build(tmp_path / 'in', tmp_path / 'out', SPEC)
  found = records.open(tmp_path / 'out')
  assert [found[index]['has_audio'] for index in range(3)] == [True, False, True]


def test_subtitles_are_assigned_to_their_windows(tmp_path):
  (tmp_path / 'in').mkdir()
  films.make(tmp_path / 'in' / 'a', 'mp4', duration_s=3.0)
  (tmp_path / 'in' / 'a.srt').write_text('1\n00:00:00,500 --> 00:00:02,500\n<i>one</i> two\nthree four\n')
  assert not clip_records.build(tmp_path / 'in', tmp_path / 'out', SPEC)
  found = records.open(tmp_path / 'out')
  assert [found[index]['transcript'] for index in range(3)] == ['one', 'two three', 'four']
  # A video with subtitles that cannot be parsed is skipped, and the file is named.
  films.make(tmp_path / 'in' / 'b', 'mp4', duration_s=3.0)
  (tmp_path / 'in' / 'b.vtt').write_text('hello')
  (fault,) = clip_records.build(tmp_path / 'in', tmp_path / 'out2', SPEC)
  assert 'b.vtt: has no cue' in fault


def test_records_do_not_depend_on_the_number_of_workers(folder, tmp_path):
  for num_workers in (1, 4):
    clip_records.build(folder, tmp_path / str(num_workers), SPEC, num_workers)
  assert records.open(tmp_path / '1').hash == records.open(tmp_path / '4').hash


@pytest.mark.parametrize(
  ('duration_s', 'clip_s', 'want'),
  [
    (8.0, 4.0, [0, 4]),
    (7.9999, 4.0, [0, 4]),
    (10.0, 4.0, [0, 4, 6]),
    (9.9, 4.0, [0, 4]),
    (4.0, 4.0, [0]),
    (2.0, 4.0, [0]),
    (1.9, 4.0, []),
  ],
)
def test_window_starts(duration_s, clip_s, want):
  found = clip_records.window_starts(duration_s, fractions.Fraction(clip_s))
  assert [float(start_s) for start_s in found] == pytest.approx(want)


@pytest.mark.parametrize(
  ('argv', 'message'),
  [
    ([], 'the following arguments are required: --source, --output'),
    (['--source', 'nowhere', '--output', 'x'], '--source must be a folder; got nowhere'),
    (['--source', '.', '--output', 'x', '--clip-seconds', 'four'], "wanted a number above 0; got 'four'"),
    *(
      (['--source', '.', '--output', 'x', f'{flag}={text}'], words)
      for flag, text, words in [
        ('--clip-seconds', '-1', "wanted a number above 0; got '-1'"),
        ('--clip-seconds', 'nan', "wanted a number above 0; got 'nan'"),
        ('--clip-seconds', 'inf', "wanted a number above 0; got 'inf'"),
        ('--clip-seconds', '1e300', 'clip_s must be at most 86400; got 1e+300'),
        ('--clip-seconds', '1e-9', 'clip_s must be at least 0.000001; got 1e-09'),
        ('--size', '1_000', "wanted a whole number of at least 1; got '1_000'"),
        ('--size', '9' * 401, "'... (401 characters)"),
        ('--size', '9' * 50, 'frame_size must be at most 8192; got 999'),
        ('--sample-rate', '0', "wanted a whole number of at least 1; got '0'"),
        ('--sample-rate', '9' * 50, 'sample_rate_hz must be at most 768000'),
        ('--num-channels', '3', "wanted a whole number in 1..2; got '3'"),
        ('--num-workers', '0', "--num-workers: wanted a whole number in 1..1024; got '0'"),
        ('--num-workers', '9' * 50, 'wanted a whole number in 1..1024'),
      ]
    ),
    (['--source', '.', '--output', 'x', '--what'], 'unrecognized arguments: --what'),
    (['--source', '.', '--output', 'x', '--config', 'no_such'], 'no_such'),
  ],
)
def test_bad_arguments_are_one_line_and_exit_code_2(argv, message, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  assert clip_records.main(argv) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('data_pipelines.clip_records: ') and message in line
  assert not list(tmp_path.iterdir())


def test_folders_without_usable_videos_are_refused(tmp_path, capsys):
  (tmp_path / 'in').mkdir()
  argv = ['--source', str(tmp_path / 'in'), '--output', str(tmp_path / 'out')]
  assert clip_records.main(argv) == 2 and 'has no video' in capsys.readouterr().err
  (tmp_path / 'in' / 'a.mp4').write_text('no')
  assert clip_records.main(argv) == 2 and 'none of the 1 videos' in capsys.readouterr().err.splitlines()[-1]
  films.make(tmp_path / 'in' / 'b', 'mp4', duration_s=2.0)
  (tmp_path / 'out').mkdir()
  assert clip_records.main(argv) == 2 and 'exists already' in capsys.readouterr().err
  assert sorted(path.name for path in tmp_path.iterdir()) == ['in', 'out']
  assert not list((tmp_path / 'out').iterdir())


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{', 'is not valid JSON'),
    ('[]', 'wanted a JSON object'),
    ('{"annotation": 3}', 'annotation must be a string'),
    ('{"words": [{"word": "a"}]}', 'words must be a list'),
  ],
)
def test_malformed_sidecars_are_refused(tmp_path, text, message):
  path = films.make(tmp_path / 'a', 'mp4', duration_s=2.0)
  path.with_suffix('.json').write_text(text)
  with pytest.raises(ValueError, match=message):
    sidecar.read(path)


def test_an_interrupt_leaves_no_output(folder, tmp_path, monkeypatch):
  added = []

  def interrupt(self, record):
    if len(added) == 2:
      raise KeyboardInterrupt
    added.append(record)

  monkeypatch.setattr(record_writer.Writer, 'add', interrupt)
  argv = ['--source', str(folder), '--output', str(tmp_path / 'out'), '--clip-seconds', '1']
  assert clip_records.main(argv) == 130
  assert len(added) == 2 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(('number', 'code'), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_no_output(number, code, folder, tmp_path, monkeypatch, capsys):
  def stop(self, record):
    os.kill(os.getpid(), number)
    time.sleep(5)

  monkeypatch.setattr(record_writer.Writer, 'add', stop)
  argv = ['--source', str(folder), '--output', str(tmp_path / 'out'), '--clip-seconds', '1']
  assert clip_records.main(argv) == code and not list(tmp_path.iterdir())
  line = capsys.readouterr().err.splitlines()[-1]
  assert line == f'data_pipelines.clip_records: interrupted; nothing was written ({number.name})'


@pytest.mark.parametrize(
  'fault',
  [IndexError('list index out of range'), MemoryError(), KeyError('s64'), OSError(5, 'Input/output error')],
)
def test_an_error_in_one_video_skips_that_video_only(fault, folder, tmp_path, monkeypatch, capsys):
  original = clip_records.make_records

  def make(path, name, spec, omitted):
    if path.name == 'mute.mp4':
      raise fault
    return original(path, name, spec)

  monkeypatch.setattr(clip_records, 'make_records', make)
  argv = ['--source', str(folder), '--output', str(tmp_path / 'out'), '--clip-seconds', '1', '--size', '32']
  assert clip_records.main(argv) == 1
  assert f'skipped: {folder}/mute.mp4: ' in capsys.readouterr().err
  assert len(records.open(tmp_path / 'out')) == 7


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_dead_worker_is_reported(folder, tmp_path, monkeypatch, capsys):
  """The reader does not wait for a thread that ends within a video, or one that never takes a video."""

  def end(path, name, spec, omitted):
    raise SystemExit

  monkeypatch.setattr(clip_records, 'make_records', end)
  argv = ['--source', str(folder), '--output', str(tmp_path / 'out'), '--clip-seconds', '1']
  assert clip_records.main(argv) == 2 and 'its worker failed' in capsys.readouterr().err
  monkeypatch.setattr(clip_records._Reader, '_work', lambda self: None)
  assert clip_records.main(argv) == 2 and 'its worker failed' in capsys.readouterr().err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  'spec',
  [
    clip.ClipSpec(clip_s=1.0, sample_rate_hz=44100, hop_samples=512, patch_frames=2),
    clip.ClipSpec(clip_s=1.0, sample_rate_hz=8000, hop_samples=128, patch_frames=2),
  ],
)
def test_windows_are_exact_at_fractional_latent_rates(tmp_path, spec):
  """Every window has exactly the frames and the audio of its time span."""
  path = films.make(tmp_path / 'film', duration_s=4.3, fps=30, wave_NA=films.clicks(4.3, 44100))
  all_records = list(clip_records.make_records(path, 'film', spec))
  assert len(all_records) == 4
  wave_NA = read.wave(path, spec.sample_rate_hz, 2, 0.0, float(4 * spec.duration_s))
  for index, record in enumerate(all_records):
    record_schema.validate(record, spec)
    for name, fps in (('semantic_frame_MYX3', spec.semantic_fps), ('sync_frame_LYX3', spec.sync_fps)):
      times_s = [index * spec.duration_s + fractions.Fraction(k, fps) for k in range(len(record[name]))]
      assert [films.frame_number(frame) for frame in record[name]] == [
        min(int(time_s * 30), 128) for time_s in times_s
      ]
    expected_NA = wave_NA[index * spec.num_samples : (index + 1) * spec.num_samples]
    np.testing.assert_allclose(record['wave_NA'] / 32767, np.clip(expected_NA, -1, 1), atol=1e-4)
