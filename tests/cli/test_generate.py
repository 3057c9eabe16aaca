"""What `v2a generate` writes and reports, also where inputs fail or a signal ends it."""

import json
import os
import pathlib
import re
import signal
import time

import av
import numpy as np
import pytest
import soundfile

from tests.cli import inputs
from tests.media import films
from v2a.cli import generate
from v2a.media import write
from v2a.reports import export
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib

LENGTH = {'duration_s': 1.0, 'requested_duration_s': None}


def test_words_outside_of_the_clip_are_reported(run_generate, video, tmp_path):
  """Timed words outside of the clip are reported, but not where the request is for a part of the video."""
  words = tmp_path / 's.srt'
  words.write_text('1\n00:00:00,100 --> 00:00:00,300\nhello\n\n2\n00:01:00,000 --> 00:01:01,000\nbye\n')
  code, out, err = run_generate(video, '--transcript', words, *inputs.QUICK, '--json')
  assert code == 0
  words_of = '1 of the 2 words of the transcript are left out: their times lie outside of 0..1 s.'
  assert f'film.mp4: {words_of}' in err[0]
  manifest = json.loads(out)
  assert (manifest['transcript'], manifest['word_times_s']) == ('hello bye', [0.2, 60.5])
  code, out, err = run_generate(
    video, '--transcript', words, '--duration', '0.5', *inputs.QUICK, '--output', tmp_path / 'b'
  )
  assert code == 0 and not any('not said' in line for line in err)


def packets(path: pathlib.Path) -> list[bytes]:
  """Returns the encoded frames of a video."""
  with av.open(str(path)) as container:
    return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_one_bad_file_costs_the_others_nothing(run_generate, video, tmp_path):
  bad = inputs.damaged('text.mp4', tmp_path, video)
  code, out, err = run_generate(
    bad, video, '--num-samples', '2', '--seed', '3', '--prompt', 'wood', '--json', *inputs.QUICK
  )
  assert code == 1
  assert len(err) == 1 and err[0].startswith(f'v2a: {bad}')
  manifest = json.loads(out)
  folder = tmp_path / 'out'
  assert sorted(path.name for path in folder.iterdir()) == [
    'film.0.mp4',
    'film.0.wav',
    'film.1.mp4',
    'film.1.wav',
    'film.json',
    'film.png',
  ]
  assert json.loads((folder / 'film.json').read_text()) == manifest
  assert (manifest['model'], manifest['seed'], manifest['prompt']) == ('untrained', 3, 'wood')
  assert manifest['input']['path'] == str(video) and len(manifest['input']['sha256']) == 64
  assert {'read', 'sample', 'decode', 'rank', 'write', 'plot'} <= set(manifest['timings_s'])
  assert manifest['settings']['steps'] == 1 and manifest['settings']['solver'] == 'euler'
  assert sorted(sample['rank'] for sample in manifest['samples']) == [1, 2]
  for sample in manifest['samples']:
    assert packets(folder / sample['video']) == packets(video)
    wave_NA, rate_hz = soundfile.read(folder / sample['wav'], always_2d=True)
    assert (rate_hz, wave_NA.shape) == (inputs.RATE_HZ, (inputs.RATE_HZ, 2))
    assert np.abs(wave_NA).max() == pytest.approx(sample['peak'], abs=1e-3) and sample['rms_db'] > -100


def test_another_generator_of_the_same_model(run_generate, video, tmp_path):
  flags = ('--generator', 'tokens', '--temperature', '0.7', '--top-k', '5', '--duration', '0.5')
  code, out, err = run_generate(video, *flags, '--json')
  assert (code, err) == (0, [])
  settings = json.loads(out)['settings']
  assert (settings['generator'], settings['temperature'], settings['top_k']) == ('tokens', 0.7, 5)
  assert 'solver' not in settings
  wave_NA, rate_hz = soundfile.read(tmp_path / 'out' / 'film.0.wav', always_2d=True)
  assert (rate_hz, wave_NA.shape) == (inputs.RATE_HZ, (inputs.RATE_HZ // 2, 2))


def test_a_prompt_alone(run_generate, tmp_path):
  code, out, err = run_generate('--prompt', 'wood', '--duration', '0.5', *inputs.QUICK)
  assert (code, err) == (0, [])
  stem = tmp_path / 'out' / 'soundtrack'
  assert out == f'{stem}.0.wav\n{stem}.json  settings and scores; plot: soundtrack.png\n'
  manifest = json.loads((tmp_path / 'out' / 'soundtrack.json').read_text())
  assert manifest['input']['path'] is None and manifest['samples'][0]['video'] is None
  assert soundfile.info(tmp_path / 'out' / 'soundtrack.0.wav').frames == inputs.RATE_HZ // 2


def test_a_still_image_with_a_duration_becomes_a_video_of_that_length(run_generate, video, tmp_path):
  code, out, err = run_generate(
    inputs.damaged('still.png', tmp_path, video), '--duration', '1', *inputs.QUICK
  )
  assert (code, err) == (0, [])
  assert re.match(rf'{tmp_path / "out" / "still.0.mp4"}  score -?[01][.]\d\d\d\n', out)
  with av.open(str(tmp_path / 'out' / 'still.0.mp4')) as container:
    assert container.duration / av.time_base == pytest.approx(1.0, abs=0.1)


def test_each_bad_video_has_one_line_and_the_exit_code_is_2(run_generate, video, tmp_path):
  names = ('text.mp4', 'empty.mp4')
  code, out, err = run_generate(*(inputs.damaged(name, tmp_path, video) for name in names))
  assert (code, out, len(err)) == (2, '', 2)
  assert [name in line for name, line in zip(names, err)] == [True, True]


@pytest.mark.parametrize(('found', 'peaks', 'words'), [
  (None, [0.9], None),
  ({'score': 1.2, 'threshold': 1.5, 'is_ood': False}, [0.9, 0.06], None),
  ({'score': 2.3, 'threshold': 1.5, 'is_ood': True}, [0.9],
   r'a.mp4: out-of-distribution score 2.30 \(threshold 1.50\): expect lower quality on this video'),
  (None, [0.9, 0.0007, 0.0], r'a.mp4: nearly silent: sample 1 \(peak 0.0007\), 2 \(peak 0\)'),
])  # fmt: skip
def test_unfamiliar_video_or_silence_is_a_warning_of_one_line(found, peaks, words, capsys):
  samples = [{'index': index, 'peak': peak} for index, peak in enumerate(peaks)]
  manifest = {'ood': found, 'samples': samples, 'not_copied': [], 'word_times_s': None}
  generate._warn(request_lib.Input(pathlib.Path('a.mp4')), {**manifest, 'input': LENGTH})
  out, err = capsys.readouterr()
  assert not out and (re.search(words, err) and err.count('\n') == 1 if words else not err)


def test_a_video_that_ends_before_the_duration_is_reported(run_generate, video):
  code, _, err = run_generate(video, '--duration', '5', *inputs.QUICK)
  assert code == 0
  assert err[0].endswith('film.mp4: lasts 1.00 s, to the end of the video; --duration 5 is longer.')


def test_missing_streams_are_reported(capsys):
  losses = ['subtitle track 3 (srt)', 'tag mood']
  manifest = {'ood': None, 'samples': [], 'not_copied': losses, 'word_times_s': None}
  generate._warn(request_lib.Input(pathlib.Path('a.mp4')), {**manifest, 'input': LENGTH})
  wanted = 'v2a: warning: a.mp4: not in the written video: subtitle track 3 (srt), tag mood.\n'
  assert capsys.readouterr().err == wanted


def test_faults_of_inputs_are_reported_before_a_model_is_loaded(run_generate, video, tmp_path, monkeypatch):
  monkeypatch.setattr(bundle_lib, 'load', lambda *args, **kwargs: pytest.fail('a model is loaded'))
  code, out, err = run_generate(tmp_path / 'none.mp4', inputs.damaged('empty.mp4', tmp_path, video))
  assert (code, out, len(err)) == (2, '', 2)
  assert 'does not exist' in err[0] and 'is empty' in err[1]


@pytest.mark.parametrize('fault', [OSError(28, 'No space left', 'x.mp4'), MemoryError(), IndexError('x')])
def test_a_clip_that_cannot_be_written_does_not_affect_the_others(
  fault, run_generate, video, tmp_path, monkeypatch
):
  write_outputs = export.write_outputs

  def full(model, source, *args, **kwargs):
    if source.path.stem == 'first':
      raise fault
    return write_outputs(model, source, *args, **kwargs)

  monkeypatch.setattr(export, 'write_outputs', full)
  first = tmp_path / 'first.mp4'
  first.write_bytes(video.read_bytes())
  code, out, err = run_generate(first, video, *inputs.QUICK)
  assert (code, len(err)) == (1, 1) and err[0].startswith(f'v2a: {first}: ')
  assert out.startswith(str(tmp_path / 'out' / 'film.0.mp4'))


def test_results_so_far_are_reported_whatever_ends_the_batch(run_generate, video, tmp_path, monkeypatch):
  bad = inputs.damaged('text.mp4', tmp_path, video)

  def run(self, jobs, progress):
    yield pipeline.Result([], None, {}, {}, error=f'{video}: cannot be decoded')
    raise KeyboardInterrupt

  monkeypatch.setattr(pipeline.Pipeline, 'run', run)
  code, out, err = run_generate(bad, video, tmp_path / 'none.mp4')
  assert (code, out) == (130, '')
  named = [str(bad), str(video), str(tmp_path / 'none.mp4')]  # each once
  assert [line.split(': ')[1] for line in err] == [*named, 'interrupted']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(number, run_generate, video, tmp_path, monkeypatch):
  def stop(*args):
    os.kill(os.getpid(), number)
    time.sleep(5)

  monkeypatch.setattr(write, '_interleave', stop)
  code, out, err = run_generate(video, *inputs.QUICK)
  assert (code, out, err) == (128 + number, '', [f'v2a: interrupted ({number.name})'])
  assert not [path for path in (tmp_path / 'out').rglob('*') if 'partial' in path.name]


def test_a_transcript_too_long_for_one_clip_is_its_own_fault(run_generate, video, tmp_path):
  long = films.make(tmp_path / 'long', duration_s=4.0)
  words = 'one two three four five'  # 23 bytes; a window holds 16
  code, out, err = run_generate(video, long, '--transcript', words, *inputs.QUICK)
  assert code == 1 and out.startswith(str(tmp_path / 'out' / 'long.0.mp4'))
  wanted = 'the window from 0 s to 2 s must hold at most 16 bytes of transcript; got 23.'
  assert err == [f'v2a: {video}: {wanted}']
