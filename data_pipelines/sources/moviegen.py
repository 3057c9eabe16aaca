"""Movie Gen's benches: prompts, and the videos that were generated from them.

Polyak et al. 2024, arXiv 2410.13720; github.com/facebookresearch/MovieGenBench, benchmark/. The prompts:

  MovieGenAudioBenchSfx.jsonl         id, video_prompt, audio_prompt
  MovieGenAudioBenchSfxMusic.jsonl    with music_prompt, too
  MovieGenVideoBench.txt              one prompt of a video a line
  MovieGenVideoBenchWithTag.csv       prompt, concept, motion_level
  HunyuanVideo-Foley assets/test.csv  index, video, prompt (of the sound)

The video of the prompt with index 0 (the id, or the number of the row from 0 on) is 0.mp4. Prompts of sounds
are captions; those of videos are a tag. All of it is for testing.
"""

from collections.abc import Iterator
import dataclasses
import pathlib

from data_pipelines.sources import entries
from data_pipelines.sources import items
from data_pipelines.sources import media_index
from data_pipelines.sources import tables
from v2a import storage
from v2a.data import annotations as annotations_lib

_COLUMNS = ('id', 'index', 'video', 'prompt', 'audio_prompt', 'music_prompt', 'video_prompt', 'concept')


@dataclasses.dataclass(frozen=True)
class MovieGen:
  """A bench of Movie Gen; see the module.

  Attributes:
    path: the prompts.
    media: folder of the videos; None for that of the prompts.
    split, licence: of the items.
    name: of the data set.
  """

  path: pathlib.Path
  media: storage.Path | None = None
  split: str | None = 'test'
  licence: str | None = 'CC-BY-NC-4.0'
  name: str = 'moviegen'

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields an item or a problem for each prompt.

    Raises:
      OSError: the prompts or the folder of the videos cannot be read.
      ValueError: the prompts are in none of the layouts of the module.
    """
    index = media_index.MediaIndex(self.media or self.path.parent)
    yield from entries.checked(self._entries(index))

  def _entries(self, index: media_index.MediaIndex) -> Iterator[entries.Entry | items.Problem]:
    if self.path.suffix.lower() == '.txt':
      rows = tables.text_rows(self.path)
    else:
      table = rows = tables.open_table(self.path, _COLUMNS)
      if not {'prompt', 'audio_prompt'} & set(table.columns):
        raise ValueError(
          f'{self.path}: wanted a column prompt or audio_prompt; got {", ".join(table.columns)}.'
        )
    for number, row in enumerate(rows):
      if isinstance(row, items.Problem):
        yield row
      else:
        where = items.where(self.path, row.line)
        yield entries.attempt(
          lambda where, row=row, number=number: self._entry(row, where, number, index), where
        )

  def _entry(self, row: tables.Row, where: str, number: int, index: media_index.MediaIndex) -> entries.Entry:
    values = {name: str(value).strip() for name, value in row.values.items()}
    name = values.get('id') or values.get('index') or str(number)
    path = index.named(pathlib.PurePath(values.get('video') or name).stem if 'video' in values else name)
    if path is None:
      raise entries.UnusableError('missing', f'{index.folder} has no media of it; wanted {name}.mp4', name)
    is_of_sound = 'video' in values
    sound = values.get('audio_prompt') or (values.get('prompt', '') if is_of_sound else '')
    music = values.get('music_prompt', '')
    captions = [annotations_lib.Caption(sound, 'short')] if sound else []
    if sound and music:
      captions.append(annotations_lib.Caption(f'{sound} {music}', 'detailed'))
    tags = {
      'video_prompt': values.get('video_prompt') or values.get('text') or values.get('prompt', ''),
      'concept': values.get('concept', ''),
      'motion_level': values.get('motion_level', ''),
    }
    if is_of_sound:
      del tags['video_prompt']
    item = items.Item(
      name,
      items.MediaFile(path),
      name,
      annotations=annotations_lib.Annotations(
        tuple(captions), tags=tuple((key, tags[key]) for key in tags if tags[key])
      ),
      licence=self.licence,
      split=self.split,
    )
    return entries.of_item(item, where)
