"""The command that renders the synthetic set: files, records, determinism, bad arguments."""

import json
import os
import signal
import time

import av
import numpy as np
import pytest

from data_pipelines import synthetic
from v2a.data import record_writer
from v2a.data import records
from v2a.media import frame_encoder
from v2a.synthetic import clips

BASE = ['--seed', '4', '--num-workers', '1']


def run(output, *more):
  """Runs the command in this process."""
  return synthetic.main([*BASE, '--output', str(output), *more])


def test_files_contain_the_rendered_clip(tmp_path):
  size = ['--size', '64', '--clip-seconds', '2', '--corruption', 'clean']
  assert run(tmp_path, '--num-clips', '1', '--start-index', '2', '--scenes', 'strike', *size) == 0
  names = sorted(path.name for path in tmp_path.iterdir())
  assert names == ['4-00002-strike.json', '4-00002-strike.mp4']
  rendered = clips.render(4, 2, ('strike',), 'clean', 2.0, 25.0, 64, 48000)
  assert json.loads((tmp_path / names[0]).read_text()) == json.loads(json.dumps(rendered.truth))
  with av.open(str(tmp_path / names[1])) as container:
    video, audio = container.streams.video[0], container.streams.audio[0]
    assert (video.codec.name, audio.codec.name) == ('h264', 'aac') and audio.sample_rate == 48000
    frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video)]
  assert len(frames) == 50
  assert np.abs(np.stack(frames).astype(int) - rendered.frame_LYX3).mean() < 8
  with av.open(str(tmp_path / names[1])) as container:
    decoded = [frame for frame in container.decode(audio=0) if frame.pts + frame.samples > 0]
    start = decoded[0].pts
    wave_NA = np.concatenate([frame.to_ndarray() for frame in decoded], axis=1).T
  wave_NA = wave_NA[max(0, -start) :][: len(rendered.wave_NA)]
  for entry in rendered.truth['events'][:3]:
    at = int(entry['time_s'] * 48000)
    expected = rendered.wave_NA[at : at + 2000].sum(1)
    lags = range(-96, 97, 4)
    correlation = [float(wave_NA[at + lag : at + lag + 2000].sum(1) @ expected) for lag in lags]
    assert abs(lags[int(np.argmax(correlation))]) <= 48  # within a millisecond


def test_bytes_of_a_video_do_not_depend_on_the_content_of_memory(tmp_path):
  rendered = clips.render(5, 2, ('bounce', 'dialogue'), None, 2.0, 10.0, 64, 16000)
  rng, path, found = np.random.default_rng(0), tmp_path / 'a.mp4', set()
  for _ in range(8):
    freed = [rng.integers(0, 256, int(size), np.uint8) for size in 2 ** rng.uniform(6, 22, 200)]
    del freed
    frame_encoder.write(path, rendered.frame_LYX3, 10.0, synthetic._ENCODER_OPTIONS)
    found.add(path.read_bytes())
  assert len(found) == 1


def test_records_contain_the_clips_for_any_number_of_processes(tmp_path):
  small = ['--records', '--size', '16', '--num-clips', '6']
  assert run(tmp_path / 'one', *small) == 0
  assert run(tmp_path / 'two', *small, '--num-workers', '2') == 0
  one, two = records.open(tmp_path / 'one'), records.open(tmp_path / 'two')
  assert len(one) == 6 and one.hash == two.hash
  record = one[5]
  rendered = clips.render(4, 5, frame_size=16)
  np.testing.assert_array_equal(record['sync_frame_LYX3'], rendered.frame_LYX3)
  np.testing.assert_array_equal(record['semantic_frame_MYX3'][:4], rendered.frame_LYX3[[0, 3, 6, 9]])
  np.testing.assert_allclose(record['wave_NA'] / 32767.0, rendered.wave_NA, atol=2e-5)
  assert (
    record['text'] == rendered.truth['annotation'] and record['transcript'] == rendered.truth['transcript']
  )
  assert json.loads(record['truth']) == json.loads(json.dumps(rendered.truth))


def test_start_index_continues_a_set(tmp_path):
  assert run(tmp_path / 'a', '--records', '--size', '16', '--num-clips', '1', '--start-index', '5') == 0
  record = records.open(tmp_path / 'a')[0]
  np.testing.assert_array_equal(record['sync_frame_LYX3'], clips.render(4, 5, frame_size=16).frame_LYX3)


@pytest.mark.parametrize(
  'flags, message',
  (
    (['--num-clips', '0'], 'wanted a whole number in 1..1000000'),
    (['--num-clips', '1', '--seed', '9' * 401], 'wanted a whole number in 0..2147483647'),
    (['--num-clips', '1', '--fps', 'nan'], "wanted a number; got 'nan'"),
    (['--num-clips', 'many'], 'many'),
    (['--num-clips', '1', '--scenes', 'bounce,boom'], 'boom'),
    (['--num-clips', '1', '--corruption', 'sepia'], 'sepia'),
    (['--num-clips', '1', '--clip-seconds', '-3'], 'clip_s'),
    (['--num-clips', '1', '--size', '63'], 'even'),
    (['--num-clips', '1', '--records', '--fps', '30'], '--fps'),
    (['--num-clips', '1', '--colour'], '--colour'),
    ([], '--num-clips'),
  ),
)
def test_bad_arguments_are_one_line_and_exit_code_2(tmp_path, capsys, flags, message):
  assert run(tmp_path / 'out', *flags) == 2
  err = capsys.readouterr().err
  assert message in err and err.count('\n') == 1
  assert not (tmp_path / 'out').exists() or not list((tmp_path / 'out').iterdir())


def test_existing_files_are_not_overwritten(tmp_path, capsys):
  (tmp_path / '4-00007-engine.json').write_text('mine')
  (tmp_path / '4-000071-engine.json').write_text('of another clip')
  assert run(tmp_path, '--size', '16', '--num-clips', '2', '--start-index', '6') == 2
  assert '4-00007-engine.json: exists already; nothing is overwritten.' in capsys.readouterr().err
  assert len(list(tmp_path.iterdir())) == 2


def test_existing_records_are_not_overwritten(tmp_path, capsys):
  (tmp_path / 'out').mkdir()
  assert run(tmp_path / 'out', '--records', '--num-clips', '1') == 2
  assert 'exists already' in capsys.readouterr().err


def test_a_dead_worker_is_reported():
  with pytest.raises(OSError, match='a worker process died'):
    list(synthetic.parallel_map(os._exit, range(1, 4), 2))


@pytest.mark.parametrize('more', [(), ('--records',)])
def test_a_signal_leaves_no_output(more, tmp_path, monkeypatch, capsys):
  def stop(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)

  monkeypatch.setattr(synthetic.write, 'mux', stop)
  monkeypatch.setattr(record_writer.Writer, 'add', stop)
  (tmp_path / 'in').mkdir()
  assert run(tmp_path / 'in' / 'out', '--num-clips', '2', '--size', '16', '--clip-seconds', '2', *more) == 143
  assert not [path for path in (tmp_path / 'in').rglob('*') if path.is_file()]
  assert capsys.readouterr().err == 'data_pipelines.synthetic: interrupted (SIGTERM)\n'
