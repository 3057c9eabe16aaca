"""Training from media records: aligned segments, masks, captions by key, and the order of other records."""

import pathlib

import numpy as np
import pytest

from tests.media import films
from v2a import clip as clip_lib
from v2a.data import annotations as annotations_lib
from v2a.data import batch_order
from v2a.data import corrupt_records
from v2a.data import loader
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import media_source
from v2a.data import record_schema
from v2a.data import records
from v2a.data import shards
from v2a.media import audio_file
from v2a.media import transcript

SPEC = clip_lib.ClipSpec(clip_s=1.0)
RATE_HZ = 44100


def video_bytes(folder: pathlib.Path, duration_s: float) -> bytes:
  return films.make(folder / str(duration_s), duration_s=duration_s).read_bytes()


def ramp(duration_s: float) -> np.ndarray:
  """Returns stereo sound whose left channel tells the time, slowly, and whose right one is its negative."""
  time_N = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
  left_N = (0.1 * time_N - 0.2).astype(np.float32)
  return np.stack([left_N, -left_N], 1)


ANNOTATIONS = annotations_lib.Annotations(
  captions=(
    annotations_lib.Caption('a drum', 'label'),
    annotations_lib.Caption('Drums are played.', 'short'),
  ),
  transcript=transcript.Transcript('one two three', (0.1, 1.5, 2.9)),
)


def write_folder(folder: pathlib.Path, items: list[media_records.MediaRecord]) -> pathlib.Path:
  path = folder / 'records-00000.array_record'
  writer = shards.array_record_module.ArrayRecordWriter(str(path), 'group_size:1,uncompressed')
  for item in items:
    writer.write(item.to_bytes())
  writer.close()
  entry = {'name': path.name, 'num_records': len(items), 'num_bytes': path.stat().st_size}
  entry['durations_s'] = [item.duration_s for item in items]
  contents = {
    'num_records': len(items),
    'num_with_audio': len(items),
    'text_bytes': {},
    'transcript_bytes': {},
  }
  about = {'contents': contents}
  media_folder.write_manifest(folder, [entry | {'sha256': media_folder.files.sha256(path)}], about)
  return folder


@pytest.fixture(name='folder', scope='module')
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns the records of `make_records`."""
  return make_records(tmp_path_factory.mktemp('set'))


def make_records(folder: pathlib.Path) -> pathlib.Path:
  """Writes records: long, short, without sound, without video."""
  make = media_records.MediaRecord
  audio = {duration_s: audio_file.flac_bytes(ramp(duration_s), RATE_HZ) for duration_s in (4.0, 0.5)}
  video = {duration_s: video_bytes(folder, duration_s) for duration_s in (4.0, 0.52)}
  long = make('long', 'a', 4.0, video[4.0], '.mp4', 0.0, audio[4.0], ANNOTATIONS)
  short = make('short', 'b', 0.5, video[0.52], '.mp4', 0.0, audio[0.5])
  mute = make('mute', 'c', 4.0, video[4.0], '.mp4')
  blind = make('blind', 'd', 4.0, audio=audio[4.0])
  return write_folder(folder, [long, short, mute, blind])


def test_records_fit_the_schema(folder):
  source = records.open(folder, spec=SPEC)
  assert len(source) == 4
  for index in range(4):
    record_schema.validate(source[index], SPEC)
  has = [(record['has_video'], record['has_audio']) for record in map(source.__getitem__, range(4))]
  assert has == [(True, True), (True, True), (True, False), (False, True)]
  assert records.contents(source).num_with_audio == 4


def test_sound_frames_and_words_are_of_the_same_segment(folder):
  source, starts_s = media_source.MediaSource(folder, SPEC), set()
  for step in range(20):
    key = (0, step, 1)
    start_s = media_source.random_start_s(4.0, SPEC, key)
    record = source.read(0, key)
    wave_NA = record_schema.wave_to_float(record['wave_NA'])
    middle_s = (wave_NA[8000, 0] + 0.2) / 0.1 - 0.5
    assert middle_s == pytest.approx(start_s, abs=0.01)
    assert wave_NA[8000, 1] == pytest.approx(-wave_NA[8000, 0], abs=1e-3)
    numbers = [films.frame_number(frame_YX3) for frame_YX3 in record['sync_frame_LYX3']]
    assert numbers == list(range(round(start_s * 25), round(start_s * 25) + 25))
    words = [
      word for word, time_s in (('one', 0.1), ('two', 1.5), ('three', 2.9)) if 0 <= time_s - start_s < 1
    ]
    assert record['transcript'].split() == words
    starts_s.add(start_s)
    again = source.read(0, key)
    assert all(np.array_equal(again[name], record[name]) for name in record)
  assert len(starts_s) > 10 and min(starts_s) >= 0 and max(starts_s) <= 3.0


def test_both_captions_are_read(folder):
  source = media_source.MediaSource(folder, SPEC)
  texts = {source.read(0, (0, step, 0))['text'] for step in range(12)}
  assert texts == {'a drum', 'Drums are played.'} and source.read(1, (0, 0, 1))['text'] == ''


def test_a_short_clip_is_padded(folder):
  record = records.open(folder, spec=SPEC).read(1, (0, 5, 0))
  assert record['num_valid_samples'] == 8000
  assert np.any(record['wave_NA'][7000:8000]) and not np.any(record['wave_NA'][8000:])


def test_a_clip_without_sound_or_video_is_empty(folder):
  source = records.open(folder, spec=SPEC)
  assert not np.any(source[2]['wave_NA']) and not np.any(source[3]['sync_frame_LYX3'])


def test_mono_is_read_as_stereo_and_stereo_as_mono(folder, tmp_path):
  mono_NA = ramp(2.0)[:, :1]
  media = media_records.MediaRecord('mono', 'a', 2.0, audio=audio_file.flac_bytes(mono_NA, 16000))
  source = media_source.MediaSource(write_folder(tmp_path, [media]), SPEC)
  wave_NA = source[0]['wave_NA']
  assert np.array_equal(wave_NA[:, 0], wave_NA[:, 1]) and np.any(wave_NA)
  mono = clip_lib.ClipSpec(clip_s=1.0, num_channels=1)
  assert np.abs(media_source.MediaSource(folder, mono)[0]['wave_NA']).max() <= 1  # both channels cancel


def test_media_that_cannot_be_decoded_are_corrupt_records(tmp_path, folder):
  good = media_folder.MediaFolder(folder)[1]
  bad = media_records.MediaRecord('bad', 'a', 2.0, b'no video', '.mp4')
  source = records.open(write_folder(tmp_path, [bad, good]), spec=SPEC)
  with pytest.raises(shards.CorruptRecordError, match="'bad' .* cannot be decoded"):
    source.read(0, (0, 0, 0))
  assert corrupt_records.FaultTolerantSource(source, 0.5).read(0, (0, 3, 0))['id'] == 'short'


def test_media_records_need_lengths_and_rates(folder):
  with pytest.raises(ValueError, match='holds media records'):
    records.open(folder)
  assert records.sample_ids([folder]) == ['long', 'short', 'mute', 'blind']


class _Ids:
  def collate(self, items, rng):
    return {'id': np.array([item['id'] for item in items]), 'rng': rng.random(1)}


def test_batches_of_media_records_are_those_of_any_number_of_processes(folder):
  source = records.open(folder, spec=SPEC)
  whole = loader.Batches(_Ids(), source, batch_order.single([4], 4, 7), 3)
  parts = [
    loader.Batches(_Ids(), source, batch_order.single([4], 4, 7), 3, rows=lambda count, rows=rows: rows)
    for rows in ((0, 1), (2, 3))
  ]
  for step in range(3):
    joined = np.concatenate([part[step]['id'] for part in parts])
    assert joined.tolist() == whole[step]['id'].tolist()
  assert sorted(whole[1]['id'].tolist()) == sorted(['long', 'short', 'mute', 'blind'])


def test_batches_of_buckets_have_the_length_of_their_clips(folder):
  source = records.open(folder, spec=SPEC)
  (media,) = source.folders
  order = batch_order.by_length([media.folder.durations_s], [0.5, 2.0], [2, 1], 0)
  batches = loader.Batches(_Shapes(), source, order, 12)
  found = {(batch['id'][0], *batch['shape'][0].tolist()) for batch in map(batches.__getitem__, range(12))}
  # Steps are 40 ms of 640 samples: 0.5 s are rounded up to 13.
  assert found == {('short', 13 * 640, 13)} | {(name, 32000, 50) for name in ('long', 'mute', 'blind')}


class _Shapes:
  def collate(self, items, rng):
    shape = [[len(item['wave_NA']), len(item['sync_frame_LYX3'])] for item in items]
    return {'id': np.array([item['id'] for item in items]), 'shape': np.array(shape)}


def test_only_wanted_fields_are_read(tmp_path, folder):
  media = media_folder.MediaFolder(folder)[0]
  no_video = media_records.MediaRecord('x', 'a', 4.0, b'no video', '.mp4', 0.0, media.audio)
  path = write_folder(tmp_path, [no_video])
  record = records.open(path, spec=SPEC, fields=('wave_NA', 'has_audio'))[0]
  assert set(record) == {'wave_NA', 'has_audio'} and record['has_audio']
  with pytest.raises(shards.CorruptRecordError):
    records.open(path, spec=SPEC, fields=('sync_frame_LYX3',))[0]
