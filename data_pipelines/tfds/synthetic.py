r"""The synthetic set as a TFDS data set; see `v2a.synthetic`.

  python -m data_pipelines.tfds v2a_synthetic --data-dir DATA
  python -m data_pipelines.tfds v2a_synthetic --data-dir DATA \
      --config '{"name": "small", "splits": {"train": [0, 100]}, "size": 128, "num_workers": 2}'

Clips are rendered to video files (H.264, AAC) while the data set is written. A clip depends on its seed, its
index and the configuration, not on the number of processes.
"""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools
import pathlib
import tempfile
from typing import Any

import tensorflow_datasets as tfds

from data_pipelines import synthetic
from data_pipelines.sources import folder as folder_lib
from data_pipelines.sources import items
from data_pipelines.tfds import examples
from data_pipelines.tfds import item_builder
from v2a.synthetic import clips
from v2a.synthetic import record_ids


@dataclasses.dataclass
class SyntheticConfig(tfds.core.BuilderConfig):
  """What is rendered.

  Attributes:
    splits: split -> seed and number of clips; splits have different seeds.
    size: height and width in pixels, even.
    fps: frames per second.
    clip_s: length in seconds.
    sample_rate_hz: samples per second.
    scenes: names of scenes; None for all.
    corruption: of all clips; None to sample it per clip.
    num_workers: number of processes.
  """

  splits: Mapping[str, Sequence[int]] = dataclasses.field(
    default_factory=lambda: {'train': (0, 1000), 'validation': (1, 100), 'test': (2, 100)}
  )
  size: int = synthetic.FILE_SIZE
  fps: float = 25.0
  clip_s: float = 4.0
  sample_rate_hz: int = synthetic.FILE_RATE_HZ
  scenes: Sequence[str] | None = None
  corruption: str | None = None
  num_workers: int = 1

  def __post_init__(self):
    seeds = [seed for seed, _ in self.splits.values()]
    if len(set(seeds)) < len(seeds) or not all(num > 0 for _, num in self.splits.values()):
      raise ValueError(f'splits must have different seeds and at least one clip each; got {self.splits}.')
    if self.size % 2:
      raise ValueError(f'size must be even for H.264; got {self.size}.')
    scenes = None if self.scenes is None else tuple(self.scenes)
    clips.check(scenes, self.corruption, self.clip_s, self.fps, self.size, self.sample_rate_hz)


class Synthetic(item_builder.ItemBuilder):
  """The synthetic set: clips whose sound is caused by what is visible, with ground truth."""

  name = 'v2a_synthetic'
  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS = [SyntheticConfig(name='default', description='1200 clips of 4 s.')]

  @property
  def about(self) -> Mapping[str, Any]:
    """See `ItemBuilder`."""
    return {'description': 'Rendered clips whose sound is caused by what is visible, with ground truth.'}

  def features(self) -> tfds.features.FeaturesDict:
    """See `ItemBuilder`."""
    return examples.features(truth=tfds.features.Text(doc='ground truth, as JSON'))

  def encode(self, item: items.Item) -> Mapping[str, Any]:
    """See `ItemBuilder`."""
    with item.media.as_file() as path:
      return {**examples.encode(item), 'truth': path.with_suffix('.json').read_text()}

  def splits(
    self, dl_manager: tfds.download.DownloadManager, problems: item_builder.Problems
  ) -> Mapping[str, Iterable[items.Item]]:
    """See `ItemBuilder`."""
    config = self.builder_config
    return {split: _rendered(config, *seed_and_num) for split, seed_and_num in config.splits.items()}


def _rendered(config: SyntheticConfig, seed: int, num_clips: int) -> Iterator[items.Item]:
  """Yields the clips of a seed; the file of each is there until the next one is taken."""
  with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
    work = functools.partial(_render, config=config, seed=seed, output=pathlib.Path(folder))
    for index, path in enumerate(synthetic.parallel_map(work, range(num_clips), config.num_workers)):
      (item,) = folder_lib.Folder(path.parent)
      if not isinstance(item, items.Item):
        raise ValueError(str(item))
      name = record_ids.make(seed, index)
      yield dataclasses.replace(item, id=name, group=name)
      for each in path.parent.iterdir():
        each.unlink()


def _render(index: int, config: SyntheticConfig, seed: int, output: pathlib.Path) -> pathlib.Path:
  """Writes a clip into a folder of its own, and returns the path of its video."""
  folder = output / str(index)
  folder.mkdir()
  return synthetic.write_file(
    index,
    seed,
    folder,
    config.size,
    config.fps,
    config.clip_s,
    config.sample_rate_hz,
    None if config.scenes is None else tuple(config.scenes),
    config.corruption,
  )
