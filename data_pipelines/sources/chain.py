"""Several tables of one data set as one source, such as its train.csv and test.csv."""

from collections.abc import Iterator
import dataclasses

from data_pipelines.sources import hash_index
from data_pipelines.sources import items


@dataclasses.dataclass(frozen=True)
class Chain:
  """Sources that are read one after the other; an id of an earlier one is a duplicate.

  Attributes:
    sources: the sources.
    name: of the data set.
  """

  sources: tuple[items.Source, ...]
  name: str

  def __iter__(self) -> Iterator[items.Item | items.Problem]:
    """Yields what the sources yield, and a problem in place of an item whose id an earlier source has."""
    source_of = hash_index.HashIndex()
    for number, source in enumerate(self.sources):
      for found in source:
        if isinstance(found, items.Item):
          if (earlier := source_of.get(found.id)) >= 0:
            found = self._duplicate(found, number, earlier)
          else:
            source_of.set(found.id, number)
        yield found

  def _duplicate(self, item: items.Item, number: int, earlier: int) -> items.Problem:
    where, other = (str(getattr(self.sources[each], 'path', each)) for each in (number, earlier))
    return items.Problem('duplicate', item.id, where, f'its id is already used in {other}')
