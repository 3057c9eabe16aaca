"""Evaluation examples from a folder of records or of videos.

The reference audio of a video is its own. Beside `a.mp4` may be `a.json` with the ground truth of a synthetic
clip, or `a.txt`, `a.json` and subtitles with annotation and transcript, as for training
(data_pipelines.clip_records). The first seconds of a video are used, as long as the clips of the model.
"""

from collections.abc import Callable
from collections.abc import Iterator
import pathlib

from v2a import clip as clip_lib
from v2a import file_names
from v2a import input_errors
from v2a import storage
from v2a.data import examples
from v2a.data import record_schema
from v2a.data import records
from v2a.media import audio_reader
from v2a.media import folder as folder_lib
from v2a.media import probe
from v2a.media import read as media_read
from v2a.media import sidecar
from v2a.synthetic import truth as truth_lib

# Reasons for skipping a clip of a folder.
OVER_NUM_CLIPS = 'more clips than requested'
_UNREADABLE = 'the video or its sidecar cannot be read'
_END_SLACK_S = 0.1  # by which a video may be shorter than its frame rate says


def read(
  folder: str | storage.Path,
  num_clips: int | None,
  spec: clip_lib.ClipSpec,
  skipped: dict[str, list[str]] | None = None,
  report: Callable[[str], None] | None = None,
  failures: list[str] | None = None,
) -> Iterator[examples.Example]:
  """Yields the clips of a folder.

  Args:
    folder: of records or videos; only records may be in an object store.
    num_clips: at most this many, the first ones; None for all.
    spec: rates and lengths.
    skipped: takes the names of clips that are not yielded, by reason.
    report: takes a line where the folder holds files that are no videos, and one for each video that fails.
    failures: takes a line for each video that cannot be read, or whose sidecar cannot.

  Raises:
    FileNotFoundError: the folder is missing.
    ValueError: it holds neither records nor videos, or none that can be evaluated on.
  """
  folder = storage.parse(folder, 'the data')
  videos = search(folder)
  skipped = {} if skipped is None else skipped
  if videos is None:
    yield from _read_records(folder, num_clips, spec, skipped)
    return
  if report and videos.skipped_summary:
    report(f'note: {folder}: {videos.skipped_summary}')
  num_used = 0
  for k, path in enumerate(videos.paths):
    if num_clips is not None and num_used >= num_clips:
      _skip(skipped, OVER_NUM_CLIPS, *map(_name, videos.paths[k:]))
      return
    found = _try_video(path, spec, report, failures)
    if isinstance(found, str):
      _skip(skipped, found, _name(path))
      continue
    num_used += 1
    yield found
  if not num_used:
    reasons = ', '.join(f'{len(names)} x {reason}' for reason, names in skipped.items())
    raise ValueError(
      f"'{folder}' holds {len(videos.paths)} videos, none of which can be evaluated on: {reasons}."
    )


def search(folder: str | storage.Path) -> folder_lib.SearchResult | None:
  """Returns the videos of a folder; None where it holds records.

  Raises:
    FileNotFoundError: the folder is missing.
    ValueError: it holds neither, or is in an object store and holds no records.
  """
  folder = storage.parse(folder, 'the data')
  if not storage.is_folder(folder):
    raise FileNotFoundError(
      f"no folder '{folder}' to evaluate on; wanted synthetic:heldout, synthetic:SEED or a folder."
    )
  if storage.is_file(folder / records.MANIFEST):
    return None
  if not isinstance(folder, pathlib.Path):
    raise ValueError(f"'{folder}' holds no records ({records.MANIFEST}); videos are read from local folders.")
  found = folder_lib.search(folder, folder_lib.VIDEO_SUFFIXES)
  if not found.paths:
    besides = f' ({found.skipped_summary})' if found.skipped_summary else ''
    raise ValueError(f"'{folder}' holds neither records ({records.MANIFEST}) nor videos{besides}.")
  return found


def from_record(record: dict, spec: clip_lib.ClipSpec) -> examples.Example:
  """Returns the example of a record.

  Raises:
    ValueError: its lengths are not those of the spec, or its ground truth is damaged.
  """
  record_schema.validate(record, spec)
  if record['truth']:
    truth = truth_lib.parse(record['truth'], f"record '{record['id']}'")
  else:
    truth = truth_lib.text_only(record['text'], record['transcript'])
  frames = record['semantic_frame_MYX3'], record['sync_frame_LYX3']
  return examples.Example(record['id'], truth, record['wave_NA'], None, frames, None)


def _skip(skipped: dict[str, list[str]], reason: str, *names: str) -> None:
  if names:
    skipped.setdefault(reason, []).extend(names)


def _name(path: pathlib.Path) -> str:
  """Returns the name of the clip of a video."""
  return file_names.printable(path.stem)


def _try_video(
  path: pathlib.Path,
  spec: clip_lib.ClipSpec,
  report: Callable[[str], None] | None,
  failures: list[str] | None,
) -> examples.Example | str:
  """Returns the example of a video, or the reason for skipping it; notes an error that reading raises."""
  try:
    return _read_video(path, spec)
  except Exception as error:  # noqa: BLE001 one bad input must not end the evaluation
    line = input_errors.format_error(error, path)
  if failures is not None:
    failures.append(line)
  if report:
    report(f'left out: {line}')
  return _UNREADABLE


def _read_video(path: pathlib.Path, spec: clip_lib.ClipSpec) -> examples.Example | str:
  """Returns the example of a video, or the reason for skipping it. Raises whatever reading raises."""
  is_synthetic, found = 'scene' in sidecar.read_json(path), probe.probe(path)
  clip_s = float(spec.duration_s)
  truth = _read_truth(path, clip_s, found.duration_s <= clip_s + _END_SLACK_S)
  if found.duration_s < clip_s - _END_SLACK_S:
    return f'the video is shorter than {clip_s:g} s'
  # Silence is the truth of some synthetic clips; in other videos it is an empty audio track.
  if not found.has_audio or not (
    is_synthetic or audio_reader.has_audible_audio(path, min(found.duration_s, clip_s))
  ):
    return 'no sound in the video'
  semantic_frame_MYX3, sync_frame_LYX3 = (
    media_read.frames(path, fps, spec.frame_size, 0.0, num_frames / fps)
    for fps, num_frames in (
      (spec.semantic_fps, spec.num_semantic_frames),
      (spec.sync_fps, spec.num_sync_frames),
    )
  )
  wave_NA = media_read.wave(path, spec.sample_rate_hz, spec.num_channels, 0.0, clip_s)
  return examples.Example(
    _name(path),
    truth,
    record_schema.wave_to_int16(wave_NA),
    None,
    (semantic_frame_MYX3, sync_frame_LYX3),
    None,
    path,
  )


def _read_truth(path: pathlib.Path, clip_s: float, is_whole: bool) -> dict:
  """Returns the ground truth of the first seconds of a video; `is_whole`: the video ends with them."""
  notes = sidecar.read_json(path)
  if 'scene' in notes:
    truth_lib.check(notes, str(path.with_suffix('.json')))
    return notes
  texts = sidecar.read(path)
  spoken = texts.transcript_in_window(0.0, clip_s, is_whole)
  truth = truth_lib.text_only(texts.annotation, spoken.text)
  # Only where times are known; words of synthetic clips, whose truth has another key, are spread evenly.
  return truth if spoken.times_s is None else truth | {'word_times_s': spoken.times_s}


def _read_records(
  folder: storage.Path, num_clips: int | None, spec: clip_lib.ClipSpec, skipped: dict[str, list[str]]
) -> Iterator[examples.Example]:
  source = records.open(folder)
  if source.spec.duration_s != spec.duration_s:
    raise ValueError(
      f"the records of '{folder}' last {float(source.spec.duration_s):g} s, and are evaluated whole; got "
      f'clips of {float(spec.duration_s):g} s.'
    )
  num_used = 0
  for k in range(len(source)):
    if num_clips is not None and num_used >= num_clips:
      _skip(skipped, OVER_NUM_CLIPS, *(f'record {i}' for i in range(k, len(source))))
      return
    record = source[k]
    if not record['has_audio']:
      _skip(skipped, 'no sound in the record', record['id'])
      continue
    num_used += 1
    yield from_record(record, spec)
  if not num_used:
    raise ValueError(f"'{folder}' holds {len(source)} records, but none with sound.")
