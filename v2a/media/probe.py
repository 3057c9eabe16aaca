"""Properties of a media file, measured from its packets instead of trusting its header."""

import dataclasses
import fractions
import os
import pathlib

import av
import av.stream

from v2a.media import errors
from v2a.media import integrity
from v2a.media import orientation
from v2a.media import source
from v2a.media import stills
from v2a.media import timestamps

# FFmpeg's codec names of image formats.
_STILL_CODECS = {
  'png': 'png',
  'jpeg': 'mjpeg',
  'gif': 'gif',
  'webp': 'webp',
  'bmp': 'bmp',
  'tiff': 'tiff',
  'avif': 'av1',
  'heif': 'hevc',
}
# FFmpeg's names of animation containers.
_ANIMATIONS = ('gif', 'apng', 'jpegxl_anim')


@dataclasses.dataclass(frozen=True)
class Probe:
  """Properties of a media file.

  Attributes:
    path: the file.
    container: FFmpeg's name of the container, such as 'mov,mp4,m4a,3gp,3g2,mj2'; for still images and
      animations the format of stills.Info.
    duration_s: duration of the shown video, or of the audio if there is no video; 0 for a still image.
    has_video: whether there is a video stream.
    has_audio: whether there is an audio stream (which may be silent).
    width: displayed width in pixels, rotation applied; 0 without video.
    height: displayed height in pixels, rotation applied; 0 without video.
    fps: average shown frames per second; 0 without video and for a still image.
    rotation_deg: clockwise rotation that players apply to the coded frames: 0, 90, 180 or 270.
    video_codec: name of the video codec; '' without video.
    audio_codec: name of the audio codec; '' without audio.
    audio_sample_rate_hz: samples per second and channel; 0 without audio.
    audio_channels: number of audio channels; 0 without audio.
    is_image: whether it is a single still image.
    is_animation: whether it is an animation in an image format, which has no audio.
  """

  path: pathlib.Path
  container: str
  duration_s: float
  has_video: bool
  has_audio: bool
  width: int
  height: int
  fps: float
  rotation_deg: int
  video_codec: str
  audio_codec: str
  audio_sample_rate_hz: int
  audio_channels: int
  is_image: bool
  is_animation: bool = False


@dataclasses.dataclass(frozen=True)
class _Extent:
  """Shown extent of one stream, in seconds on the container's clock."""

  num_frames: int
  start_s: fractions.Fraction
  end_s: fractions.Fraction


def probe(path: str | os.PathLike) -> Probe:
  """Returns the properties of a media file.

  Raises:
    MediaError: the file is missing, empty, not media, truncated, or has nothing that can be decoded.
  """
  if stills.image_format(path) is not None:
    return _probe_still(path)
  with source.Source(path) as opened:
    integrity.check_bytes(opened)
    video, audio = opened.video_stream, opened.audio_stream
    stream = video or audio or opened.require_video_stream()
    index = stream.index
    opened.select_stream(stream)
    zero_s, frame = opened.first_frame(stream)
    width, height, orient = 0, 0, orientation.UPRIGHT
    if isinstance(frame, av.VideoFrame):
      width, height, orient = frame.width, frame.height, orientation.from_frame(frame)
    container = opened.container.format.name
    is_still = opened.is_still and video is not None
    if is_still and width * height > stills.MAX_PIXELS:
      raise stills.too_large(path, width, height)
    channels = audio.codec_context.channels if audio else 0
    audio_rate = audio.codec_context.sample_rate if audio else 0
    video_codec = video.codec_context.codec.canonical_name if video else ''
    audio_codec = audio.codec_context.codec.canonical_name if audio else ''
  extent = _scan(path, index)
  # Raw Motion JPEG has the container of a single image, but many frames.
  is_image = (is_still or container in _ANIMATIONS) and extent.num_frames == 1
  length_s = 0.0 if is_image else float(extent.end_s - zero_s)
  if not is_image:
    with source.Source(path) as opened:
      integrity.check_length(opened, extent.start_s, extent.end_s)
  return Probe(
    path=pathlib.Path(path),
    container=container,
    duration_s=length_s,
    has_video=video is not None,
    has_audio=audio is not None,
    width=height if orient.is_sideways else width,
    height=width if orient.is_sideways else height,
    fps=extent.num_frames / length_s if video and length_s else 0.0,
    rotation_deg=orient.rotation_deg,
    video_codec=video_codec,
    audio_codec=audio_codec,
    audio_sample_rate_hz=audio_rate,
    audio_channels=channels,
    is_image=is_image,
    is_animation=container in _ANIMATIONS and not is_image,
  )


def _probe_still(path: str | os.PathLike) -> Probe:
  info = stills.inspect(path)
  length_s = float(info.duration_s)
  return Probe(
    path=pathlib.Path(path),
    container=info.format,
    duration_s=length_s,
    has_video=True,
    has_audio=False,
    width=info.width,
    height=info.height,
    fps=info.num_frames / length_s if length_s else 0.0,
    rotation_deg=info.rotation_deg,
    video_codec=_STILL_CODECS[info.format],
    audio_codec='',
    audio_sample_rate_hz=0,
    audio_channels=0,
    is_image=not length_s,
    is_animation=length_s > 0,
  )


def _scan(path: str | os.PathLike, index: int) -> _Extent:
  """Reads all packets of one stream without decoding them."""
  with source.Source(path) as opened:
    stream = opened.container.streams[index]
    opened.select_stream(stream)
    start_s = end_s = None
    num_frames, next_s = 0, fractions.Fraction(0)
    times = integrity.TimestampChecker(path, index)
    default_s = source.default_frame_duration_s(stream)
    is_mov = 'mov' in opened.container.format.name.split(',')
    for packet in opened.packets(stream):
      if packet.size == 0 or packet.is_discard:
        continue
      time_s = opened.time_s(packet)
      time_s = next_s if time_s is None else time_s
      times.add(time_s)
      # Decoding times of MP4 depend on its edit lists.
      if not is_mov and packet.dts is not None:
        times.add_decoding(packet.dts * packet.time_base)
      next_s = time_s + (packet.duration * packet.time_base if packet.duration else default_s)
      start_s = time_s if start_s is None else min(start_s, time_s)
      end_s = next_s if end_s is None else max(end_s, next_s)
      num_frames += not is_hidden(packet, stream)
    shown_s = (stream.duration or 0) * timestamps.time_base(stream)
    # An edit list may end within the last frame.
    if is_mov and end_s and default_s >= end_s - shown_s > 0:
      end_s = shown_s
  if start_s is None or end_s is None:
    raise errors.MediaError(
      f'{path}: its {stream.type} stream has no packets; the file is empty or truncated.'
    )
  times.check(end_s)
  return _Extent(num_frames, start_s, end_s)


def is_hidden(packet: av.Packet, stream: av.stream.Stream) -> bool:
  """Returns whether a packet is a VP8 reference frame that is never shown (RFC 6386, 9.1: show_frame)."""
  return stream.codec_context.name == 'vp8' and not bytes(packet)[0] >> 4 & 1
