"""Copying of everything besides the video: codec tags, edit lists, records, other tracks, tags, chapters."""

import errno
import fractions
import pathlib

import av
import numpy as np
import pytest

from tests.media import films
from tests.media import mp4boxes
from v2a.media import boxes
from v2a.media import matroska
from v2a.media import passthrough
from v2a.media import probe
from v2a.media import read
from v2a.media import source
from v2a.media import write

RATE_HZ = 16000
SAMPLES = pathlib.Path(__file__).resolve().parents[2] / '../shared/cases'
# Profile 8.4, level 1, with a base layer and metadata (Dolby Vision Streams within the ISO format, 2.1.2).
DOVI = bytes([1, 0, 8 << 1, 1 << 3 | 0b101, 4 << 4]) + bytes(19)


def mux(path: pathlib.Path, *args, **kwargs) -> write.Muxed:
  """Muxes a file with clicks, to out.mp4 in the same folder unless another container is better."""
  return write.mux(path, films.clicks(4.0, RATE_HZ), RATE_HZ, path.with_name('out.mp4'), *args, **kwargs)


def encode(path: pathlib.Path, codec: str, pix_fmt: str, num_frames: int = 25, **options) -> pathlib.Path:
  """Writes numbered frames with any encoder, 25 per second."""
  with av.open(str(path), 'w') as output:
    stream = output.add_stream(
      codec, rate=25, width=films.WIDTH, height=films.HEIGHT, pix_fmt=pix_fmt, options=options
    )
    for index in range(num_frames):
      frame = av.VideoFrame.from_ndarray(films.numbered_frame(index), 'rgb24').reformat(format=pix_fmt)
      frame.pts = index
      output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
  return path


def decoded(path: pathlib.Path) -> list[tuple[str, bytes]]:
  """Returns (pixel format, visible pixels of the first plane) of every frame."""
  found = []
  with av.open(str(path)) as container:
    for frame in container.decode(video=0):
      plane = frame.planes[0]
      # Rows end with uninitialised padding.
      lines_YX = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
      found.append((frame.format.name, lines_YX[: frame.height, : frame.width].tobytes()))
  return found


def copy(
  path: pathlib.Path,
  out: pathlib.Path,
  change=lambda output, added: None,
  options: dict[str, str] | None = None,
) -> pathlib.Path:
  """Copies the streams of a file; `change` may set the output and its streams before the header."""
  with av.open(str(path)) as opened, av.open(str(out), 'w', container_options=options) as output:
    added = [output.add_stream_from_template(stream, opaque=True) for stream in opened.streams]
    change(output, added)
    for packet in opened.demux():
      if packet.size:
        packet.stream = added[packet.stream.index]
        output.mux(packet)
  return out


@pytest.mark.parametrize(
  ('suffix', 'codec', 'options'),
  [
    ('.h264', 'libx264', {'preset': 'veryfast', 'bf': '2'}),
    ('.hevc', 'libx265', {'preset': 'ultrafast', 'x265-params': 'log-level=none:bframes=2'}),
  ],
)
def test_elementary_streams_keep_all_frames(tmp_path, suffix, codec, options):
  """They have no timestamps, so packets are counted; once, 64 of 100 frames were lost."""
  path = encode(tmp_path / f'raw{suffix}', codec, 'yuv420p', 100, **options)
  out = mux(path).path
  assert out.suffix == '.mp4' and len(decoded(out)) == 100
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 25, 32)] == list(range(100))
  assert probe.probe(out).duration_s == pytest.approx(4.0, abs=0.001)
  part = mux(path, start_s=2.0, duration_s=1.0).path
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
  path = encode(tmp_path / name, codec, pix_fmt, **options)
  out = mux(path).path
  assert out.suffix == suffix and decoded(out) == decoded(path)
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
  path = encode(tmp_path / name, 'libx265', 'yuv420p', **{'x265-params': 'log-level=none'})
  if name == 'phone.mp4':
    path = copy(path, tmp_path / 'tagged.mp4', lambda _, added: setattr(added[0], 'codec_tag', 'hvc1'))
  with av.open(str(mux(path).path)) as container:
    assert container.streams.video[0].codec_context.codec_tag == 'hvc1'


def test_frames_trimmed_by_an_edit_list_stay_hidden(tmp_path):
  path = films.make(tmp_path / 'trimmed', 'mp4', duration_s=3.0)
  mp4boxes.set_edit_list(path, [(0.0, 1.6)])
  out = mux(path).path
  assert probe.probe(out).duration_s == pytest.approx(1.6, abs=1e-3)
  assert len(decoded(out)) == len(decoded(path)) == 40


@pytest.mark.parametrize(
  ('start_s', 'duration_s', 'expected'),
  [
    (0.0, None, [*range(30), *range(60, 75)]),
    (0.4, 1.2, [*range(10, 30), *range(60, 70)]),
    (1.4, None, list(range(65, 75))),
  ],
)
def test_an_edit_list_of_two_sections_is_preserved(tmp_path, start_s, duration_s, expected):
  path = films.make(tmp_path / 'sections', 'mp4', duration_s=3.0)
  mp4boxes.set_edit_list(path, [(0.0, 1.2), (2.4, 0.6)])
  out = mux(path, start_s=start_s, duration_s=duration_s).path
  length_s = len(expected) / 25
  # FFmpeg shows the first frame of a second section one frame late.
  numbers_shown = [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 25, 32, 0.0, length_s)]
  assert (
    sum(a != b for a, b in zip(numbers_shown, expected)) <= 2 and len(set(numbers_shown) - set(expected)) == 0
  )
  with av.open(str(out)) as container:
    assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == pytest.approx(
      length_s, abs=1e-3
    )


def test_a_pause_in_an_edit_list_is_preserved(tmp_path):
  path = films.make(tmp_path / 'pause', 'mp4', duration_s=3.0)
  mp4boxes.set_edit_list(path, [(0.0, 1.0), (None, 0.48), (1.0, 2.0)])
  out = mux(path).path
  assert boxes.edits(out, 1)[1] == boxes.Edit(fractions.Fraction(12, 25), None)
  assert probe.probe(out).duration_s == pytest.approx(3.48, abs=0.041)
  np.testing.assert_array_equal(read.frames(out, 25, 32, 0.0, 3.4), read.frames(path, 25, 32, 0.0, 3.4))


def test_an_edit_list_that_begins_within_a_frame_keeps_sync(tmp_path):
  """FFmpeg drops the partial frame and starts the next one at once, ahead of the audio."""
  path = films.make(tmp_path / 'within', 'mp4', duration_s=3.0, wave_NA=films.clicks(3.0, 44100))
  mp4boxes.set_edit_list(path, [(0.5, 2.0)])
  assert source.clock_origin_s(path) == pytest.approx(0.02, abs=1e-4)
  assert films.frame_number(read.frames(path, 25, 32, 0.0, 0.04)[0]) == 13
  audio_N = read.wave(path, 44100, 1, 0.0, 1.9)[:, 0]
  expected_N = films.clicks(3.0, 44100)[round(0.02 * 44100) :, 0]  # the audio track has no such edit
  assert abs(films.lag_s(audio_N, expected_N[: len(audio_N)], 44100)) < 1e-3
  assert probe.probe(mux(path).path).duration_s == pytest.approx(1.98, abs=1e-3)


def test_dolby_vision_is_preserved(tmp_path):
  path = encode(tmp_path / 'dovi.mp4', 'libx265', 'yuv420p', **{'x265-params': 'log-level=none'})
  mp4boxes.add_to_sample_entry(path, b'dvvC', DOVI)
  muxed = mux(path)
  assert b'dvvC' + DOVI in muxed.path.read_bytes() and muxed.not_copied == ()
  # FFmpeg's MOV muxer drops it.
  muxed = write.mux(path, films.clicks(1.0, RATE_HZ), RATE_HZ, tmp_path / 'out.mov')
  assert muxed.not_copied == ('Dolby Vision record',)


@pytest.mark.parametrize('suffix', ['.mp4', '.mov', '.mkv', '.webm'])
def test_the_pixel_aspect_of_the_container_is_preserved(tmp_path, suffix):
  plain = films.make(tmp_path / 'plain', 'webm-vp9' if suffix == '.webm' else 'mp4')
  path = copy(
    plain,
    tmp_path / 'wide.mp4',
    lambda _, added: setattr(added[0].codec_context, 'sample_aspect_ratio', fractions.Fraction(4, 3)),
  )
  out = write.mux(path, films.clicks(2.0, RATE_HZ), RATE_HZ, tmp_path / f'out{suffix}').path
  again = write.mux(out, films.clicks(2.0, RATE_HZ), RATE_HZ, tmp_path / 'again.mp4').path
  for name in (out, again):
    with av.open(str(name)) as container:
      assert container.streams.video[0].sample_aspect_ratio == fractions.Fraction(4, 3)
      container.seek(1_000_000)
      assert len(list(container.decode(video=0))) > 20


def test_the_pixel_aspect_of_vp8_is_written_to_mp4(tmp_path):
  plain = films.make(tmp_path / 'plain', 'webm-vp8')
  path = write.mux(plain, films.clicks(1.0, RATE_HZ), RATE_HZ, tmp_path / 'wide.webm').path
  matroska.set_aspect(path, fractions.Fraction(4, 3))
  out = mux(path).path
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
  muxed = mux(path)
  assert muxed.path.suffix == '.webm' and muxed.not_copied == ()
  with av.open(str(muxed.path)) as container:
    tags = {name.lower(): value for name, value in container.streams.video[0].metadata.items()}
    assert tags['alpha_mode'] == '1'
    packets = [packet for packet in container.demux(video=0) if packet.size]
    assert all(packet.has_sidedata('matroska_block_additional') for packet in packets)


def tracks(path: pathlib.Path, subtitle: str = '', **tags: str) -> pathlib.Path:
  """Writes a video with two audio tracks, chapters and tags, and subtitles of a codec."""
  first = films.make(path.with_name('first'), 'mp4', wave_NA=films.clicks(2.0, 44100, seed=1))
  second = films.make(path.with_name('second'), 'mp4', wave_NA=films.clicks(2.0, 44100, seed=2))
  with av.open(str(first)) as one, av.open(str(second)) as two, av.open(str(path), 'w') as output:
    output.metadata.update(tags)
    edges = [(0, 1200, 'one'), (1200, 2000, 'two')]
    output.set_chapters(
      [
        {
          'id': index,
          'start': start,
          'end': end,
          'time_base': fractions.Fraction(1, 1000),
          'metadata': {'title': title},
        }
        for index, (start, end, title) in enumerate(edges)
      ]
    )
    expected = [(one, one.streams.video[0]), (one, one.streams.audio[0]), (two, two.streams.audio[0])]
    added = [output.add_stream_from_template(stream, opaque=True) for _, stream in expected]
    added[2].metadata['language'] = 'fra'
    if subtitle:
      added.append(output.add_mux_stream(subtitle))
      added[-1].time_base = fractions.Fraction(1, 1000)
    for stream, (container, template) in zip(added, expected):
      container.seek(0)
      for packet in container.demux(template):
        if packet.size:
          packet.stream = stream
          output.mux(packet)
    if subtitle:
      packet = av.Packet(b'hello')
      packet.stream, packet.pts, packet.dts, packet.duration = added[-1], 500, 500, 900
      packet.time_base = fractions.Fraction(1, 1000)
      output.mux(packet)
  return path


def contents(path: pathlib.Path) -> tuple[list[str], list[tuple[float, str]]]:
  """Returns the codecs of all streams but chapter tracks, and the chapters (start, title)."""
  with av.open(str(path)) as container:
    codecs = [stream.codec_context.name for stream in container.streams if stream.codec_context is not None]
    return codecs, [
      (float(chapter['start'] * chapter['time_base']), chapter['metadata']['title'])
      for chapter in container.chapters()
    ]


def test_other_tracks_chapters_and_tags_are_copied(tmp_path):
  path = tracks(
    tmp_path / 'video.mp4',
    title='Rain',
    artist='Me',
    creation_time='2001-02-03T04:05:06.000000Z',
    location='+48.8566+002.3522/',
  )
  muxed = mux(path)
  codecs, chapters = contents(muxed.path)
  assert muxed.path.suffix == '.mp4' and muxed.not_copied == ()
  assert codecs == ['h264', 'aac', 'aac'] and chapters == [(0.0, 'one'), (1.2, 'two')]
  with av.open(str(muxed.path)) as container:
    for name, value in (('title', 'Rain'), ('artist', 'Me'), ('location', '+48.8566+002.3522/')):
      assert container.metadata[name] == value
    assert container.metadata['creation_time'].startswith('2001-02-03')
    new, other = container.streams.audio
    assert other.metadata['language'] == 'fra'
    assert new.disposition & av.stream.Disposition.default
    assert not other.disposition & av.stream.Disposition.default
    audio_N = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(other)])
  assert abs(films.lag_s(audio_N, films.clicks(2.0, 44100, seed=2)[:, 0], 44100)) < 1e-3


def test_a_segment_has_the_matching_part_of_all_tracks(tmp_path):
  path = tracks(tmp_path / 'video.mkv', 'subrip')
  muxed = write.mux(path, films.clicks(1.0, RATE_HZ), RATE_HZ, tmp_path / 'out.mp4', 'replace', 0.96, 0.8)
  codecs, chapters = contents(muxed.path)
  assert muxed.path.suffix == '.mkv' and codecs == ['h264', 'aac', 'aac', 'srt']
  # Matroska's muxer shifts tracks by the encoder delay, but not chapters.
  assert chapters == [(0.0, 'one'), (pytest.approx(0.24, abs=0.03), 'two')]
  with av.open(str(muxed.path)) as container:
    zero_s = next(container.decode(video=0)).time
    container.seek(0)
    (text,) = (packet for packet in container.demux(subtitles=0) if packet.size)
    assert text.pts * text.time_base - zero_s == pytest.approx(0.0, abs=2e-3)
    assert text.duration * text.time_base == pytest.approx(0.44, abs=2e-3)
    container.seek(0)
    other = container.streams.audio[1]
    frames = [(frame.time - zero_s, frame.to_ndarray()[0]) for frame in container.decode(other)]
  audio_N = np.concatenate([block_N for _, block_N in frames])[round(-frames[0][0] * 44100) :]
  expected_N = films.clicks(2.0, 44100, seed=2)[round(0.96 * 44100) : round(1.76 * 44100), 0]
  assert abs(films.lag_s(audio_N, expected_N, 44100)) < 2e-3


def test_what_cannot_be_copied_is_named(tmp_path):
  """MP4 supports the usual tags only."""
  path = films.make(tmp_path / 'video', 'mp4')
  copied = copy(
    path,
    tmp_path / 'tagged.mp4',
    lambda output, _: output.metadata.update({'title': 'Rain', 'com.example.mood': 'calm'}),
    {'movflags': 'use_metadata_tags'},
  )
  assert mux(copied).not_copied == ('tag com.example.mood',)


def test_the_new_audio_is_written_when_others_are_rejected(tmp_path, monkeypatch):
  """A stream that a muxer accepts, but whose packets it rejects, is dropped alone."""

  def rejected(*_):
    raise av.error.ArgumentError(errno.EINVAL, 'rejected')
    yield

  path = tracks(tmp_path / 'video.mp4')
  monkeypatch.setattr(passthrough, 'packets', lambda segment, streams: rejected() if streams else iter(()))
  muxed = mux(path)
  assert contents(muxed.path)[0] == ['h264', 'aac'] and muxed.not_copied == ('audio track 2 (aac, fra)',)


def test_the_timecode_is_copied(tmp_path):
  plain = films.make(tmp_path / 'plain', 'mov')
  path = copy(
    plain,
    tmp_path / 'coded.mov',
    lambda _, added: (
      added[0].metadata.update({'timecode': '01:02:03:04'}),
      setattr(added[0].codec_context, 'framerate', 25),
    ),
  )
  muxed = mux(path)
  with av.open(str(muxed.path)) as container:
    assert container.streams.video[0].metadata['timecode'] == '01:02:03:04'
  assert muxed.not_copied == () and mux(path, start_s=1.0).not_copied == ('timecode',)


def test_a_start_within_a_frame_shortens_it(tmp_path):
  """Players that start with whole frames would otherwise show all others too early."""
  path = films.make(tmp_path / 'slow', 'mp4', duration_s=6.0, fps=1)
  out = mux(path, start_s=0.5, duration_s=4.0).path
  with av.open(str(out)) as container:
    times_s = sorted(float(p.pts * p.time_base) for p in container.demux(video=0) if p.size)
  assert times_s[:5] == pytest.approx([0.0, 0.5, 1.5, 2.5, 3.5], abs=1e-3)
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(out, 2, 32)] == [0, 1, 1, 2, 2, 3, 3, 4]


def test_a_start_within_a_frame_of_a_vfw_track_shortens_it(tmp_path):
  path = encode(tmp_path / 'old.avi', 'huffyuv', 'yuv422p')
  out = mux(path, start_s=0.55, duration_s=0.2).path
  with av.open(str(out)) as container:
    times_s = [float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size]
  assert out.suffix == '.mkv'
  np.testing.assert_allclose(np.diff(times_s)[:3], [0.01, 0.04, 0.04], atol=1.1e-3)


def test_uncompressed_video_is_copied_to_matroska(tmp_path):
  path = encode(tmp_path / 'raw.avi', 'rawvideo', 'bgr24', 5)
  out = mux(path).path
  assert out.suffix == '.mkv'
  np.testing.assert_array_equal(read.frames(out, 25, 32), read.frames(path, 25, 32))


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_the_new_audio_is_the_default_track(tmp_path, suffix):
  path = tracks(tmp_path / f'video{suffix}', '' if suffix == '.mp4' else 'subrip')
  with av.open(str(mux(path).path)) as container:
    new, other = container.streams.audio
    assert new.disposition & av.stream.Disposition.default
    assert not other.disposition & av.stream.Disposition.default


def test_uncompressed_audio_is_not_copied_to_mp4(tmp_path):
  """Few players support it there."""
  path = films.make(tmp_path / 'video', 'avi', wave_NA=films.clicks(2.0, 44100))
  with source.Source(path) as opened:
    assert passthrough.compatible_codec_tag('mp4', opened.audio_stream) is None
    assert passthrough.compatible_codec_tag('mov', opened.audio_stream) is not None


def test_concatenated_matroska_files_are_refused(tmp_path):
  """Their timestamps restart, which no other container accepts."""
  path = films.make(tmp_path / 'video', 'mkv', duration_s=3.0)
  path.write_bytes(2 * path.read_bytes())
  with pytest.raises(
    ValueError,
    match=r'timestamps go back from 2\.\d* s to -?0\.\d* s; the file is damaged, or was concatenated',
  ):
    mux(path)


def test_a_mix_keeps_the_treble_of_the_original_audio(tmp_path):
  """It is written at the higher of both sample rates."""
  time_N = np.arange(2 * 44100) / 44100
  tone_NA = np.repeat(0.1 * np.sin(2 * np.pi * 10000 * time_N)[:, None], 2, axis=1).astype(np.float32)
  path = films.make(tmp_path / 'treble', 'mp4', wave_NA=tone_NA)
  new_NA = 0.5 * films.clicks(2.0, RATE_HZ)
  out = write.mux(path, new_NA, RATE_HZ, tmp_path / 'out.mp4', 'mix').path
  audio_NA = read.wave(out, 44100, 2)
  spectrum = np.abs(np.fft.rfft(audio_NA[:, 0])) / len(audio_NA) * 2
  assert spectrum[round(10000 * len(audio_NA) / 44100)] == pytest.approx(0.1, rel=0.1)
  expected_NA = 0.5 * films.clicks(2.0, 44100)
  assert abs(films.lag_s(audio_NA[:, 1], expected_NA[:, 1], 44100)) < 1e-3
  low_NA = read.wave(out, RATE_HZ, 2)
  assert np.corrcoef(low_NA[:, 0], new_NA[:, 0])[0, 1] > 0.9


def test_a_start_that_the_container_does_not_support_is_reported(tmp_path):
  path = tracks(tmp_path / 'video.mkv', 'subrip')
  # At a keyframe. Otherwise MP4, which can start anywhere, is preferred although it drops the subtitles.
  assert mux(path, start_s=0.96, duration_s=0.5).not_copied == ()
  muxed = mux(path, start_s=1.12, duration_s=0.5)
  assert muxed.path.suffix == '.mp4' and muxed.not_copied == ('subtitle track 3 (srt)',)
  exact = write.mux(path, films.clicks(1.0, RATE_HZ), RATE_HZ, tmp_path / 'out.mkv', 'replace', 1.12, 0.5)
  assert exact.not_copied == ('the exact start (matroska begins with a keyframe, 0.16 s earlier)',)


def test_a_copy_that_decodes_differently_is_refused(tmp_path, monkeypatch):
  """UT Video with another tag decodes differently; other containers are tried, and no file remains."""
  path = encode(tmp_path / 'rgb.avi', 'utvideo', 'gbrp')
  monkeypatch.setattr(write.matroska, 'fourcc', lambda stream: b'ULRA')
  with pytest.raises(ValueError, match='no container can carry .* does not read back: frames'):
    mux(path)
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
  muxed = write.mux(path, films.clicks(1.0, RATE_HZ), RATE_HZ, tmp_path / 'out.mp4')
  assert (muxed.path.suffix, muxed.not_copied) == (suffix, losses)
  assert decoded(muxed.path) == decoded(path)
  records = [kind for kind in (b'dvcC', b'dvvC', b'sv3d') if kind in path.read_bytes()]
  assert all(kind in muxed.path.read_bytes() for kind in records)
  with av.open(str(path)) as old, av.open(str(muxed.path)) as new:
    tags = [container.streams.video[0].sample_aspect_ratio or 1 for container in (old, new)]
    assert tags[0] == tags[1]
    assert len(old.chapters()) == len(new.chapters())
