"""Decodes segments of a local file into `DecodedClip`s, one at a time.

  media = decode.open_file(path)
  for clip in decode.decode(media, segments, item.id): ...

Times are on the clock of `v2a.media`: t=0 is the first shown video frame, edit lists and encoder priming are
applied, and sound is placed by its timestamps. Memory holds one clip. Segments that follow each other are
decoded in one pass; after a gap the file is opened again at the next segment.
"""

from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import fractions
import os
import pathlib
import tempfile

import av
import numpy as np

from data_pipelines import decoded
from v2a.data import media_decoding
from v2a.data import media_records
from v2a.media import audio_reader
from v2a.media import errors
from v2a.media import probe
from v2a.media import read
from v2a.media import source

SYNC_FPS, SYNC_SIZE = 25, 224  # of sync_frame_LYX3
_TICKS_HZ = 10**6
_CHUNK_FRAMES = 16
# Decoding a gap of this duration takes about as long as opening the file at another place.
_MAX_SKIPPED_S = 10.0

Segment = tuple[float, float]  # start and end in seconds


@dataclasses.dataclass(frozen=True)
class MediaFile:
  """A local file and what is measured once for all of its clips.

  Attributes:
    path: the file.
    info: its properties.
    sample_rate_hz: of the sound as decoded; 0 without sound.
    num_channels: 1 or 2; 0 without sound.
    height, width: of the small frames, in pixels; 0 without video.
    alignment: see `decoded.DecodedClip`.
  """

  path: pathlib.Path
  info: probe.Probe
  sample_rate_hz: int
  num_channels: int
  height: int
  width: int
  alignment: decoded.Alignment | None


def open_file(path: str | os.PathLike) -> MediaFile:
  """Returns a file that can be decoded.

  Raises:
    MediaError: it cannot be read, or it is a still image.
  """
  path = pathlib.Path(path)
  info = probe.probe(path)
  if info.is_image:
    raise errors.MediaError(f'{path}: is a still image; wanted a video or a sound.')
  height, width = read.fitted_size(path, decoded.MAX_SIDE) if info.has_video else (0, 0)
  if not info.has_audio:
    return MediaFile(path, info, 0, 0, height, width, None)
  with source.Source(path) as opened:
    stream = opened.audio_stream
    assert stream is not None
    opened.select_stream(stream)
    _, frame = opened.first_frame(stream)
    assert isinstance(frame, av.AudioFrame)
    sample_rate_hz, num_channels = frame.sample_rate, min(2, len(frame.layout.channels))
  alignment = _alignment(path, info.duration_s) if info.has_video else None
  return MediaFile(path, info, sample_rate_hz, num_channels, height, width, alignment)


def _alignment(path: pathlib.Path, video_duration_s: float) -> decoded.Alignment:
  zero_s = source.clock_origin_s(path)
  start_s = end_s = None
  counted_s = fractions.Fraction(0)
  with source.Source(path) as opened:
    stream = opened.audio_stream
    assert stream is not None
    opened.select_stream(stream)
    # Durations of packets are estimates in Matroska and Ogg; decoded samples are not.
    for time_s, frame in opened.decoded(stream):
      length_s = source.frame_duration_s(frame, stream)
      start_s = time_s if start_s is None else start_s
      end_s = time_s + length_s
      counted_s += length_s
  assert start_s is not None and end_s is not None  # `open_file` decoded a frame
  duration_s = float(end_s - start_s)
  return decoded.Alignment(
    offset_s=float(start_s - zero_s),
    drift_s=duration_s - video_duration_s,
    gap_s=duration_s - float(counted_s),
  )


def small_frames(media: MediaFile, start_s: float, end_s: float) -> Iterator[np.ndarray]:
  """Yields the frames frame_YX3 of a segment at FRAMES_PER_S, for finding scenes in files of any length.

  Args:
    media: a file with video.
    start_s, end_s: the segment.

  Raises:
    MediaError: the file cannot be decoded.
  """
  tick_M = _ticks(end_s - start_s)
  chunks = read.iterate_frames_at(
    media.path, tick_M, _TICKS_HZ, (media.height, media.width), start_s, _CHUNK_FRAMES
  )
  for chunk_MYX3 in chunks:
    yield from chunk_MYX3


def of_record(record: media_records.MediaRecord) -> decoded.DecodedClip:
  """Returns the clip of a media record; but for its start it is what annotators saw in the build.

  Args:
    record: of a data set.

  Raises:
    MediaError: the video cannot be decoded.
    soundfile.LibsndfileError: the sound cannot be decoded.
  """
  frame_MYX3 = np.zeros((0, 0, 0, 3), np.uint8)
  if record.video:
    with tempfile.NamedTemporaryFile(suffix=record.video_suffix) as file:
      file.write(record.video)
      file.flush()
      height, width = read.fitted_size(file.name, decoded.MAX_SIDE)
      tick_M = _ticks(record.duration_s)
      chunks = read.iterate_frames_at(
        file.name, tick_M, _TICKS_HZ, (height, width), record.video_start_s, _CHUNK_FRAMES
      )
      frame_MYX3 = np.concatenate(list(chunks))
  wave_NA, sample_rate_hz = np.zeros((0, 1), np.float32), 0
  if record.audio:
    wave_NA, sample_rate_hz = media_decoding.stored_wave(record.audio)
  return decoded.DecodedClip(record.id, frame_MYX3, wave_NA, sample_rate_hz, 0.0, record.duration_s)


def decode(
  media: MediaFile, segments: Sequence[Segment], item_id: str, has_sync_frames: bool = False
) -> Iterator[decoded.DecodedClip]:
  """Yields the clip of each segment.

  Args:
    media: the file.
    segments: in ascending order of their start. An end after the end of the file is set to it.
    item_id: id of the clips, with the start of the segment if there are several.
    has_sync_frames: whether clips have sync_frame_LYX3, which are decoded in a pass of their own.

  Raises:
    MediaError: the file cannot be decoded, or a segment starts after its end.
    ValueError: segments are empty, negative or not in order.
  """
  whole_s, previous_s, clipped = media.info.duration_s, 0.0, []
  for start_s, end_s in segments:
    if not previous_s <= start_s < end_s:
      raise ValueError(f'{item_id}: segments must ascend and must not be empty; got {list(segments)}.')
    if start_s >= whole_s:
      raise errors.starts_too_late(media.path, whole_s, start_s)
    clipped.append((start_s, min(end_s, whole_s)))
    previous_s = start_s
  for run in _runs(clipped):
    yield from _decode_run(media, run, item_id, len(clipped) > 1, has_sync_frames)


def _runs(segments: list[Segment]) -> Iterator[list[Segment]]:
  """Yields lists of segments that are decoded in one pass: they do not overlap, and gaps are short."""
  run: list[Segment] = []
  for segment in segments:
    if run and not 0 <= segment[0] - run[-1][1] <= _MAX_SKIPPED_S:
      yield run
      run = []
    run.append(segment)
  if run:
    yield run


def _decode_run(
  media: MediaFile, run: list[Segment], item_id: str, has_several: bool, has_sync_frames: bool
) -> Iterator[decoded.DecodedClip]:
  first_s = run[0][0]
  frames = waves = None
  if media.info.has_video:
    ticks = [_ticks(end_s - start_s) + round((start_s - first_s) * _TICKS_HZ) for start_s, end_s in run]
    chunks = read.iterate_frames_at(
      media.path, np.concatenate(ticks), _TICKS_HZ, (media.height, media.width), first_s, _CHUNK_FRAMES
    )
    frames = (frame_YX3 for chunk_MYX3 in chunks for frame_YX3 in chunk_MYX3)
  if media.num_channels:
    waves = _Waves(media, first_s, run[-1][1] - first_s)
  for start_s, end_s in run:
    frame_MYX3, wave_NA = np.zeros((0, 0, 0, 3), np.uint8), np.zeros((0, 1), np.float32)
    if frames is not None:
      num_frames = len(_ticks(end_s - start_s))
      frame_MYX3 = np.empty((num_frames, media.height, media.width, 3), np.uint8)
      for index in range(num_frames):
        frame_MYX3[index] = next(frames)
    if waves is not None:
      wave_NA = waves.take(start_s, end_s)
    yield decoded.DecodedClip(
      id=f'{item_id}@{start_s:.3f}' if has_several else item_id,
      frame_MYX3=frame_MYX3,
      wave_NA=wave_NA,
      sample_rate_hz=media.sample_rate_hz,
      start_s=start_s,
      duration_s=end_s - start_s,
      sync_frame_LYX3=_sync_frames(media, start_s, end_s) if has_sync_frames else None,
      alignment=media.alignment,
    )


def _ticks(duration_s: float) -> np.ndarray:
  """Returns the times of the small frames of a segment, relative to its start."""
  num_frames = max(1, round(duration_s * decoded.FRAMES_PER_S))
  return np.rint(np.arange(num_frames) * (_TICKS_HZ / decoded.FRAMES_PER_S)).astype(np.int64)


class _Waves:
  """The sound of ascending segments from a single pass over the file."""

  def __init__(self, media: MediaFile, first_s: float, duration_s: float):
    self._first_s, self._rate_hz, self._num_channels = first_s, media.sample_rate_hz, media.num_channels
    self._blocks = audio_reader.iterate_blocks(
      media.path, self._rate_hz, self._num_channels, first_s, max(duration_s, 1 / self._rate_hz)
    )
    self._position, self._rest_NA = 0, np.zeros((0, self._num_channels), np.float32)

  def take(self, start_s: float, end_s: float) -> np.ndarray:
    """Returns the sound of a segment that starts where the last one ended, or later."""
    start = round((start_s - self._first_s) * self._rate_hz)
    wave_NA = np.zeros((round((end_s - start_s) * self._rate_hz), self._num_channels), np.float32)
    num_done = 0
    while num_done < len(wave_NA):
      if not len(self._rest_NA):
        self._rest_NA = next(self._blocks, self._rest_NA)
        if not len(self._rest_NA):
          break  # lengths of segments are rounded: their sum may exceed that of the run by a sample
      skipped = min(max(0, start - self._position), len(self._rest_NA))
      part_NA = self._rest_NA[skipped : skipped + len(wave_NA) - num_done]
      wave_NA[num_done : num_done + len(part_NA)] = part_NA
      num_done += len(part_NA)
      self._position += skipped + len(part_NA)
      self._rest_NA = self._rest_NA[skipped + len(part_NA) :]
    return wave_NA


def _sync_frames(media: MediaFile, start_s: float, end_s: float) -> np.ndarray | None:
  """Returns frames whose shorter side is SYNC_SIZE, cropped at their centre, as Synchformer reads them."""
  if not media.info.has_video:
    return None
  height, width = read.fitted_size(media.path, SYNC_SIZE, is_short=True)
  top, left = round((height - SYNC_SIZE) / 2), round((width - SYNC_SIZE) / 2)
  num_frames = max(1, round((end_s - start_s) * SYNC_FPS))
  frame_LYX3 = np.empty((num_frames, SYNC_SIZE, SYNC_SIZE, 3), np.uint8)
  num_done = 0
  chunks = read.iterate_frames_at(
    media.path, np.arange(num_frames), SYNC_FPS, (height, width), start_s, _CHUNK_FRAMES
  )
  for chunk_LYX3 in chunks:
    crop_LYX3 = chunk_LYX3[:, top : top + SYNC_SIZE, left : left + SYNC_SIZE]
    frame_LYX3[num_done : num_done + len(crop_LYX3)] = crop_LYX3
    num_done += len(crop_LYX3)
  return frame_LYX3
