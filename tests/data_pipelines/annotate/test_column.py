"""Annotating records that are built: as in the build, beside the records, resumed, and nothing is lost."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from data_pipelines import analysis
from data_pipelines import annotate_records
from data_pipelines import cut
from data_pipelines import decode
from data_pipelines import pipeline
from data_pipelines import plan
from data_pipelines.annotate import annotator
from data_pipelines.annotate import catalog
from data_pipelines.annotate import column
from tests.data_pipelines.annotate import conftest
from v2a import clip as clip_lib
from v2a import files
from v2a import storage
from v2a.data import annotations as annotations_lib
from v2a.data import feature_columns
from v2a.data import media_folder
from v2a.data import media_source
from v2a.data import records
from v2a.media import audio_file
from v2a.media import write

ASSETS = pathlib.Path(pipeline.__file__).parents[1] / 'v2a/assets/demo'
SPEC = clip_lib.ClipSpec(clip_s=1.0)
HUMAN = 'A ball is thrown.'
SIGNAL = 'signal-analysis@1'


def silent(line: str) -> None:
  del line


def build(videos: pathlib.Path, output: pathlib.Path, *names: str) -> pathlib.Path:
  """Returns the records of a set in two shards, annotated by these annotators."""
  settings = pipeline.Settings(
    f'folder:{videos}',
    planning=plan.Settings(items_per_shard=1),
    analysing=analysis.Settings(cut.Cutting('windows', 1.0, 2.5), ('peak',)),
    thresholds={},
    annotating=catalog.Settings(names),
  )
  pipeline.build(settings, output, report=silent)
  return output / 'train'


@pytest.fixture(name='videos', scope='module')
def make_videos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns two videos and a sound: clicks, a chord, noise."""
  folder, rng = tmp_path_factory.mktemp('videos'), np.random.default_rng(0)
  time_N = np.arange(4 * 16000) / 16000
  clicks_N = np.where(time_N % 0.5 < 0.01, rng.uniform(-0.7, 0.7, len(time_N)), 0.0)
  chord_N = 0.2 * np.sin(2 * np.pi * 220 * time_N) + 0.2 * np.sin(2 * np.pi * 330 * time_N)
  stereo = lambda wave_N: np.stack([wave_N, wave_N], 1).astype(np.float32)
  write.mux(ASSETS / 'ball.mp4', stereo(clicks_N), 16000, folder / 'clicks.mp4')
  write.mux(ASSETS / 'keys.mp4', stereo(chord_N), 16000, folder / 'chord.mp4')
  audio_file.flac(folder / 'noise.flac', 0.1 * rng.standard_normal((4 * 16000, 1)).astype(np.float32), 16000)
  (folder / 'clicks.json').write_text(json.dumps({'annotation': HUMAN, 'transcript': 'throw'}))
  return folder


@pytest.fixture(name='plain', scope='module')
def make_plain(videos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns records that no annotator has read."""
  return build(videos, tmp_path_factory.mktemp('plain') / 'set')


@pytest.fixture(name='folder')
def make_folder(plain: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  """Returns a copy of these records."""
  shutil.copytree(plain.parent, tmp_path / 'set')
  return tmp_path / 'set' / 'train'


def run(folder: pathlib.Path, *flags: str) -> int:
  return annotate_records.main(['--records', str(folder), *flags])


def of_column(folder: pathlib.Path) -> dict[str, annotations_lib.Annotations]:
  opened = media_folder.MediaFolder(folder)
  rows = feature_columns.Column(opened, 'annotations')
  infos = (media_source.ClipInfo.from_row(rows.read(*opened.locate(index))) for index in range(len(opened)))
  return {info.id: info.annotations for info in infos}


def of_records(folder: pathlib.Path) -> dict[str, annotations_lib.Annotations]:
  opened = media_folder.MediaFolder(folder)
  return {opened[index].id: opened[index].annotations for index in range(len(opened))}


def content(folder: pathlib.Path) -> dict[str, str]:
  return {str(path.relative_to(folder)): files.sha256(path) for path in folder.rglob('*') if path.is_file()}


def test_annotated_after_the_build_is_annotated_in_the_build(videos, folder, tmp_path, capsys):
  before = content(folder)
  assert run(folder, '--annotate', 'signal') == 0
  assert 'train/columns/annotations: 6 clips, 6 with captions, 2 with a' in capsys.readouterr().out
  assert content(folder).items() > before.items(), 'the records stay as they are'
  wanted = of_records(build(videos, tmp_path / 'annotated', 'signal'))
  found = of_column(folder)
  for name, each in wanted.items():
    # Onsets of a part that starts later were rounded at another time.
    times_s = [event.start_s for event in found[name].events]
    assert times_s == pytest.approx([event.start_s for event in each.events], abs=1e-9)
    assert dataclasses.replace(found[name], events=each.events) == each
  assert sum(bool(each.events) for each in wanted.values()) >= 2
  assert sum(len(each.captions) for each in of_records(folder).values()) == 2
  assert len(wanted) == 6


def test_what_annotators_added_in_the_build_is_cached(videos, tmp_path):
  folder = build(videos, tmp_path / 'set', 'signal')
  cache = folder.parent / 'build/annotations'
  before = content(cache)
  assert run(folder, '--annotate', 'signal') == 0
  # Clips that start where their media do.
  assert len(before) == 6 and len(content(cache)) == 9
  assert not (folder / 'columns/annotations-cache').exists()


def test_training_and_verification_read_the_column(folder, capsys):
  before = records.open(folder, spec=SPEC)
  texts = lambda source: {source[index]['id']: source[index]['text'] for index in range(len(source))}
  assert sum(map(bool, texts(before).values())) == 2
  assert run(folder, '--annotate', 'signal') == 0
  after = records.open(folder, spec=SPEC)
  assert all(texts(after).values()) and after.hash != before.hash
  assert records.contents(after).text_bytes[0] == 0 < records.contents(before).text_bytes[0]
  capsys.readouterr()
  assert sum(pipeline.verify(folder.parent, silent).values()) == 6
  path = next(iter((folder / 'columns/annotations').glob('records-*')))
  path.write_bytes(path.read_bytes()[:-1] + b'x')
  with pytest.raises(ValueError, match='annotations/records-.* has changed'):
    pipeline.verify(folder.parent, silent)


def test_verification_finds_rows_of_other_records(folder):
  opened = media_folder.MediaFolder(folder)
  writer = feature_columns.Writer(opened, 'lengths', {'digest': '1'})
  for shard in writer.missing():
    # Backwards.
    writer.write(shard, [feature_columns.Row(opened[index].id) for index in reversed(opened.indices(shard))])
  writer.finish()
  with pytest.raises(ValueError, match=r"belongs to record '.*'; wanted '"):
    pipeline.verify(folder.parent, silent)


def test_decoded_from_its_record_a_clip_is_that_of_its_source(videos, folder):
  opened = media_folder.MediaFolder(folder)
  found = {opened[index].id: decode.of_record(opened[index]) for index in range(len(opened))}
  segments = [(0.0, 2.5), (2.5, 4.0)]
  for wanted in decode.decode(decode.open_file(videos / 'clicks.mp4'), segments, 'clicks.mp4'):
    clip = found[wanted.id]
    assert np.array_equal(clip.frame_MYX3, wanted.frame_MYX3)
    assert clip.wave_NA.shape == wanted.wave_NA.shape and clip.sample_rate_hz == wanted.sample_rate_hz
    assert np.abs(clip.wave_NA - wanted.wave_NA).max() < 2.0**-13  # FLAC of 16 bits
    assert (clip.start_s, clip.duration_s) == (0.0, wanted.duration_s)
  assert not found['noise.flac@0.000'].has_video


@dataclasses.dataclass
class Labels:
  """Adds a label; fails, or ends the work, at a clip."""

  version: str = '1'
  fails_at: str = ''
  ends_at: str = ''
  name: str = 'labels'
  reads: tuple[str, ...] = ()
  calls: list[str] = dataclasses.field(default_factory=list)

  def check(self) -> None:
    pass

  def annotate(self, clip, known):
    self.calls.append(clip.id)
    if clip.id == self.fails_at:
      raise annotator.AnnotationError('the label is unclear')
    if clip.id == self.ends_at:
      raise annotator.ServiceError('the service is closed')
    by = annotator.origin(self)
    return annotations_lib.Annotations((annotations_lib.Caption(f'thing {self.version}', 'label', by, 0.9),))


def annotate(folder: pathlib.Path, *annotators, **settings) -> feature_columns.Column:
  opened = media_folder.MediaFolder(folder)
  return column.annotate(opened, annotators, folder / 'columns/cache', report=silent, **settings)


def origins(folder: pathlib.Path) -> list[str]:
  return sorted({each.origin for found in of_column(folder).values() for each in found.captions})


def test_annotators_add_to_the_column_and_replace_their_own(folder):
  run(folder, '--annotate', 'signal')
  found = annotate(folder, Labels())
  assert found.about['annotators'] == [SIGNAL, 'labels@1']
  assert origins(folder) == ['human', 'labels@1', SIGNAL]
  annotate(folder, Labels('2'))
  assert origins(folder) == ['human', 'labels@2', SIGNAL]
  clicks = of_column(folder)['clicks.mp4@0.000']
  assert [each.text for each in clicks.captions if each.origin == 'human'] == [HUMAN]
  found = annotate(folder, Labels('2'), is_replaced=True)
  assert origins(folder) == ['human', 'labels@2'] and found.about['annotators'] == ['labels@2']
  assert sorted(path.name for path in (folder / 'columns').iterdir()) == [
    'annotations',
    'annotations-cache',
    'cache',
  ]


def test_what_is_there_is_not_done_again_and_what_failed_is(folder, capsys):
  fails = Labels(fails_at='noise.flac@0.000')
  hash_before = annotate(folder, fails).hash
  assert len(fails.calls) == 6 and column.read_failures(media_folder.MediaFolder(folder)) == [
    {'id': 'noise.flac@0.000', 'annotator': 'labels@1', 'reason': 'the label is unclear'}
  ]
  again = Labels()
  found = annotate(folder, again)
  assert again.calls == ['noise.flac@0.000'] and found.hash != hash_before
  assert not column.read_failures(media_folder.MediaFolder(folder))
  written = content(folder)
  annotate(folder, again)
  assert content(folder) == written and len(again.calls) == 1
  # Captions of the signal depend on labels.
  run(folder, '--annotate', 'signal')
  annotate(folder, Labels('2'))
  run(folder, '--annotate', 'signal')
  assert any('hing 2' in each.text for each in of_column(folder)['chord.mp4@0.000'].captions[-2:])
  del capsys


def test_what_was_interrupted_continues_and_the_old_column_stays_until_then(folder):
  run(folder, '--annotate', 'signal')
  before = of_column(folder)
  last = list(before)[-1]
  ends = Labels(ends_at=last)
  with pytest.raises(OSError, match='1 of 2 shards failed in the annotation; .*: the service is closed'):
    annotate(folder, ends)
  assert of_column(folder) == before and len(ends.calls) == 6
  continued = Labels()
  annotate(folder, continued)
  assert continued.calls == [last], 'shards are kept, and clips of the other one are in the cache'
  assert all(len(each.captions) >= 3 for each in of_column(folder).values())


def test_a_swap_that_was_interrupted_is_completed(folder, monkeypatch):
  run(folder, '--annotate', 'signal')
  rename = pathlib.Path.rename

  def killed(self, target):
    if self.name == 'annotations.new':
      raise KeyboardInterrupt
    return rename(self, target)

  monkeypatch.setattr(pathlib.Path, 'rename', killed)
  with pytest.raises(KeyboardInterrupt):
    annotate(folder, Labels())
  monkeypatch.setattr(pathlib.Path, 'rename', rename)
  annotate(folder, again := Labels())
  assert not again.calls and origins(folder) == ['human', 'labels@1', SIGNAL]
  assert not list((folder / 'columns').glob('annotations.*'))


def test_a_record_that_cannot_be_decoded_keeps_what_is_known(folder, capsys, monkeypatch):
  of_record = decode.of_record

  def damaged(record):
    return of_record(dataclasses.replace(record, video=b'no video') if record.video else record)

  monkeypatch.setattr(decode, 'of_record', damaged)
  assert run(folder, '--annotate', 'signal') == 0
  found = capsys.readouterr().out
  assert 'clips could not be annotated by decoding: ' in found and 'failures.jsonl' in found
  column_of, known = of_column(folder), of_records(folder)
  assert len(column_of) == 6
  assert all(column_of[name] == known[name] for name in known if 'noise' not in name)
  assert all(column_of[name].captions for name in known if 'noise' in name)


def test_bad_input_is_one_line_and_changes_nothing(folder, tmp_path, capsys, monkeypatch):
  monkeypatch.delenv('KEY_OF_TEST', raising=False)
  before = content(folder)
  for flags, message in (
    ([], 'wanted --annotate, --captioner or --transcriber'),
    (['--annotate', 'siri'], 'annotators must be of'),
    (['--captioner', 'http://host/v1'], '--captioner must be MODEL@URL'),
    (['--annotate', 'signal', '--records', str(tmp_path)], 'is no folder of media records'),
    (
      ['--annotate', 'signal', '--records', str(folder.parent)],
      "must be a manifest of format 'v2a media rec",
    ),
    (['--annotate', 'signal', '--num-workers', '0'], '--num-workers'),
  ):
    assert run(folder, *flags) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('data_pipelines.annotate_records: ') and message in line
  assert content(folder) == before


def test_a_dry_run_counts_requests_and_writes_nothing(folder, capsys):
  before = content(folder)
  assert run(folder, '--captioner', 'm@http://host/v1', '--usd-per-m-output', '1000', '--dry-run') == 0
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith('clips:    6, ') and lines[1].startswith(
    'requests: about 6 to endpoints, 2.10 USD'
  )
  assert content(folder) == before


def test_an_endpoint_captions_records_and_none_is_requested_twice(folder, server, capsys):
  pytest.importorskip('openai', reason="package openai missing (pip install 'v2a[data]')")
  flags = ['--captioner', f'{conftest.MODEL}@{server.url}', '--api-key-env', 'OPENAI_API_KEY']
  answer, before = server.answer(json.dumps(conftest.ANSWER)), content(folder)
  # The check and two clips; then the key is revoked.
  server.script, server.default = [answer] * 3, server.error(401, 'revoked')
  assert run(folder, *flags) == 2
  assert 'revoked' in capsys.readouterr().err.splitlines()[-1]
  assert not (folder / 'columns/annotations').exists() and content(folder).items() > before.items()
  server.requests.clear()
  server.script = [answer, *([server.answer('no JSON')] * 3)]
  server.default = answer
  assert run(folder, *flags) == 0
  assert len(server.requests) == 1 + 3 + 3
  assert '1 clips could not be annotated by captioner:omni@' in (printed := capsys.readouterr().out)
  assert '3 invalid answers' in printed
  server.requests.clear()
  assert run(folder, *flags) == 0
  assert len(server.requests) == 2, 'the check, and the clip that failed'
  assert all(
    [each.style for each in found.captions if each.origin != 'human']
    == ['label', 'short', 'detailed', 'negative']
    for found in of_column(folder).values()
  )
  assert of_column(folder)['clicks.mp4@0.000'].captions[0].text == HUMAN


@pytest.mark.parametrize('fault', ['key', 'refused'])
def test_an_endpoint_that_cannot_be_used_is_one_line(folder, server, capsys, monkeypatch, fault):
  pytest.importorskip('openai', reason="package openai missing (pip install 'v2a[data]')")
  before = content(folder)
  if fault == 'key':
    monkeypatch.delenv('OPENAI_API_KEY')
  else:
    server.stop()
  flags = ['--captioner', f'{conftest.MODEL}@{server.url}', '--api-key-env', 'OPENAI_API_KEY']
  assert run(folder, *flags) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert ('set the environment variable OPENAI_API_KEY' if fault == 'key' else 'no connection') in line
  assert content(folder) == before


@pytest.mark.stores
def test_records_in_an_object_store_are_annotated_as_on_this_machine(
  folder, bucket, tmp_path, monkeypatch, capsys
):
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'downloads'))
  remote = bucket / 'set' / 'train'
  storage.upload_folder(folder.parent, bucket / 'set')
  assert run(remote, '--annotate', 'signal') == 2
  assert f'{remote} is in an object store: --cache must name a folder' in capsys.readouterr().err
  cache = ('--cache', str(tmp_path / 'cache'))
  for where in (remote, folder):
    assert run(where, '--annotate', 'signal', *cache) == 0
  assert of_column(remote) == of_column(folder)
  # Replaced as a whole, here too.
  assert run(remote, '--annotate', 'signal', '--replace', *cache) == 0
  assert of_column(remote) == of_column(folder)
  assert feature_columns.names(media_folder.MediaFolder(remote)) == ['annotations']
