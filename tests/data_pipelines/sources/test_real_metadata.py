"""Counts of items and problems in the metadata files that the data sets publish."""

import collections
import csv
import json
import pathlib
import shutil
import tarfile

import pytest

from data_pipelines.sources import audiocaps
from data_pipelines.sources import audioset
from data_pipelines.sources import ave
from data_pipelines.sources import greatest_hits
from data_pipelines.sources import grid
from data_pipelines.sources import items
from data_pipelines.sources import manifest
from data_pipelines.sources import media_index
from data_pipelines.sources import moviegen
from data_pipelines.sources import vggsound

META = pathlib.Path(__file__).resolve().parents[3] / '../shared/meta'
pytestmark = pytest.mark.skipif(not META.is_dir(), reason='no ../shared/meta beside the checkout')


@pytest.fixture(autouse=True)
def all_media_is_there(monkeypatch):
  found = media_index.Found(pathlib.Path('a.mp4'), 0.0, None, True)
  monkeypatch.setattr(media_index.MediaIndex, 'find', lambda self, video, start_s, end_s: found)
  monkeypatch.setattr(media_index.MediaIndex, 'named', lambda self, stem, folder=None: found.path)


def num_lines(name: str) -> int:
  """Returns the number of lines that PROVENANCE.csv states."""
  with open(META / 'PROVENANCE.csv', newline='') as file:
    return next(int(row['lines']) for row in csv.DictReader(file) if row['file'] == name)


def counts(source) -> collections.Counter:
  return collections.Counter(each.kind if isinstance(each, items.Problem) else 'item' for each in source)


@pytest.mark.parametrize(
  'name, num_headers, problems',
  [
    ('vggsound_official_test.csv', 0, {}),
    ('vggsound_official_AStest.csv', 0, {}),
    ('vggsound_4col_head_excerpt.csv', 0, {}),
    ('mmaudio_vgg-test.tsv', 1, {}),
    ('mmaudio_vgg-val.tsv', 1, {}),
    ('mmaudio_example_video.tsv', 1, {}),
    ('vaura_vggsound_test.csv', 1, {}),
    ('vaura_vggsound_sparse.csv', 1, {}),
    ('synchformer_vggsound_sparse_clean.csv', 1, {}),
    # Two windows are listed twice, one of them with another offset.
    ('synchformer_vggsound_sparse_clean_fixed_offsets.csv', 1, {'duplicate': 2}),
    # An id with '&t' of an address, seven repeated lines, and clips of one video in two splits.
    ('tempotokens_landscape.csv', 1, {'malformed': 1, 'duplicate': 10}),
    ('tempotokens_audioset_drum.csv', 1, {}),
    ('controlfoley_vggsound_tvc.tsv', 1, {}),
  ],
)
def test_vggsound(name, num_headers, problems):
  num_rows = num_lines(name) - num_headers
  found = counts(vggsound.VggSound(META / name))
  assert found == {'item': num_rows - sum(problems.values()), **problems}


@pytest.mark.parametrize('classes', ['audioset_ontology.json', 'audioset_class_labels_indices.csv'])
@pytest.mark.parametrize(
  'name', ['audioset_eval_segments_drummernet.csv', 'audioset_balanced_train_segments_drummernet.csv']
)
def test_audioset(name, classes):
  source = audioset.AudioSet(META / name, classes=META / classes)
  assert counts(source) == {'item': num_lines(name) - 1}


def test_classes_of_audioset():
  ontology = audioset.read_classes(META / 'audioset_ontology.json')
  indices = audioset.read_classes(META / 'audioset_class_labels_indices.csv')
  assert (len(ontology.name_of), len(indices.name_of)) == (632, 527)
  assert all(ontology.name_of[mid] == name for mid, name in indices.name_of.items())


@pytest.mark.parametrize('name', ['audiocaps_v1_test.csv', 'audiocaps_v1_val.csv'])
def test_audiocaps(name):
  found = list(audiocaps.AudioCaps(META / name))
  assert len(found) == (num_lines(name) - 1) / 5
  assert {len(item.annotations.captions) for item in found} == {5}


def test_ave():
  found = list(ave.Ave(META / 'ave_Annotations.txt'))
  problems = [each for each in found if isinstance(each, items.Problem)]
  assert [each.where.rpartition(':')[2] for each in problems] == ['27']
  num_events = sum(len(item.annotations.events) for item in found if isinstance(item, items.Item))
  assert num_events == num_lines('ave_Annotations.txt') - 1 and len(found) == 4097


@pytest.mark.parametrize(
  'name, num_headers, num_captions',
  [
    ('moviegen_AudioBenchSfx.jsonl', 0, 1),
    ('moviegen_AudioBenchSfxMusic.jsonl', 0, 2),
    ('moviegen_VideoBench.txt', 0, 0),
    ('moviegen_VideoBenchWithTag.csv', 1, 0),
    ('hunyuanfoley_test.csv', 1, 1),
  ],
)
def test_moviegen(name, num_headers, num_captions):
  found = list(moviegen.MovieGen(META / name))
  assert len(found) == num_lines(name) - num_headers
  assert {len(item.annotations.captions) for item in found} == {num_captions}


def test_greatest_hits(tmp_path):
  with tarfile.open(META / 'greatesthits_meta_info.tar.gz') as archive:
    archive.extractall(tmp_path, filter='data')
  splits = tmp_path / 'splits'
  splits.mkdir()
  for path in META.glob('greatesthits_video_*.json'):
    shutil.copy(path, splits)
  found = list(greatest_hits.GreatestHits(tmp_path, splits=splits))
  assert collections.Counter(item.split for item in found) == {'train': 830, 'validation': 50, 'test': 97}
  assert sum(len(item.annotations.events) for item in found) == sum(
    len(json.loads(path.read_text())) for path in tmp_path.rglob('hit_record.json')
  )
  assert not any(item.annotations.tags for item in found)


def test_grid(tmp_path):
  shutil.copy(META / 'grid_swwp2s.align', tmp_path / 'swwp2s.align')
  (tmp_path / 'swwp2s.mpg').touch()
  (item,) = grid.Grid(tmp_path)
  assert item.annotations.transcript.text == 'set white with p two soon'


def test_a_manifest_of_sounds():
  assert counts(manifest.Manifest(META / 'mmaudio_example_audio.tsv')) == {'item': 2}
