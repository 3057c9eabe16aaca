"""Sources by name."""

import pathlib
import pickle

import pytest

from data_pipelines.sources import catalog
from data_pipelines.sources import items


def test_sources_are_opened_by_name(tmp_path: pathlib.Path):
  (tmp_path / 'media').mkdir()
  (tmp_path / 'media' / '-0BIyqJj9ZU_000030.mp4').touch()
  (tmp_path / 'test.csv').write_text('-0BIyqJj9ZU_000030.mp4,people belly laughing\n')
  source = catalog.open_source(
    f'vggsound:{tmp_path}/test.csv', media=str(tmp_path / 'media'), licence='X', split=None
  )
  assert source.name == 'vggsound'
  (item,) = pickle.loads(pickle.dumps(source))
  assert isinstance(item, items.Item) and (item.licence, item.split) == ('X', 'test')
  by_default = catalog.open_source(f'vggsound:{tmp_path}/test.csv', media=tmp_path / 'media', licence=None)
  assert next(iter(by_default)).licence.startswith('CC-BY-4.0')
  (item,) = catalog.open_source(f'folder:{tmp_path}/media')
  assert item.id == '-0BIyqJj9ZU_000030.mp4'


@pytest.mark.parametrize('name', catalog.SOURCES)
def test_every_source_has_its_name_and_is_pickled(name, tmp_path):
  settings = {'features': {'video': 'video'}} if name == 'tfds' else {}
  source = catalog.open_source(f'{name}:{tmp_path}', **settings)
  assert pickle.loads(pickle.dumps(source)).name == source.name == name


@pytest.mark.parametrize(
  'spec, settings, message',
  [
    ('vgsound:a.csv', {}, r"unknown source 'vgsound' in 'vgsound:a\.csv'; did you mean vggsound\?"),
    (
      'videos/',
      {},
      r"unknown source 'videos/' in 'videos/'; known are audio_only, audiocaps, .*, webdataset\.",
    ),
    ('folder', {}, r"source 'folder' wants a path after the name, such as folder:PATH"),
    ('folder:', {}, r'wants a path'),
    ('folder:{}', {'lisence': 'x'}, r"source folder has no setting 'lisence'; did you mean licence\?"),
    (
      'folder:{}',
      {'media': 'x'},
      r"source folder has no setting 'media'; known are suffixes, licence, split, name\.",
    ),
  ],
)
def test_unknown_names_are_refused_with_a_suggestion(spec, settings, message, tmp_path):
  with pytest.raises(ValueError, match=message):
    catalog.open_source(spec.format(tmp_path), **settings)


def test_paths_that_do_not_exist_are_refused(tmp_path):
  with pytest.raises(FileNotFoundError, match=r'source vggsound: .*none\.csv does not exist'):
    catalog.open_source(f'vggsound:{tmp_path}/none.csv')
  (tmp_path / 'a.csv').touch()
  with pytest.raises(FileNotFoundError, match=r'media of source vggsound: .*none does not exist'):
    catalog.open_source(f'vggsound:{tmp_path}/a.csv', media=tmp_path / 'none')


def test_nothing_imports_tensorflow():
  import sys

  assert 'tensorflow' not in sys.modules and 'tensorflow_datasets' not in sys.modules
