"""Every bad file gives a one-line error that names it."""

import os
import pathlib

import av
import numpy as np
import pytest

from tests.media import films
from v2a.media import audio_file
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import write


def _truncated(folder: pathlib.Path, kind: str, fraction: float) -> pathlib.Path:
  wave_NA = films.clicks(4.0, films.KINDS[kind][3])
  path = films.make(folder / 'whole', kind, duration_s=4.0, wave_NA=wave_NA)
  cut = folder / f'cut{path.suffix}'
  cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
  return cut


def _index_first(folder: pathlib.Path) -> pathlib.Path:
  """A file with its index first, as for streaming, truncated in its data."""
  path = films.make(folder / 'whole', 'mp4', duration_s=4.0)
  front = folder / 'front.mp4'
  options = {'movflags': 'faststart'}
  with av.open(str(path)) as source, av.open(str(front), 'w', container_options=options) as output:
    stream = output.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(video=0):
      if packet.size:
        packet.stream = stream
        output.mux(packet)
  front.write_bytes(front.read_bytes()[:-1000])
  return front


def _written(data: bytes, name: str = 'bad.mp4'):
  def make(folder: pathlib.Path) -> pathlib.Path:
    (folder / name).write_bytes(data)
    return folder / name

  return make


def _patched(old: bytes, new: bytes):
  def make(folder: pathlib.Path) -> pathlib.Path:
    path = films.make(folder / 'patched', 'mp4')
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path

  return make


def _blank_packets(folder: pathlib.Path) -> pathlib.Path:
  path = films.make(folder / 'blank', 'mp4')
  data = bytearray(path.read_bytes())
  start, end = data.index(b'mdat') + 4, data.index(b'moov') - 4
  data[start:end] = bytes(end - start)
  path.write_bytes(data)
  return path


def _audio_only(folder: pathlib.Path) -> pathlib.Path:
  audio_file.wav(folder / 'audio.wav', films.clicks(0.5, 16000), 16000)
  return (folder / 'audio.wav').rename(folder / 'audio.mp4')


def _link(folder: pathlib.Path) -> pathlib.Path:
  (folder / 'link.mp4').symlink_to(folder / 'nothing.mp4')
  return folder / 'link.mp4'


def _pipe(folder: pathlib.Path) -> pathlib.Path:
  os.mkfifo(folder / 'pipe.mp4')
  return folder / 'pipe.mp4'


def _locked(folder: pathlib.Path) -> pathlib.Path:
  path = films.make(folder / 'locked', 'mp4')
  path.chmod(0)
  if os.access(path, os.R_OK):
    pytest.skip('this user reads files without permission')
  return path


def _png(folder: pathlib.Path) -> pathlib.Path:
  path = folder / 'cut.png'
  av.VideoFrame.from_ndarray(films.numbered_frame(1), 'rgb24').to_image().save(path)
  path.write_bytes(path.read_bytes()[:40])
  return path


NOISE = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
CORPUS = {
  'missing': (lambda folder: folder / 'nothing.mp4', 'does not exist'),
  'folder': (lambda folder: folder, 'is a folder'),
  'empty': (_written(b''), r'is empty \(0 bytes\)'),
  'zeros': (_written(bytes(1000)), 'is not a media file'),
  'one byte': (_written(b'x'), 'is not a media file'),
  'text': (_written(b'hello world\n' * 100), 'is not a media file'),
  'page': (_written(b'<!DOCTYPE html><html><body>404</body></html>'), 'is not a media file'),
  'text by its name': (_written(b'hello world\n' * 100, 'notes.txt'), 'is not a media file'),
  'playlist': (
    _written(b'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/etc/hostname\n', 'list.m3u8'),
    'is not a media file',
  ),
  'concatenation': (
    _written(b"ffconcat version 1.0\nfile '/etc/hostname'\n", 'list.ffconcat'),
    'is not a media file',
  ),
  'noise': (_written(NOISE), 'is not a media file'),
  'head alone': (_written(b'\0\0\0\x18ftypisom\0\0\2\0isomiso2'), 'MP4 file without its index'),
  'cut mp4': (lambda folder: _truncated(folder, 'mp4', 0.5), 'MP4 file without its index, cut short'),
  'cut mov': (lambda folder: _truncated(folder, 'mov', 0.9), r'is cut short: it should have \d+ bytes'),
  'cut with its index first': (_index_first, r'is cut short: it should have \d+ bytes, but has \d+'),
  'cut mkv': (lambda folder: _truncated(folder, 'mkv', 0.4), r'is cut short: its header states 4.0 s'),
  'cut webm': (lambda folder: _truncated(folder, 'webm-vp9', 0.3), 'is cut short: its header states'),
  'head of mkv alone': (lambda folder: _truncated(folder, 'mkv', 0.01), 'cut.mkv: '),
  'cut avi': (lambda folder: _truncated(folder, 'avi', 0.4), r'is cut short: it should have \d+ bytes'),
  'head of mpg': (lambda folder: _truncated(folder, 'mpg', 1e-4), 'cut.mpg: '),
  'cut png': (_png, 'no video frame can be decoded'),
  'unknown codec': (_patched(b'avc1', b'zzzz'), r'has no video stream \(has video of an unknown codec\)'),
  'blank packets': (_blank_packets, 'no video frame can be decoded'),
  'broken link': (_link, 'does not exist'),
  'pipe': (_pipe, 'is not a regular file'),
  'locked': (_locked, 'no permission'),
  'endless name': (lambda folder: folder / ('x' * 5000), 'File name too long'),
  'zero in the name': (lambda folder: folder / 'a\0b.mp4', 'does not exist'),
}
READERS = {
  'probe': probe.probe,
  'frames': lambda path: read.frames(path, 25, 16),
  'frames of a part': lambda path: read.frames(path, 25, 16, 0.0, 1.0),
  'wave': lambda path: read.wave(path, 16000, 2),
}


@pytest.mark.parametrize('name', CORPUS)
def test_bad_files_give_one_line(tmp_path, name):
  make, message = CORPUS[name]
  path = make(tmp_path)
  for reader in READERS:
    if reader == 'frames of a part' and name.startswith('cut'):
      continue  # the remaining part of a truncated file may be read
    with pytest.raises(errors.MediaError, match=message) as caught:
      READERS[reader](path)
    assert '\n' not in str(caught.value) and str(path)[:200] in str(caught.value)
  before = sorted(tmp_path.iterdir())
  with pytest.raises(errors.MediaError, match=message):
    write.mux(path, films.clicks(1.0, 16000), 16000, tmp_path / 'out' / 'out.mp4')
  assert sorted(tmp_path.iterdir()) == before


def test_audio_without_video_is_refused_as_video(tmp_path):
  path = _audio_only(tmp_path)
  assert not probe.probe(path).has_video
  with pytest.raises(errors.MediaError, match=r'has no video stream \(has audio\)'):
    read.frames(path, 25, 16, 0.0, 0.5)
  with pytest.raises(errors.MediaError, match='has no video stream'):
    write.mux(path, films.clicks(1.0, 16000), 16000, tmp_path / 'out.mp4')


def test_an_output_that_cannot_be_written_leaves_no_file(tmp_path):
  path = films.make(tmp_path / 'good', 'mp4')
  (tmp_path / 'file').write_text('in the way')
  with pytest.raises(OSError):
    write.mux(path, films.clicks(1.0, 16000), 16000, tmp_path / 'file' / 'out.mp4')
  (tmp_path / 'taken.mp4').mkdir()
  with pytest.raises(OSError):
    write.mux(path, films.clicks(1.0, 16000), 16000, tmp_path / 'taken.mp4')
  assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'good.mp4', 'taken.mp4']


def test_unusual_file_names(tmp_path):
  for name in ('a:b', 'http:x', '%d frames', 'spaced name ü', '-dash', 'what?', "quote'"):
    path = films.make(tmp_path / name, 'mp4')
    out = write.mux(path, films.clicks(1.0, 16000), 16000, tmp_path / f'{name}.0.mp4').path
    assert out.is_file() and probe.probe(out).duration_s == pytest.approx(2.0)
  still = tmp_path / 'still %d.png'
  av.VideoFrame.from_ndarray(films.numbered_frame(5), 'rgb24').to_image().save(still)
  assert probe.probe(still).is_image


def test_an_impossible_sample_rate_is_refused(tmp_path):
  path = tmp_path / 'fast.wav'
  audio_file.wav(path, films.clicks(0.5, 16000), 16000)
  data = bytearray(path.read_bytes())
  data[24:28] = (1_073_785_924).to_bytes(4, 'little')
  path.write_bytes(data)
  with pytest.raises(errors.MediaError, match='1073785924 samples per second; wanted 100..1000000'):
    read.wave(path, 16000, 2, 0.0, 0.5)
