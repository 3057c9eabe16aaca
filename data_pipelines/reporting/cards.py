"""The clips that a page shows: records of a sample, each with a player, within the size of a page."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import time

from data_pipelines import layout as layout_lib
from data_pipelines.reporting import annotated as annotated_lib
from data_pipelines.reporting import players
from data_pipelines.reporting import statistics
from v2a.data import media_folder
from v2a.data import media_records

# A page has at most 20 MB: images of MAX_CLIPS take up to 7 MB, texts up to 1 MB.
MAX_CLIPS = 48
_MAX_MEDIA_CHARACTERS = 12_000_000


@dataclasses.dataclass(frozen=True)
class Card:
  """A clip on the page.

  Attributes:
    record: its record, without video and audio.
    clip: its position.
    notes: why it is shown, such as 'lowest peak'; none for a random clip.
    player: what is played and shown.
  """

  record: media_records.MediaRecord
  clip: statistics.Clip
  notes: Sequence[str]
  player: players.Player


def make(
  layout: layout_lib.Layout,
  shown: Sequence[tuple[statistics.Clip, list[str]]],
  report: Callable[[str], None] = lambda line: None,
  max_media_characters: int = _MAX_MEDIA_CHARACTERS,
  annotated: Mapping[str, annotated_lib.Annotated] | None = None,
) -> list[Card]:
  """Returns cards; one record is in memory at a time.

  Args:
    layout: of the data set.
    shown: see `statistics.Statistics.shown`.
    report: takes lines of progress.
    max_media_characters: of the data URLs of all players.
    annotated: columns of annotations by split, which replace those of the records; None for none.

  Raises:
    FileNotFoundError: a split or a shard of it is missing.
    ValueError: records are not those of the analysis, or have changed.
  """
  folders: dict[str, media_folder.MediaFolder] = {}
  annotated = annotated or {}
  cards, left, start_s = [], max_media_characters, time.monotonic()
  for count, (clip, notes) in enumerate(shown, 1):
    if clip.split not in folders:
      folders[clip.split] = media_folder.MediaFolder(layout.split(clip.split))
    index = _index(folders[clip.split], layout.shard(clip.split, clip.shard).name, clip)
    record = folders[clip.split][index]
    if clip.split in annotated:
      found = annotated[clip.split].annotations(index, record.id)
      record = dataclasses.replace(record, annotations=found)
    player = players.make(record, left)
    left -= len(player.media)
    cards.append(Card(_without_media(record), clip, notes, player))
    left_s = (time.monotonic() - start_s) * (len(shown) - count) / count
    report(f'clips: {count} of {len(shown)}, about {left_s:.0f} s left')
  return cards


def _index(folder: media_folder.MediaFolder, name: str, clip: statistics.Clip) -> int:
  """Returns the index of the record of a clip. Raises ValueError where another one is there."""
  shard = next((each for each, found in enumerate(folder.shards) if found.path.name == name), None)
  indices = range(0) if shard is None else folder.indices(shard)
  if clip.position < len(indices) and folder[indices[clip.position]].id == clip.id:
    return indices[clip.position]
  raise ValueError(
    f'{folder.path / name}: wanted clip {clip.id!r} as record {clip.position}; it is not there. '
    'Build the data set with --resume.'
  )


def _without_media(record: media_records.MediaRecord) -> media_records.MediaRecord:
  """Returns a record whose video and sound are a byte each, where it has them."""
  return dataclasses.replace(record, video=record.video[:1], audio=record.audio[:1])
