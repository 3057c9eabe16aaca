"""All embedders by name, and what each needs; what cannot be had comes back as what is missing."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
import dataclasses
import pathlib

from v2a.metrics.embedders import clap
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.metrics.embedders import imagebind
from v2a.metrics.embedders import panns
from v2a.metrics.embedders import passt
from v2a.metrics.embedders import synchformer
from v2a.metrics.embedders import syncnet
from v2a.metrics.embedders import synthetic
from v2a.metrics.embedders import vggish
from v2a.models.published import checkpoints

BuildFn = Callable[[dict[str, pathlib.Path]], embedder_lib.Embedder]


@dataclasses.dataclass(frozen=True)
class EmbedderSpec:
  """One embedder.

  Attributes:
    build: makes it from the paths of its files, by their names.
    figures: see embedder.Embedder.
    files: published weights that it needs.
    packages: optional ones that it needs, and how to get each.
  """

  build: BuildFn
  metrics: tuple[str, ...]
  files: tuple[checkpoints.Checkpoint, ...] = ()
  packages: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _of_one(module) -> EmbedderSpec:
  """Returns the entry of a module with one checkpoint."""
  checkpoint = module.CHECKPOINT
  return EmbedderSpec(lambda paths: module.load(paths[checkpoint.file]), module.METRICS, (checkpoint,))


EMBEDDERS = {
  synthetic.NAME: EmbedderSpec(lambda paths: synthetic.load(), synthetic.METRICS),
  vggish.NAME: _of_one(vggish),
  panns.NAME: _of_one(panns),
  passt.NAME: _of_one(passt),
  synchformer.NAME: _of_one(synchformer),
  clap.NAME: EmbedderSpec(
    lambda paths: clap.load(paths[clap.CHECKPOINT.file], paths[clap.TOKENIZER.file]),
    clap.METRICS,
    (clap.CHECKPOINT, clap.TOKENIZER),
    clap.PACKAGES,
  ),
  syncnet.NAME: _of_one(syncnet),
  imagebind.NAME: _of_one(imagebind),
}


def load(
  names: Iterable[str], path: pathlib.Path | str | None = None
) -> list[embedder_lib.Embedder | embedder_lib.Missing]:
  """Returns embedders in the order of their names, a Missing for each that cannot be had.

  Args:
    names: some of ENTRIES.
    path: folder of published weights, see checkpoints.folder.

  Raises:
    ValueError: an unknown name, or a file that is not what was published.
  """
  names = list(names)
  unknown = [name for name in names if name not in EMBEDDERS]
  if unknown:
    raise ValueError(f'embedders must be of {", ".join(EMBEDDERS)}; got {", ".join(unknown)}.')
  return [_load(name, path) for name in names]


def fetch(say: Callable[[str], None], path: pathlib.Path | str | None = None) -> None:
  """Downloads the weights that are missing and whose publisher states a checksum; says where the others are.

  Args:
    say: receives a line a file.
    path: folder of published weights, see checkpoints.folder.

  Raises:
    ValueError: no folder, or a file that is not what was published.
    FileNotFoundError: a file could not be downloaded.
  """
  for file in dict.fromkeys(file for entry in EMBEDDERS.values() for file in entry.files):
    if checkpoints.find(file, path) is not None:
      continue
    if file.checksum is None:
      say(f'{file.file} has no published checksum and is not fetched; it is at {file.url} ({file.licence})')
    else:
      checkpoints.fetch(file, path, say)


def _load(name: str, path) -> embedder_lib.Embedder | embedder_lib.Missing:
  entry = EMBEDDERS[name]
  paths = {file.file: checkpoints.find(file, path) for file in entry.files}
  missing = [file.reason for file in entry.files if paths[file.file] is None]
  for package, command in entry.packages.items():
    missing += checkpoints.missing_package(package, command)
  if missing:
    return embedder_lib.Missing(name, ', '.join(missing), entry.metrics)
  return entry.build(paths)
