import dataclasses
from typing import Any

DatasetInfo: Any
FileFormat: Any
GeneratorBasedBuilder: Any
MetadataDict: Any
Version: Any

@dataclasses.dataclass
class BuilderConfig:
  name: str
  version: str | None = None
  release_notes: dict[str, str] | None = None
  supported_versions: list[str] = ...
  description: str | None = None
  tags: list[str] = ...
