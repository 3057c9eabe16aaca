"""What is evaluated: clips with their truth, and the conditions that a model is given for them.

The picture of a case is the clean one; its twins (archive, degraded) are rendered when they are asked for.
Waves are held as int16 and pictures as uint8: about 1.2 MB a clip of 4 s, so that a thousand clips fit a
small machine.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import fractions
import json
import pathlib

import numpy as np

from v2a import clip as clip_lib
from v2a import file_names
from v2a import flags
from v2a import input_errors
from v2a.data import record_schema
from v2a.data import records
from v2a.media import audio_reader
from v2a.media import folder as folder_lib
from v2a.media import probe
from v2a.media import read
from v2a.media import sidecar
from v2a.synthetic import clips

# Far from any seed that a data set is rendered from, see configs.
HELDOUT_SEED = 20_260_001
# Why a clip of a folder is not evaluated on.
OVER_NUM_CLIPS = 'more clips than were asked for'
_UNREADABLE = 'the video or its sidecar cannot be read'
_WORLD = 'world:'
VIDEO_SCENE = 'video'  # of a clip that is not of the world
_TRUTH_KEYS = (
  'scene', 'annotation', 'transcript', 'events', 'material', 'envelope', 'pitch_hz', 'x', 'has_music',
  'words', 'mouth')  # fmt: skip
# Of a list that of its items; each may be null.
_TRUTH_TYPES = {
  'scene': str, 'annotation': str, 'transcript': str, 'material': str, 'has_music': bool, 'events': dict,
  'words': dict, 'envelope': float, 'pitch_hz': float, 'x': float, 'mouth': float}  # fmt: skip
_END_SLACK_S = 0.1  # that a video may end before the last frame's rate says

FramePair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class GenerationInputs:
  """What a model is given for one soundtrack; the clip's name is for those whose sounds are made already.

  `word_times_s` are the times of the transcript's words; None spreads them evenly. `num_samples` is how long
  the soundtrack is, at the model's rate; None is as long as the pictures.
  """

  semantic_frame_MYX3: np.ndarray
  sync_frame_LYX3: np.ndarray
  text: str
  negative_text: str
  transcript: str
  seed: int
  name: str = ''
  word_times_s: tuple[float, ...] | None = None
  num_samples: int | None = None


@dataclasses.dataclass(frozen=True)
class Example:
  """One clip to evaluate on.

  Attributes:
    name: unique within the set.
    truth: as v2a.synthetic.clips.SyntheticClip.truth.
    wave_NA: the true sound, int16.
    no_music_wave_NA: the true sound without off-screen music, int16; None where it is not known.
    frames: the clean picture (semantic, sync).
    paired_variant: picture of a look; None where there are no twins.
    video: the file that it is the first seconds of, whose pictures and sound at their own sizes and rates are
      what published networks see and hear; None where there is none.
  """

  name: str
  truth: dict
  wave_NA: np.ndarray
  no_music_wave_NA: np.ndarray | None
  frames: FramePair
  paired_variant: Callable[[str], FramePair] | None
  video: pathlib.Path | None = None


def generation_inputs(
  example: Example, corruption: str, negative_text: str, seed: int, has_caption: bool = True
) -> GenerationInputs:
  """Returns what the model is given for a case.

  Args:
    example: the clip.
    corruption: 'clean', or a look of the case's twins.
    negative_text: what shall not be heard, or ''.
    seed: seed of the model's noise.
    has_caption: whether the annotation is given.
  """
  semantic_frame_MYX3, sync_frame_LYX3 = (
    example.frames if corruption == 'clean' else example.paired_variant(corruption)
  )
  return GenerationInputs(
    semantic_frame_MYX3,
    sync_frame_LYX3,
    (example.truth['annotation'] or '') if has_caption else '',
    negative_text,
    example.truth['transcript'] or '',
    seed,
    example.name,
    example.truth.get('word_times_s'),
    len(example.wave_NA),
  )


def resample_frames(frame_LYX3: np.ndarray, fps: float, spec: clip_lib.ClipSpec) -> FramePair:
  """Returns the frames on screen at the semantic and at the sync rate."""
  exact_fps = fractions.Fraction(fps).limit_denominator(10**6)

  def at(rate_hz: int, num_frames: int) -> np.ndarray:
    # In whole numbers: a picture that begins exactly at t is already on screen at t.
    index_L = np.arange(num_frames) * exact_fps.numerator // (exact_fps.denominator * rate_hz)
    return frame_LYX3[np.minimum(index_L, len(frame_LYX3) - 1)]

  return at(spec.semantic_fps, spec.num_semantic_frames), at(spec.sync_fps, spec.num_sync_frames)


def synthetic_seed(data: str) -> int | None:
  """Returns the seed of 'world:heldout' or 'world:SEED', or None where `data` is not a world.

  Raises:
    ValueError: what follows 'world:' is neither.
  """
  if not data.startswith(_WORLD):
    return None
  split = data[len(_WORLD) :]
  if split == 'heldout':
    return HELDOUT_SEED
  try:
    return flags.parse_number(int, split, 0, flags.MAX_SEED)
  except ValueError:
    raise ValueError(
      f'--data must be world:heldout, world:SEED with a whole number in 0..{flags.MAX_SEED}, or a folder; '
      f"got '{data}'."
    ) from None


def from_synthetic(
  seed: int,
  num_clips: int,
  spec: clip_lib.ClipSpec,
  scenes: tuple[str, ...] | None = None,
  report: Callable[[str], None] | None = None,
) -> Iterator[Example]:
  """Yields the clean clips (seed, 0), (seed, 1), ... of the world.

  Args:
    seed: number of the set.
    num_clips: how many.
    spec: rates and lengths.
    scenes: names of v2a.synthetic.clips.SCENES; None is all.
    report: receives a line of progress now and then.
  """

  def draw(index: int, look: str) -> clips.SyntheticClip:
    return clips.render(
      seed,
      index,
      scenes=scenes,
      corruption=look,
      clip_s=float(spec.duration_s),
      fps=spec.sync_fps,
      frame_size=spec.frame_size,
      sample_rate_hz=spec.sample_rate_hz,
    )

  for index in range(num_clips):
    if report and index % 64 == 0:
      report(f'rendering clips: {index} of {num_clips}')
    made = draw(index, 'clean')

    def twin(look: str, index: int = index) -> FramePair:
      return resample_frames(draw(index, look).frame_LYX3, spec.sync_fps, spec)

    wave_NA = _fold(made.wave_NA, spec.num_channels)
    music_NA = made.stems.get('music')
    dry_NA = made.wave_NA if music_NA is None else made.wave_NA - music_NA
    yield Example(
      f'{seed}-{index}',
      made.truth,
      record_schema.wave_to_int16(wave_NA),
      record_schema.wave_to_int16(_fold(dry_NA, spec.num_channels)),
      resample_frames(made.frame_LYX3, spec.sync_fps, spec),
      twin,
    )


def from_every_scene(
  seed: int, num_clips: int, spec: clip_lib.ClipSpec, report: Callable[[str], None] | None = None
) -> Iterator[Example]:
  """Yields as many clean clips of each scene of the world as of every other, scene by scene.

  Args:
    seed: number of the set.
    num_clips: how many of each.
    spec: rates and lengths.
    report: receives a line of progress a scene.
  """
  for k, scene in enumerate(clips.SCENES):
    if report:
      report(f'rendering clips: {k * num_clips} of {len(clips.SCENES) * num_clips}')
    for case in from_synthetic(seed, num_clips, spec, scenes=(scene,)):
      # Clip (seed, index) is another one in each scene, so the scene belongs to the name.
      yield dataclasses.replace(case, name=f'{scene}-{case.name}')


def _fold(wave_NA: np.ndarray, num_channels: int) -> np.ndarray:
  return wave_NA if wave_NA.shape[1] == num_channels else wave_NA.mean(axis=1, keepdims=True)


def from_folder(
  folder: pathlib.Path,
  num_clips: int | None,
  spec: clip_lib.ClipSpec,
  left_out: dict[str, int] | None = None,
  report: Callable[[str], None] | None = None,
  failures: list[str] | None = None,
) -> Iterator[Example]:
  """Yields the clips of a folder of records or of videos; the true sound of a video is its own.

  Beside `a.mp4` may lie `a.json`, a truth of the world, or `a.txt` and `a.json` with what is heard and said,
  as for training (data_pipelines.build). Of a video the first seconds count, as many as the model draws.

  Args:
    folder: where they lie.
    num_clips: the first so many; None for all.
    spec: rates and lengths.
    left_out: takes how many of the folder's clips were not yielded, by reason.
    report: receives a line where the folder holds files that are no videos, and one for each that fails.
    failures: takes one line for each video that cannot be read, or whose sidecar cannot; the others go on.

  Raises:
    FileNotFoundError: the folder is missing.
    ValueError: it holds neither, or nothing that can be evaluated on.
  """
  folder = pathlib.Path(folder)
  searched = search(folder)
  left_out, failures = {} if left_out is None else left_out, [] if failures is None else failures
  if searched is None:
    yield from _from_records(folder, num_clips, spec, left_out)
    return
  videos = searched.paths
  if report and searched.skipped_summary:
    report(f'note: {folder}: {searched.skipped_summary}')
  num_used = 0
  for k, path in enumerate(videos):
    if num_clips is not None and num_used >= num_clips:
      _leave_out(left_out, OVER_NUM_CLIPS, len(videos) - k)
      return
    try:
      found = _from_video(path, spec)
    except Exception as error:  # noqa: BLE001 the boundary of one input
      failures.append(input_errors.format_error(error, path))
      if report:
        report(f'left out: {failures[-1]}')
      found = _UNREADABLE
    if isinstance(found, str):
      _leave_out(left_out, found)
      continue
    num_used += 1
    yield found
  if not num_used:
    told = ', '.join(f'{num} x {reason}' for reason, num in left_out.items())
    raise ValueError(f"'{folder}' holds {len(videos)} videos, none of which can be evaluated on: {told}.")


def search(folder: pathlib.Path) -> folder_lib.SearchResult | None:
  """Returns the videos of a folder to evaluate on; None where it holds records.

  Raises:
    FileNotFoundError: the folder is missing.
    ValueError: it holds neither.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise FileNotFoundError(
      f"no folder '{folder}' to evaluate on; wanted world:heldout, world:SEED or a folder."
    )
  if (folder / records.MANIFEST).is_file():
    return None
  found = folder_lib.search(folder, folder_lib.VIDEO_SUFFIXES)
  if not found.paths:
    besides = f' ({found.skipped_summary})' if found.skipped_summary else ''
    raise ValueError(f"'{folder}' holds neither records ({records.MANIFEST}) nor videos{besides}.")
  return found


def _leave_out(left_out: dict[str, int], reason: str, num: int = 1) -> None:
  if num:
    left_out[reason] = left_out.get(reason, 0) + num


def _from_video(path: pathlib.Path, spec: clip_lib.ClipSpec) -> Example | str:
  """Returns the case of a video, or why it is none. Raises whatever reading it or its sidecars raises."""
  is_world, found, clip_s = 'scene' in sidecar.read_json(path), probe.probe(path), float(spec.duration_s)
  truth = _truth_beside(path, clip_s, found.duration_s <= clip_s + _END_SLACK_S)
  if found.duration_s < clip_s - _END_SLACK_S:
    return f'the video is shorter than {clip_s:g} s'
  # Silence is a truth of the world, and of others nothing but a track that somebody left empty.
  if not found.has_audio or not (
    is_world or audio_reader.has_audible_audio(path, min(found.duration_s, clip_s))
  ):
    return 'no sound in the video'
  frames = tuple(
    read.frames(path, fps, spec.frame_size, 0.0, num_frames / fps)
    for fps, num_frames in (
      (spec.semantic_fps, spec.num_semantic_frames), (spec.sync_fps, spec.num_sync_frames))
  )  # fmt: skip
  wave_NA = read.wave(path, spec.sample_rate_hz, spec.num_channels, 0.0, clip_s)
  return Example(
    file_names.printable(path.stem), truth, record_schema.wave_to_int16(wave_NA), None, frames, None, path
  )


def _truth_beside(path: pathlib.Path, clip_s: float, is_whole: bool) -> dict:
  """Returns what is known of the first seconds of a video; is_whole says that there are no more."""
  notes = sidecar.read_json(path)
  if 'scene' in notes:
    return _checked(notes, str(path.with_suffix('.json')))
  words = sidecar.read(path)
  spoken = words.transcript_in_window(0.0, clip_s, is_whole)
  truth = text_only_truth(words.annotation, spoken.text)
  # Only where they are known: the words of the world, whose truth has other keys, are spread evenly.
  return truth if spoken.times_s is None else truth | {'word_times_s': spoken.times_s}


def text_only_truth(annotation: str, transcript: str) -> dict:
  """Returns the truth of a clip of which no more is known than what is heard and said in it."""
  known = {'scene': VIDEO_SCENE, 'annotation': annotation, 'transcript': transcript, 'material': None,
           'has_music': False}  # fmt: skip
  return known | {key: [] for key in _TRUTH_KEYS if key not in known}


def parse_truth(text: str, source: str) -> dict:
  """Returns a truth of the world from its JSON.

  Raises:
    ValueError: not JSON, or keys that the figures read are missing.
  """
  try:
    truth = json.loads(text)
  except json.JSONDecodeError as error:
    raise ValueError(f'{source}: the truth must be JSON; got {error}.') from error
  return _checked(truth, source)


def _checked(truth, source: str) -> dict:
  missing = [key for key in _TRUTH_KEYS if not isinstance(truth, dict) or key not in truth]
  if missing:
    raise ValueError(
      f'{source}: the truth lacks {", ".join(missing)}; see data_pipelines.synthetic for its keys.'
    )
  for key, wanted in _TRUTH_TYPES.items():
    if not _is_a(truth[key], wanted):
      raise ValueError(
        f'{source}: {key} of the truth must be as data_pipelines.synthetic writes it; '
        f'got {str(truth[key])[:60]}.'
      )
  return truth


def _is_a(value, wanted: type) -> bool:
  """Whether a value of a truth has its type, see _TRUTH_TYPES."""
  if value is None:
    return True
  if wanted is dict:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)
  if wanted is float:
    return isinstance(value, list) and all(type(item) in (int, float) for item in value)
  return isinstance(value, wanted)


def _from_records(
  folder: pathlib.Path, num_clips: int | None, spec: clip_lib.ClipSpec, left_out: dict[str, int]
) -> Iterator[Example]:
  source = records.open(folder)
  if source.spec.duration_s != spec.duration_s:
    raise ValueError(
      f"the records of '{folder}' last {float(source.spec.duration_s):g} s, and are evaluated whole; got "
      f'clips of {float(spec.duration_s):g} s.'
    )
  num_used = 0
  for k in range(len(source)):
    if num_clips is not None and num_used >= num_clips:
      _leave_out(left_out, OVER_NUM_CLIPS, len(source) - k)
      return
    record = source[k]
    if not record['has_audio']:
      _leave_out(left_out, 'no sound in the record')
      continue
    num_used += 1
    yield from_record(record, spec)
  if not num_used:
    raise ValueError(f"'{folder}' holds {len(source)} records, but none with sound.")


def from_record(record: dict, spec: clip_lib.ClipSpec) -> Example:
  """Returns the case of a record. Raises ValueError where its lengths are not those of the spec."""
  record_schema.validate(record, spec)
  if record['truth']:
    truth = parse_truth(record['truth'], f"record '{record['id']}'")
  else:
    truth = text_only_truth(record['text'], record['transcript'])
  frames = record['semantic_frame_MYX3'], record['sync_frame_LYX3']
  return Example(record['id'], truth, record['wave_NA'], None, frames, None)
