"""`v2a generate` from its flags to its files: what it writes, what it refuses, and in which words."""

import json
import os
import pathlib
import re
import signal
import time

import av
import numpy as np
from PIL import Image
import pytest
import safetensors.numpy
import soundfile

from tests.media import films
from v2a.cli import generate
from v2a.media import write
from v2a.reports import export
from v2a.reports import outputs
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib

RATE_HZ = 16000
QUICK = ('--steps', '1', '--solver', 'euler')


def damaged(name: str, folder: pathlib.Path, video: pathlib.Path) -> pathlib.Path:
  """Makes a bad input of a name."""
  path = folder / name
  whole = video.read_bytes()
  if name == 'empty.mp4':
    path.write_bytes(b'')
  elif name == 'text.mp4':
    path.write_text('This is no video.\n' * 50)
  elif name == 'cut.mp4':
    path.write_bytes(whole[: len(whole) // 3])
  elif name == 'random.mp4':
    path.write_bytes(np.random.default_rng(0).bytes(20000))
  elif name == 'sound.wav':
    soundfile.write(path, np.zeros((RATE_HZ, 1), np.float32), RATE_HZ)
  elif name == 'dangling.mp4':
    path.symlink_to(folder / 'nowhere.mp4')
  elif name == 'folder.mp4':
    path.mkdir()
  elif name == 'still.png':
    Image.new('RGB', (32, 24), 'red').save(path)
  return path


FILES = {
  'missing.mp4': 'does not exist',
  'empty.mp4': 'empty',
  'text.mp4': '',
  'cut.mp4': '',
  'random.mp4': '',
  'sound.wav': 'no video stream',
  'dangling.mp4': '',
  'folder.mp4': 'the folder holds no videos or stills',
  'still.png': 'is a still image; wanted a duration',
}


@pytest.mark.parametrize(('name', 'words'), FILES.items(), ids=FILES)
def test_bad_files(name, words, run_generate, video, tmp_path):
  path = damaged(name, tmp_path, video)
  code, out, err = run_generate(path)
  assert (code, out, len(err)) == (2, '', 1)
  assert err[0].startswith(f'v2a: {path}') and words.lower() in err[0].lower()
  assert not (tmp_path / 'out').exists()


LENGTH = {'duration_s': 1.0, 'requested_duration_s': None}
FLAGS = [
  (('',), "VIDEO must name a file or a folder; got ''."),
  ((), 'nothing to generate for: name a VIDEO, or give --prompt with --duration.'),
  (('--prompt', 'rain'), 'without a VIDEO, --duration must say how long the soundtrack is.'),
  (('--prompt', 'rain', '--duration', '1', '--start', '2'), '--start 2 has no meaning without a VIDEO.'),
  (('--prompt', 'rain', '--duration', '1', '--audio', 'mix'), '--audio mix has no meaning without a VIDEO.'),
  (('FILM', '--duration', '-1'), "--duration: wanted a number in 0.001..86400; got '-1'"),
  (('FILM', '--duration', '0'), "--duration: wanted a number in 0.001..86400; got '0'"),
  (('FILM', '--duration', 'nan'), "--duration: wanted a number in 0.001..86400; got 'nan'"),
  (('FILM', '--duration', 'inf'), "--duration: wanted a number in 0.001..86400; got 'inf'"),
  (('FILM', '--duration', '1s'), "--duration: wanted a number in 0.001..86400; got '1s'"),
  *(
    (('FILM', '--duration', text), f"--duration: wanted a number in 0.001..86400; got '{text}'")
    for text in ('1e15', '1e300', '1e999', '1e-9', '1_000', '٣', ' 3', '0x3', '')
  ),
  (('FILM', '--start', '-0.5'), "argument --start: wanted a number in 0..1000000; got '-0.5'"),
  (('FILM', '--start', '1e300'), "argument --start: wanted a number in 0..1000000; got '1e300'"),
  (('FILM', '--start', '0.99999'), 'the part from 0.99999 s on lasts 1e-05 s; wanted 0.001..86400 s.'),
  (('FILM', '--start', '5'), 'lasts 1.000 s; wanted a start before that, got 5.0 s.'),
  (('FILM', '--num-samples', '0'), "argument --num-samples: wanted a whole number of at least 1; got '0'"),
  (
    ('FILM', '--num-samples', '1.5'),
    "argument --num-samples: wanted a whole number of at least 1; got '1.5'",
  ),
  (('FILM', '--num-samples', '100000'), 'the number of samples must lie in 1..1000; got 100000.'),
  (('FILM', '--seed', '-1'), "argument --seed: wanted a whole number in 0..2147483647; got '-1'"),
  (('FILM', '--seed', str(2**31)), "--seed: wanted a whole number in 0..2147483647; got '2147483648'"),
  (
    ('FILM', '--seed', '9' * 401),
    f"wanted a whole number in 0..2147483647; got '{'9' * 40}'... (401 characters)",
  ),
  (('FILM', '--seed', '9' * 5000), "'... (5000 characters)"),
  (('FILM', '--num-samples', '9' * 90), 'the number of samples must lie in 1..1000; got 999'),
  (('FILM', '--steps', '0'), "argument --steps: wanted a whole number of at least 1; got '0'"),
  (('FILM', '--steps', '5000'), 'steps must lie in 1..1000; got 5000.'),
  (('FILM', '--solver', 'rk4'), "argument --solver: invalid choice: 'rk4'"),
  (('FILM', '--generator', 'organ'), "argument --generator: invalid choice: 'organ'"),
  (('FILM', '--generator', 'masked'), "model untrained has no generator 'masked'; it has flow, tokens."),
  (('FILM', '--generator', 'tokens', '--solver', 'heun'), "solver does not apply to the generator 'tokens'"),
  (('FILM', '--temperature', '0.9'), "temperature does not apply to the generator 'flow'"),
  (('FILM', '--temperature', '0'), "argument --temperature: wanted a number above 0; got '0'"),
  (('FILM', '--generator', 'tokens', '--temperature', '1e-300'), 'temperature must lie in 0.001..100'),
  (('FILM', '--generator', 'tokens', '--top-k', '9' * 30), 'top_k must lie in 0..2147483647'),
  (('FILM', '--guidance', '1e300'), 'guidance joint must lie in [0, 100]; got 1e+300.'),
  (('FILM', '--mesh', 'fsdp=²'), 'wanted AXIS=N, N a whole number of at least 1'),
  (('FILM', '--top-k', '-1'), "argument --top-k: wanted a whole number of at least 0; got '-1'"),
  (('FILM', '--generator', 'tokens', '--top-p', '1.5'), 'top_p must lie in 0.000001..1; got 1.5.'),
  (('FILM', '--audio', 'mute'), "argument --audio: invalid choice: 'mute'"),
  (('FILM', '--guidance', '-1'), "argument --guidance: wanted a number of at least 0; got '-1'"),
  (
    ('FILM', '--guidance-video', 'nan'),
    "argument --guidance-video: wanted a number of at least 0; got 'nan'",
  ),
  (('FILM', '--guidance-text', 'x'), "argument --guidance-text: wanted a number of at least 0; got 'x'"),
  (('FILM', '--prompt', 'p' * 2_000_000), 'prompt must have at most 16 bytes; got 2000000.'),
  (('FILM', '--negative-prompt', 'p' * 17), 'negative prompt must have at most 16 bytes; got 17.'),
  (('FILM', '--transcript', 't' * 17), 'bytes of transcript; got 17'),
  (('FILM', '--prompt', '\udcff'), '--prompt must be UTF-8 text'),
  (
    ('FILM', '--negative-prompt', 'wind', '--guidance', '1', '--guidance-text', '1'),
    'a negative prompt needs guidance',
  ),
  (('FILM', '--promt', 'x'), 'unrecognized arguments: --promt x. Did you mean --prompt?'),
  (('FILM', '--config.training.seed=1'), 'unrecognized arguments: --config.training.seed=1'),
  (('FILM', '--model', 'nonesuch'), "no model 'nonesuch': wanted a folder or one of"),
  (('FILM', '--output', 'FILM'), '--output must be a folder'),
]


@pytest.mark.parametrize(
  ('flags', 'words'), FLAGS, ids=lambda value: ' '.join(value)[:40] if value else 'none'
)
def test_bad_flags(flags, words, run_generate, video, tmp_path):
  code, out, err = run_generate(*(video if flag == 'FILM' else flag for flag in flags))
  assert (code, out, len(err)) == (2, '', 1)
  assert err[0].startswith('v2a: ') and words in err[0]
  assert not (tmp_path / 'out').exists()


def broken(bundle: pathlib.Path, folder: pathlib.Path, fault: str) -> pathlib.Path:
  """Copies a model and breaks it; unbroken files are links."""
  copy = folder / 'model'
  for path in bundle.rglob('*'):
    if path.is_file():
      target = copy / path.relative_to(bundle)
      target.parent.mkdir(parents=True, exist_ok=True)
      target.symlink_to(path)
  model, settings = copy / 'flow' / 'model.safetensors', copy / 'flow' / 'config.json'
  target = settings if 'config' in fault else model
  content = target.read_bytes()
  target.unlink()
  if fault == 'nan':
    arrays = safetensors.numpy.load(content)
    next(iter(arrays.values())).reshape(-1)[0] = np.nan
    model.write_bytes(safetensors.numpy.save(arrays))
  elif fault == 'lacking':
    arrays = safetensors.numpy.load(content)
    arrays.pop(sorted(arrays)[0])
    model.write_bytes(safetensors.numpy.save(arrays))
  elif fault == 'cut':
    model.write_bytes(content[: len(content) // 2])
  elif fault == 'config cut':
    settings.write_bytes(content[: len(content) // 2])
  elif fault == 'config unknown key':
    settings.write_text(json.dumps({**json.loads(content), 'sorcery': 1}))
  elif fault == 'wrong part':
    model.symlink_to(bundle / 'codec' / 'model.safetensors')
  elif fault == 'empty':
    model.write_bytes(b'')
  return copy


MODELS = {
  'nan': 'NaN',
  'lacking': 'missing',
  'cut': '',
  'empty': '',
  'config cut': '',
  'config unknown key': 'sorcery',
  'wrong part': 'do not fit',
  'gone': 'No model at',
  'config gone': 'No model at',
}


@pytest.mark.parametrize(('fault', 'words'), MODELS.items(), ids=MODELS)
def test_bad_models(fault, words, run_generate, bundle, video, tmp_path):
  code, out, err = run_generate(video, '--model', broken(bundle, tmp_path, fault))
  assert (code, out, len(err)) == (2, '', 1)
  assert err[0].startswith('v2a: ') and words in err[0]
  assert str(tmp_path / 'model') in err[0] or 'do not fit the model' in err[0]


@pytest.mark.skipif(os.geteuid() == 0, reason='the superuser may read and write everything')
def test_closed_doors(run_generate, video, tmp_path):
  for name in ('input', 'output'):
    (tmp_path / name).mkdir()
  (tmp_path / 'input').chmod(0)
  (tmp_path / 'output').chmod(0o500)
  for flags in ((tmp_path / 'input',), (video, '--output', tmp_path / 'output' / 'new')):
    code, out, err = run_generate(*flags)
    assert (code, out, len(err)) == (2, '', 1)
    assert 'denied' in err[0].lower() or 'cannot be written' in err[0]


def test_transcript_of_a_file(tmp_path):
  (tmp_path / 'words.txt').write_text('\ufeff guten Tag, Björn\n', encoding='utf-8')
  assert generate.transcript_of(str(tmp_path / 'words.txt')).text == 'guten Tag, Björn'
  sentences = 'hello there', 'a' * 300, 'Yes.', 'and/or', 'v2.0', 'He said: switch on/off.', 'No... yes'
  for text in (*sentences, tmp_path.name):
    assert generate.transcript_of(text).text == text
  cue = '1\n00:00:01,000 --> 00:00:02,000\n<i>hello</i>\n'
  (tmp_path / 's.srt').write_text(cue)
  # As a shell's "$(cat s.srt)" gives it, too.
  for text in (str(tmp_path / 's.srt'), cue, f'\ufeff{cue}'):
    found = generate.transcript_of(text)
    assert (found.text, found.times_s) == ('hello', (1.5,))
  assert generate.transcript_of('\ufeffhello\n there ').text == 'hello there'
  with pytest.raises(ValueError, match='--transcript: line 2 must be like'):
    generate.transcript_of(f'1\n00:00:01 --> 00:00:02,000\n\n{cue}')


def test_text_that_resembles_a_file_name(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  pathlib.Path('words.txt').write_text('hello')
  pathlib.Path('bad.txt').write_bytes(b'caf\xe9')
  pathlib.Path('blank.txt').write_text(' \n')
  pathlib.Path('folder.txt').mkdir()
  for text, words in [
    ('wrods.txt', '--transcript wrods.txt: no such file. Did you mean words.txt?'),
    ('my words.SRT', '--transcript my words.SRT: no such file.'),
    ('nowhere/words.txt', '--transcript nowhere/words.txt: no such file. If these'),
    ('./words.tx', 'Did you mean words.txt?'),
    ('folder.txt', 'is not a regular file; wanted a text, SRT or WebVTT file'),
    (str(tmp_path), 'is not a regular file'),
    ('bad.txt', '--transcript bad.txt: wanted UTF-8 text; got byte 0xe9'),
    ('blank.txt', '--transcript blank.txt: holds no words.'),
  ]:
    with pytest.raises((ValueError, OSError)) as caught:
      generate.transcript_of(text)
    assert words in str(caught.value)


def test_words_outside_of_the_clip_are_reported(run_generate, video, tmp_path):
  """Timed words outside of the clip are reported, but not where the request is for a part of the video."""
  words = tmp_path / 's.srt'
  words.write_text('1\n00:00:00,100 --> 00:00:00,300\nhello\n\n2\n00:01:00,000 --> 00:01:01,000\nbye\n')
  code, out, err = run_generate(video, '--transcript', words, *QUICK, '--json')
  assert code == 0
  words_of = '1 of the 2 words of the transcript are left out: their times lie outside of 0..1 s.'
  assert f'film.mp4: {words_of}' in err[0]
  manifest = json.loads(out)
  assert (manifest['transcript'], manifest['word_times_s']) == ('hello bye', [0.2, 60.5])
  code, out, err = run_generate(
    video, '--transcript', words, '--duration', '0.5', *QUICK, '--output', tmp_path / 'b'
  )
  assert code == 0 and not any('not said' in line for line in err)


def test_names_do_not_collide(tmp_path):
  paths = [pathlib.Path(name) for name in ('a/x.mp4', 'b/x.mov', 'x-2.mp4', 'y.mp4')]
  assert [stem.name for stem in outputs.stems([*paths, None], tmp_path)] == [
    'x',
    'x-2',
    'x-2-2',
    'y',
    'soundtrack',
  ]


def test_folders_are_searched(tmp_path, video, capsys):
  for name in ('b.mp4', 'a.MOV', '.hidden.mp4', 'notes.txt', 'x.docx'):
    (tmp_path / name).write_bytes(b'x')
  (tmp_path / 'deep.mp4').mkdir()
  assert generate.expand([video, tmp_path]) == [video, tmp_path / 'a.MOV', tmp_path / 'b.mp4']
  assert capsys.readouterr().err == f'v2a: note: {tmp_path}: 1 file skipped (.docx 1)\n'


def packets(path: pathlib.Path) -> list[bytes]:
  """Returns the encoded frames of a video."""
  with av.open(str(path)) as container:
    return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def test_one_bad_file_costs_the_others_nothing(run_generate, video, tmp_path):
  bad = damaged('text.mp4', tmp_path, video)
  code, out, err = run_generate(
    bad, video, '--num-samples', '2', '--seed', '3', '--prompt', 'wood', '--json', *QUICK
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
    assert (rate_hz, wave_NA.shape) == (RATE_HZ, (RATE_HZ, 2))
    assert np.abs(wave_NA).max() == pytest.approx(sample['peak'], abs=1e-3) and sample['rms_db'] > -100


def test_another_generator_of_the_same_model(run_generate, video, tmp_path):
  flags = ('--generator', 'tokens', '--temperature', '0.7', '--top-k', '5', '--duration', '0.5')
  code, out, err = run_generate(video, *flags, '--json')
  assert (code, err) == (0, [])
  settings = json.loads(out)['settings']
  assert (settings['generator'], settings['temperature'], settings['top_k']) == ('tokens', 0.7, 5)
  assert 'solver' not in settings
  wave_NA, rate_hz = soundfile.read(tmp_path / 'out' / 'film.0.wav', always_2d=True)
  assert (rate_hz, wave_NA.shape) == (RATE_HZ, (RATE_HZ // 2, 2))


def test_a_prompt_alone(run_generate, tmp_path):
  code, out, err = run_generate('--prompt', 'wood', '--duration', '0.5', *QUICK)
  assert (code, err) == (0, [])
  assert out == f'{tmp_path / "out" / "soundtrack.0.wav"}\n'
  manifest = json.loads((tmp_path / 'out' / 'soundtrack.json').read_text())
  assert manifest['input']['path'] is None and manifest['samples'][0]['video'] is None
  assert soundfile.info(tmp_path / 'out' / 'soundtrack.0.wav').frames == RATE_HZ // 2


def test_a_still(run_generate, video, tmp_path):
  code, out, err = run_generate(damaged('still.png', tmp_path, video), '--duration', '1', *QUICK)
  assert (code, err) == (0, [])
  assert out == f'{tmp_path / "out" / "still.0.mp4"}\n'
  with av.open(str(tmp_path / 'out' / 'still.0.mp4')) as container:
    assert container.duration / av.time_base == pytest.approx(1.0, abs=0.1)


def test_all_bad(run_generate, video, tmp_path):
  names = ('text.mp4', 'empty.mp4')
  code, out, err = run_generate(*(damaged(name, tmp_path, video) for name in names))
  assert (code, out, len(err)) == (2, '', 2)
  assert [name in line for name, line in zip(names, err)] == [True, True]


@pytest.mark.parametrize(('found', 'peaks', 'words'), [
  (None, [0.9], None),
  ({'score': 1.2, 'threshold': 1.5, 'is_ood': False}, [0.9, 0.06], None),
  ({'score': 2.3, 'threshold': 1.5, 'is_ood': True}, [0.9],
   r'a.mp4: out-of-distribution score 2.30 \(threshold 1.50\): expect lower quality on this video'),
  (None, [0.9, 0.0007, 0.0], r'a.mp4: nearly silent: sample 1 \(peak 0.0007\), 2 \(peak 0\)'),
])  # fmt: skip
def test_what_may_disappoint_is_worth_one_line(found, peaks, words, capsys):
  samples = [{'index': index, 'peak': peak} for index, peak in enumerate(peaks)]
  manifest = {'ood': found, 'samples': samples, 'not_copied': [], 'word_times_s': None}
  generate._warn(request_lib.Input(pathlib.Path('a.mp4')), {**manifest, 'input': LENGTH})
  out, err = capsys.readouterr()
  assert not out and (re.search(words, err) and err.count('\n') == 1 if words else not err)


def test_a_video_that_ends_before_the_duration_is_reported(run_generate, video):
  code, _, err = run_generate(video, '--duration', '5', *QUICK)
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
  code, out, err = run_generate(tmp_path / 'none.mp4', damaged('empty.mp4', tmp_path, video))
  assert (code, out, len(err)) == (2, '', 2)
  assert 'does not exist' in err[0] and 'is empty' in err[1]


@pytest.mark.parametrize('fault', [OSError(28, 'No space left', 'x.mp4'), MemoryError(), IndexError('x')])
def test_a_clip_that_cannot_be_written_costs_the_others_nothing(
  fault, run_generate, video, tmp_path, monkeypatch
):
  deliver = export.write_outputs

  def full(model, source, *args, **kwargs):
    if source.path.stem == 'first':
      raise fault
    return deliver(model, source, *args, **kwargs)

  monkeypatch.setattr(export, 'write_outputs', full)
  first = tmp_path / 'first.mp4'
  first.write_bytes(video.read_bytes())
  code, out, err = run_generate(first, video, *QUICK)
  assert (code, len(err)) == (1, 1) and err[0].startswith(f'v2a: {first}: ')
  assert out.startswith(str(tmp_path / 'out' / 'film.0.mp4'))


def test_results_so_far_are_reported_whatever_ends_the_batch(run_generate, video, tmp_path, monkeypatch):
  bad = damaged('text.mp4', tmp_path, video)

  def run(self, jobs, progress):
    yield pipeline.Result([], None, {}, {}, error=f'{bad}: is no media file')
    raise KeyboardInterrupt

  monkeypatch.setattr(pipeline.Pipeline, 'run', run)
  code, out, err = run_generate(bad, video, tmp_path / 'none.mp4')
  assert (code, out) == (130, '')
  assert [line.split(': ')[1] for line in err] == [str(bad), str(tmp_path / 'none.mp4'), 'interrupted']


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(number, run_generate, video, tmp_path, monkeypatch):
  def stop(*args):
    os.kill(os.getpid(), number)
    time.sleep(5)

  monkeypatch.setattr(write, '_interleave', stop)
  code, out, err = run_generate(video, *QUICK)
  assert (code, out, err) == (128 + number, '', [f'v2a: interrupted ({number.name})'])
  assert not [path for path in (tmp_path / 'out').rglob('*') if 'partial' in path.name]


def test_a_transcript_too_long_for_one_clip_is_its_own_fault(run_generate, video, tmp_path):
  long = films.make(tmp_path / 'long', duration_s=4.0)
  words = 'one two three four five'  # 23 bytes; a window holds 16
  code, out, err = run_generate(video, long, '--transcript', words, *QUICK)
  assert code == 1 and out.startswith(str(tmp_path / 'out' / 'long.0.mp4'))
  wanted = 'the window from 0 s to 2 s must hold at most 16 bytes of transcript; got 23.'
  assert err == [f'v2a: {video}: {wanted}']
