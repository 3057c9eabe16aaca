"""Where a build stores what: the folder of a data set.

OUTPUT/manifest.json                     the set: settings, counts, licences; written last
OUTPUT/rejected.jsonl                    every clip that is in no record, with the reason and its numbers
OUTPUT/annotation_failures.jsonl         every clip that an annotator could not annotate, with the reason
OUTPUT/train/manifest.json               the records of a split, see `v2a.data.media_folder`
OUTPUT/train/records-00012.array_record  a shard of it
OUTPUT/build/                            what a build that is resumed does not repeat, and the report reads

OUTPUT may be in an object store. Then `build` is a folder elsewhere, on storage that all workers share: with
the local runner, on this machine.
"""

import dataclasses
import pathlib

from v2a import storage

MANIFEST = 'manifest.json'
REJECTED = 'rejected.jsonl'
ANNOTATION_FAILURES = 'annotation_failures.jsonl'


@dataclasses.dataclass(frozen=True)
class Layout:
  """Paths of a data set.

  Attributes:
    output: its folder.
    work: folder of intermediate results; None is `build` in the output, unless that is in an object store.
  """

  output: storage.Path
  work: pathlib.Path | None = None

  @property
  def build(self) -> pathlib.Path:
    """Intermediate results. Raises ValueError where they would be in an object store."""
    if self.work is not None:
      return self.work
    if not isinstance(self.output, pathlib.Path):
      raise ValueError(f'{self.output} is in an object store: --work must name a folder of this machine.')
    return self.output / 'build'

  @property
  def annotation_failures(self) -> storage.Path:
    """Clips that an annotator could not annotate, a JSON object in each line; none where there are none."""
    return self.output / ANNOTATION_FAILURES

  @property
  def settings(self) -> pathlib.Path:
    """Settings of the build, by which one that is resumed is compared."""
    return self.build / 'settings.json'

  @property
  def plan(self) -> pathlib.Path:
    """See `plan.make`."""
    return self.build / 'plan'

  @property
  def analysis(self) -> pathlib.Path:
    """See `analysis.analyse_shard`."""
    return self.build / 'analysis'

  @property
  def decisions(self) -> pathlib.Path:
    """See `decisions.decide`."""
    return self.build / 'decisions'

  @property
  def annotations(self) -> pathlib.Path:
    """Cache of annotations, see `annotate.cache`."""
    return self.build / 'annotations'

  @property
  def manifest(self) -> storage.Path:
    """Manifest of the set."""
    return self.output / MANIFEST

  @property
  def rejected(self) -> storage.Path:
    """Clips that are in no record."""
    return self.output / REJECTED

  def split(self, split: str) -> storage.Path:
    """Returns the folder of records of a split."""
    return self.output / split

  def shard(self, split: str, index: int) -> storage.Path:
    """Returns the file of the records of a shard."""
    return self.split(split) / f'records-{index:05d}.array_record'

  def shard_summary(self, split: str, index: int) -> pathlib.Path:
    """Returns the file that says what is in a shard; it is written after the shard."""
    return self.build / 'shards' / split / f'{index:05d}.json'
