"""What cannot be written in full is an OSError that names file and reason, and leaves nothing behind."""

import contextlib
import errno
import pathlib
import resource
import subprocess

import numpy as np
import pytest
import soundfile

from tests.media import films
from v2a import files
from v2a.media import write
from v2a.reports import gallery_entries
from v2a.reports import gallery_plot
from v2a.reports import outputs

RATE_HZ = 16000
WAVE_NA = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE_HZ, 2)).astype(np.float32)


@pytest.fixture(scope='module')
def film(tmp_path_factory) -> pathlib.Path:
  return films.make(tmp_path_factory.mktemp('film') / 'film', 'mp4', duration_s=4.0)


@contextlib.contextmanager
def limited(max_bytes: int):
  """Lets no file of this process grow beyond a size, for a moment."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_plot(path: pathlib.Path, film: pathlib.Path) -> None:
  level_RJ = np.zeros((64, 100), np.float32)
  gallery_plot.write(
    path,
    [gallery_entries.Entry('a', 4.0, (gallery_entries.Sample(0, level_RJ, path, None, None, None, -3.0),))],
  )


WRITERS = {
  'a.wav': lambda path, film: write.wav(path, WAVE_NA, RATE_HZ),
  'a.flac': lambda path, film: write.flac(path, WAVE_NA, RATE_HZ),
  'a.mp4': lambda path, film: write.mux(film, WAVE_NA, RATE_HZ, path),
  'a.mkv': lambda path, film: write.mux(film, WAVE_NA, RATE_HZ, path),
  'a.png': write_plot,
  'a.json': lambda path, film: files.write_text(path, ' ' * 100_000),
}


@pytest.mark.parametrize('name', WRITERS)
@pytest.mark.parametrize('max_bytes', [0, 1000, 8000])
def test_a_file_that_may_not_grow(name, max_bytes, film, tmp_path):
  path = tmp_path / name
  path.write_text('of an earlier run')
  with limited(max_bytes), pytest.raises(OSError) as caught:
    WRITERS[name](path, film)
  assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
  assert [each.name for each in tmp_path.iterdir()] == [name]
  assert path.read_text() == 'of an earlier run'


@pytest.fixture(scope='module')
def full(tmp_path_factory):
  """Returns a file system of which 8 KiB are free."""
  folder = tmp_path_factory.mktemp('full')
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(folder)]
  try:
    subprocess.run(mount, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('file systems can be mounted by the superuser alone')
  (folder / 'fill').write_bytes(bytes(56 * 1024))
  yield folder
  subprocess.run(['umount', str(folder)], check=True)


@pytest.mark.parametrize('name', WRITERS)
def test_a_full_disk(name, film, full):
  with pytest.raises(OSError) as caught:
    WRITERS[name](full / name, film)
  assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(full / name))
  assert [each.name for each in full.iterdir()] == ['fill']


def test_a_full_disk_names_the_folder_of_the_outputs(film, full):
  with pytest.raises(OSError, match='No space left') as caught:
    with outputs.staging_folder(full / 'clip') as folder:
      write.wav(folder / 'clip.0.wav', WAVE_NA, RATE_HZ)
  assert caught.value.filename == str(full)
  assert [each.name for each in full.iterdir()] == ['fill']


def test_a_wave_beyond_the_counter_of_wav_is_rf64(tmp_path, monkeypatch):
  monkeypatch.setattr(write, '_MAX_WAV_BYTES', WAVE_NA.size * 2 - 1)
  write.wav(tmp_path / 'a.wav', WAVE_NA, RATE_HZ)
  assert (tmp_path / 'a.wav').read_bytes()[:4] == b'RF64'
  found_NA, _ = soundfile.read(tmp_path / 'a.wav', always_2d=True)
  np.testing.assert_allclose(found_NA, WAVE_NA, atol=1e-4)


def test_errors_of_reading_keep_their_name(tmp_path):
  """Only what concerns the temporary file, or a full disk, is about the file that is written."""
  with pytest.raises(FileNotFoundError) as caught, files.atomic_write(tmp_path / 'a'):
    pathlib.Path(tmp_path / 'source').read_bytes()
  assert caught.value.filename == str(tmp_path / 'source')
  with pytest.raises(FileNotFoundError) as caught:
    files.write_text(tmp_path / 'nowhere' / 'a.json', '{}')
  assert caught.value.filename == str(tmp_path / 'nowhere' / 'a.json')
