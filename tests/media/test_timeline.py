"""Discontinuous timestamps become one timeline, with audio and video in sync."""

import collections
import fractions
import itertools
import pathlib
import types

import av
import numpy as np
import pytest

from tests.media import films
from v2a.media import audio_reader
from v2a.media import errors
from v2a.media import integrity
from v2a.media import probe
from v2a.media import read
from v2a.media import source
from v2a.media import timeline
from v2a.media import write

SAMPLES = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'cases'
RATE_HZ = 48000
WRAP_S = 2**33 / 90000
LENGTH_S = {'video': 0.04, 'audio': 0.021}


def packet(kind: str, time_s: float, shown_s: float | None = None):
  """Returns a fake packet with a time base of 90 kHz."""
  dts = round(time_s * 90000)
  pts = dts if shown_s is None else round(shown_s * 90000)
  return types.SimpleNamespace(
    stream_index=int(kind == 'audio'),
    stream=types.SimpleNamespace(type=kind),
    pts=pts,
    dts=dts,
    duration=round(LENGTH_S[kind] * 90000),
    time_base=fractions.Fraction(1, 90000),
    size=1,
  )


def section(start_s: float, video_s: float, audio_s: float | None = None) -> list:
  """Returns the interleaved packets of a section whose clock starts at start_s; without audio if None."""
  found = [packet('video', start_s + k * 0.04) for k in range(round(video_s / 0.04))]
  if audio_s is not None:
    found += [packet('audio', start_s + k * 0.021) for k in range(round(audio_s / 0.021))]
  return sorted(found, key=lambda each: each.dts)


def corrected(packets: list, has_wraps: bool = True) -> dict[int, list[float]]:
  """Returns the corrected decoding times of each stream in seconds."""
  scan = timeline.DiscontinuityScan(has_wraps)
  for each in packets:
    scan.add(each, LENGTH_S[each.stream.type])
  found = scan.timeline()
  correction = timeline.Correction(found) if found else None
  times_s = collections.defaultdict(list)
  for each in packets:
    if correction:
      correction.apply(each)
    times_s[each.stream_index].append(each.dts / 90000)
  return times_s


def late(packets: list) -> list:
  """Returns packets where the last one of each stream before a jump comes late, as from demuxers."""
  held, found = {}, []
  for each in packets:
    previous = held.get(each.stream_index)
    if previous is not None and abs(previous.dts - each.dts) > 9000:
      found.insert(len(found), previous)
      held.pop(each.stream_index)
    elif previous is not None:
      found.append(previous)
    held[each.stream_index] = each
  return found + list(held.values())


SECTIONS = {
  'back': [(1000.0, 4.0), (10.0, 4.0)],
  'far ahead': [(10.0, 4.0), (1000.0, 4.0)],
  'a day ahead': [(1000.0, 4.0), (95453.0, 4.0)],
  'the same thrice': [(1.4, 4.0), (1.4, 4.0), (1.4, 4.0)],
  'short ones': [(1.4, 1.0), (1.4, 1.0), (1.4, 1.0), (1.4, 1.0)],
  'back and forth': [(1000.0, 4.0), (10.0, 4.0), (1004.5, 4.0)],
  'wraps twice': [(WRAP_S - 4.0, 4.0), (0.0, 4.0), (WRAP_S - 4.0, 4.0), (0.0, 4.0)],
}


@pytest.mark.parametrize('order', [lambda packets: packets, late], ids=['in order', 'late'])
@pytest.mark.parametrize('name', SECTIONS)
def test_sections_follow_each_other(name, order):
  sections = SECTIONS[name]
  packets = order([each for start_s, length_s in sections for each in section(start_s, length_s, length_s)])
  expected_s = sum(length_s for _, length_s in sections)
  times_s = corrected(packets)
  video_N, audio_N = (np.diff(times_s[index]) for index in (0, 1))
  assert video_N.min() >= 0 and audio_N.min() >= 0
  assert times_s[0][-1] - times_s[0][0] == pytest.approx(expected_s - 0.04, abs=0.03 * len(sections))
  # In sync: at every packet of the file both streams are at about the same time, as before.
  for a, b in itertools.pairwise(packets):
    assert abs(a.dts - b.dts) / 90000 < 0.15


def test_audio_that_ends_early_or_late_stays_in_sync():
  for audio_s in (3.4, 4.5):
    second = section(50.0, 4.0, 4.0)
    times_s = corrected(section(1000.0, 4.0, audio_s) + second)
    assert min(np.diff(times_s[0])) >= 0 and min(np.diff(times_s[1])) >= 0
    starts_s = [next(each for each in second if each.stream_index == index).dts / 90000 for index in (0, 1)]
    assert starts_s[0] == pytest.approx(starts_s[1], abs=1e-3)
    assert starts_s[0] == pytest.approx(1000.0 + max(4.0, audio_s), abs=0.03)


def test_gaps_are_preserved_when_the_clock_wraps():
  packets = section(WRAP_S - 2.0, 1.0, 1.0) + section(1.0, 1.0, 1.0)
  times_s = corrected(packets)
  assert times_s[0][25] - times_s[0][24] == pytest.approx(2.04, abs=1e-3)
  assert times_s[1][48] - times_s[1][0] == pytest.approx(3.0, abs=1e-3)


@pytest.mark.parametrize('wrong_s', [0.3, 5.0, 60.0, 90000.0, -5.0, -900.0])
def test_one_wrong_timestamp_does_not_shift_others(wrong_s):
  packets = section(1000.0, 4.0, 4.0)
  videos = [each for each in packets if each.stream_index == 0]
  expected = [each.dts for each in packets]
  for each in videos[50:51]:
    each.dts += round(wrong_s * 90000)
    each.pts = each.dts
  corrected(packets)
  np.testing.assert_allclose([each.dts for each in packets], expected, atol=2)


def test_a_wrong_presentation_time_is_dropped():
  packets = section(1000.0, 4.0)
  packets[50].pts += 90000 * 90000
  corrected(packets)
  assert packets[50].pts is None and packets[51].pts == packets[51].dts == round(1002.04 * 90000)


def test_continuous_timestamps_are_unchanged():
  """A frame that is held during audio, a gap, and audio that starts late are not discontinuities."""
  still = [
    each for each in section(1000.0, 60.0, 60.0) if each.stream_index or not 1005 < each.dts / 90000 < 1040
  ]
  gap = section(1000.0, 4.0, 4.0) + section(1013.0, 4.0, 4.0)
  begin = section(1000.0, 30.0) + section(1030.0, 4.0, 4.0)
  for packets in (still, gap, begin):
    before = [(each.pts, each.dts) for each in packets]
    corrected(packets)
    assert [(each.pts, each.dts) for each in packets] == before


def test_random_timestamps_take_linear_time_and_stay_short():
  rng = np.random.default_rng(0)
  packets = [
    packet('video' if k % 2 else 'audio', time_s) for k, time_s in enumerate(rng.uniform(0, WRAP_S, 20000))
  ]
  times_s = corrected(packets)
  assert max(times_s[0]) - min(times_s[0]) < 20000 * timeline.DISCONTINUITY_S
  assert min(np.diff(times_s[0])) >= 0


def joined(folder: pathlib.Path, starts_s: tuple[float, ...]) -> tuple[pathlib.Path, np.ndarray]:
  """Concatenates videos of 2 s with different clocks; returns the file and its audio."""
  path = folder / 'joined.ts'
  waves = [films.clicks(2.0, RATE_HZ, seed=number) for number in range(len(starts_s))]
  contents = [
    films.make(
      folder / f'part{number}',
      'ts',
      times_s=start_s + np.arange(50) / 25,
      wave_NA=wave_NA,
      sound_start_s=start_s,
    ).read_bytes()
    for number, (start_s, wave_NA) in enumerate(zip(starts_s, waves))
  ]
  path.write_bytes(b''.join(contents))
  return path, np.concatenate(waves)


@pytest.mark.parametrize('starts_s', [(1000.0, 10.0), (10.0, 2000.0), (10.0, 10.0, 10.0)], ids=str)
def test_concatenated_files_are_one_video(starts_s, tmp_path):
  path, wave_NA = joined(tmp_path, starts_s)
  length_s = 2.0 * len(starts_s)
  info = probe.probe(path)
  # Audio is encoded in whole frames, and may be longer than the video at every joint.
  assert info.duration_s == pytest.approx(length_s, abs=0.08 * len(starts_s))
  numbers_shown = [films.frame_number(frame_YX3) for frame_YX3 in read.frames(path, 50, 64)]
  shown = [number for number, _ in itertools.groupby(numbers_shown)]
  assert shown == [*range(50)] * len(starts_s)
  firsts = [0, *(k for k in range(1, len(numbers_shown)) if numbers_shown[k] < numbers_shown[k - 1])]
  audio_NA = read.wave(path, RATE_HZ, 2)
  for number in range(len(starts_s)):
    start = round(firsts[number] / 50 * RATE_HZ)
    block_NA = audio_NA[start + RATE_HZ // 10 : start + RATE_HZ * 19 // 10]
    expected_NA = wave_NA[number * 2 * RATE_HZ :][RATE_HZ // 10 : RATE_HZ * 19 // 10]
    assert abs(films.lag_s(block_NA[:, 0], expected_NA[:, 0], RATE_HZ)) < 0.025
  # A start is found without seeking, and the video is copied unchanged.
  late_s = info.duration_s - 1.0
  assert films.frame_number(read.frames(path, 25, 64, late_s, 0.04)[0]) == pytest.approx(25, abs=2)
  out = write.mux(path, films.clicks(length_s, 16000), 16000, tmp_path / 'out.mp4').path
  assert len(films.packets(out)) == 50 * len(starts_s)
  assert probe.probe(out).duration_s == pytest.approx(info.duration_s, abs=0.01)


def test_flv_of_a_recorder_that_restarted(tmp_path):
  path = films.make(tmp_path / 'live', 'flv', times_s=[*np.arange(25) / 25, *36000 + np.arange(25) / 25])
  assert probe.probe(path).duration_s == pytest.approx(2.0, abs=0.01)
  assert [films.frame_number(frame_YX3) for frame_YX3 in read.frames(path, 25, 64)] == list(range(50))


def test_timestamps_without_a_consistent_timeline_are_refused(tmp_path):
  far = films.make(tmp_path / 'far', 'mkv', times_s=[*np.arange(25) / 25, *90000 + np.arange(25) / 25])
  with pytest.raises(errors.MediaError, match=r'far.mkv: its timestamps jump from 0.960 s to 90000'):
    probe.probe(far)
  path = films.make(tmp_path / 'whole', 'mkv', duration_s=2.0)
  once = tmp_path / 'once.mkv'
  with av.open(str(path)) as whole, av.open(str(once), 'w') as output:
    stream = output.add_stream_from_template(whole.streams.video[0])
    for number, each in enumerate(p for p in whole.demux(video=0) if p.size):
      each.stream = stream
      each.pts += 900_000 if number == 20 else 0
      output.mux(each)
  with pytest.raises(errors.MediaError, match='once.mkv: its timestamps go back from 90'):
    probe.probe(once)


def test_a_long_gap_is_refused_unless_there_is_audio(tmp_path, monkeypatch):
  monkeypatch.setattr(integrity, '_MAX_GAP_S', 2)
  times_s = [0.0, 0.04, 4.0]
  silent = films.make(tmp_path / 'silent', 'mkv', times_s=times_s)
  with pytest.raises(errors.MediaError, match='its timestamps jump'):
    probe.probe(silent)
  with_audio = films.make(tmp_path / 'heard', 'mkv', times_s=times_s, wave_NA=films.clicks(4.0, RATE_HZ))
  assert probe.probe(with_audio).duration_s == pytest.approx(4.04, abs=0.05)


@pytest.mark.parametrize('number', [0, 20])
def test_one_wrong_timestamp_does_not_end_the_audio(number, tmp_path, monkeypatch):
  wave_NA = films.clicks(2.0, RATE_HZ)
  path = films.make(tmp_path / 'video', 'mkv', duration_s=2.0, wave_NA=wave_NA)
  decoded = source.Source.decoded

  def wrong(self, stream):
    for index, (time_s, frame) in enumerate(decoded(self, stream)):
      yield time_s + 1000 * (stream.type == 'audio' and index == number), frame

  monkeypatch.setattr(source.Source, 'decoded', wrong)
  audio_NA = np.concatenate(list(audio_reader.iterate_blocks(path, RATE_HZ, 2, 0.0, 2.0)))
  for start in (RATE_HZ // 2, RATE_HZ):
    blocks = audio_NA[start : start + RATE_HZ // 2, 0], wave_NA[start : start + RATE_HZ // 2, 0]
    assert abs(films.lag_s(*blocks, RATE_HZ)) < 1e-3


def test_streams_that_appear_late_are_ignored(tmp_path, monkeypatch):
  path = films.make(tmp_path / 'video', 'ts', duration_s=1.0)
  whole = source.Source._demuxed

  class Flushing:
    """A container that fails when it flushes a stream unknown to PyAV."""

    def __init__(self, container):
      self._container = container

    def __getattr__(self, name):
      return getattr(self._container, name)

    def demux(self, *streams):
      yield from self._container.demux(*streams)
      raise IndexError('list index out of range')

  def demuxed(self, stream):
    if not isinstance(self.container, Flushing):
      self.container = Flushing(self.container)
    return whole(self, stream)

  monkeypatch.setattr(source.Source, '_demuxed', demuxed)
  assert probe.probe(path).duration_s == pytest.approx(1.0)


def test_subtitles_need_no_frame_rate(tmp_path):
  """Streams that are neither video nor audio have no frames."""
  path = films.make(tmp_path / 'video', 'ts', duration_s=1.0)
  with av.open(str(path)) as original, av.open(str(tmp_path / 'sub.ts'), 'w') as output:
    video = output.add_stream_from_template(original.streams.video[0])
    text = output.add_mux_stream('dvb_subtitle')
    for number, each in enumerate(p for p in original.demux(video=0) if p.size):
      if number == 5:
        page = av.Packet(bytes.fromhex('20000f10000100020000ff'))
        page.stream, page.time_base, page.pts, page.dts = text, each.time_base, each.pts, each.pts
        output.mux(page)
      each.stream = video
      output.mux(each)
  with source.Source(tmp_path / 'sub.ts') as opened:
    assert [stream.type for stream in opened.container.streams] == ['video', 'subtitle']
  assert probe.probe(tmp_path / 'sub.ts').duration_s == pytest.approx(1.0)


def test_tags_in_any_encoding(tmp_path):
  path = films.make(tmp_path / 'tagged', 'avi', duration_s=1.0)
  tagged = tmp_path / 'latin.avi'
  with av.open(str(path)) as plain, av.open(str(tagged), 'w') as output:
    output.metadata['title'] = 'Menü'
    stream = output.add_stream_from_template(plain.streams.video[0])
    for each in plain.demux(video=0):
      if each.size:
        each.stream = stream
        output.mux(each)
  data = tagged.read_bytes()
  assert 'Menü'.encode() in data
  tagged.write_bytes(data.replace('Menü'.encode(), b'Men\xfc '))
  assert probe.probe(tagged).duration_s == pytest.approx(1.0)


@pytest.mark.parametrize(('name', 'length_s'), [('corrupt_mid.ts', 4.0), ('ts_discont_back.ts', 8.0)])
def test_real_discontinuous_files(name, length_s):
  path = SAMPLES / name
  if not path.is_file():
    pytest.skip(f'{path} is not there')
  assert probe.probe(path).duration_s == pytest.approx(length_s, abs=0.1)
  assert len(read.frames(path, 25, 16)) == pytest.approx(25 * length_s, abs=2)
