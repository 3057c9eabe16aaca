"""What `v2a generate` accepts and refuses: files, folders, flags, transcripts, models."""

import json
import os
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from tests.cli import inputs
from v2a.cli import generate
from v2a.reports import outputs

FILES = {
  'missing.mp4': 'does not exist',
  'empty.mp4': 'empty',
  'text.mp4': 'is not a media file; wanted a video or an image.',
  'cut.mp4': '',
  'random.mp4': '',
  'sound.wav': 'no video stream',
  'dangling.mp4': '',
  'folder.mp4': 'the folder holds no videos or stills; wanted files directly in it with a suffix such as',
  'still.png': 'is a still image; wanted its duration in seconds, --duration.',
}


@pytest.mark.parametrize(('name', 'words'), FILES.items(), ids=FILES)
def test_a_bad_file_is_one_line_with_its_name_and_no_output(name, words, run_generate, video, tmp_path):
  path = inputs.damaged(name, tmp_path, video)
  code, out, err = run_generate(path)
  assert (code, out, len(err)) == (2, '', 1)
  assert err[0].startswith(f'v2a: {path}') and words.lower() in err[0].lower()
  assert not (tmp_path / 'out').exists()


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
  (('FILM', '--num-samples', '0'), "argument --num-samples: wanted a whole number in 1..1000; got '0'"),
  (
    ('FILM', '--num-samples', '1.5'),
    "argument --num-samples: wanted a whole number in 1..1000; got '1.5'",
  ),
  (('FILM', '--num-samples', '1001'), "argument --num-samples: wanted a whole number in 1..1000; got '1001'"),
  (('FILM', '--seed', '-1'), "argument --seed: wanted a whole number in 0..2147483647; got '-1'"),
  (('FILM', '--seed', str(2**31)), "--seed: wanted a whole number in 0..2147483647; got '2147483648'"),
  (
    ('FILM', '--seed', '9' * 401),
    f"wanted a whole number in 0..2147483647; got '{'9' * 40}'... (401 characters)",
  ),
  (('FILM', '--seed', '9' * 5000), "'... (5000 characters)"),
  (('FILM', '--num-samples', '9' * 90), "argument --num-samples: wanted a whole number in 1..1000; got '999"),
  (('FILM', '--steps', '0'), "argument --steps: wanted a whole number of at least 1; got '0'"),
  (('FILM', '--steps', '5000'), 'steps must lie in 1..1000; got 5000.'),
  (('FILM', '--solver', 'rk4'), "argument --solver: invalid choice: 'rk4'"),
  (('FILM', '--generator', 'organ'), "argument --generator: invalid choice: 'organ'"),
  (('FILM', '--generator', 'masked'), "model untrained has no generator 'masked'; it has flow, tokens."),
  (
    ('FILM', '--generator', 'tokens', '--solver', 'heun'),
    "--solver does not apply to the generator 'tokens', which has --temperature, --top-k, ",
  ),
  (('FILM', '--temperature', '0.9'), "--temperature does not apply to the generator 'flow'"),
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
    'a negative prompt needs guidance: set --guidance or --guidance-text above 1.',
  ),
  (('FILM', '--promt', 'x'), 'unrecognized arguments: --promt x. Did you mean --prompt?'),
  (('FILM', '--config.training.seed=1'), 'unrecognized arguments: --config.training.seed=1'),
  (('FILM', '--model', 'nonesuch'), "there is no model 'nonesuch'; wanted a packaged model (default"),
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
def test_folders_without_permission_are_one_line(run_generate, video, tmp_path):
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
