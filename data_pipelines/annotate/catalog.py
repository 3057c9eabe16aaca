"""The annotators of a build by name, and the endpoints that it may use."""

from collections.abc import Mapping
import dataclasses
import pathlib
from typing import Any

from data_pipelines.annotate import align
from data_pipelines.annotate import annotator as annotator_lib
from data_pipelines.annotate import captioner as captioner_lib
from data_pipelines.annotate import endpoint as endpoint_lib
from data_pipelines.annotate import tagger
from data_pipelines.annotate import transcriber as transcriber_lib
from data_pipelines.annotate import zero_shot
from v2a.metrics import speech
from v2a.metrics.embedders import embedder
from v2a.models.published import checkpoints

# In the order in which they are applied: captions of the signal read labels and transcripts.
NAMES = (
  'pocketsphinx',
  *(f'whisper-{model}' for model in speech.WHISPER_MODELS),
  'align',
  'clap',
  'signal',
)


@dataclasses.dataclass(frozen=True)
class Settings:
  """Which annotators are applied.

  Attributes:
    names: of NAMES.
    captioner: an endpoint that captions clips; None for none.
    captioner_config: what is sent to it.
    transcriber: an endpoint that transcribes clips; None for none.
    min_confidence: of transcripts; None is the default of each recognizer.
    weights: folder of published weights; None is the environment variable V2A_WEIGHTS.
  """

  names: tuple[str, ...] = ()
  captioner: endpoint_lib.EndpointConfig | None = None
  captioner_config: captioner_lib.CaptionerConfig = captioner_lib.CaptionerConfig()
  transcriber: endpoint_lib.EndpointConfig | None = None
  min_confidence: float | None = None
  weights: str | None = None

  def __post_init__(self):
    if unknown := [name for name in self.names if name not in NAMES]:
      raise ValueError(f'annotators must be of {", ".join(NAMES)}; got {", ".join(unknown)}.')

  def to_json(self) -> Mapping[str, Any]:
    """Returns the settings as values of JSON; they name the variable that holds an API key, not the key."""
    return dataclasses.asdict(self)


def open_all(settings: Settings) -> list[annotator_lib.Annotator]:
  """Returns annotators in the order in which they are applied.

  Raises:
    ServiceError: what one of them needs is missing.
  """
  found: list[annotator_lib.Annotator] = []
  if settings.transcriber is not None:
    recognizer = transcriber_lib.EndpointRecognizer(endpoint_lib.Endpoint(settings.transcriber))
    least = transcriber_lib.WHISPER_CONFIDENCE if settings.min_confidence is None else settings.min_confidence
    found.append(transcriber_lib.Transcriber(recognizer, least))
  found += [_open(name, settings) for name in NAMES if name in settings.names]
  if settings.captioner is not None:
    found.append(
      captioner_lib.Captioner(endpoint_lib.Endpoint(settings.captioner), settings.captioner_config)
    )
  return found


def _open(name: str, settings: Settings) -> annotator_lib.Annotator:
  if name == 'signal':
    return tagger.Tagger()
  if name == 'align':
    return align.Aligner()
  if name == 'clap':
    folder = checkpoints.folder(settings.weights)
    return zero_shot.ZeroShot(None if folder is None else pathlib.Path(folder))
  loaded = transcriber_lib.load(name, settings.weights, settings.min_confidence)
  if isinstance(loaded, embedder.Missing):
    raise annotator_lib.ServiceError(f'{name} cannot be used: {loaded.reason}.')
  return loaded
