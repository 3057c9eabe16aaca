"""Media records and their folders: round trip, standard bytes, and every fault is found."""

import json
import pathlib

import msgpack
import numpy as np
import pytest
import soundfile

from v2a.data import annotations as annotations_lib
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import shards
from v2a.media import audio_file
from v2a.media import transcript

ANNOTATIONS = annotations_lib.Annotations(
  captions=(annotations_lib.Caption('Ein Hund bellt ü', 'short', 'a@1', 0.5),),
  transcript=transcript.Transcript('one two', (0.1, 0.3)),
  events=(annotations_lib.Event(0.5, 0.6, 'bark'),),
  tags=(('mood', 'calm'),),
)


def make(name: str = 'a', **changes) -> media_records.MediaRecord:
  values = {
    'video': b'\x00\x01video',
    'video_suffix': '.mp4',
    'annotations': ANNOTATIONS,
    'licence': 'CC0-1.0',
  }
  return media_records.MediaRecord(
    name, 'group', 2.5, **values | changes, measured={'peak': -3.0, 'sync': None}
  )


def test_a_record_survives_its_bytes():
  record = make()
  assert media_records.MediaRecord.from_bytes(record.to_bytes()) == record
  assert make().to_bytes() == record.to_bytes()


def test_the_bytes_are_plain_messagepack():
  values = msgpack.unpackb(make().to_bytes())
  assert values['version'] == 1 and values['video'] == b'\x00\x01video'
  assert values['annotations']['captions'][0]['text'] == 'Ein Hund bellt ü'


@pytest.mark.parametrize(
  ('data', 'message'),
  [
    (b'', 'Not a media record'),
    (b'V2AR1234', 'Not a media record'),
    (make().to_bytes()[:-3], 'Not a media record'),
    (msgpack.packb({'version': 2}), 'version 2; wanted 1'),
    (msgpack.packb({'version': 1, 'id': 'a'}), 'other fields'),
    (msgpack.packb(msgpack.unpackb(make().to_bytes()) | {'more': 1}), 'other fields'),
  ],
)
def test_other_bytes_are_refused(data, message):
  with pytest.raises(ValueError, match=message):
    media_records.MediaRecord.from_bytes(data)


@pytest.mark.parametrize('changes', [{'video': b'', 'audio': b''}, {'id': ''}, {'duration_s': 0.0}])
def test_a_record_without_content_is_refused(changes):
  with pytest.raises(ValueError, match='must have|needs|must last'):
    media_records.MediaRecord(**{'id': 'a', 'group': 'b', 'duration_s': 1.0, 'video': b'v'} | changes)


def test_flac_holds_the_waveform_at_its_own_rate(tmp_path):
  wave_NA = np.random.default_rng(0).uniform(-1, 1, (1000, 2)).astype(np.float32)
  (tmp_path / 'a.flac').write_bytes(audio_file.flac_bytes(wave_NA, 44100))
  found_NA, rate_hz = soundfile.read(tmp_path / 'a.flac', dtype='float32')
  assert rate_hz == 44100 and np.abs(found_NA - wave_NA).max() < 2 / 32768


@pytest.fixture(name='folder')
def make_folder(tmp_path: pathlib.Path) -> pathlib.Path:
  """Returns a folder of two shards with three records."""
  entries = []
  for index, names in enumerate((('a', 'b'), ('c',))):
    path = tmp_path / f'records-{index:05d}.array_record'
    writer = shards.array_record_module.ArrayRecordWriter(str(path), 'group_size:1,uncompressed')
    for name in names:
      writer.write(make(name).to_bytes())
    writer.close()
    digest = media_folder.files.sha256(path)
    entry = {'name': path.name, 'num_records': len(names), 'num_bytes': path.stat().st_size, 'sha256': digest}
    entries.append(entry | {'first_id': names[0], 'last_id': names[-1]})
  media_folder.write_manifest(tmp_path, entries, {'licences': {'CC0-1.0': 3}})
  return tmp_path


def test_records_are_read_at_random(folder):
  opened = media_folder.MediaFolder(folder)
  assert [opened[index].id for index in (2, 0, 1)] == ['c', 'a', 'b'] and len(opened) == 3
  assert len(media_folder.verify(opened)) == 3 and media_folder.is_media_folder(folder)
  with pytest.raises(IndexError):
    opened[3]


def damage(path: pathlib.Path) -> None:
  data = bytearray(path.read_bytes())
  middle = data.index(b'video')
  data[middle] ^= 0xFF
  path.write_bytes(data)


@pytest.mark.parametrize('fault', ['byte', 'cut', 'missing', 'swapped', 'count'])
def test_verification_finds_every_fault(folder, fault):
  first, second = sorted(folder.glob('*.array_record'))
  manifest = json.loads((folder / 'manifest.json').read_text())
  if fault == 'byte':
    damage(second)
  elif fault == 'cut':
    second.write_bytes(second.read_bytes()[:-100])
  elif fault == 'missing':
    second.unlink()
  elif fault == 'swapped':
    second.write_bytes(first.read_bytes())
  else:
    (folder / 'manifest.json').write_text(json.dumps(manifest | {'num_records': 4}))
  with pytest.raises((ValueError, FileNotFoundError), match='records-00001|says 4'):
    media_folder.verify(media_folder.MediaFolder(folder))


def test_an_id_that_occurs_twice_is_found(folder):
  first, second = sorted(folder.glob('*.array_record'))
  manifest = json.loads((folder / 'manifest.json').read_text())
  manifest['shards'][1] = manifest['shards'][0]
  manifest['num_records'] = 4
  (folder / 'manifest.json').write_text(json.dumps(manifest))
  del first, second
  with pytest.raises(ValueError, match="'a' occurs twice"):
    media_folder.verify(media_folder.MediaFolder(folder))


def test_other_folders_are_refused(tmp_path):
  assert not media_folder.is_media_folder(tmp_path)
  with pytest.raises(FileNotFoundError, match='no folder of media records'):
    media_folder.MediaFolder(tmp_path)
  (tmp_path / 'manifest.json').write_text('{"version": 1}')
  with pytest.raises(ValueError, match='must be a manifest'):
    media_folder.MediaFolder(tmp_path)


def test_annotations_of_a_segment_have_its_times():
  found = ANNOTATIONS.within(0.2, 0.55)
  assert found.transcript == transcript.Transcript('two', (pytest.approx(0.1),))
  (event,) = found.events
  assert (event.start_s, event.end_s) == (pytest.approx(0.3), pytest.approx(0.35))
  assert ANNOTATIONS.within(0.6, 0.9).events == () and ANNOTATIONS.within(0.6, 0.9).captions
  instant = annotations_lib.Annotations(events=(annotations_lib.Event(1.0, 1.0, 'hit'),))
  assert len(instant.within(1.0, 2.0).events) == 1 and not instant.within(0.0, 1.0).events


def test_a_transcript_without_times_is_not_cut():
  spoken = annotations_lib.Annotations(transcript=transcript.Transcript('one two'))
  assert spoken.within(0.0, 1.0).transcript.text == 'one two'
