"""New sound under an untouched picture, and sound files.

`mux` copies the picture's packets as they are and encodes the wave beside them. Its clock is that of
`v2a.media.source`: sample 0 of the wave is heard when the first frame is shown. What encoders put before
the first sample (AAC 1024 samples, Opus 312 at 48 kHz) is hidden by an edit list in MP4 and MOV and by a
codec delay in Matroska and WebM, which all players honour.
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
import numpy as np
import soundfile

from v2a import files
from v2a import shapes
from v2a.media import audio_encoder
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
# For what the wanted container and the source's own do not carry, best first.
_FALLBACK_SUFFIXES = ('.mkv', '.mov')
_MATROSKA = ('matroska', 'webm')
_SOUND_CODECS = {'mp4': 'aac', 'mov': 'aac', 'matroska': 'aac', 'webm': 'libopus'}
# Of the operating system, which no other container would mend.
_STORAGE_ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_CHECK_SAMPLES = 2**16
# The header of a WAV file counts bytes with 32 bits; RF64 (EBU Tech 3306) is WAV with 64.
_MAX_WAV_BYTES = 2**32 - 2**16


def wav(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  """Writes a wave as 16-bit WAV; values outside [-1, 1] are clipped."""
  _sound_file(path, wave_NA, sample_rate_hz, 'WAV')


def flac(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  """Writes a wave as 16-bit FLAC; values outside [-1, 1] are clipped."""
  _sound_file(path, wave_NA, sample_rate_hz, 'FLAC')


@dataclasses.dataclass(frozen=True)
class Muxed:
  """What `mux` wrote.

  Attributes:
    path: the file.
    not_copied: what of the source is not in it, in words; empty where all is.
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
  """Writes the picture of a file with a new sound track.

  The picture's packets are copied byte for byte with their relative time stamps. Still pictures and
  animations (see v2a.media.stills), which carry no sound, become a short H.264 video instead. The track is
  as long as the picture: a longer wave is cut, a shorter one is followed by silence. It takes the place of
  the sound that is heard; further tracks, chapters and tags are copied as far as the container carries them.

  What was written is read back and compared with what was to be written.

  Args:
    source_path: the video or picture.
    wave_NA: float wave, 1 or 2 channels; sample 0 is heard at start_s.
    sample_rate_hz: samples a second of the wave.
    out_path: where to write; its suffix, one of CONTAINERS, names the container. Where another one carries
      more of the source, the source's own or .mkv, the suffix becomes that.
    audio: 'replace', or 'mix' with the file's own sound at the higher of both sample rates; a mix is turned
      down as a whole until its peak is 1 dB below full scale.
    start_s: seconds; where the shown part begins. Packets are copied from the key frame at or before it.
    duration_s: seconds of the shown part; None is to the end, and for a still picture the length of the wave.

  Raises:
    MediaError: the source cannot be read, or no container carries its picture.
    OSError: the file cannot be written.
    ValueError: an argument is out of range.
  """
  _check(wave_NA, sample_rate_hz)
  if audio not in AUDIO_MODES:
    raise ValueError(f'audio must be one of {AUDIO_MODES}; got {audio!r}.')
  info = probe.probe(source_path)
  if not info.has_video:
    raise errors.MediaError(f'{source_path}: has no video stream; wanted a video or a picture.')
  out_path = pathlib.Path(out_path)
  if out_path.suffix.lower() not in CONTAINERS:
    raise ValueError(f'out_path must end in one of {", ".join(CONTAINERS)}; got {out_path.name!r}.')
  if out_path.exists() and out_path.samefile(source_path):
    raise ValueError(f'out_path must differ from the source; got {out_path} for both.')
  if info.is_image and duration_s is None:
    duration_s = len(wave_NA) / sample_rate_hz
  part = (reencode if reencode.is_needed(info) else remux).find_segment(info, start_s, duration_s)
  wave = audio_encoder.OutputAudio(part, wave_NA, sample_rate_hz, is_mixed=audio == 'mix')
  faults = []
  for target in _targets(out_path, part):
    try:
      losses = _write(out_path.with_suffix(target.suffix), target, part, wave)
    except _UnwritableError as error:
      faults.append(f'{target.suffix} ({error})')
      continue
    return Muxed(out_path.with_suffix(target.suffix), (*target.plan.not_copied, *losses, *wave.not_copied))
  raise errors.MediaError(
    f'{source_path}: no container carries its picture ({info.video_codec}); '
    f'tried {", ".join(faults) or ", ".join(CONTAINERS)}.'
  )


class _UnwritableError(Exception):
  """A container does not take what was to be written, or gives back something else."""


@dataclasses.dataclass(frozen=True)
class _Target:
  """A container to write.

  Attributes:
    suffix: of the file.
    plan: what is copied besides the picture.
    tag: four-character code of a copied picture; None where the picture goes by another way.
    aspect: width of a pixel over its height, where it is known.
  """

  suffix: str
  plan: passthrough.Plan
  tag: str | None = None
  aspect: fractions.Fraction | None = None


def _targets(out_path: pathlib.Path, part: remux.Segment) -> list[_Target]:
  """Returns the containers that take the picture, best first: those that lose least, the wanted one first."""
  suffixes = [out_path.suffix, part.info.path.suffix.lower(), *_FALLBACK_SUFFIXES]
  by_container: dict[str, str] = {}
  for suffix in suffixes:
    if suffix.lower() in CONTAINERS:
      by_container.setdefault(CONTAINERS[suffix.lower()], suffix)
  if reencode.is_needed(part.info):
    return [
      _Target(suffix, passthrough.Plan(container, {}, reencode.not_copied(part.info), 0))
      for container, suffix in by_container.items()
      if container != 'webm'
    ]
  found = []
  with source.Source(part.info.path) as opened:
    for container, suffix in by_container.items():
      # Only MP4 and MOV can leave out pieces in the middle of a track.
      if part.media_origin_s is not None and container not in ('mp4', 'mov'):
        continue
      tag = passthrough.compatible_codec_tag(container, opened.video_stream)
      if tag is None and not _is_stand_in(container, opened.video_stream):
        continue
      plan, aspect = passthrough.plan(opened, part, container, tag), opened.video_stream.sample_aspect_ratio
      found.append(_Target(suffix, plan, tag, aspect))
      if plan.codec_tags:
        # Some streams are refused only when their packets are written.
        lost = tuple(
          passthrough.stream_description(stream)
          for stream in opened.container.streams
          if stream.index in plan.codec_tags
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
  # An inexact start alone is no reason to leave the wanted container.
  inexact = lambda target: 0 if target.plan.is_exact or (target is found[0] and not target.plan.cost) else 1
  return sorted(found, key=lambda target: target.plan.cost + inexact(target))


def _is_stand_in(container: str, stream: av.VideoStream) -> bool:
  """Returns whether a picture that FFmpeg's muxer does not take is written under another codec's name."""
  if container == 'matroska':
    return matroska.fourcc(stream) is not None
  return container in ('mp4', 'mov') and stream.codec_context.codec.canonical_name == 'vp8'


def _write(
  out_path: pathlib.Path, target: _Target, part: remux.Segment, wave: audio_encoder.OutputAudio
) -> list[str]:
  """Writes beside, reads back and renames, so that no half-written file ever has the final name.

  Returns:
    What was lost besides what was planned.

  Raises:
    _UnwritableError: the container does not take it.
  """
  out_path.parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(out_path) as partial:
    try:
      log, losses = _mux(partial, target, part, wave), []
      if reencode.is_needed(part.info):
        verify.check(partial, log, None)
      else:
        _finish(partial, target, part)
        with part.open() as original:
          verify.check(partial, log, original)
          losses = passthrough.lost_metadata(original, part, partial)
    except (av.error.FFmpegError, verify.MismatchError) as error:
      if getattr(error, 'errno', None) in _STORAGE_ERRNOS:
        raise OSError(error.errno, os.strerror(error.errno), str(out_path)) from error
      raise _UnwritableError(source.explain(error)) from error
  return losses


def _mux(
  partial: pathlib.Path, target: _Target, part: remux.Segment, wave: audio_encoder.OutputAudio
) -> verify.PacketLog:
  container, log = target.plan.container, verify.PacketLog()
  options = passthrough.MUXER_OPTIONS[container] | (
    matroska.CONTAINER_OPTIONS if container in _MATROSKA else {}
  )
  with contextlib.ExitStack() as stack:
    output = stack.enter_context(av.open(f'file:{partial}', 'w', format=container, container_options=options))
    if reencode.is_needed(part.info):
      packets = reencode.packets(part, reencode.add_stream(output, part.info))
      encoder, others = audio_encoder.Encoder(output, wave, _SOUND_CODECS[container]), {}
    else:
      opened = stack.enter_context(part.open())
      packets = _add_picture(output, opened, target, part)
      encoder = audio_encoder.Encoder(output, wave, _SOUND_CODECS[container])
      others = _add_others(output, opened, target.plan)
      passthrough.copy_metadata(output, opened, part, target.plan.timecode)
    output.start_encoding()
    _interleave(output, log, packets, encoder.packets(), passthrough.packets(part, others))
  return log


def _finish(path: pathlib.Path, target: _Target, part: remux.Segment) -> None:
  """Writes what FFmpeg's muxer does not."""
  if target.plan.container in _MATROSKA:
    if target.tag is None:
      matroska.set_vfw_codec_id(path)
    if target.aspect and target.aspect != 1:
      matroska.set_aspect(path, target.aspect)
  is_vp8 = target.plan.container in ('mp4', 'mov') and target.tag is None
  if target.plan.container in ('mp4', 'mov') and (is_vp8 or part.edit_list):
    index = boxes.Index(path)
    if is_vp8:
      index.declare_vp8(target.aspect)
    if part.edit_list:
      index.set_edit_list(part.edit_list)
    index.save()


def _add_picture(
  output: av.container.OutputContainer, opened: source.Source, target: _Target, part: remux.Segment
) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
  """Adds the track of the copied picture; returns its packets."""
  stream = opened.require_video_stream()
  packets = remux.packets(part, stream, opened)
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
  """Adds the other streams; the new sound is the one that players choose."""
  added = {}
  for stream in opened.container.streams:
    if stream.index in plan.codec_tags:
      added[stream.index] = passthrough.add_copy(output, stream, plan.codec_tags[stream.index])
      if stream.type == 'audio':
        added[stream.index].disposition = stream.disposition & ~av.stream.Disposition.default
  return added


def _interleave(
  output: av.container.OutputContainer, log: verify.PacketLog, picture_packets, *others
) -> None:
  """Muxes streams in the order of their decoding times, so that nothing piles up in memory."""
  picture_stream = output.streams.video[0]

  def pictures():
    for time_s, packet in picture_packets:
      packet.stream = picture_stream
      yield time_s, packet

  for _, packet in heapq.merge(pictures(), *others, key=lambda timed: timed[0]):
    if packet.stream is picture_stream:
      log.add_video_packet(packet)
    else:
      log.add(packet)
    output.mux(packet)


def _check(wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  shapes.check(wave_NA=wave_NA)
  if wave_NA.shape[1] not in (1, 2) or not len(wave_NA):
    raise ValueError(f'wave_NA must hold samples of 1 or 2 channels; got shape {wave_NA.shape}.')
  if not np.issubdtype(wave_NA.dtype, np.floating):
    raise ValueError(f'wave_NA must hold floats in [-1, 1]; got {wave_NA.dtype}.')
  if sample_rate_hz < 1:
    raise ValueError(f'sample_rate_hz must be at least 1; got {sample_rate_hz}.')
  for start in range(0, len(wave_NA), _CHECK_SAMPLES):
    if not np.isfinite(wave_NA[start : start + _CHECK_SAMPLES]).all():
      raise ValueError('wave_NA must be finite; got NaN or infinity.')


def _sound_file(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int, container: str) -> None:
  _check(wave_NA, sample_rate_hz)
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with files.atomic_write(path) as partial:
    if container == 'WAV' and wave_NA.size * 2 > _MAX_WAV_BYTES:
      container = 'RF64'
    try:
      # As bytes: of a name that is no UTF-8 it takes nothing else.
      soundfile.write(os.fsencode(partial), wave_NA, sample_rate_hz, format=container, subtype='PCM_16')
    except soundfile.LibsndfileError as error:
      raise _why_unwritten(partial, error) from error


def _why_unwritten(path: pathlib.Path, error: soundfile.LibsndfileError) -> OSError:
  """Returns what the system says to more bytes in a file, since libsndfile does not tell why it failed."""
  try:
    with path.open('ab', buffering=0) as file:
      file.write(bytes(_CHECK_SAMPLES))
      os.fsync(file.fileno())
  except OSError as reason:
    return OSError(reason.errno, reason.strerror, str(path))
  return OSError(errno.EIO, f'cannot be written ({error.error_string})', str(path))
