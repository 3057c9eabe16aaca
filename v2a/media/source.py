"""An opened media file: its streams, its clock, and decoding that tolerates damage.

The clock of this package: seconds, where t=0 is the presentation time of the first shown video frame (of the
first audio sample if a file has no video). The clocks of containers differ: MPEG starts at an arbitrary
value, MP4 shifts its tracks by edit lists, Matroska rounds to milliseconds. FFmpeg applies edit lists and
encoder delay to the timestamps of packets and drops hidden frames while decoding, so that the timestamps of
decoded frames are those that players show.
"""

import collections
from collections.abc import Iterator
import fractions
import functools
import itertools
import math
import os
import pathlib
from typing import TypeVar

import av
import av.frame
import av.stream

from v2a.media import boxes
from v2a.media import errors
from v2a.media import timeline
from v2a.media import timestamps

# FFmpeg also supports text art, playlists that open other files, and devices; these are not accepted.
_CONTAINERS = (
  'mov,matroska,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,apng,wav,w64,flac,mp3,aac,aiff,caf,ac3,h264,hevc,'
  'm4v,ivf,mxf,dv,nut,rm,obu,mjpeg,amr,image2,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif_pipe,'
  'jpegxl_pipe,ppm_pipe,pgm_pipe,pam_pipe,jpegxl_anim'
)
# Presentation times that FFmpeg reports for these are only estimates.
_UNORDERED_CONTAINERS = ('avi', 'h264', 'hevc', 'vvc', 'm4v', 'mpegvideo', 'obu')
# Timestamps of these may jump. FFmpeg declares this for all of them but FLV (which may jump if recorded
# live).
_JUMPING_CONTAINERS = ('mpeg', 'mpegts', 'ogg', 'flv')
_33_BIT_CONTAINERS = ('mpeg', 'mpegts')
_STILL_CONTAINERS = ('image2', '_pipe')
_ATTACHED = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
NO_CODEC_TAG = '\0\0\0\0'
# Matroska rounds to milliseconds: a frame that is late by at most this still counts as on screen.
MAX_ROUNDING_S = fractions.Fraction(1, 2000)
_EPSILON_S = fractions.Fraction(1, 10**6)
_SEEK_STEP_S = 4
# Only some packets of MPEG program streams have timestamps; after a seek, times are wrong until the next one.
_UNSETTLED_CONTAINERS = ('mpeg', 'mpegvideo')
_SETTLE_S = 3
# Maximum delay of a decoder, in packets.
_MAX_DELAY_PACKETS = 256
# Packets of earlier frames may follow a later one by this much.
_MAX_REORDER_S = 2

_StreamT = TypeVar('_StreamT', bound=av.stream.Stream)


class Source:
  """A media file opened for reading; a context manager.

  Attributes:
    path: the file.
    container: FFmpeg's opened container.
    video_stream: the video stream that is shown, or None.
    audio_stream: the audio stream that is played by default, or None.
  """

  def __init__(self, path: str | os.PathLike, use_edit_lists: bool = True):
    """Opens a file.

    Args:
      path: the file.
      use_edit_lists: whether to apply the edit lists of MP4 and MOV; otherwise packets have the times of
        their track.

    Raises:
      MediaError: the file cannot be read as media.
      FormatError: it is in no format that is read.
    """
    self.path = pathlib.Path(path)
    check_file(self.path)
    try:
      # 'file:' prevents names such as 'a:b.mp4' from being read as a protocol, pattern_type names such as
      # 'a%d.ppm' as sequences. Tags of old files may be in any encoding.
      options = {'format_whitelist': _CONTAINERS, 'pattern_type': 'none'}
      options |= {} if use_edit_lists else {'ignore_editlist': '1'}
      self.container = av.open(f'file:{self.path.absolute()}', options=options, metadata_errors='replace')
    except (av.error.FFmpegError, OSError, ValueError) as error:
      raise errors.FormatError(self.path, _open_error(self.path, error)) from error
    # FFmpeg puts the start of an edit list at 0, but may output a frame before it when it parses (MPEG-1).
    self._hidden_before_s = (
      0 if use_edit_lists and 'mov' in self.container.format.name.split(',') else -math.inf
    )
    streams = [s for s in self.container.streams if s.codec_context is not None]
    videos = [s for s in streams if isinstance(s, av.VideoStream) and not s.disposition & _ATTACHED]
    # The cover image of an AVIF or HEIC sequence is a stream without a duration.
    is_mov = 'mov' in self.container.format.name.split(',')
    self.video_stream = _best([s for s in videos if s.duration or not is_mov] or videos)
    self.audio_stream = _best([s for s in streams if isinstance(s, av.AudioStream)])
    self._correction: timeline.Correction | None = None
    self._late_s = fractions.Fraction(0)
    if is_mov and use_edit_lists and self.video_stream is not None:
      status = self.path.stat()
      self._late_s = _partial_frame_s(
        self.path.absolute(),
        status.st_size,
        status.st_mtime_ns,
        self.video_stream.index,
        self.video_stream.id,
      )

  def __enter__(self) -> 'Source':
    return self

  def __exit__(self, *_) -> None:
    self.container.close()

  @property
  def is_still(self) -> bool:
    """Whether the container is a single image file such as PNG or JPEG."""
    name = self.container.format.name
    return name == _STILL_CONTAINERS[0] or name.endswith(_STILL_CONTAINERS[1])

  @property
  def has_only_dts(self) -> bool:
    """Whether the container stores decoding times only, no presentation times."""
    return self.container.format.name in _UNORDERED_CONTAINERS

  def time_s(self, packet: av.Packet) -> fractions.Fraction | None:
    """Returns the presentation time of a packet, else its decoding time, else None."""
    ticks = packet.dts if self.has_only_dts or packet.pts is None else packet.pts
    return None if ticks is None else ticks * packet.time_base

  def require_video_stream(self) -> av.VideoStream:
    """Returns the video stream; raises MediaError if there is none."""
    if self.video_stream is None:
      if self.container.format.name.startswith('jpegxl'):
        raise errors.MediaError(
          f'{self.path}: is JPEG XL, for which there is no decoder; wanted PNG, '
          'JPEG, WebP, AVIF, HEIC, TIFF, BMP or GIF.'
        )
      what = ', '.join(sorted({s.type for s in self.container.streams})) or 'no stream at all'
      if any(s.type == 'video' and s.codec_context is None for s in self.container.streams):
        what = 'video of an unknown codec'
      raise errors.MediaError(f'{self.path}: has no video stream (has {what}); wanted a video or an image.')
    return self.video_stream

  def select_stream(self, stream: av.stream.Stream) -> None:
    """Makes the demuxer skip all other streams."""
    for other in self.container.streams:
      if other.index != stream.index:
        other.discard = av.stream.Discard.all

  @functools.cached_property
  def has_discontinuities(self) -> bool:
    """Whether timestamps jump; `packets` corrects them, but seeking is not possible."""
    found = None
    if self.container.format.name in _JUMPING_CONTAINERS:
      status = self.path.stat()
      found = _timeline(self.path.absolute(), status.st_size, status.st_mtime_ns)
    self._correction = None if found is None else timeline.Correction(found)
    return found is not None

  def packets(self, stream: av.stream.Stream | None) -> Iterator[av.Packet]:
    """Yields packets of one stream (None: of all) in decoding order, including empty flush packets."""
    yield from self.packets_of(list(self.container.streams) if stream is None else [stream])

  def packets_of(self, streams: list[av.stream.Stream]) -> Iterator[av.Packet]:
    """Yields packets of several streams in file order.

    Timestamps that jump are corrected (see `v2a.media.timeline`), and the file is then read from its start.
    Elementary streams (raw H.264, HEVC) have no timestamps: their packets are counted.
    """
    indices = {stream.index for stream in streams}
    for stream in self.container.streams:
      if stream.index not in indices:
        stream.discard = av.stream.Discard.all
    correction = self._correction if self.has_discontinuities else None
    for packet in self._demuxed(streams):
      if correction:
        correction.apply(packet)
      if self._late_s and packet.stream is self.video_stream and packet.size:
        ticks = round(self._late_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks
      yield packet

  def _demuxed(self, streams: list[av.stream.Stream] | None) -> Iterator[av.Packet]:
    """Yields the packets of streams (None: of all) with the times of the file."""
    next_s = fractions.Fraction(0)
    try:
      for packet in self.container.demux(streams):
        if self.has_only_dts and packet.size and packet.dts is None:
          packet.dts = round(next_s / packet.time_base)
          next_s += timestamps.duration_s(packet) or default_frame_duration_s(packet.stream)
        yield packet
    except av.error.FFmpegError as error:
      raise errors.MediaError(f'{self.path}: reading fails: {explain(error)}.') from error
    except IndexError:
      # A damaged program map announces streams in the middle of the file. PyAV skips their packets, but tries
      # to flush these streams at the end, after all known ones.
      return

  def decoded(self, stream: av.stream.Stream) -> Iterator[tuple[fractions.Fraction, av.frame.Frame]]:
    """Yields (presentation time in seconds on the container's clock, frame) from the current position.

    If a container stores no presentation times, the n-th shown frame has the time of the n-th packet. A frame
    without a time follows its predecessor.
    """
    is_unordered = self.has_only_dts and stream.type == 'video'
    next_s, packet_times = fractions.Fraction(0), collections.deque(maxlen=_MAX_DELAY_PACKETS)
    for packet in self.packets(stream):
      if packet.dts is not None and packet.size and (is_unordered or packet.pts is None):
        packet_times.append(packet.dts * packet.time_base)
      for frame in decode(packet):
        if frame.pts is not None and frame.time_base is not None and not is_unordered:
          time_s = frame.pts * frame.time_base
        else:
          time_s = packet_times.popleft() if packet_times else next_s
        next_s = time_s + frame_duration_s(frame, stream)
        if time_s >= self._hidden_before_s:
          yield time_s, frame

  def first_frame(self, stream: av.stream.Stream) -> tuple[fractions.Fraction, av.frame.Frame]:
    """Returns the first item of `decoded`; raises MediaError if there is none."""
    found = next(self.decoded(stream), None)
    if found is None:
      raise errors.MediaError(
        f'{self.path}: no {stream.type} frame can be decoded '
        f'({stream.codec_context.name}); the file is damaged or truncated.'
      )
    return found

  def decoded_from(
    self, stream: av.stream.Stream, time_s: fractions.Fraction
  ) -> Iterator[tuple[fractions.Fraction, av.frame.Frame]]:
    """Like `decoded`, but begins shortly before or at `time_s` (seconds on the container's clock)."""
    settle_s = _SETTLE_S if self.container.format.name in _UNSETTLED_CONTAINERS else 0
    unit_s = timestamps.time_base(stream)
    begin_s = (stream.start_time or 0) * unit_s
    margin_s = settle_s
    while not self.has_discontinuities and time_s - margin_s > begin_s:
      try:
        self.container.seek(int((time_s - margin_s) / unit_s), stream=stream)
      except av.error.FFmpegError:
        break
      frames = self.decoded(stream)
      first = next(frames, None)
      # Seeking may end too late (MPEG has no index); then seek further back until the start is covered.
      if first is not None and first[0] <= time_s - settle_s:
        yield from itertools.chain([first], frames)
        return
      margin_s = margin_s * 2 + _SEEK_STEP_S
    with Source(self.path) as fresh:
      again = fresh.container.streams[stream.index]
      fresh.select_stream(again)
      yield from fresh.decoded(again)


@functools.lru_cache(maxsize=256)
def _timeline(path: pathlib.Path, size_bytes: int, modified_ns: int) -> timeline.Timeline | None:
  """Returns the timestamp corrections of a file; None if it needs none."""
  del size_bytes, modified_ns  # They are part of the cache key.
  with Source(path) as opened:
    scan = timeline.DiscontinuityScan(opened.container.format.name in _33_BIT_CONTAINERS)
    usual = {
      s.index: float(default_frame_duration_s(s))
      for s in opened.container.streams
      if s.codec_context and s.type in ('video', 'audio')
    }
    for packet in opened._demuxed(None):
      scan.add(packet, usual.get(packet.stream_index, 0.0))
  return scan.timeline()


def decode(packet: av.Packet) -> list[av.frame.Frame]:
  """Returns the frames decoded from a packet; none if it is damaged, as in players."""
  try:
    return packet.decode()
  except av.error.FFmpegError:
    return []


def clock_origin_s(path: pathlib.Path) -> fractions.Fraction:
  """Returns t=0 on the container's clock: the time of the first shown frame.

  Raises:
    MediaError: the file cannot be decoded.
  """
  with Source(path) as source:
    stream = source.video_stream or source.audio_stream or source.require_video_stream()
    source.select_stream(stream)
    return source.first_frame(stream)[0]


def frame_duration_s(frame: av.frame.Frame, stream: av.stream.Stream) -> fractions.Fraction:
  """Returns the duration of a frame in seconds."""
  if isinstance(frame, av.AudioFrame):
    return fractions.Fraction(frame.samples, frame.sample_rate)
  if frame.duration and frame.time_base is not None:
    return frame.duration * frame.time_base
  return default_frame_duration_s(stream)


def default_frame_duration_s(stream: av.stream.Stream) -> fractions.Fraction:
  """Returns the duration in seconds of a frame that states none."""
  if isinstance(stream, av.AudioStream):
    context = stream.codec_context
    return fractions.Fraction(context.frame_size or 1024, context.sample_rate or 48000)
  rate = stream.average_rate or stream.guessed_rate
  return fractions.Fraction(1) / rate if rate else fractions.Fraction(1, 25)


def rounding_s(stream: av.stream.Stream) -> fractions.Fraction:
  """Returns the largest rounding error of timestamps in a container, in seconds."""
  return min(timestamps.time_base(stream) / 2, MAX_ROUNDING_S) + _EPSILON_S


def codec_tag(stream: av.stream.Stream) -> str:
  """Returns the four-character code of a stream in its container; four zero bytes if it is not ASCII."""
  try:
    return stream.codec_context.codec_tag
  except UnicodeDecodeError:
    return NO_CODEC_TAG


def explain(error: Exception) -> str:
  """Returns the message of an FFmpeg error in one line, without its number and file name."""
  text = getattr(error, 'strerror', None) or str(error) or type(error).__name__
  return ' '.join(text.split())


def _open_error(path: pathlib.Path, error: Exception) -> str:
  # FFmpeg reports a format that is not whitelisted as an invalid argument.
  if not isinstance(error, (av.error.InvalidDataError, av.error.ArgumentError)):
    return explain(error)
  with path.open('rb') as file:
    is_mp4 = file.read(8)[4:] == b'ftyp'
  return 'is an MP4 file without its index, cut short or never finished' if is_mp4 else 'is not a media file'


@functools.lru_cache(maxsize=64)
def _partial_frame_s(
  path: pathlib.Path, _size: int, _mtime_ns: int, index: int, track_id: int
) -> fractions.Fraction:
  """Returns how long an edit list with a single edit shows the rest of a partial frame first.

  FFmpeg drops the partial frame and starts with the first whole frame at once, so that the video would be
  early by this duration relative to the audio.
  """
  starts_s = [edit.media_s for edit in boxes.edits(path, track_id) if edit.media_s is not None]
  if len(starts_s) != 1:
    return fractions.Fraction(0)
  start_s, first_s = starts_s[0], None
  with Source(path, use_edit_lists=False) as opened:
    stream = opened.container.streams[index]
    tick_s = timestamps.time_base(stream)
    for packet in opened.packets(stream):
      time_s = opened.time_s(packet)
      if time_s is None or time_s < start_s - tick_s:
        continue
      first_s = time_s if first_s is None else min(first_s, time_s)
      if first_s <= start_s + tick_s or time_s > start_s + _MAX_REORDER_S:
        break
  late_s = fractions.Fraction(0) if first_s is None else first_s - start_s
  return late_s if late_s > tick_s else fractions.Fraction(0)


def _best(streams: list[_StreamT]) -> _StreamT | None:
  marked = [s for s in streams if s.disposition & av.stream.Disposition.default]
  return (marked or streams or [None])[0]


def check_file(path: pathlib.Path) -> None:
  """Raises MediaError if a file is missing, empty, not a regular file, or not readable."""
  try:
    if not path.exists():
      raise errors.MediaError(f'{path}: does not exist; wanted a media file.')
    if path.is_dir():
      raise errors.MediaError(f'{path}: is a folder; wanted a media file.')
    if not path.is_file():
      raise errors.MediaError(f'{path}: is not a regular file; wanted a media file.')
    if not os.access(path, os.R_OK):
      raise errors.MediaError(f'{path}: cannot be read (no permission).')
    if path.stat().st_size == 0:
      raise errors.MediaError(f'{path}: is empty (0 bytes); wanted a media file.')
  except OSError as error:
    raise errors.MediaError(f'{str(path)[:200]}: {error.strerror}; wanted a media file.') from error
