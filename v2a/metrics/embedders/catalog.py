"""All embedders by name with the files and packages that they need."""

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


@dataclasses.dataclass(frozen=True)
class EmbedderSpec:
  """One embedder.

  Attributes:
    load: loads it from the paths of its files, in their order.
    metrics, reads: see embedder.Embedder.
    files: published weights that it needs.
    packages: optional packages that it needs, with the command that installs each.
  """

  load: Callable[..., embedder_lib.Embedder]
  metrics: tuple[str, ...]
  reads: tuple[str, ...] = ('audio',)
  files: tuple[checkpoints.Checkpoint, ...] = ()
  packages: Mapping[str, str] = dataclasses.field(default_factory=dict)


EMBEDDERS = {
  synthetic.NAME: EmbedderSpec(synthetic.load, synthetic.METRICS),
  vggish.NAME: EmbedderSpec(vggish.load, vggish.METRICS, files=vggish.FILES),
  panns.NAME: EmbedderSpec(panns.load, panns.METRICS, files=panns.FILES),
  passt.NAME: EmbedderSpec(passt.load, passt.METRICS, files=passt.FILES),
  synchformer.NAME: EmbedderSpec(synchformer.load, synchformer.METRICS, synchformer.READS, synchformer.FILES),
  clap.NAME: EmbedderSpec(clap.load, clap.METRICS, clap.READS, clap.FILES, clap.PACKAGES),
  syncnet.NAME: EmbedderSpec(syncnet.load, syncnet.METRICS, syncnet.READS, syncnet.FILES),
  imagebind.NAME: EmbedderSpec(imagebind.load, imagebind.METRICS, imagebind.READS, imagebind.FILES),
}


def load(
  names: Iterable[str], path: pathlib.Path | str | None = None
) -> list[embedder_lib.Embedder | embedder_lib.Missing]:
  """Returns embedders in the order of their names, a `Missing` for each that cannot be loaded.

  Args:
    names: keys of EMBEDDERS.
    path: folder of published weights, see `checkpoints.folder`.

  Raises:
    ValueError: an unknown name, or a file that is not the published one.
  """
  names = list(names)
  unknown = [name for name in names if name not in EMBEDDERS]
  if unknown:
    raise ValueError(f'embedders must be of {", ".join(EMBEDDERS)}; got {", ".join(unknown)}.')
  return [_load(name, path) for name in names]


def fetch(log: Callable[[str], None], path: pathlib.Path | str | None = None) -> None:
  """Downloads missing weights that have a published checksum; logs the addresses of the others.

  Args:
    log: receives lines of progress.
    path: folder of published weights, see `checkpoints.folder`.

  Raises:
    ValueError: there is no folder, or a file is not the published one.
    FileNotFoundError: a file could not be downloaded.
  """
  for file in dict.fromkeys(file for spec in EMBEDDERS.values() for file in spec.files):
    if checkpoints.find(file, path) is not None:
      continue
    if file.checksum is None:
      log(f'{file.file} has no published checksum and is not downloaded; see {file.url} ({file.licence})')
    else:
      checkpoints.fetch(file, path, log)


def missing(name: str, path: pathlib.Path | str | None = None) -> list[str]:
  """Returns what an embedder lacks, without loading it.

  Args:
    name: a key of EMBEDDERS.
    path: folder of published weights, see `checkpoints.folder`.
  """
  spec = EMBEDDERS[name]
  found = [file.missing_reason for file in spec.files if checkpoints.find(file, path) is None]
  for package, command in spec.packages.items():
    found += checkpoints.missing_package(package, command)
  return found


def _load(name: str, path: pathlib.Path | str | None) -> embedder_lib.Embedder | embedder_lib.Missing:
  spec = EMBEDDERS[name]
  if reasons := missing(name, path):
    return embedder_lib.Missing(name, ', '.join(reasons), spec.metrics)
  return spec.load(*(checkpoints.find(file, path) for file in spec.files))
