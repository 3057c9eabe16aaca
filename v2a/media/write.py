"""Writing of videos with a new audio track.

`mux` copies the video packets unchanged and encodes the waveform as an audio track. Its clock is that of
`v2a.media.source`: sample 0 of the waveform is played when the first frame is shown. Encoder delay (AAC 1024
samples, Opus 312 at 48 kHz) is hidden by an edit list in MP4 and MOV and by a codec delay in Matroska and
WebM, which all players honour.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import errno
import fractions
import heapq
import os
import pathlib

import av
import av.stream
import numpy as np

from v2a import files
from v2a.media import audio_encoder
from v2a.media import audio_file
from v2a.media import boxes
from v2a.media import errors
from v2a.media import matroska
from v2a.media import passthrough
from v2a.media import probe
from v2a.media import reencode
from v2a.media import remux
from v2a.media import source
from v2a.media import verify

AUDIO_MODES = ('replace', 'mix')
CONTAINERS = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm'}
# Tried if neither the requested container nor that of the source can carry everything, best first.
_FALLBACK_SUFFIXES = ('.mkv', '.mov')
_MATROSKA = ('matroska', 'webm')
_AUDIO_CODECS: dict[str, audio_encoder.Codec] = {
  'mp4': 'aac',
  'mov': 'aac',
  'matroska': 'aac',
  'webm': 'libopus',
}
# Errors of the operating system, for which trying another container is useless.
_STORAGE_ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclasses.dataclass(frozen=True)
class Muxed:
  """Result of `mux`.

  Attributes:
    path: the file that was written.
    not_copied: descriptions of what it lacks of the source; empty if it has everything.
  """

  path: pathlib.Path
  not_copied: tuple[str, ...]


def mux(
  source_path: str | os.PathLike,
  wave_NA: np.ndarray,
  sample_rate_hz: int,
  out_path: str | os.PathLike,
  audio: str = 'replace',
  start_s: float = 0.0,
  duration_s: float | None = None,
) -> Muxed:
  """Writes a copy of a video with a new audio track, and returns what was written.

  The video packets are copied byte for byte with their relative timestamps. Still images and animations (see
  v2a.media.stills), which cannot be muxed with audio, are encoded as H.264 video. The audio track is as long
  as the video: a longer waveform is cut, a shorter one is padded with silence. It replaces the default audio
  track; other tracks, chapters and tags are copied if the container supports them.

  The written file is read back and verified.

  Args:
    source_path: the video or image.
    wave_NA: float waveform of 1 or 2 channels; sample 0 is played at start_s.
    sample_rate_hz: samples per second of the waveform.
    out_path: the file to write; its suffix, one of CONTAINERS, selects the container. If the container of the
      source or .mkv can carry more of the source, that one is used, and the suffix is changed.
    audio: 'replace', or 'mix' with the original audio at the higher of both sample rates; the mix is
      attenuated so that its peak is at most 1 dB below full scale.
    start_s: start of the segment in seconds. Packets are copied from the keyframe at or before it.
    duration_s: duration of the segment in seconds; None means to the end, for a still image the length of the
      waveform.

  Raises:
    MediaError: the source cannot be read, or no container can carry its video.
    OSError: the file cannot be written.
    ValueError: an argument is out of range.
  """
  audio_file.check(wave_NA, sample_rate_hz)
  if audio not in AUDIO_MODES:
    raise ValueError(f'audio must be one of {AUDIO_MODES}; got {audio!r}.')
  info = probe.probe(source_path)
  if not info.has_video:
    raise errors.MediaError(f'{source_path}: has no video stream; wanted a video or an image.')
  out_path = pathlib.Path(out_path)
  if out_path.suffix.lower() not in CONTAINERS:
    raise ValueError(f'out_path must end in one of {", ".join(CONTAINERS)}; got {out_path.name!r}.')
  if out_path.exists() and out_path.samefile(source_path):
    raise ValueError(f'out_path must differ from the source; got {out_path} for both.')
  if info.is_image and duration_s is None:
    duration_s = len(wave_NA) / sample_rate_hz
  segment = (reencode if reencode.is_needed(info) else remux).find_segment(info, start_s, duration_s)
  wave = audio_encoder.OutputAudio(segment, wave_NA, sample_rate_hz, is_mixed=audio == 'mix')
  failures = []
  for target in _targets(out_path, segment):
    try:
      losses = _write(out_path.with_suffix(target.suffix), target, segment, wave)
    except _UnwritableError as error:
      failures.append(f'{target.suffix} ({error})')
      continue
    return Muxed(out_path.with_suffix(target.suffix), (*target.plan.not_copied, *losses, *wave.not_copied))
  raise errors.MediaError(
    f'{source_path}: no container can carry its video ({info.video_codec}); '
    f'tried {", ".join(failures) or ", ".join(CONTAINERS)}.'
  )


@dataclasses.dataclass(frozen=True)
class VideoCopy:
  """Result of `copy_video`.

  Attributes:
    path: the file that was written.
    start_s: time in it at which the segment starts; above 0 where no container hides what precedes it.
  """

  path: pathlib.Path
  start_s: float


def copy_video(
  source_path: str | os.PathLike,
  out_path: pathlib.Path,
  start_s: float = 0.0,
  duration_s: float | None = None,
) -> VideoCopy:
  """Writes the video of a segment without sound, tags and other tracks, as small as a copy can be.

  As in `mux`, packets are copied byte for byte, animations are encoded as H.264, and the file is verified.
  MP4 and MOV show exactly the segment; Matroska, tried last, also shows what precedes it from a keyframe on.

  Args:
    source_path: the video.
    out_path: the file to write, without its suffix, which is that of the container.
    start_s: start of the segment in seconds.
    duration_s: duration of the segment in seconds; None means to the end.

  Returns:
    The file, and where the segment starts in it.

  Raises:
    MediaError: the source cannot be read, is a still image, or no container can carry its video.
    OSError: the file cannot be written.
    ValueError: a number is out of range.
  """
  info = probe.probe(source_path)
  if not info.has_video or info.is_image:
    raise errors.MediaError(f'{source_path}: has no video stream of several frames; wanted a video.')
  segment = (reencode if reencode.is_needed(info) else remux).find_segment(info, start_s, duration_s)
  failures = []
  for target in _video_targets(segment):
    path = out_path.with_name(out_path.name + target.suffix)
    try:
      _write(path, target, segment, None)
    except _UnwritableError as error:
      failures.append(f'{target.suffix} ({error})')
      continue
    return VideoCopy(path, 0.0 if target.plan.is_exact else float(segment.lead_in_s))
  raise errors.MediaError(
    f'{source_path}: no container can carry its video ({info.video_codec}); tried {", ".join(failures)}.'
  )


class _UnwritableError(Exception):
  """A container cannot carry the streams, or the written file failed verification."""


@dataclasses.dataclass(frozen=True)
class _Target:
  """A candidate for the output container.

  Attributes:
    suffix: suffix of the file.
    plan: what is copied besides the video.
    tag: four-character code of the copied video; None if it is re-encoded or uses a placeholder codec.
    aspect: pixel aspect ratio (width over height), if known.
  """

  suffix: str
  plan: passthrough.Plan
  tag: str | None = None
  aspect: fractions.Fraction | None = None


def _targets(out_path: pathlib.Path, segment: remux.Segment) -> list[_Target]:
  """Returns the containers that can carry the video, those with the least losses first."""
  suffixes = [out_path.suffix, segment.info.path.suffix.lower(), *_FALLBACK_SUFFIXES]
  by_container: dict[str, str] = {}
  for suffix in suffixes:
    if suffix.lower() in CONTAINERS:
      by_container.setdefault(CONTAINERS[suffix.lower()], suffix)
  if reencode.is_needed(segment.info):
    return [
      _Target(suffix, passthrough.Plan(container, {}, reencode.not_copied(segment.info), 0))
      for container, suffix in by_container.items()
      if container != 'webm'
    ]
  found = []
  with source.Source(segment.info.path) as opened:
    stream = opened.require_video_stream()
    for container, suffix in by_container.items():
      # Only MP4 and MOV can hide sections in the middle of a track.
      if segment.media_origin_s is not None and container not in ('mp4', 'mov'):
        continue
      tag = passthrough.compatible_codec_tag(container, stream)
      if tag is None and not _needs_placeholder(container, stream):
        continue
      plan, aspect = passthrough.plan(opened, segment, container, tag), stream.sample_aspect_ratio
      found.append(_Target(suffix, plan, tag, aspect))
      if plan.codec_tags:
        # Some streams are rejected only when their packets are written.
        lost = tuple(
          passthrough.stream_description(other)
          for other in opened.container.streams
          if other.index in plan.codec_tags
        )
        found.append(
          _Target(
            suffix,
            dataclasses.replace(
              plan, codec_tags={}, not_copied=plan.not_copied + lost, cost=plan.cost + len(lost)
            ),
            tag,
            aspect,
          )
        )
  # An inexact start alone is no reason to change the requested container.
  inexact = lambda target: 0 if target.plan.is_exact or (target is found[0] and not target.plan.cost) else 1
  return sorted(found, key=lambda target: target.plan.cost + inexact(target))


def _video_targets(segment: remux.Segment) -> list[_Target]:
  """Returns the containers that can carry the video alone, those that show exactly the segment first."""
  suffixes = {'mp4': '.mp4', 'mov': '.mov', 'matroska': '.mkv'}
  if reencode.is_needed(segment.info):
    return [_Target('.mp4', passthrough.Plan('mp4', {}, (), 0))]
  found = []
  with source.Source(segment.info.path) as opened:
    stream = opened.require_video_stream()
    for container, suffix in suffixes.items():
      if segment.media_origin_s is not None and container == 'matroska':
        continue
      tag = passthrough.compatible_codec_tag(container, stream)
      if tag is None and not _needs_placeholder(container, stream):
        continue
      is_exact = passthrough.is_exact(segment, container)
      plan = passthrough.Plan(container, {}, (), 0, is_exact, has_metadata=False)
      found.append(_Target(suffix, plan, tag, stream.sample_aspect_ratio))
  return sorted(found, key=lambda target: not target.plan.is_exact)


def _needs_placeholder(container: str, stream: av.VideoStream) -> bool:
  """Returns whether a video that PyAV cannot mux is written with a placeholder codec."""
  if container == 'matroska':
    return matroska.fourcc(stream) is not None
  return container in ('mp4', 'mov') and stream.codec_context.codec.canonical_name == 'vp8'


def _write(
  out_path: pathlib.Path, target: _Target, segment: remux.Segment, wave: audio_encoder.OutputAudio | None
) -> list[str]:
  """Writes a temporary file, verifies and renames it, so that the final name never holds a partial file.

  Returns:
    Descriptions of unplanned losses.

  Raises:
    _UnwritableError: the container cannot carry the streams.
  """
  out_path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(out_path) as partial:
    try:
      log, losses = _mux(partial, target, segment, wave), []
      if reencode.is_needed(segment.info):
        verify.check(partial, log, None)
      else:
        _patch(partial, target, segment)
        with segment.open() as original:
          verify.check(partial, log, original)
          if target.plan.has_metadata:
            losses = passthrough.lost_metadata(original, segment, partial)
    except verify.MismatchError as error:
      raise _UnwritableError(source.explain(error)) from error
    except av.error.FFmpegError as error:
      if error.errno is not None and error.errno in _STORAGE_ERRNOS:
        raise OSError(error.errno, os.strerror(error.errno), str(out_path)) from error
      raise _UnwritableError(source.explain(error)) from error
  return losses


def _mux(
  partial: pathlib.Path, target: _Target, segment: remux.Segment, wave: audio_encoder.OutputAudio | None
) -> verify.PacketLog:
  container, log = target.plan.container, verify.PacketLog()
  options = passthrough.MUXER_OPTIONS[container] | (
    matroska.CONTAINER_OPTIONS if container in _MATROSKA else {}
  )
  if not target.plan.has_metadata:
    options = options | {'fflags': '+bitexact'}  # no random numbers: equal videos give equal bytes
  with contextlib.ExitStack() as stack:
    output = stack.enter_context(av.open(f'file:{partial}', 'w', format=container, container_options=options))
    if reencode.is_needed(segment.info):
      packets = reencode.packets(segment, reencode.add_stream(output, segment.info))
      encoder, others = _add_audio(output, wave, container), {}
    else:
      opened = stack.enter_context(segment.open())
      packets = _add_video(output, opened, target, segment)
      encoder = _add_audio(output, wave, container)
      others = _add_others(output, opened, target.plan)
      if target.plan.has_metadata:
        passthrough.copy_metadata(output, opened, segment, target.plan.timecode)
    output.start_encoding()
    encoded = encoder.packets() if encoder else ()
    _interleave(output, log, packets, encoded, passthrough.packets(segment, others))
  return log


def _add_audio(
  output: av.container.OutputContainer, wave: audio_encoder.OutputAudio | None, container: str
) -> audio_encoder.Encoder | None:
  """Adds the track of the new audio, if there is any."""
  return None if wave is None else audio_encoder.Encoder(output, wave, _AUDIO_CODECS[container])


def _patch(path: pathlib.Path, target: _Target, segment: remux.Segment) -> None:
  """Patches what FFmpeg's muxer cannot write."""
  if target.plan.container in _MATROSKA:
    if target.tag is None:
      matroska.set_vfw_codec_id(path)
    if target.aspect and target.aspect != 1:
      matroska.set_aspect(path, target.aspect)
  is_vp8 = target.plan.container in ('mp4', 'mov') and target.tag is None
  if target.plan.container in ('mp4', 'mov') and (is_vp8 or segment.edit_list):
    index = boxes.Index(path)
    if is_vp8:
      index.declare_vp8(target.aspect)
    if segment.edit_list:
      index.set_edit_list(segment.edit_list)
    index.save()


def _add_video(
  output: av.container.OutputContainer, opened: source.Source, target: _Target, segment: remux.Segment
) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Adds the track of the copied video; returns its packets."""
  stream = opened.require_video_stream()
  packets = remux.packets(segment, stream, opened)
  if target.tag is not None:
    added = passthrough.add_copy(output, stream, target.tag)
  elif target.plan.container == 'matroska':
    added, packets = matroska.add_stream(output, stream), matroska.with_vfw_timestamps(packets)
  else:
    context = stream.codec_context
    added = output.add_mux_stream(boxes.PLACEHOLDER_CODEC, width=context.width, height=context.height)
  added.time_base = remux.packet_time_base(stream)
  return packets


def _add_others(
  output: av.container.OutputContainer, opened: source.Source, plan: passthrough.Plan
) -> dict[int, av.stream.Stream]:
  """Adds the other streams; the new audio track remains the default one."""
  added = {}
  for stream in opened.container.streams:
    if stream.index in plan.codec_tags:
      added[stream.index] = passthrough.add_copy(output, stream, plan.codec_tags[stream.index])
      if stream.type == 'audio':
        added[stream.index].disposition = stream.disposition & ~av.stream.Disposition.default
  return added


def _interleave(output: av.container.OutputContainer, log: verify.PacketLog, video_packets, *others) -> None:
  """Muxes streams in the order of their decoding times, so that packets do not accumulate in memory."""
  video_stream = output.streams.video[0]

  def video():
    for time_s, packet in video_packets:
      packet.stream = video_stream
      yield time_s, packet

  for _, packet in heapq.merge(video(), *others, key=lambda timed: timed[0]):
    if packet.stream is video_stream:
      log.add_video_packet(packet)
    else:
      log.add(packet)
    output.mux(packet)
