"""Tar archives of WebDataset, whole and damaged."""

import io
import pathlib
import pickle
import tarfile

import pytest

from data_pipelines.sources import items
from data_pipelines.sources import webdataset
from v2a.data import annotations as annotations_lib

SRT = '1\n00:00:01,000 --> 00:00:03,000\nhello there\n'


def write(path: pathlib.Path, members: dict[str, bytes], mode: str = 'w') -> pathlib.Path:
  with tarfile.open(path, mode) as archive:
    for name, content in members.items():
      info = tarfile.TarInfo(name)
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return path


MEMBERS = {
  'a/0001.mp4': b'video of the first' * 100,
  'a/0001.json': b'{"caption": "A dog barks", "license": "CC0-1.0", "split": "val", "width": 3}',
  'a/0001.srt': SRT.encode(),
  'a/0002.flac': b'sound of the second',
  'a/0002.txt': b'Rain\nfalls',
  'a/0002.cls': b'rain',
}


def test_members_with_one_key_are_an_item(tmp_path):
  path = write(tmp_path / '0.tar', MEMBERS)
  first, second = pickle.loads(
    pickle.dumps(list(webdataset.WebDataset(path, licence='CC-BY-4.0', split='train')))
  )
  assert (first.id, first.licence, first.split) == ('a/0001', 'CC0-1.0', 'validation')
  assert first.annotations.captions == (annotations_lib.Caption('A dog barks', 'short'),)
  assert first.annotations.transcript.times_s == (1.5, 2.5)
  assert (second.id, second.licence, second.split) == ('a/0002', 'CC-BY-4.0', 'train')
  assert [(each.style, each.text) for each in second.annotations.captions] == [
    ('label', 'rain'),
    ('short', 'Rain falls'),
  ]
  with first.media.as_file() as file:
    assert file.suffix == '.mp4' and file.read_bytes() == MEMBERS['a/0001.mp4']
  with second.media.as_file() as file:
    assert file.suffix == '.flac' and file.read_bytes() == MEMBERS['a/0002.flac']


def test_clips_that_cannot_be_used_are_problems(tmp_path):
  write(
    tmp_path / '0.tar',
    {
      'a.txt': b'no media',
      'b.mp4': b'',
      'b.json': b'{',
      'c.mp4': b'',
      'c.txt': b'\xff',
      'd.mp4': b'',
      '._d.mp4': b'',
    },
  )
  write(tmp_path / '1.tar', {'d.mp4': b'', 'e.mp4': b''})
  missing, b, c, d, again, e = webdataset.WebDataset(tmp_path)
  assert (missing.kind, missing.id, missing.where) == ('missing', 'a', f'{tmp_path}/0.tar/a.txt')
  assert (b.kind, b.id) == ('malformed', 'b') and 'no JSON' in b.reason and 'c.txt is no UTF-8' in c.reason
  assert (again.kind, again.id) == ('duplicate', 'd') and '1.tar' in again.where
  assert [each.id for each in (d, e)] == ['d', 'e']


@pytest.mark.parametrize(
  'num_bytes, ids, last, reason',
  [
    (512 + 1024, [], 'a/0001', 'a/0001.mp4 ends at byte 2312, the archive at 1536: it was cut'),
    (512 + 2048 + 100, [], 'a/0001', 'without the mark of an end'),
    (512 + 2048, [], 'a/0001', 'without the mark of an end'),
    (512 * 9 + 512 + 5, ['a/0001'], 'a/0002', 'a/0002.flac ends at byte'),
    (512 * 9 + 1024, ['a/0001'], 'a/0002', 'without the mark of an end'),
  ],
)
def test_an_archive_that_was_cut_gives_the_clips_before(num_bytes, ids, last, reason, tmp_path):
  path = write(tmp_path / '0.tar', MEMBERS)
  path.write_bytes(path.read_bytes()[:num_bytes])
  write(tmp_path / '1.tar', {'e.mp4': b'x'})
  found = list(webdataset.WebDataset(tmp_path))
  assert [each.id for each in found if isinstance(each, items.Item)] == [*ids, 'e']
  *incomplete, problem = [each for each in found if isinstance(each, items.Problem)]
  assert (problem.kind, problem.where) == ('malformed', f'{tmp_path}/0.tar') and reason in problem.reason
  assert [each.id for each in incomplete] == ([last] if last else [])


def test_a_file_that_is_no_archive_is_a_problem(tmp_path):
  (tmp_path / '0.tar').write_bytes(b'no archive' * 100)
  (tmp_path / '1.tar').write_bytes(b'')
  first, second = webdataset.WebDataset(tmp_path)
  assert first.kind == second.kind == 'malformed' and 'cannot be read' in first.reason


def test_what_cannot_be_read_at_a_position_is_refused(tmp_path):
  path = write(tmp_path / '0.tar', MEMBERS, 'w:gz')
  with pytest.raises(ValueError, match='0.tar: is compressed'):
    list(webdataset.WebDataset(path))
  with pytest.raises(ValueError, match='has no archive'):
    list(webdataset.WebDataset(tmp_path / 'x-*.tar'))
  with pytest.raises(FileNotFoundError):
    list(webdataset.WebDataset(tmp_path / 'x.tar'))
