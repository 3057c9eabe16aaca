"""What `v2a generate` may overwrite, and what the names of files may hold."""

import hashlib
import json
import os
import pathlib
import shutil
import urllib.parse
import urllib.request

import numpy as np
from PIL import Image
import pytest

from v2a import manifests
from v2a.reports import export
from v2a.reports import gallery_entries
from v2a.reports import gallery_plot
from v2a.sampling import bundle as bundle_lib
from v2a.sampling import pipeline

QUICK = ('--steps', '1', '--solver', 'euler')


def content(folder: pathlib.Path) -> dict[str, bytes]:
  """Returns the files of a folder, hidden ones included."""
  return {os.fsdecode(path.name): path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(autouse=True)
def no_plots(request, monkeypatch):
  """Spares most tests the plot, which takes longest of all outputs."""
  if 'plot' not in request.node.name:
    monkeypatch.setattr(export.gallery_plot, 'write', lambda path, shown: path.write_bytes(b'a plot'))


@pytest.fixture
def refused(run_generate, monkeypatch):
  """Returns a function that runs the program, which must refuse early, and returns its one line."""

  def no_work(*args, **kwargs):
    raise AssertionError('soundtracks were generated')

  def run(*words) -> str:
    folders = {pathlib.Path(word).parent for word in words if pathlib.Path(word).is_absolute()}
    before = {folder: content(folder) for folder in folders}
    with monkeypatch.context() as patch:
      patch.setattr(pipeline.Pipeline, 'run', no_work)
      code, out, err = run_generate(*words, *QUICK)
    assert (code, out, len(err)) == (2, '', 1), err
    assert {folder: content(folder) for folder in folders} == before
    return err[0]

  return run


def occupy(name: str, folder: pathlib.Path, video: pathlib.Path) -> pathlib.Path:
  """Writes a file of the user where an output for a.mp4 would be; returns the input."""
  path, output = folder / 'a.mp4', folder / name
  shutil.copy(video, path)
  if name == 'folder':
    (folder / 'a.0.wav').mkdir()
  elif name == 'link':
    (folder / 'a.0.wav').symlink_to(folder / 'nowhere')
  elif name == 'hard link':
    (folder / 'a.0.mp4').hardlink_to(path)
  elif name == 'broken':
    (folder / 'a.json').write_text('{"about": "Written by v2a generate.", ')
  else:
    output.write_text('{"annotation": "a ball"}')
  return path


@pytest.mark.parametrize(
  ('name', 'words'),
  [
    ('a.json', 'a.json: exists and is not what an earlier run wrote'),
    ('a.png', 'a.png: exists and is not what an earlier run wrote'),
    ('a.0.mp4', 'a.0.mp4: exists and is not what an earlier run wrote'),
    ('a.0.mkv', 'a.0.mkv: exists and is not what an earlier run wrote'),
    ('broken', 'a.json: exists and is not what an earlier run wrote'),
    ('folder', 'a.0.wav: is a folder, where an output belongs'),
    ('link', 'a.0.wav: is not a regular file, where an output belongs'),
    ('hard link', 'a.0.mp4: is an input of this run'),
  ],
)
def test_what_is_the_users_stays(name, words, refused, video, tmp_path):
  path = occupy(name, tmp_path, video)
  for more in ((), ('--overwrite',)):
    assert words in refused(path, '--output', tmp_path, *more)


def test_several_files_of_the_user_are_named(refused, video, tmp_path):
  shutil.copy(video, tmp_path / 'a.mp4')
  for name in ('a.json', 'a.png', 'a.0.wav', 'a.0.mkv'):
    (tmp_path / name).write_text('mine')
  line = refused(tmp_path / 'a.mp4', '--output', tmp_path)
  assert all(f'{tmp_path / name}' in line for name in ('a.json', 'a.png', 'a.0.wav'))
  assert ' and 1 more: these 4 files exist and are not what an earlier run wrote' in line


@pytest.mark.parametrize(
  ('words', 'wanted'),
  [
    (('--model', 'nope'), 'nope'),
    (('--model', 'EMPTY'), 'EMPTY'),
    (('--start', '100'), 'lasts 1.000 s'),
    (('--generator', 'tokens'), 'does not apply to the generator'),
    (('--temperature', '0.5'), 'does not apply to the generator'),
    (('--prompt', 'x' * 5000), 'must have at most'),
  ],
  ids=lambda value: ' '.join(value)[:20] if isinstance(value, tuple) else '',
)
def test_an_invalid_request_is_not_another_request(words, wanted, run_generate, refused, video, tmp_path):
  assert run_generate(video, *QUICK)[0] == 0
  (tmp_path / 'EMPTY').mkdir()
  words = (tmp_path / word if word == 'EMPTY' else word for word in words)
  line = refused(video, '--seed', '1', *words)
  assert wanted in line and 'another request' not in line


def test_a_still_is_not_replaced_by_its_plot(refused, tmp_path):
  Image.new('RGB', (32, 24), 'red').save(tmp_path / 'photo.png')
  line = refused(tmp_path / 'photo.png', '--output', tmp_path, '--duration', '1')
  assert 'photo.png: is an input of this run, and an output would replace it' in line


def test_the_whole_batch_is_checked_first(refused, video, tmp_path):
  shutil.copy(video, tmp_path / 'clip.mp4')
  shutil.copy(video, tmp_path / 'clip.0.mp4')
  assert 'clip.0.mp4: is an input of this run' in refused(tmp_path, '--output', tmp_path)
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'clip.1.wav').write_text('mine')
  words = (video, tmp_path / 'clip.mp4', '--output', tmp_path / 'out')
  assert 'clip.1.wav: exists and is not' in refused(*words, '--num-samples', '2')


def test_the_same_request_may_run_again(run_generate, video, tmp_path):
  shutil.copy(video, tmp_path / 'film.mp4')
  words = (tmp_path, '--output', tmp_path, *QUICK)
  code, _, err = run_generate(*words, '--num-samples', '2')
  assert (code, err) == (0, [])
  first = content(tmp_path)
  names = {'film.json', 'film.png', *(f'film.{k}.{kind}' for k in (0, 1) for kind in ('mp4', 'wav'))}
  assert set(first) == {'film.mp4', *names}
  found = manifests.read(tmp_path / 'film.json')
  assert found['manifest']['name'] == 'film.json' and len(found['model_digest']) == 64
  digests = {name: hashlib.sha256(first[name]).hexdigest() for name in names - {'film.json'}}
  assert found['files'] == digests
  # The folder is searched again, and its own outputs are no inputs; a sample fewer goes.
  code, _, err = run_generate(*words, '--num-samples', '1')
  assert (code, err) == (0, [])
  second = content(tmp_path)
  assert set(second) == set(first) - {'film.1.mp4', 'film.1.wav'}
  assert second['film.0.wav'] == first['film.0.wav']


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (('--seed', '1'), 'another request (seed 0, now 1)'),
    (('--prompt', 'wood'), 'another request (prompt none, now "wood")'),
    (('--steps', '2'), 'another request (steps 1, now 2)'),
    (('--duration', '0.5'), 'another request (requested_duration_s none, now 0.5)'),
    (('--audio', 'mix'), 'another request (audio "replace", now "mix")'),
    ('input', 'another request (the input)'),
    ('model', 'another request (model '),
  ],
  ids=lambda value: ' '.join(value) if isinstance(value, tuple) else None,
)
def test_outputs_of_another_request_need_overwrite(
  change, words, run_generate, refused, video, tmp_path, bundle, monkeypatch
):
  path = tmp_path / 'film.mp4'
  shutil.copy(video, path)
  assert run_generate(path, *QUICK)[0] == 0
  more = ()
  if change == 'input':
    path.write_bytes(path.read_bytes() + b'\0' * 16)
  elif change == 'model':
    monkeypatch.setattr(bundle_lib.Bundle, 'digest', lambda self, name=None: 'another')
  else:
    more = change
  if '--steps' in more:  # the last flag counts
    monkeypatch.setattr('tests.cli.test_outputs.QUICK', (*QUICK, *more))
  line = refused(path, '--output', tmp_path / 'out', *more)
  assert words in line and 'give --overwrite' in line


def test_overwrite_replaces_outputs_alone(run_generate, video, tmp_path):
  assert run_generate(video, '--num-samples', '3', *QUICK)[0] == 0
  out = tmp_path / 'out'
  (out / 'film.1.wav').write_bytes(b'edited by the user')
  (out / 'film.7.wav').write_bytes(b'of the user')
  code, _, err = run_generate(video, '--num-samples', '1', '--seed', '1', '--overwrite', *QUICK)
  assert (code, err) == (0, [])
  left = content(out)
  assert set(left) == {'film.json', 'film.png', 'film.0.mp4', 'film.0.wav', 'film.1.wav', 'film.7.wav'}
  assert (left['film.1.wav'], left['film.7.wav']) == (b'edited by the user', b'of the user')
  assert json.loads(left['film.json'])['seed'] == 1


@pytest.mark.parametrize('name', ['film.0.wav', 'film.json', 'film.png'])
def test_an_output_that_was_edited_is_the_users(name, run_generate, refused, video, tmp_path):
  assert run_generate(video, *QUICK)[0] == 0
  path = tmp_path / 'out' / name
  if name == 'film.json':
    path.write_text(json.dumps({**json.loads(path.read_text()), 'annotation': 'a ball'}))
  else:
    path.write_bytes(path.read_bytes() + b'!')
  assert name in refused(video, '--output', tmp_path / 'out', '--overwrite')


def test_an_output_that_is_an_input_stays(run_generate, refused, video, tmp_path):
  shutil.copy(video, tmp_path / 'film.mp4')
  assert run_generate(tmp_path / 'film.mp4', '--output', tmp_path, *QUICK)[0] == 0
  words = (tmp_path / 'film.0.mp4', tmp_path / 'film.mp4', '--output', tmp_path, '--overwrite')
  assert 'film.0.mp4: is an input of this run' in refused(*words)


def test_an_input_that_changes_meanwhile(run_generate, video, tmp_path, monkeypatch):
  path, load = tmp_path / 'film.mp4', pipeline.Pipeline.run
  shutil.copy(video, path)

  def change(*args, **kwargs):
    for result in load(*args, **kwargs):
      path.write_bytes(path.read_bytes() + b'\0' * 8)
      yield result

  monkeypatch.setattr(pipeline.Pipeline, 'run', change)
  code, out, err = run_generate(path, *QUICK)
  assert (code, out, len(err)) == (2, '', 1)
  assert 'film.mp4: changed while it was read' in err[0]
  assert content(tmp_path / 'out') == {} and not list((tmp_path / 'out').iterdir())


def test_a_file_that_appears_meanwhile(run_generate, video, tmp_path, monkeypatch):
  load = pipeline.Pipeline.run

  def appear(*args, **kwargs):
    for result in load(*args, **kwargs):
      (tmp_path / 'out').mkdir()
      (tmp_path / 'out' / 'film.0.wav').write_text('mine')
      yield result

  monkeypatch.setattr(pipeline.Pipeline, 'run', appear)
  code, _, err = run_generate(video, *QUICK)
  assert code == 2 and 'film.0.wav: exists and is not' in err[0]
  assert content(tmp_path / 'out') == {'film.0.wav': b'mine'}


NAMES = {
  'latin-1': (b'caf\xe9.mp4', 'caf%E9', 'caf\\xe9.mp4'),
  'cjk': ('\u97f3'.encode() * 82 + b'.mp4', '\u97f3' * 82, '\u97f3' * 82 + '.mp4'),
  'longest': (b'x' * 251 + b'.mp4', 'x' * 237 + '-', 'x' * 251 + '.mp4'),
  'line feed': (b'a\nb.mp4', 'a%0Ab', 'a\\nb.mp4'),
  'escape': (b'\x1b[31mred.mp4', '%1B[31mred', '\\x1b[31mred.mp4'),
  'spaces': (b'a  b .mp4', 'a  b ', 'a  b .mp4'),
  'quotes': (b'"it\'s" $5 & $6 <b>.mp4', '"it\'s" $5 & $6 <b>', '"it\'s" $5 & $6 <b>.mp4'),
  'percent': (b'50%d.mp4', '50%d', '50%d.mp4'),
  'colon': (b'a:b.mp4', 'a:b', 'a:b.mp4'),
  'backslash': (b'a\\b.mp4', 'a\\b', 'a\\b.mp4'),
}


@pytest.mark.parametrize(('name', 'stem', 'shown'), NAMES.values(), ids=NAMES)
def test_outputs_of_unusual_file_names_have_valid_manifests(name, stem, shown, run_generate, video, tmp_path):
  path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b'/' + name))
  shutil.copy(video, path)
  code, out, err = run_generate(path, *QUICK)
  assert (code, err) == (0, [])
  (manifest,) = (tmp_path / 'out').glob('*.json')
  assert manifest.stem.startswith(stem) and out.startswith(f'{manifest.with_suffix("")}.0.mp4  score ')
  found = json.loads(manifest.read_bytes().decode())
  json.dumps(found, ensure_ascii=False).encode()  # no lone surrogates
  assert found['input']['path'].replace('\n', '\\n').replace('\x1b', '\\x1b').endswith(f'/{shown}')
  assert urllib.parse.urlsplit(found['input']['uri']).scheme == 'file'
  assert urllib.parse.unquote_to_bytes(found['input']['uri'])[7:] == os.fsencode(path)
  names = {*found['files'], found['manifest']['name']}
  assert names == {each.name for each in (tmp_path / 'out').iterdir()}
  # A fault names the file, readably and on one line.
  path.write_text('This is no video.\n')
  code, out, err = run_generate(path, '--json', *QUICK, '--output', tmp_path / 'other')
  assert (code, out, len(err)) == (2, '', 1)
  assert f'{tmp_path}/{shown}' in err[0] or len(err[0]) > 250
  err[0].encode()


def test_a_name_that_begins_with_a_dash(run_generate, video, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  shutil.copy(video, '-a.mp4')
  code, out, err = run_generate('--output', '.', *QUICK, '--', '-a.mp4')
  assert (code, err, out.split()[0]) == (0, [], '-a.0.mp4')


def test_names_that_differ_in_capitals_are_numbered(run_generate, video, tmp_path):
  for name in ('A.MP4', 'a.mp4'):
    shutil.copy(video, tmp_path / name)
  code, out, err = run_generate(tmp_path / 'A.MP4', tmp_path / 'a.mp4', *QUICK)
  assert (code, err) == (0, [])
  assert [pathlib.Path(line.split()[0]).name for line in out.splitlines()] == [
    'A.0.mp4',
    'A.json',
    'a-2.0.mp4',
    'a-2.json',
  ]


@pytest.mark.filterwarnings('error')
def test_a_plot_shows_any_name(tmp_path):
  level_RJ = np.full((8, 10), -80.0)
  samples = (gallery_entries.Sample(0, level_RJ, tmp_path / 'a.wav'),)
  for title in ('caf\udce9', r'$\frac$', '$x', 'a\\$b$c', '\u97f3'):
    gallery_plot.write(tmp_path / 'a.png', [gallery_entries.Entry(title, 1.0, samples)], title)
