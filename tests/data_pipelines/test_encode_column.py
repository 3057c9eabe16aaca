"""Columns of latents and codes: of every clip at its own length, joined by position, replaced alone."""

import dataclasses
import json
import pathlib
import shutil

from flax import nnx
import jax
import numpy as np
import pytest

from data_pipelines import encode
from tests.data import test_media_source
from v2a import builders
from v2a import weights
from v2a.config import files
from v2a.config import schema
from v2a.data import annotations as annotations_lib
from v2a.data import feature_columns
from v2a.data import media_decoding
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import media_source
from v2a.data import records
from v2a.data import shards
from v2a.media import audio_file
from v2a.training.tasks import conditioning
from v2a.training.tasks import latents

LENGTHS_S = (2.5, 0.7, 3.1)


@pytest.fixture(name='codecs', scope='module')
def make_codecs(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns the folder of codecs with random weights: kl, other (kl), rvq."""
  root = tmp_path_factory.mktemp('codecs')
  files.save(schema.tiny(schema.base()), root / 'tiny.json')
  for seed, (name, bottleneck) in enumerate((('kl', 'kl'), ('other', 'kl'), ('rvq', 'rvq'))):
    c, rng = schema.tiny(schema.base()).unlock(), np.random.default_rng(seed)
    c.task, c.codec.bottleneck = 'codec', bottleneck
    shapes = nnx.state(nnx.eval_shape(lambda c=c: builders.codec(c, nnx.Rngs(0))))
    arrays = jax.tree.map(lambda leaf, rng=rng: rng.standard_normal(leaf.shape).astype(np.float32), shapes)
    weights.export(arrays, root / name, c.lock(), 'float32')
  return root


@pytest.fixture(name='folder')
def make_folder(tmp_path: pathlib.Path) -> pathlib.Path:
  """Returns media records of different lengths, in two shards."""
  rng, entries = np.random.default_rng(0), []
  for index, lengths_s in enumerate((LENGTHS_S[:2], LENGTHS_S[2:])):
    path = tmp_path / f'records-{index:05d}.array_record'
    writer = shards.array_record_module.ArrayRecordWriter(str(path), 'group_size:1,uncompressed')
    for duration_s in lengths_s:
      wave_NA = rng.uniform(-0.5, 0.5, (round(duration_s * 22050), 2)).astype(np.float32)
      audio = audio_file.flac_bytes(wave_NA, 22050)
      writer.write(media_records.MediaRecord(f'{duration_s}', 'a', duration_s, audio=audio).to_bytes())
    writer.close()
    entry = {'name': path.name, 'num_records': len(lengths_s), 'num_bytes': path.stat().st_size}
    entries.append(entry | {'sha256': media_folder.files.sha256(path)})
  contents = {'num_records': 3, 'num_with_audio': 3, 'text_bytes': {}, 'transcript_bytes': {}}
  media_folder.write_manifest(tmp_path, entries, {'contents': contents})
  return tmp_path


def run(folder: pathlib.Path, codec: pathlib.Path, *flags: str) -> int:
  return encode.main(['--records', str(folder), '--codec', str(codec), *flags])


def test_segments_have_the_latents_and_codes_of_their_sound(codecs, folder):
  before = {path: path.stat().st_mtime_ns for path in folder.glob('records-*')}
  assert run(folder, codecs / 'kl') == 0 and run(folder, codecs / 'rvq') == 0
  assert {path: path.stat().st_mtime_ns for path in folder.glob('records-*')} == before
  export = weights.load_export(codecs / 'kl')
  spec = schema.clip_spec(export.config)
  codec = builders.codec(export.config, nnx.Rngs(0))
  weights.assign(codec, export.arrays)
  source = records.open(folder, spec=spec)
  assert {name: each['digest'] for name, each in source.folders[0].codecs.items()} == {
    name: weights.codec_digest(weights.load_export(codecs / name)) for name in ('kl', 'rvq')
  }
  media = source.folders[0].folder[0]
  padded_BNA = np.zeros((1, 3 * spec.sample_rate_hz, 2), np.float32)
  wave_NA = media_decoding.wave(media, spec.sample_rate_hz, 2)
  padded_BNA[0, : len(wave_NA)] = wave_NA
  wanted_TC = np.asarray(nnx.jit(lambda codec, wave_BNA: codec.encode(wave_BNA)[0])(codec, padded_BNA)[0])
  for step in range(8):
    record = source.read(0, (0, step, 0))
    start_s = media_source.random_start_s(2.5, spec, (0, step, 0))
    first = round(start_s * spec.sample_rate_hz / spec.latent_hop_samples)
    found_TC = record['latent_mean_TC'].astype(np.float32)
    assert (
      np.abs(found_TC - wanted_TC[first : first + spec.num_latents]).max() < 2e-2 * np.abs(wanted_TC).max()
    )
    assert record['codes_TK'].shape[0] == record['latent_std_TC'].shape[0] == spec.num_latents
    assert len(np.unique(record['codes_TK'])) > 4


def test_a_clip_that_is_shorter_than_a_window_has_padded_latents(codecs, folder):
  run(folder, codecs / 'kl')
  spec = schema.clip_spec(weights.load_export(codecs / 'kl').config)
  record = records.open(folder, spec=spec)[1]
  steps = -(-record['num_valid_samples'] // spec.latent_hop_samples)
  assert 0 < steps < spec.num_latents
  assert np.all(record['latent_std_TC'][:steps]) and not np.any(record['latent_std_TC'][steps:])


def test_another_codec_replaces_only_its_column_and_only_on_request(codecs, folder, capsys):
  run(folder, codecs / 'kl')
  run(folder, codecs / 'rvq')
  latents, codes = (folder / 'columns' / name / 'manifest.json' for name in ('latents', 'codes'))
  before = latents.read_bytes(), codes.read_bytes(), codes.stat().st_mtime_ns
  assert run(folder, codecs / 'other') == 2
  assert 'computed by another encoder' in capsys.readouterr().err
  assert (latents.read_bytes(), codes.read_bytes()) == before[:2]
  assert run(folder, codecs / 'other', '--replace') == 0
  assert latents.read_bytes() != before[0] and codes.stat().st_mtime_ns == before[2]


def test_what_was_interrupted_continues(codecs, folder, monkeypatch):
  run(folder, codecs / 'kl')
  path = folder / 'columns/latents'
  wanted = {file.name: file.read_bytes() for file in path.iterdir()}
  shutil.rmtree(path)
  write = feature_columns.Writer.write

  def interrupted(self, index, rows):
    if index:
      raise KeyboardInterrupt
    write(self, index, rows)

  monkeypatch.setattr(feature_columns.Writer, 'write', interrupted)
  assert run(folder, codecs / 'kl') == 130
  assert {file.name for file in path.iterdir()} == {'settings.json', 'records-00000.array_record'}
  assert not media_source.MediaSource(folder, test_media_source.SPEC).codecs
  first = (path / 'records-00000.array_record').stat().st_mtime_ns
  monkeypatch.setattr(feature_columns.Writer, 'write', write)
  assert run(folder, codecs / 'kl') == 0
  assert (path / 'records-00000.array_record').stat().st_mtime_ns == first
  assert {file.name: file.read_bytes() for file in path.iterdir()} == wanted


@pytest.mark.parametrize('fault', ['records', 'ids', 'format'])
def test_a_column_of_other_records_is_refused(codecs, folder, fault):
  run(folder, codecs / 'kl')
  path = folder / 'columns/latents/manifest.json'
  manifest = json.loads(path.read_text())
  if fault == 'records':
    path.write_text(json.dumps(manifest | {'records': '0'}))
    with pytest.raises(ValueError, match='column of other records'):
      media_source.MediaSource(folder, test_media_source.SPEC)
  elif fault == 'format':
    path.write_text('{}')
    with pytest.raises(ValueError, match='must be a manifest'):
      media_source.MediaSource(folder, test_media_source.SPEC)
  else:
    opened = media_folder.MediaFolder(folder)
    with pytest.raises(shards.CorruptRecordError, match=r"belongs to record '2.5'; wanted 'x'"):
      feature_columns.Column(opened, 'latents').read(0, 0, 'x')


def test_rows_survive_their_bytes():
  arrays = {'a': np.arange(6, dtype=np.float16).reshape(2, 3), 'b': np.zeros((0, 0), np.uint16)}
  row = feature_columns.Row('x', arrays, {'b': 1, 'a': {'c': [2.5, None]}})
  found = feature_columns.decode_row(feature_columns.encode_row(row))
  assert found.id == 'x' and found.values == row.values
  assert all(np.array_equal(found.arrays[key], arrays[key]) for key in arrays)
  assert all(found.arrays[key].dtype == arrays[key].dtype for key in arrays)
  for data in (b'', b'\xc0', feature_columns.encode_row(row)[:-3]):
    with pytest.raises(ValueError, match='no row of a column'):
      feature_columns.decode_row(data)


def test_flags_of_the_other_kind_of_records_are_refused(codecs, folder, tmp_path, capsys):
  assert run(folder, codecs / 'kl', '--output', str(tmp_path / 'new')) == 2
  assert 'are added to the media records' in capsys.readouterr().err
  assert media_source.CODEC_COLUMNS == {'kl': 'latents', 'rvq': 'codes'}


FEATURES = (*conditioning.RECORD_FIELDS, *latents.RECORD_FIELDS)


@pytest.fixture(name='films')
def make_films(tmp_path: pathlib.Path) -> pathlib.Path:
  """Returns the records of `test_media_source.make_records`."""
  return test_media_source.make_records(tmp_path)


def test_columns_give_the_records_of_the_media_without_reading_them(codecs, films):
  spec = schema.clip_spec(weights.load_export(codecs / 'kl').config)
  assert run(films, codecs / 'kl', '--frames', str(codecs / 'tiny.json')) == 0
  assert {path.name for path in (films / 'columns').iterdir()} == {'latents', 'frames', 'annotations'}
  source = records.open(films, spec=spec, fields=FEATURES)
  keys = [(0, step, 0) for step in range(6)]
  found = {(index, key): source.read(index, key) for index in range(4) for key in keys}
  shutil.move(films / 'columns' / 'frames', films / 'frames')
  decoded = records.open(films, spec=spec, fields=FEATURES)
  assert {record['id'] for record in found.values()} == {'long', 'short', 'mute', 'blind'}
  for (index, key), record in found.items():
    wanted = decoded.read(index, key)
    assert set(record) == set(wanted)
    num_frames = -(-record['num_valid_samples'] * spec.sync_fps // spec.sample_rate_hz)
    for name in ('sync_frame_LYX3', 'semantic_frame_MYX3'):
      count = num_frames if name == 'sync_frame_LYX3' else 1 + num_frames * spec.semantic_fps // spec.sync_fps
      assert record[name].shape == wanted[name].shape
      if record['has_video']:
        assert np.array_equal(record[name][: count - 1], wanted[name][: count - 1]), name
    for name in set(record) - {'sync_frame_LYX3', 'semantic_frame_MYX3'}:
      assert np.array_equal(record[name], wanted[name]), name
  shutil.move(films / 'frames', films / 'columns' / 'frames')
  for path in films.glob('records-*'):
    path.unlink()
  again = records.open(films, spec=spec, fields=FEATURES)
  assert all(
    np.array_equal(again.read(*where)[name], record[name])
    for where, record in found.items()
    for name in record
  )


def test_frames_of_another_size_are_decoded_with_a_note(codecs, films):
  run(films, codecs / 'kl', '--frames', str(codecs / 'tiny.json'))
  source = media_source.MediaSource(films, test_media_source.SPEC, FEATURES)
  assert len(source.notes) == 1 and 'has 16 pixels at 25 Hz; config.clip wants 32' in source.notes[0]
  assert source[0]['sync_frame_LYX3'].shape == (25, 32, 32, 3)


def test_silence_is_found_in_the_latents(codecs, films):
  run(films, codecs / 'kl')
  spec = schema.clip_spec(weights.load_export(codecs / 'kl').config)
  source = media_source.MediaSource(films, spec, ('has_audio', 'latent_mean_TC'))
  assert [source[index]['has_audio'] for index in range(4)] == [True, True, False, True]


def test_a_mirrored_clip_has_the_latents_of_exchanged_channels(codecs, films, tmp_path):
  media = list(map(media_folder.MediaFolder(films).__getitem__, range(4)))
  wave_NA = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * 22050, 2)).astype(np.float32)
  one_sided = audio_file.flac_bytes(wave_NA * [1, 0.1], 22050)
  (tmp_path / 'one_sided').mkdir()
  films = test_media_source.write_folder(
    tmp_path / 'one_sided', [dataclasses.replace(media[0], audio=one_sided), *media[1:]]
  )
  run(films, codecs / 'kl', '--mirrored')
  spec = schema.clip_spec(weights.load_export(codecs / 'kl').config)
  plain = media_source.MediaSource(films, spec)
  mirrored = media_source.MediaSource(films, spec, mirror_probability=1.0)
  key = (0, 3, 0)
  for index in range(4):
    one, other = plain.read(index, key), mirrored.read(index, key)
    assert np.array_equal(one['wave_NA'][:, ::-1], other['wave_NA'])
    for name in ('sync_frame_LYX3', 'semantic_frame_MYX3'):
      assert np.array_equal(one[name][:, :, ::-1], other[name])
  row = plain.columns['latents'].read(0, 0)
  first = round(media_source.random_start_s(4.0, spec, key) * spec.sample_rate_hz / spec.latent_hop_samples)
  wanted_TC = row.arrays['mirrored_latent_mean_TC'][first : first + spec.num_latents]
  assert np.array_equal(mirrored.read(0, key)['latent_mean_TC'], wanted_TC)
  assert not np.allclose(wanted_TC, plain.read(0, key)['latent_mean_TC'], atol=1e-2)
  half = media_source.MediaSource(films, spec, mirror_probability=0.5)
  are_mirrored = [
    not np.array_equal(half.read(0, (0, step, 0))['wave_NA'], plain.read(0, (0, step, 0))['wave_NA'])
    for step in range(40)
  ]
  assert 10 < sum(are_mirrored) < 30


def test_clips_are_not_mirrored_without_such_latents_or_if_a_text_names_a_side(codecs, films, tmp_path):
  run(films, codecs / 'kl')
  with pytest.raises(ValueError, match="needs latents of mirrored sound, which the column 'latents' of"):
    media_source.MediaSource(films, test_media_source.SPEC, mirror_probability=0.5)
  media = media_folder.MediaFolder(films)[0]
  caption = annotations_lib.Caption('A car from the Left.', 'short')
  named = dataclasses.replace(media, annotations=annotations_lib.Annotations(captions=(caption,)))
  (tmp_path / 'named').mkdir()
  folder = test_media_source.write_folder(tmp_path / 'named', [media, named])
  source = media_source.MediaSource(folder, test_media_source.SPEC, mirror_probability=1.0)
  one, other = (source.read(index, (0, 0, 0))['wave_NA'] for index in range(2))
  assert np.array_equal(one, other[:, ::-1]) and not np.array_equal(one, other)
