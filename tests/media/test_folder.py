"""Suffixes that folders are searched for, and the note about skipped files."""

import fractions
import json
import os

import av
import numpy as np
from PIL import Image
import pytest

from data_pipelines import clip_records
from v2a import clip
from v2a import manifests
from v2a.data import folder_examples
from v2a.media import errors
from v2a.media import folder
from v2a.media import source

# Suffixes that share a file: the first is encoded, the others are links to it.
ENCODED = {
  'mp4': ('libx264', '.mp4 .m4v .f4v'),
  'mov': ('libx264', '.mov .qt'),
  '3gp': ('mpeg4', '.3gp'),
  '3g2': ('mpeg4', '.3g2'),
  'matroska': ('libx264', '.mkv'),
  'webm': ('libvpx', '.webm'),
  'avi': ('mpeg4', '.avi .divx'),
  'nut': ('libx264', '.nut'),
  'mxf': ('mpeg2video', '.mxf'),
  'mpeg': ('mpeg1video', '.mpg .mpeg .mpe .mod .tod'),
  'vob': ('mpeg2video', '.vob'),
  'mpeg1video': ('mpeg1video', '.m1v'),
  'mpeg2video': ('mpeg2video', '.m2v'),
  'mpegts': ('libx264', '.ts .mts .m2t .m2ts'),
  'flv': ('flv', '.flv'),
  'asf': ('wmv2', '.wmv .asf'),
  'ogg': ('libvpx', '.ogv .ogm'),
  'rm': ('rv10', '.rm .rmvb'),
  'dv': ('dvvideo', '.dv .dif'),
  'h264': ('libx264', '.h264 .264 .avc'),
  'hevc': ('libx265', '.h265 .265 .hevc'),
  'ivf': ('libvpx', '.ivf'),
  'obu': ('libsvtav1', '.obu'),
  'mjpeg': ('mjpeg', '.mjpeg .mjpg'),
}
IMAGES = {
  'PNG': '.png .apng',
  'JPEG': '.jpg .jpeg .jpe .jfif',
  'WEBP': '.webp',
  'GIF': '.gif',
  'AVIF': '.avif',
  'BMP': '.bmp',
  'TIFF': '.tif .tiff',
  'PPM': '.ppm .pgm',
}
# No encoder is available; FFmpeg's demuxer for each.
NOT_ENCODED = {'.heic': 'mov', '.heif': 'mov', '.jxl': 'jpegxl_pipe'}
SUFFIXES = {
  **{suffix: name for name, (_, suffixes) in ENCODED.items() for suffix in suffixes.split()},
  **{suffix: name for name, suffixes in IMAGES.items() for suffix in suffixes.split()},
  **NOT_ENCODED,
}


def test_the_table_of_this_test_is_complete():
  assert sorted(SUFFIXES) == sorted((*folder.VIDEO_SUFFIXES, *folder.STILL_SUFFIXES))
  assert set(folder.VIDEO_SUFFIXES) == {suffix for _, names in ENCODED.values() for suffix in names.split()}
  assert len({*folder.VIDEO_SUFFIXES, *folder.STILL_SUFFIXES}) == len(folder.VIDEO_SUFFIXES) + len(
    folder.STILL_SUFFIXES
  )


@pytest.mark.parametrize('suffix', [*folder.VIDEO_SUFFIXES, *folder.STILL_SUFFIXES])
def test_every_suffix_opens(suffix, tmp_path):
  name, path = SUFFIXES[suffix], tmp_path / f'a{suffix.upper()}'
  if suffix in NOT_ENCODED:
    assert name in source._CONTAINERS.split(',') and av.format.ContainerFormat(name, 'r')
    return
  if name in IMAGES:
    Image.new('RGB', (64, 64), 'teal').save(path, format=name)
  else:
    codec = ENCODED[name][0]
    size, form = ((720, 576), 'yuv420p') if codec == 'dvvideo' else ((176, 144), 'yuv420p')
    options = {'x265-params': 'log-level=none'} if codec == 'libx265' else {}
    with av.open(str(path), 'w', format=name) as output:
      stream = output.add_stream(codec, rate=fractions.Fraction(25), options=options)
      stream.width, stream.height, stream.pix_fmt = *size, 'yuvj420p' if codec == 'mjpeg' else form
      for _ in range(8):
        image_YX3 = np.full((size[1], size[0], 3), 120, np.uint8)
        output.mux(stream.encode(av.VideoFrame.from_ndarray(image_YX3, format='rgb24')))
      output.mux(stream.encode(None))
  with source.Source(path) as opened:
    assert opened.first_frame(opened.require_video_stream())[1].width >= 64


def test_skipped_files_are_counted_by_suffix(tmp_path):
  for name in ('b.MTS', 'a.mp4', 'c.heic', 'x.docx', 'y.docx', 'z.tmp', 'README', 'a.txt', 'a.srt', 'a.vtt',
               '.hidden.mp4', '.DS_Store'):  # fmt: skip
    (tmp_path / name).touch()
  (tmp_path / 'a.json').write_text('{"annotation": "x"}')
  (tmp_path / 'inner').mkdir()
  found = folder.search(tmp_path, (*folder.VIDEO_SUFFIXES, *folder.STILL_SUFFIXES))
  assert [path.name for path in found.paths] == ['a.mp4', 'b.MTS', 'c.heic']
  assert found.note == f'{tmp_path}: 4 files skipped (.docx 2, without a suffix 1, .tmp 1)'
  assert folder.search(tmp_path, folder.VIDEO_SUFFIXES).skipped_by_suffix['.heic'] == 1
  for k in range(8):
    (tmp_path / f'a.s{k}').touch()
  assert folder.search(tmp_path, folder.VIDEO_SUFFIXES).note.endswith('.s2 1, others 6)')
  (tmp_path / 'inner' / 'a.mp4').touch()
  (tmp_path / '.git').mkdir()
  (tmp_path / '.git' / 'a.mp4').touch()
  assert folder.search(tmp_path / 'inner', folder.VIDEO_SUFFIXES).note == ''
  assert len(folder.search(tmp_path, folder.VIDEO_SUFFIXES, is_recursive=True).paths) == 3


def test_links_are_followed_once(tmp_path):
  (tmp_path / 'data').mkdir()
  (tmp_path / 'data' / 'a.mp4').touch()
  (tmp_path / 'set').mkdir()
  (tmp_path / 'set' / 'linked').symlink_to(tmp_path / 'data')
  (tmp_path / 'data' / 'round').symlink_to(tmp_path / 'set')
  found = folder.search(tmp_path / 'set', folder.VIDEO_SUFFIXES, is_recursive=True)
  assert [path.relative_to(tmp_path).as_posix() for path in found.paths] == ['set/linked/a.mp4']
  # A broken link is found; reading it reports the error.
  (tmp_path / 'set' / 'gone.mp4').symlink_to(tmp_path / 'nowhere.mp4')
  gone = folder.search(tmp_path / 'set', folder.VIDEO_SUFFIXES).paths
  assert [path.name for path in gone] == ['gone.mp4']
  with pytest.raises(errors.MediaError, match='does not exist'):
    source.Source(gone[0])


@pytest.mark.skipif(os.name == 'nt' or os.geteuid() == 0, reason='everything is readable')
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
  (tmp_path / 'locked').mkdir(mode=0)
  with pytest.raises(PermissionError):
    folder.search(tmp_path, folder.VIDEO_SUFFIXES, is_recursive=True)


def test_outputs_of_generate_are_not_inputs(tmp_path):
  for name in ('a.mp4', 'a.0.mp4', 'a.0.wav', 'a.png', 'b.0.mp4'):
    (tmp_path / name).touch()
  sample = {'index': 0, 'video': 'a.0.mp4', 'wav': 'a.0.wav'}
  texts = {'seed': 0, 'prompt': '', 'negative_prompt': '', 'transcript': '', 'word_times_s': None}
  source = {'sha256': None, 'start_s': 0.0, 'requested_duration_s': None}
  manifest = {'model_digest': '', 'input': source, 'samples': [sample], 'plot': 'a.png', **texts,
              'settings': {'num_samples': 1}}  # fmt: skip
  sealed = manifests.with_digests(manifest, 'a.json', dict.fromkeys(('a.0.mp4', 'a.0.wav', 'a.png'), ''))
  (tmp_path / 'a.json').write_text(json.dumps(sealed))
  (tmp_path / 'b.json').write_text('[{"samples": 3}')
  found = folder.search(tmp_path, (*folder.VIDEO_SUFFIXES, *folder.STILL_SUFFIXES))
  assert [path.name for path in found.paths] == ['a.mp4', 'b.0.mp4']
  assert (found.num_outputs, found.note) == (4, '')
  assert found.skipped_summary == '4 files that v2a generate wrote'


def test_commands_report_skipped_files(tmp_path, capsys):
  (tmp_path / 'a.docx').touch()
  (tmp_path / 'b.tmp').touch()
  expected = '(2 files skipped (.docx 1, .tmp 1))'
  spec = clip.ClipSpec()
  with pytest.raises(ValueError) as caught:
    clip_records.find(tmp_path)
  assert expected in str(caught.value)
  with pytest.raises(ValueError) as caught:
    list(folder_examples.read(tmp_path, None, spec))
  assert expected in str(caught.value)
  (tmp_path / 'c.mts').write_text('no video')
  lines = []
  with pytest.raises(ValueError, match='none of which'):
    list(folder_examples.read(tmp_path, None, spec, report=lines.append))
  assert lines[0] == f'note: {tmp_path}: 2 files skipped (.docx 1, .tmp 1)'
  argv = ['--source', str(tmp_path), '--output', str(tmp_path / 'out')]
  assert clip_records.main(argv) == 2
  assert capsys.readouterr().err.splitlines()[0] == f'data_pipelines.clip_records: {lines[0]}'
  assert not (tmp_path / 'out').exists()
