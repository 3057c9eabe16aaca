"""The build of a data set: every clip is accounted for, and what is interrupted or torn is made again."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from data_pipelines import analysis
from data_pipelines import cut
from data_pipelines import encode_column
from data_pipelines import layout as layout_lib
from data_pipelines import pipeline
from data_pipelines import plan
from data_pipelines import runner
from data_pipelines import size_estimate
from data_pipelines.annotate import catalog
from data_pipelines.annotate import usage
from data_pipelines.sources import catalog as catalog_of_sources
from v2a import clip as clip_lib
from v2a import files
from v2a import storage
from v2a.data import media_folder
from v2a.data import records
from v2a.data import shards
from v2a.media import audio_file
from v2a.media import read
from v2a.media import write

ASSETS = pathlib.Path(pipeline.__file__).parents[1] / 'v2a/assets/demo'


def make_settings(videos: pathlib.Path, **changes) -> pipeline.Settings:
  values = {
    'planning': plan.Settings(items_per_shard=2, shares={'train': 0.7, 'test': 0.3}),
    'analysing': analysis.Settings(cut.Cutting('windows', 1.0, 2.5), ('peak', 'still_share')),
    'annotating': catalog.Settings(('signal',)),
  }
  return pipeline.Settings(f'folder:{videos}', **values | changes)


@pytest.fixture(name='videos', scope='module')
def make_videos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns videos: with a tone, a copy of it, silent ones, a quiet one, a damaged one and a short sound."""
  folder = tmp_path_factory.mktemp('videos')
  noise_NA = 0.1 * np.random.default_rng(0).standard_normal((4 * 16000, 2)).astype(np.float32)
  write.mux(ASSETS / 'ball.mp4', noise_NA, 16000, folder / 'noise.mp4')
  shutil.copy(folder / 'noise.mp4', folder / 'noise_again.mp4')
  write.mux(ASSETS / 'keys.mp4', 1e-4 * noise_NA, 16000, folder / 'quiet.mp4')
  shutil.copy(ASSETS / 'rain.mp4', folder / 'silent.mp4')
  (folder / 'noise.txt').write_text('Noise of a machine.')
  (folder / 'damaged.mp4').write_bytes(b'no video' * 1000)
  audio_file.flac(folder / 'short.flac', noise_NA[:8000], 16000)
  return folder


@pytest.fixture(name='built', scope='module')
def make_built(videos: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns a finished data set."""
  output = tmp_path_factory.mktemp('sets') / 'set'
  pipeline.build(make_settings(videos), output, report=lambda line: None)
  return output


def digests(output: pathlib.Path) -> dict[str, str]:
  return {
    path.relative_to(output).as_posix(): files.sha256(path)
    for path in sorted(output.rglob('*'))
    if path.is_file() and 'annotations' not in path.parts
  }


def shard_digests(output: pathlib.Path) -> dict[str, str]:
  return {name: each for name, each in digests(output).items() if name.endswith('.array_record')}


def test_every_clip_is_accounted_for(built):
  manifest = pipeline.read_manifest(built)
  totals: dict[str, int] = {}
  for counts in manifest['counts'].values():
    for name, count in counts.items():
      totals[name] = totals.get(name, 0) + count
  # Windows of 2.5 s and the rest of 1.5 s, of four videos of 4 s.
  assert totals == {'accepted': 4, 'duplicate': 2, 'filter:peak': 2, 'failed': 1, 'omitted': 1}
  rejected = [json.loads(line) for line in (built / 'rejected.jsonl').read_text().splitlines()]
  assert sorted(each['outcome'] for each in rejected) == sorted(
    ['duplicate'] * 2 + ['filter:peak'] * 2 + ['failed', 'omitted']
  )
  assert all(each['reason'] for each in rejected)
  assert sum(pipeline.verify(built, lambda line: None).values()) == 4


def test_the_records_of_a_set_are_those_of_its_splits(built):
  spec = clip_lib.ClipSpec(clip_s=1.0)
  with pytest.raises(ValueError, match=r'set is a data set; wanted the records of a split of it: .*/train'):
    records.open(built, spec=spec)
  splits = pipeline.read_manifest(built)['splits']
  assert len(records.open(*(built / split for split in splits), spec=spec)) == 4


def test_a_part_that_is_omitted_is_no_record(videos, tmp_path):
  """It has the id of its item, as the only clip of the item has."""
  cutting = cut.Cutting('windows', 2.0, 2.5)
  settings = make_settings(videos, analysing=analysis.Settings(cutting, ('peak', 'still_share')))
  manifest = pipeline.build(settings, tmp_path / 'set', report=lambda line: None)
  totals: dict[str, int] = {}
  for counts in manifest['counts'].values():
    for name, count in counts.items():
      totals[name] = totals.get(name, 0) + count
  assert totals == {'accepted': 2, 'duplicate': 1, 'filter:peak': 1, 'failed': 1, 'omitted': 5}
  assert sum(pipeline.verify(tmp_path / 'set', lambda line: None).values()) == 2


def test_a_record_decodes_as_its_source(built, videos):
  found = {}
  for split in pipeline.read_manifest(built)['splits']:
    folder = media_folder.MediaFolder(built / split)
    found |= {record.id: record for record in (folder[index] for index in range(len(folder)))}
  name = next(each for each in found if each.startswith('noise') and each.endswith('@2.500'))
  record, source = found[name], videos / name.partition('@')[0]
  (built.parent / 'a.mp4').write_bytes(record.video)
  (built.parent / 'a.flac').write_bytes(record.audio)
  wave_NA = read.wave(built.parent / 'a.flac', 16000, 2)
  assert np.abs(wave_NA - read.wave(source, 16000, 2, 2.5, 1.5)[: len(wave_NA)]).max() < 1e-4
  assert (record.duration_s, len(wave_NA)) == (1.5, 24000)
  assert list(record.measured) == ['peak', 'still_share']
  ticks, size = np.arange(12) * 125, (48, 64)
  frame_MYX3, wanted_MYX3 = (
    np.concatenate(list(read.iterate_frames_at(path, ticks, 1000, size, start_s, 16)))
    for path, start_s in ((built.parent / 'a.mp4', record.video_start_s), (source, 2.5))
  )
  np.testing.assert_array_equal(frame_MYX3, wanted_MYX3)


def test_records_have_the_words_of_the_source_and_of_the_annotator(built):
  captions = []
  for split in pipeline.read_manifest(built)['splits']:
    folder = media_folder.MediaFolder(built / split)
    captions += [caption for index in range(len(folder)) for caption in folder[index].annotations.captions]
  assert {caption.origin.partition('@')[0] for caption in captions} >= {'signal-analysis'}


@pytest.mark.parametrize('fault', ['records', 'summary', 'torn', 'analysis', 'manifest', 'partial'])
def test_a_build_that_is_resumed_gives_the_same_bytes(built, videos, tmp_path, fault):
  output = tmp_path / 'set'
  shutil.copytree(built, output)
  layout, shard = layout_lib.Layout(output), next(output.glob('*/records-*.array_record'))
  split, index = shard.parent.name, int(shard.stem.partition('-')[2])
  if fault == 'records':
    shard.unlink()
  elif fault == 'summary':
    layout.shard_summary(split, index).unlink()
  elif fault == 'torn':
    shard.write_bytes(shard.read_bytes()[:-1])
  elif fault == 'analysis':
    shutil.rmtree(layout.decisions)
    plan.shard_path(layout.analysis, split, index).unlink()
  elif fault == 'manifest':
    layout.manifest.unlink()
  else:
    (shard.parent / '.records.1234.partial.array_record').write_bytes(b'half')
  pipeline.build(make_settings(videos), output, is_resumed=True, report=lambda line: None)
  assert digests(output) == digests(built)


def test_a_folder_is_not_overwritten_and_settings_are_not_mixed(built, videos):
  before = digests(built)
  with pytest.raises(FileExistsError, match='--resume'):
    pipeline.build(make_settings(videos), built, report=lambda line: None)
  other = make_settings(videos, annotating=catalog.Settings(()))
  with pytest.raises(ValueError, match=r'other settings: annotating was .*signal'):
    pipeline.build(other, built, is_resumed=True, report=lambda line: None)
  (built.parent / 'mine').mkdir(exist_ok=True)
  with pytest.raises(ValueError, match='cannot be resumed'):
    pipeline.build(make_settings(videos), built.parent / 'mine', is_resumed=True, report=lambda line: None)
  assert digests(built) == before


def test_verification_finds_what_has_changed(built, tmp_path):
  output = tmp_path / 'set'
  shutil.copytree(built, output)
  lines = (output / 'rejected.jsonl').read_text().splitlines(keepends=True)
  (output / 'rejected.jsonl').write_text(''.join(lines[:-1]))
  with pytest.raises(ValueError, match=r'rejected.jsonl has 5 lines; the manifest counts 6'):
    pipeline.verify(output, lambda line: None)
  (output / 'rejected.jsonl').write_text(''.join(lines))
  shard = next(output.glob('*/records-*.array_record'))
  shard.write_bytes(shard.read_bytes()[:-1])
  with pytest.raises(ValueError, match=shard.name):
    pipeline.verify(output, lambda line: None)
  with pytest.raises(FileNotFoundError, match='no finished data set'):
    pipeline.verify(tmp_path)


def test_media_that_cannot_be_written_are_counted(videos, tmp_path):
  """A video that disappears after the analysis."""
  copies = tmp_path / 'videos'
  shutil.copytree(videos, copies)
  settings, output = make_settings(copies), tmp_path / 'set'
  pipeline.build(settings, output, report=lambda line: None)
  for path in output.glob('*/records-*'):
    path.unlink()
  (copies / 'silent.mp4').unlink()
  manifest = pipeline.build(settings, output, is_resumed=True, report=lambda line: None)
  assert sum(counts.get('accepted', 0) for counts in manifest['counts'].values()) == 2
  assert sum(counts.get('failed', 0) for counts in manifest['counts'].values()) == 3
  assert sum(pipeline.verify(output, lambda line: None).values()) == 2
  assert 'silent.mp4' in (output / 'rejected.jsonl').read_text()


def fail_or_write(folder: pathlib.Path, split: str, index: int) -> None:
  if index == 1:
    raise shards.CorruptRecordError('the shard is bad')
  (folder / f'{split}{index}').touch()


def test_a_shard_that_fails_does_not_stop_the_others(tmp_path):
  stage = runner.Stage(
    'analysis',
    lambda split, index: fail_or_write(tmp_path, split, index),
    lambda split, index: (tmp_path / f'{split}{index}').exists(),
    tmp_path / 'errors',
  )
  with pytest.raises(
    runner.ShardError, match=r'1 of 3 shards failed in the analysis; train-00001: the shard is bad'
  ):
    runner.run(stage, [('train', index) for index in range(3)], runner.LOCAL)
  assert (tmp_path / 'train0').exists() and (tmp_path / 'train2').exists()


def test_settings_are_checked_before_anything_is_written(videos, tmp_path):
  output = tmp_path / 'set'
  with pytest.raises(FileNotFoundError, match='nothing'):
    pipeline.build(pipeline.Settings('folder:nothing'), output)
  with pytest.raises(ValueError, match='no filter'):
    pipeline.build(make_settings(videos, thresholds={'loud': pipeline.filter_lib.Threshold()}), output)
  with pytest.raises(ValueError, match='runner must be one of'):
    runner.Options('slurm')
  assert not output.exists()


@pytest.fixture(name='cache')
def make_cache(tmp_path, monkeypatch):
  """Downloaded shards do not outlive a test."""
  monkeypatch.setenv('V2A_CACHE', str(tmp_path / 'cache'))


@pytest.mark.stores
@pytest.mark.usefixtures('cache')
def test_a_data_set_in_an_object_store_has_the_same_bytes(built, videos, bucket, tmp_path):
  output, quiet = bucket / 'sets' / 'a', lambda line: None
  with pytest.raises(ValueError, match='is in an object store: --work must name a folder of this machine'):
    pipeline.build(make_settings(videos), output, report=quiet)
  pipeline.build(make_settings(videos), output, report=quiet, work=tmp_path / 'work')
  storage.download_folder(output, tmp_path / 'copy')
  # Settings, plan, analysis, decisions and annotations are elsewhere.
  wanted = {name: digest for name, digest in digests(built).items() if not name.startswith('build/')}
  assert digests(tmp_path / 'copy') == wanted and 'manifest.json' in wanted
  assert pipeline.verify(output, quiet) == pipeline.verify(built, quiet)
  for work in (tmp_path / 'work', tmp_path / 'other'):
    with pytest.raises(FileExistsError, match='exists already; --resume continues a build in it'):
      pipeline.build(make_settings(videos), output, report=quiet, work=work)
  with pytest.raises(ValueError, match='/sets/a cannot be resumed: there is no .*/other/settings.json'):
    pipeline.build(make_settings(videos), output, report=quiet, work=tmp_path / 'other', is_resumed=True)


@pytest.mark.stores
@pytest.mark.usefixtures('cache')
@pytest.mark.parametrize('fault', ['missing', 'torn', 'empty'])
def test_a_build_in_an_object_store_is_resumed(built, videos, s3, tmp_path, fault):
  output, quiet = s3 / 'a', lambda line: None
  pipeline.build(make_settings(videos), output, report=quiet, work=tmp_path / 'work')
  name = next(name for name in storage.list_files(output) if name.endswith('.array_record'))
  if fault == 'missing':
    storage.remove(output / name)
  elif fault == 'torn':
    storage.write_object(output / name, storage.read_bytes(output / name)[:-1])
  else:  # as a worker that was killed before its first shard was uploaded
    storage.remove_folder(output)
  pipeline.build(make_settings(videos), output, report=quiet, work=tmp_path / 'work', is_resumed=True)
  storage.download_folder(output, tmp_path / 'copy')
  assert digests(tmp_path / 'copy') == {
    name: digest for name, digest in digests(built).items() if not name.startswith('build/')
  }


@pytest.mark.stores
def test_videos_in_an_object_store_give_the_same_records(built, videos, bucket, tmp_path):
  storage.upload_folder(videos, bucket / 'videos')
  pipeline.build(make_settings(bucket / 'videos'), tmp_path / 'set', report=lambda line: None)
  assert shard_digests(tmp_path / 'set') == shard_digests(built) != {}
  rejected = (tmp_path / 'set' / 'rejected.jsonl').read_text()
  assert rejected.replace(str(bucket / 'videos'), str(videos)) == (built / 'rejected.jsonl').read_text()
  estimates = [
    size_estimate.estimate(make_settings(folder), 1, usage.Prices()) for folder in (videos, bucket / 'videos')
  ]
  assert estimates[1].num_items == estimates[0].num_items
  assert estimates[1].num_bytes == pytest.approx(estimates[0].num_bytes, rel=0.5)


@pytest.mark.stores
def test_a_table_on_this_machine_may_name_media_in_an_object_store(videos, s3, tmp_path):
  storage.upload_folder(videos, s3 / 'videos')
  (tmp_path / 'table.csv').write_text('path,caption\nnoise.mp4,Noise.\nnone.mp4,Nothing.\n')
  source = f'manifest:{tmp_path / "table.csv"}'
  found = list(catalog_of_sources.open_source(source, media=str(s3 / 'videos')))
  assert [type(each).__name__ for each in found] == ['Item', 'Problem'] and 'is not there' in str(found[1])
  with found[0].media.as_file() as path:
    assert path.read_bytes() == (videos / 'noise.mp4').read_bytes()
  settings = dataclasses.replace(
    make_settings(videos), source=source, source_settings={'media': str(s3 / 'videos')}
  )
  pipeline.build(settings, tmp_path / 'set', report=lambda line: None)
  counts = pipeline.read_manifest(tmp_path / 'set')['counts'].values()
  assert sum(each.get('accepted', 0) for each in counts) == 2
  with pytest.raises(ValueError, match='source manifest must be on this machine; got s3://.*table.csv'):
    catalog_of_sources.open_source(f'manifest:{s3}/table.csv')
  with pytest.raises(FileNotFoundError, match='s3://.*none has no objects'):
    catalog_of_sources.open_source(f'folder:{s3}/none')


@pytest.mark.stores
def test_an_object_store_that_fails_rejects_no_clip(built, videos, s3, tmp_path, monkeypatch):
  storage.upload_folder(videos, s3 / 'videos')
  settings, quiet = make_settings(s3 / 'videos'), lambda line: None
  download = storage.download

  def fail(path, local):
    raise OSError(f'{path}: the store is not reached')

  monkeypatch.setattr(
    storage, 'download', lambda *args: (fail if args[0].suffix == '.mp4' else download)(*args)
  )
  with pytest.raises(runner.ShardError, match='the store is not reached'):
    pipeline.build(settings, tmp_path / 'set', report=quiet)
  monkeypatch.setattr(storage, 'download', download)
  pipeline.build(settings, tmp_path / 'set', report=quiet, is_resumed=True)
  assert shard_digests(tmp_path / 'set') == shard_digests(built)


@pytest.mark.parametrize('split', ['../../precious', '.', 'a/b', 'build', 'a,b', '-x', 'rejected.jsonl', ''])
def test_a_split_that_is_no_folder_of_the_set_is_malformed(videos, tmp_path, split):
  precious = tmp_path / 'precious' / '00000.jsonl'
  precious.parent.mkdir()
  precious.write_text('mine')
  rows = [{'path': 'noise.mp4', 'split': split}, {'path': 'quiet.mp4', 'split': 'train'}]
  (tmp_path / 'table.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  settings = dataclasses.replace(
    make_settings(videos, thresholds={}),
    source=f'manifest:{tmp_path / "table.jsonl"}',
    source_settings={'media': str(videos)},
  )
  pipeline.build(settings, tmp_path / 'out' / 'set', report=lambda line: None)
  assert precious.read_text() == 'mine'
  assert {path.name for path in tmp_path.iterdir()} == {'precious', 'table.jsonl', 'out'}
  rejected = [json.loads(line) for line in (tmp_path / 'out/set/rejected.jsonl').read_text().splitlines()]
  refused = [each for each in rejected if each['outcome'] == 'malformed']
  if split:
    (found,) = refused
    assert found['where'].endswith('table.jsonl:1') and 'a split must be named by letters' in found['reason']
  else:
    assert not refused


def test_a_build_without_items_leaves_nothing_and_says_why(videos, tmp_path):
  (tmp_path / 'table.csv').write_text('path,caption\nnone.mp4,Nothing.\n')
  settings = dataclasses.replace(make_settings(videos), source=f'manifest:{tmp_path / "table.csv"}')
  with pytest.raises(ValueError, match='no item .*; 1 cannot, the first: .*none.mp4 is not there'):
    pipeline.build(settings, tmp_path / 'set', report=lambda line: None)
  assert not (tmp_path / 'set').exists()
  (tmp_path / 'table.csv').write_text('path\nnoise.mp4\n')
  settings = dataclasses.replace(settings, source_settings={'media': str(videos)})
  pipeline.build(settings, tmp_path / 'set', report=lambda line: None)


def test_files_that_are_no_media_are_counted(videos, tmp_path):
  (tmp_path / 'sounds').mkdir()
  for name in ('short.flac', 'quiet.mp4'):
    shutil.copy(videos / name, tmp_path / 'sounds')
  (tmp_path / 'sounds' / 'notes.docx').write_text('notes')
  lines = []
  settings = dataclasses.replace(make_settings(videos), source=f'audio_only:{tmp_path / "sounds"}')
  pipeline.build(settings, tmp_path / 'set', report=lines.append)
  assert any('2 files skipped (.docx 1, .mp4 1)' in line for line in lines)


def test_ids_that_occur_twice_have_one_name(videos, tmp_path):
  rows = [{'id': 'noise', 'start_s': start_s} for start_s in (0, 1)]
  (tmp_path / 'table.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  settings = dataclasses.replace(
    make_settings(videos),
    source=f'manifest:{tmp_path / "table.jsonl"}',
    source_settings={'media': str(videos)},
  )
  counts = pipeline.build(settings, tmp_path / 'set', report=lambda line: None)['counts']['']
  rejected = [json.loads(line) for line in (tmp_path / 'set/rejected.jsonl').read_text().splitlines()]
  assert counts == {'duplicate_id': 1}
  assert [each['outcome'] for each in rejected if not each.get('split')] == ['duplicate_id']


def test_a_replaced_shard_is_not_encoded_or_annotated(built, tmp_path):
  shutil.copytree(built, tmp_path / 'set')
  (path,) = (path.parent for path in (tmp_path / 'set').glob('*/records-*'))
  manifest = json.loads((path / 'manifest.json').read_text())
  manifest['shards'][0]['first_id'] = 'other.mp4'
  (path / 'manifest.json').write_text(json.dumps(manifest))
  folder = media_folder.MediaFolder(path)
  with pytest.raises(ValueError, match="was replaced: its first_id is .*manifest.json says 'other.mp4'"):
    encode_column.encode(folder, encode_column.AnnotationEncoder(), report=lambda line: None)
  shard = next(path.glob('records-*'))
  shard.write_bytes(shard.read_bytes() + b'x')
  with pytest.raises(ValueError, match='bytes'):
    encode_column.encode(folder, encode_column.AnnotationEncoder(), report=lambda line: None)
  shard.unlink()
  with pytest.raises(FileNotFoundError, match='is missing, though the manifest beside it names it'):
    encode_column.encode(folder, encode_column.AnnotationEncoder(), report=lambda line: None)


def test_what_a_killed_encoder_left_is_removed(built, tmp_path):
  shutil.copytree(built, tmp_path / 'set')
  (path,) = (path.parent for path in (tmp_path / 'set').glob('*/records-*'))
  folder = media_folder.MediaFolder(path)
  lines = []
  encode_column.encode(folder, encode_column.AnnotationEncoder(), report=lines.append)
  litter = path / 'columns/annotations/.records-00001.a23fd815.partial.array_record'
  litter.write_bytes(b'half')
  encode_column.encode(folder, encode_column.AnnotationEncoder(), report=lines.append)
  assert not litter.exists() and lines[-1] == f'annotations: all {len(folder)} clips are encoded already'
