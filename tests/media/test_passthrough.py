"""Copying of everything besides the video: other tracks, tags, chapters, timecode; the new audio track."""

import errno

import av
import numpy as np
import pytest

from tests.media import copies
from tests.media import films
from v2a.media import passthrough
from v2a.media import read
from v2a.media import source
from v2a.media import write


def test_other_tracks_chapters_and_tags_are_copied(tmp_path):
  path = copies.tracks(
    tmp_path / 'video.mp4',
    title='Rain',
    artist='Me',
    creation_time='2001-02-03T04:05:06.000000Z',
    location='+48.8566+002.3522/',
  )
  muxed = copies.mux(path)
  codecs, chapters = copies.contents(muxed.path)
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
  path = copies.tracks(tmp_path / 'video.mkv', 'subrip')
  muxed = write.mux(
    path, films.clicks(1.0, copies.RATE_HZ), copies.RATE_HZ, tmp_path / 'out.mp4', 'replace', 0.96, 0.8
  )
  codecs, chapters = copies.contents(muxed.path)
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
  copied = copies.copy(
    path,
    tmp_path / 'tagged.mp4',
    lambda output, _: output.metadata.update({'title': 'Rain', 'com.example.mood': 'calm'}),
    {'movflags': 'use_metadata_tags'},
  )
  assert copies.mux(copied).not_copied == ('tag com.example.mood',)


def test_the_new_audio_is_written_when_others_are_rejected(tmp_path, monkeypatch):
  """A stream that a muxer accepts, but whose packets it rejects, is dropped alone."""

  def rejected(*_):
    raise av.error.ArgumentError(errno.EINVAL, 'rejected')
    yield

  path = copies.tracks(tmp_path / 'video.mp4')
  monkeypatch.setattr(passthrough, 'packets', lambda segment, streams: rejected() if streams else iter(()))
  muxed = copies.mux(path)
  assert copies.contents(muxed.path)[0] == ['h264', 'aac'] and muxed.not_copied == (
    'audio track 2 (aac, fra)',
  )


def test_the_timecode_is_copied(tmp_path):
  plain = films.make(tmp_path / 'plain', 'mov')
  path = copies.copy(
    plain,
    tmp_path / 'coded.mov',
    lambda _, added: (
      added[0].metadata.update({'timecode': '01:02:03:04'}),
      setattr(added[0].codec_context, 'framerate', 25),
    ),
  )
  muxed = copies.mux(path)
  with av.open(str(muxed.path)) as container:
    assert container.streams.video[0].metadata['timecode'] == '01:02:03:04'
  assert muxed.not_copied == () and copies.mux(path, start_s=1.0).not_copied == ('timecode',)


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_the_new_audio_is_the_default_track(tmp_path, suffix):
  path = copies.tracks(tmp_path / f'video{suffix}', '' if suffix == '.mp4' else 'subrip')
  with av.open(str(copies.mux(path).path)) as container:
    new, other = container.streams.audio
    assert new.disposition & av.stream.Disposition.default
    assert not other.disposition & av.stream.Disposition.default


def test_uncompressed_audio_is_not_copied_to_mp4(tmp_path):
  """Few players support it there."""
  path = films.make(tmp_path / 'video', 'avi', wave_NA=films.clicks(2.0, 44100))
  with source.Source(path) as opened:
    assert passthrough.compatible_codec_tag('mp4', opened.audio_stream) is None
    assert passthrough.compatible_codec_tag('mov', opened.audio_stream) is not None


def test_a_mix_keeps_the_treble_of_the_original_audio(tmp_path):
  """It is written at the higher of both sample rates."""
  time_N = np.arange(2 * 44100) / 44100
  tone_NA = np.repeat(0.1 * np.sin(2 * np.pi * 10000 * time_N)[:, None], 2, axis=1).astype(np.float32)
  path = films.make(tmp_path / 'treble', 'mp4', wave_NA=tone_NA)
  new_NA = 0.5 * films.clicks(2.0, copies.RATE_HZ)
  out = write.mux(path, new_NA, copies.RATE_HZ, tmp_path / 'out.mp4', 'mix').path
  audio_NA = read.wave(out, 44100, 2)
  spectrum = np.abs(np.fft.rfft(audio_NA[:, 0])) / len(audio_NA) * 2
  assert spectrum[round(10000 * len(audio_NA) / 44100)] == pytest.approx(0.1, rel=0.1)
  expected_NA = 0.5 * films.clicks(2.0, 44100)
  assert abs(films.lag_s(audio_NA[:, 1], expected_NA[:, 1], 44100)) < 1e-3
  low_NA = read.wave(out, copies.RATE_HZ, 2)
  assert np.corrcoef(low_NA[:, 0], new_NA[:, 0])[0, 1] > 0.9


def test_a_start_that_the_container_does_not_support_is_reported(tmp_path):
  path = copies.tracks(tmp_path / 'video.mkv', 'subrip')
  # At a keyframe. Otherwise MP4, which can start anywhere, is preferred although it drops the subtitles.
  assert copies.mux(path, start_s=0.96, duration_s=0.5).not_copied == ()
  muxed = copies.mux(path, start_s=1.12, duration_s=0.5)
  assert muxed.path.suffix == '.mp4' and muxed.not_copied == ('subtitle track 3 (srt)',)
  exact = write.mux(
    path, films.clicks(1.0, copies.RATE_HZ), copies.RATE_HZ, tmp_path / 'out.mkv', 'replace', 1.12, 0.5
  )
  assert exact.not_copied == ('the exact start (matroska begins with a keyframe, 0.16 s earlier)',)
