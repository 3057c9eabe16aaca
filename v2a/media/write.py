"""New sound under an untouched picture, and sound files.

`mux` copies the picture's packets as they are and encodes the wave beside them. Its clock is that of
`v2a.media.source`: sample 0 of the wave is heard when the first frame is shown. What encoders put before
the first sample (AAC 1024 samples, Opus 312 at 48 kHz) is hidden by an edit list in MP4 and MOV and by a
codec delay in Matroska and WebM, which all players honour.
"""

import contextlib
import os
import pathlib

import av
import numpy as np
import soundfile

from v2a import files
from v2a import shapes
from v2a.media import boxes
from v2a.media import errors
from v2a.media import picture
from v2a.media import probe
from v2a.media import reencode
from v2a.media import source
from v2a.media import track

AUDIO_MODES = ('replace', 'mix')
_CONTAINERS = {
    '.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov', '.mkv': 'matroska', '.webm': 'webm', '.avi': 'avi',
}
# For codecs that the wanted container does not carry, best first; AVI is for those of old.
_FALLBACK_SUFFIXES = ('.mkv', '.mov', '.avi')
# AVI cannot hide what an encoder puts before the first sample, so its sound is left as it is.
_SOUND_CODECS = {'mp4': 'aac', 'mov': 'aac', 'matroska': 'aac', 'webm': 'libopus', 'avi': 'pcm_s16le'}
# Edit lists count in ticks of the movie; the usual 1 ms would round the begin of a track.
_OPTIONS = {'mp4': {'movie_timescale': '90000'}, 'mov': {'movie_timescale': '90000'}}
_CHECK_SAMPLES = 2**16


def wav(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  """Writes a wave as 16-bit WAV; values outside [-1, 1] are clipped."""
  _sound_file(path, wave_NA, sample_rate_hz, 'WAV')


def flac(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  """Writes a wave as 16-bit FLAC; values outside [-1, 1] are clipped."""
  _sound_file(path, wave_NA, sample_rate_hz, 'FLAC')


def mux(source_path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int, out_path: str | os.PathLike,
        audio: str = 'replace', start_s: float = 0.0, duration_s: float | None = None) -> pathlib.Path:
  """Writes the picture of a file with a new sound track.

  The picture's packets are copied byte for byte with their relative time stamps. Still pictures and
  animations (GIF, APNG), which carry no sound, become a short H.264 video instead. The track is as long as
  the picture: a longer wave is cut, a shorter one is followed by silence.

  Args:
    source_path: the video or picture.
    wave_NA: float wave, 1 or 2 channels; sample 0 is heard at start_s.
    sample_rate_hz: samples a second of the wave.
    out_path: where to write; its suffix chooses the container. Where that cannot carry the picture's codec
      the suffix becomes .mkv, .mov or .avi.
    audio: 'replace', or 'mix' with the file's own sound; a mix is turned down as a whole until its peak is
      1 dB below full scale.
    start_s: seconds; where the shown part begins. Packets are copied from the key frame at or before it.
    duration_s: seconds of the shown part; None is to the end, and for a still picture the length of the wave.

  Returns:
    The path that was written.

  Raises:
    MediaError: the source cannot be read, or no container carries its picture.
    ValueError: an argument is out of range.
  """
  _check(wave_NA, sample_rate_hz)
  if audio not in AUDIO_MODES:
    raise ValueError(f'audio must be one of {AUDIO_MODES}; got {audio!r}.')
  info = probe.probe(source_path)
  if not info.has_video:
    raise errors.MediaError(f'{source_path}: has no video stream; wanted a video or a picture.')
  out_path = pathlib.Path(out_path)
  if out_path.exists() and out_path.samefile(source_path):
    raise ValueError(f'out_path must differ from the source; got {out_path} for both.')
  if info.is_image and duration_s is None:
    duration_s = len(wave_NA) / sample_rate_hz
  part = (reencode if reencode.is_needed(info) else picture).part(info, start_s, duration_s)
  wave = track.Wave(part, wave_NA, sample_rate_hz, is_mixed=audio == 'mix')
  names = _containers(out_path)
  for suffix, container in names:
    try:
      return _write(out_path.with_suffix(suffix), container, part, wave)
    except _NotCarriedError:
      continue
  tried = ', '.join(suffix for suffix, _ in names)
  raise errors.MediaError(f'{source_path}: none of {tried} carries its picture ({info.video_codec}).')


class _NotCarriedError(Exception):
  """A container cannot hold a codec."""


def _containers(out_path: pathlib.Path) -> list[tuple[str, str]]:
  """Returns (suffix, FFmpeg's container name) to try in order."""
  suffix = out_path.suffix.lower()
  if suffix not in _CONTAINERS:
    raise ValueError(f'out_path must end in one of {", ".join(_CONTAINERS)}; got {out_path.name!r}.')
  rest = [other for other in _FALLBACK_SUFFIXES if _CONTAINERS[other] != _CONTAINERS[suffix]]
  return [(out_path.suffix, _CONTAINERS[suffix]), *((other, _CONTAINERS[other]) for other in rest)]


def _write(out_path: pathlib.Path, container: str, part: picture.Part, wave: track.Wave) -> pathlib.Path:
  """Writes beside and renames, so that no half-written file ever has the final name."""
  is_vp8 = part.info.video_codec == 'vp8' and container in ('mp4', 'mov')
  out_path.parent.mkdir(parents=True, exist_ok=True)
  with files.beside(out_path) as partial:
    options = _OPTIONS.get(container, {})
    with contextlib.ExitStack() as stack:
      output = stack.enter_context(
          av.open(f'file:{partial}', 'w', format=container, container_options=options))
      if reencode.is_needed(part.info):
        packets = reencode.packets(part, reencode.add_stream(output, part.info))
      else:
        opened = stack.enter_context(source.Source(part.info.path))
        stream = opened.want_picture()
        opened.only(stream)
        _add_copy(output, stream, is_vp8)
        packets = picture.copied(part, stream, opened)
      encoder = track.Encoder(output, wave, _SOUND_CODECS[container])
      try:
        output.start_encoding()
      except av.error.FFmpegError as error:
        raise _NotCarriedError from error
      _interleave(output, packets, encoder.packets())
    if container in ('mp4', 'mov'):
      _finish_index(partial, part, is_vp8)
  return out_path


def _finish_index(path: pathlib.Path, part: picture.Part, is_vp8: bool) -> None:
  if is_vp8 or part.is_cut:
    index = boxes.Index(path)
    if is_vp8:
      index.declare_vp8()
    if part.is_cut:
      index.end_picture(part.duration_s)
    index.save()


def _add_copy(output: av.container.OutputContainer, stream: av.VideoStream, is_vp8: bool) -> None:
  if is_vp8:
    context = stream.codec_context
    copy = output.add_mux_stream(boxes.STAND_IN, width=context.width, height=context.height)
  else:
    try:
      # opaque: the picture's codec needs no encoder here.
      copy = output.add_stream_from_template(stream, opaque=True)
    except ValueError as error:
      raise _NotCarriedError from error
  copy.time_base = picture.tick_s(stream)


def _interleave(output: av.container.OutputContainer, picture_packets, sound_packets) -> None:
  """Muxes two streams in the order of their decoding times, so that nothing piles up in memory."""
  picture_stream = output.streams.video[0]
  heard = next(sound_packets, None)
  for time_s, packet in picture_packets:
    while heard is not None and heard[0] <= time_s:
      output.mux(heard[1])
      heard = next(sound_packets, None)
    packet.stream = picture_stream
    output.mux(packet)
  while heard is not None:
    output.mux(heard[1])
    heard = next(sound_packets, None)


def _check(wave_NA: np.ndarray, sample_rate_hz: int) -> None:
  shapes.check(wave_NA=wave_NA)
  if wave_NA.shape[1] not in (1, 2) or not len(wave_NA):
    raise ValueError(f'wave_NA must hold samples of 1 or 2 channels; got shape {wave_NA.shape}.')
  if not np.issubdtype(wave_NA.dtype, np.floating):
    raise ValueError(f'wave_NA must hold floats in [-1, 1]; got {wave_NA.dtype}.')
  if sample_rate_hz < 1:
    raise ValueError(f'sample_rate_hz must be at least 1; got {sample_rate_hz}.')
  for start in range(0, len(wave_NA), _CHECK_SAMPLES):
    if not np.isfinite(wave_NA[start:start + _CHECK_SAMPLES]).all():
      raise ValueError('wave_NA must be finite; got NaN or infinity.')


def _sound_file(path: str | os.PathLike, wave_NA: np.ndarray, sample_rate_hz: int, container: str) -> None:
  _check(wave_NA, sample_rate_hz)
  pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
  with files.beside(path) as partial:
    soundfile.write(str(partial), wave_NA, sample_rate_hz, format=container, subtype='PCM_16')
