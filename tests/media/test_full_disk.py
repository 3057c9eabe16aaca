"""An incomplete write gives an OSError with file and reason, and leaves no partial file."""

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
from v2a.media import audio_file
from v2a.media import write
from v2a.reports import gallery_entries
from v2a.reports import gallery_plot
from v2a.reports import outputs

RATE_HZ = 16000
WAVE_NA = np.random.default_rng(0).uniform(-0.5, 0.5, (4 * RATE_HZ, 2)).astype(np.float32)


@pytest.fixture(scope='module')
def video(tmp_path_factory) -> pathlib.Path:
  return films.make(tmp_path_factory.mktemp('video') / 'video', 'mp4', duration_s=4.0)


@contextlib.contextmanager
def limited(max_bytes: int):
  """Limits the size of files of this process within a context."""
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_plot(path: pathlib.Path, video: pathlib.Path) -> None:
  level_RJ = np.zeros((64, 100), np.float32)
  gallery_plot.write(
    path,
    [gallery_entries.Entry('a', 4.0, (gallery_entries.Sample(0, level_RJ, path, None, None, None, -3.0),))],
  )


WRITERS = {
  'a.wav': lambda path, video: audio_file.wav(path, WAVE_NA, RATE_HZ),
  'a.flac': lambda path, video: audio_file.flac(path, WAVE_NA, RATE_HZ),
  'a.mp4': lambda path, video: write.mux(video, WAVE_NA, RATE_HZ, path),
  'a.mkv': lambda path, video: write.mux(video, WAVE_NA, RATE_HZ, path),
  'a.png': write_plot,
  'a.json': lambda path, video: files.write_text(path, ' ' * 100_000),
}


@pytest.mark.parametrize('name', WRITERS)
@pytest.mark.parametrize('max_bytes', [0, 1000, 8000])
def test_a_size_limit_leaves_the_old_file(name, max_bytes, video, tmp_path):
  path = tmp_path / name
  path.write_text('of an earlier run')
  with limited(max_bytes), pytest.raises(OSError) as caught:
    WRITERS[name](path, video)
  assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
  assert [each.name for each in tmp_path.iterdir()] == [name]
  assert path.read_text() == 'of an earlier run'


@pytest.fixture(scope='module')
def full(tmp_path_factory):
  """Returns a file system with 8 KiB of free space."""
  folder = tmp_path_factory.mktemp('full')
  mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', str(folder)]
  try:
    subprocess.run(mount, check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError):
    pytest.skip('only the superuser can mount file systems')
  (folder / 'fill').write_bytes(bytes(56 * 1024))
  yield folder
  subprocess.run(['umount', str(folder)], check=True)


@pytest.mark.parametrize('name', WRITERS)
def test_a_full_disk_leaves_no_partial_file(name, video, full):
  with pytest.raises(OSError) as caught:
    WRITERS[name](full / name, video)
  assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(full / name))
  assert [each.name for each in full.iterdir()] == ['fill']


def test_a_full_disk_names_the_folder_of_the_outputs(video, full):
  with pytest.raises(OSError, match='No space left') as caught:
    with outputs.staging_folder(full / 'clip') as folder:
      audio_file.wav(folder / 'clip.0.wav', WAVE_NA, RATE_HZ)
  assert caught.value.filename == str(full)
  assert [each.name for each in full.iterdir()] == ['fill']


def test_audio_beyond_the_size_limit_of_wav_is_rf64(tmp_path, monkeypatch):
  monkeypatch.setattr(audio_file, '_MAX_WAV_BYTES', WAVE_NA.size * 2 - 1)
  audio_file.wav(tmp_path / 'a.wav', WAVE_NA, RATE_HZ)
  assert (tmp_path / 'a.wav').read_bytes()[:4] == b'RF64'
  found_NA, _ = soundfile.read(tmp_path / 'a.wav', always_2d=True)
  np.testing.assert_allclose(found_NA, WAVE_NA, atol=1e-4)


def test_errors_of_other_files_keep_their_name(tmp_path):
  """Only errors of the temporary file, or of a full disk, are reported for the file being written."""
  with pytest.raises(FileNotFoundError) as caught, files.atomic_write(tmp_path / 'a'):
    pathlib.Path(tmp_path / 'source').read_bytes()
  assert caught.value.filename == str(tmp_path / 'source')
  with pytest.raises(FileNotFoundError) as caught:
    files.write_text(tmp_path / 'nowhere' / 'a.json', '{}')
  assert caught.value.filename == str(tmp_path / 'nowhere' / 'a.json')
