"""Copied video: codec tags, records, pixel aspect, transparency, starts within a frame, all frames."""

import fractions
import pathlib

import av
import numpy as np
import pytest

from tests.media import copies
from tests.media import films
from tests.media import mp4boxes
from v2a.media import matroska
from v2a.media import probe
from v2a.media import read
from v2a.media import write

SAMPLES = pathlib.Path(__file__).resolve().parents[2] / '../shared/cases'
# Profile 8.4, level 1, with a base layer and metadata (Dolby Vision Streams within the ISO format, 2.1.2).
DOVI = bytes([1, 0, 8 << 1, 1 << 3 | 0b101, 4 << 4]) + bytes(19)


@pytest.mark.parametrize(
  ('suffix', 'codec', 'options'),
  [
    ('.h264', 'libx264', {'preset': 'veryfast', 'bf': '2'}),
    ('.hevc', 'libx265', {'preset': 'ultrafast', 'x265-params': 'log-level=none:bframes=2'}),
  ],
)
def test_elementary_streams_keep_all_frames(tmp_path, suffix, codec, options):
  """They have no timestamps, so packets are counted; once, 64 of 100 frames were lost."""
  path = copies.encode(tmp_path / f'raw{suffix}', codec, 'yuv420p', 100, **options)
  out = copies.mux(path).path
  assert out.suffix == '.mp4' and len(copies.decoded(out)) == 100
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 25, 32)] == list(range(100))
  assert probe.probe(out).duration_s == pytest.approx(4.0, abs=0.001)
  part = copies.mux(path, start_s=2.0, duration_s=1.0).path
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(part, 25, 32)] == list(range(50, 75))


@pytest.mark.parametrize(
  ('name', 'codec', 'pix_fmt', 'options', 'suffix'),
  [
    ('rgb.avi', 'utvideo', 'gbrp', {}, '.mkv'),
    ('alpha.mov', 'prores_ks', 'yuva444p10le', {'profile': '4444'}, '.mov'),
    ('old.wmv', 'wmv2', 'yuv420p', {}, '.mkv'),
    ('old.flv', 'flv1', 'yuv420p', {}, '.mkv'),
    ('old.avi', 'huffyuv', 'yuv422p', {}, '.mkv'),
  ],
)
def test_frames_decode_as_before(tmp_path, name, codec, pix_fmt, options, suffix):
  """The codec tag and the frame rate are preserved, in a container that supports the codec."""
  path = copies.encode(tmp_path / name, codec, pix_fmt, **options)
  out = copies.mux(path).path
  assert out.suffix == suffix and copies.decoded(out) == copies.decoded(path)
  info = probe.probe(out)
  assert (info.fps, info.duration_s) == (pytest.approx(25, abs=0.1), pytest.approx(1.0, abs=0.01))


def test_vfw_tracks_have_timestamps_in_decoding_order():
  """As in AVI: readers use the time of the n-th packet for the n-th shown frame."""

  def packet(pts: int, dts: int) -> av.Packet:
    result = av.Packet(b'x')
    result.pts, result.dts = pts, dts
    return result

  packets = [packet(pts, dts) for pts, dts in ((0, -2), (3, -1), (1, 0), (2, 1))]
  stamped = matroska.with_vfw_timestamps((fractions.Fraction(0), each) for each in packets)
  assert [(each.pts, each.dts) for _, each in stamped] == [(0, 0), (1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize('name', ['phone.mp4', 'file.mkv'])
def test_hevc_has_the_tag_that_apple_players_require(tmp_path, name):
  path = copies.encode(tmp_path / name, 'libx265', 'yuv420p', **{'x265-params': 'log-level=none'})
  if name == 'phone.mp4':
    path = copies.copy(path, tmp_path / 'tagged.mp4', lambda _, added: setattr(added[0], 'codec_tag', 'hvc1'))
  with av.open(str(copies.mux(path).path)) as container:
    assert container.streams.video[0].codec_context.codec_tag == 'hvc1'


def test_dolby_vision_is_preserved(tmp_path):
  path = copies.encode(tmp_path / 'dovi.mp4', 'libx265', 'yuv420p', **{'x265-params': 'log-level=none'})
  mp4boxes.add_to_sample_entry(path, b'dvvC', DOVI)
  muxed = copies.mux(path)
  assert b'dvvC' + DOVI in muxed.path.read_bytes() and muxed.not_copied == ()
  # FFmpeg's MOV muxer drops it.
  muxed = write.mux(path, films.clicks(1.0, copies.RATE_HZ), copies.RATE_HZ, tmp_path / 'out.mov')
  assert muxed.not_copied == ('Dolby Vision record',)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.webm'])
def test_the_pixel_aspect_of_the_container_is_preserved(tmp_path, suffix):
  plain = films.make(tmp_path / 'plain', 'webm-vp9' if suffix == '.webm' else 'mp4')
  path = copies.copy(
    plain,
    tmp_path / 'wide.mp4',
    lambda _, added: setattr(added[0].codec_context, 'sample_aspect_ratio', fractions.Fraction(4, 3)),
  )
  out = write.mux(path, films.clicks(2.0, copies.RATE_HZ), copies.RATE_HZ, tmp_path / f'out{suffix}').path
  again = write.mux(out, films.clicks(2.0, copies.RATE_HZ), copies.RATE_HZ, tmp_path / 'again.mp4').path
  for name in (out, again):
    with av.open(str(name)) as container:
      assert container.streams.video[0].sample_aspect_ratio == fractions.Fraction(4, 3)
      container.seek(1_000_000)
      assert len(list(container.decode(video=0))) > 20


def test_the_pixel_aspect_of_vp8_is_written_to_mp4(tmp_path):
  plain = films.make(tmp_path / 'plain', 'webm-vp8')
  path = write.mux(plain, films.clicks(1.0, copies.RATE_HZ), copies.RATE_HZ, tmp_path / 'wide.webm').path
  matroska.set_aspect(path, fractions.Fraction(4, 3))
  out = copies.mux(path).path
  with av.open(str(out)) as container:
    assert out.suffix == '.mp4' and container.streams.video[0].sample_aspect_ratio == fractions.Fraction(4, 3)


@pytest.mark.parametrize('codec', ['libvpx', 'libvpx-vp9'])
def test_alpha_is_preserved_in_webm(tmp_path, codec):
  path = tmp_path / 'alpha.webm'
  with av.open(str(path), 'w') as output:
    stream = output.add_stream(
      codec,
      rate=25,
      width=96,
      height=64,
      pix_fmt='yuva420p',
      options={'auto-alt-ref': '0', 'deadline': 'realtime', 'cpu-used': '8'},
    )
    stream.metadata['alpha_mode'] = '1'
    for index in range(5):
      rgba_YX4 = np.dstack([films.numbered_frame(index), np.full((64, 96), 100, np.uint8)])
      frame = av.VideoFrame.from_ndarray(rgba_YX4, 'rgba').reformat(format='yuva420p')
      frame.pts = index
      output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
  muxed = copies.mux(path)
  assert muxed.path.suffix == '.webm' and muxed.not_copied == ()
  with av.open(str(muxed.path)) as container:
    tags = {name.lower(): value for name, value in container.streams.video[0].metadata.items()}
    assert tags['alpha_mode'] == '1'
    packets = [packet for packet in container.demux(video=0) if packet.size]
    assert all(packet.has_sidedata('matroska_block_additional') for packet in packets)


def test_a_start_within_a_frame_shortens_it(tmp_path):
  """Players that start with whole frames would otherwise show all others too early."""
  path = films.make(tmp_path / 'slow', 'mp4', duration_s=6.0, fps=1)
  out = copies.mux(path, start_s=0.5, duration_s=4.0).path
  with av.open(str(out)) as container:
    times_s = sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.size)
  assert times_s[:5] == pytest.approx([0.0, 0.5, 1.5, 2.5, 3.5], abs=1e-3)
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 2, 32)] == [0, 1, 1, 2, 2, 3, 3, 4]


def test_a_start_within_a_frame_of_a_vfw_track_shortens_it(tmp_path):
  path = copies.encode(tmp_path / 'old.avi', 'huffyuv', 'yuv422p')
  out = copies.mux(path, start_s=0.55, duration_s=0.2).path
  with av.open(str(out)) as container:
    times_s = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size]
  assert out.suffix == '.mkv'
  np.testing.assert_allclose(np.diff(times_s)[:3], [0.01, 0.04, 0.04], atol=1.1e-3)


def test_uncompressed_video_is_copied_to_matroska(tmp_path):
  path = copies.encode(tmp_path / 'raw.avi', 'rawvideo', 'bgr24', 5)
  out = copies.mux(path).path
  assert out.suffix == '.mkv'
  np.testing.assert_array_equal(read.frames(out, 25, 32), read.frames(path, 25, 32))


def test_concatenated_matroska_files_are_refused(tmp_path):
  """Their timestamps restart, which no other container accepts."""
  path = films.make(tmp_path / 'video', 'mkv', duration_s=3.0)
  path.write_bytes(2 * path.read_bytes())
  with pytest.raises(
    ValueError,
    match=r'timestamps go back from 2\.\d* s to -?0\.\d* s; the file is damaged, or was concatenated',
  ):
    copies.mux(path)


def test_a_copy_that_decodes_differently_is_refused(tmp_path, monkeypatch):
  """UT Video with another tag decodes differently; other containers are tried, and no file remains."""
  path = copies.encode(tmp_path / 'rgb.avi', 'utvideo', 'gbrp')
  monkeypatch.setattr(write.matroska, 'fourcc', lambda stream: b'ULRA')
  with pytest.raises(ValueError, match='no container can carry .* does not read back: frames'):
    copies.mux(path)
  assert sorted(p.name for p in tmp_path.iterdir()) == ['rgb.avi']


# Files of other programs: (name, suffix of the copy, losses).
FILES = [
  ('dovi5.mp4', '.mp4', ()),
  ('dovi84.mov', '.mp4', ()),
  ('elst_endtrim.mp4', '.mp4', ()),
  ('elst_two.mp4', '.mp4', ()),
  ('hevc_hvc1.mp4', '.mp4', ()),
  ('old.wmv', '.mkv', ()),
  ('plain.h264', '.mp4', ()),
  ('prores4444a.mov', '.mov', ()),
  ('sar_container.mkv', '.mp4', ()),
  ('sar_container.mp4', '.mp4', ()),
  ('sphere.mp4', '.mp4', ()),
  ('timecode.mov', '.mp4', ()),
  ('tracks.mkv', '.mkv', ()),
  ('tracks.mp4', '.mp4', ()),
  ('utvideo.avi', '.mkv', ()),
  ('vp8alpha.webm', '.webm', ()),
  ('vp9alpha.webm', '.webm', ()),
]


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='no ../shared/cases beside the checkout')
@pytest.mark.parametrize(('name', 'suffix', 'losses'), FILES)
def test_files_of_other_programs_are_copied(tmp_path, name, suffix, losses):
  path = SAMPLES / name
  muxed = write.mux(path, films.clicks(1.0, copies.RATE_HZ), copies.RATE_HZ, tmp_path / 'out.mp4')
  assert (muxed.path.suffix, muxed.not_copied) == (suffix, losses)
  assert copies.decoded(muxed.path) == copies.decoded(path)
  records = [kind for kind in (b'dvcC', b'dvvC', b'sv3d') if kind in path.read_bytes()]
  assert all(kind in muxed.path.read_bytes() for kind in records)
  with av.open(str(path)) as old, av.open(str(muxed.path)) as new:
    tags = [container.streams.video[0].sample_aspect_ratio or 1 for container in (old, new)]
    assert tags[0] == tags[1]
    assert len(old.chapters()) == len(new.chapters())
