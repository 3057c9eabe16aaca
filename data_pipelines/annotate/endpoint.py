"""Requests to an OpenAI-compatible endpoint: a vLLM server, or a hosted one, by the `openai` client.

A request is repeated after 408, 409, 425, 429, 5xx, a timeout, a lost connection or an answer that is no
JSON, up to `max_attempts`. Before attempt n + 1 it waits

  max(Retry-After, u min(max_backoff_s, first_backoff_s 2^(n-1))),   u uniform in [0.5, 1]              (1)

A Retry-After holds for all threads and processes (`rate_limit`). What then still fails concerns one clip (an
AnnotationError), or every clip (a ServiceError): 401, 403, 404, an exhausted quota, a connection that is
refused, a Retry-After of more than max_retry_after_s. Other 4xx concern the clip, and are not repeated.

The API key is read from the environment where a request is sent. It is never stored, printed or pickled.
"""

from collections.abc import Callable
import dataclasses
import email.utils
import hashlib
import importlib
import os
import pathlib
import random
import tempfile
import threading
import time
from typing import Any
from typing import TypeVar

from data_pipelines.annotate import annotator
from data_pipelines.annotate import rate_limit
from data_pipelines.annotate import usage as usage_lib
from v2a import file_names
from v2a.models.published import checkpoints

INSTALL_COMMAND = "pip install 'v2a[data]'"
_RETRIED = (408, 409, 425, 429)
_REFUSALS = (401, 403, 404)
_NUM_SHOWN_MODELS = 5
_MAX_MESSAGE = 300
T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class EndpointConfig:
  """An endpoint and how it may be used.

  Attributes:
    base_url: such as http://HOST:8000/v1.
    model: its name at the endpoint.
    api_key_env: environment variable that holds the API key; None where the endpoint needs none.
    requests_per_minute: over all processes of this machine; None does not limit them.
    concurrency: most requests at once, over all processes of this machine.
    timeout_s: of one request.
    max_attempts, first_backoff_s, max_backoff_s, max_retry_after_s: see the module.
  """

  base_url: str
  model: str
  api_key_env: str | None = 'OPENAI_API_KEY'
  requests_per_minute: float | None = None
  concurrency: int = 8
  timeout_s: float = 120.0
  max_attempts: int = 6
  first_backoff_s: float = 1.0
  max_backoff_s: float = 60.0
  max_retry_after_s: float = 300.0

  def __post_init__(self):
    if not self.base_url.startswith(('http://', 'https://')):
      raise ValueError(f'base_url must begin with http:// or https://; got {self.base_url!r}.')
    if not self.model:
      raise ValueError('model must be the name of a model at the endpoint; got none.')
    for name in ('concurrency', 'max_attempts', 'timeout_s', 'requests_per_minute'):
      value = getattr(self, name)
      if value is not None and not value > 0:
        raise ValueError(f'{name} must be positive; got {value}.')


class Endpoint:
  """Sends requests, see the module; thread-safe, and can be pickled.

  Attributes:
    config: of the endpoint.
    usage: of this process.
  """

  def __init__(self, config: EndpointConfig):
    self.config = config
    self.__setstate__({'config': config})

  def __getstate__(self) -> dict[str, Any]:
    return {'config': self.config}

  def __setstate__(self, state: dict[str, Any]) -> None:
    self.config = state['config']
    self.usage = usage_lib.Usage()
    self._lock = threading.Lock()
    self._client: tuple[int, Any] | None = None
    self._random = random.Random()
    name = f'{os.getuid()} {self.config.base_url}'
    folder = f'v2a-endpoint-{hashlib.sha256(name.encode()).hexdigest()[:16]}'
    self._limit = rate_limit.RateLimit(
      pathlib.Path(tempfile.gettempdir()) / folder, self.config.requests_per_minute, self.config.concurrency
    )

  def count(self, added: usage_lib.Usage) -> None:
    """Adds to `usage`."""
    with self._lock:
      self.usage += added

  def client(self) -> Any:
    """Returns the client of this process.

    Raises:
      ServiceError: the package or the API key is missing.
    """
    with self._lock:
      if self._client is None or self._client[0] != os.getpid():  # sockets do not survive a fork
        self._client = os.getpid(), self._connect()
      return self._client[1]

  def check(self, send: Callable[[Any], Any]) -> None:
    """Sends one small request, without a retry.

    Args:
      send: sends it by a client; of the same kind as those of the clips, so that an endpoint that does not
        take sound is found before the first clip.

    Raises:
      ServiceError: the endpoint cannot be used, with the reason in one line.
    """
    client = self.client()
    openai = _openai()
    try:
      with self._limit.request():
        self.count(usage_lib.Usage(num_requests=1))
        send(client)
    except openai.RateLimitError as error:
      if _is_out_of_quota(error):
        raise self._refusal(error) from error
    except (openai.OpenAIError, ValueError) as error:
      raise self._refusal(error) from error

  def call(self, send: Callable[[Any], T]) -> T:
    """Returns the answer to a request, repeated as the module describes.

    Args:
      send: sends it by a client. A ValueError of its says that the answer is not of the protocol.

    Raises:
      AnnotationError: this request gets no answer.
      ServiceError: no request gets an answer.
    """
    client = self.client()
    openai = _openai()
    attempt = 0
    while True:
      attempt += 1
      try:
        with self._limit.request():
          self.count(usage_lib.Usage(num_requests=1, num_retries=int(attempt > 1)))
          return send(client)
      except (openai.OpenAIError, ValueError) as error:
        self._raise_if_final(error, attempt)
        time.sleep(self._delay_s(error, attempt))

  def _connect(self) -> Any:
    missing = checkpoints.missing_package('openai', INSTALL_COMMAND)
    if missing:
      raise annotator.ServiceError(f'{self.config.base_url}: {missing[0]}.')
    key = os.environ.get(self.config.api_key_env or '', '')
    if self.config.api_key_env and not key.strip():
      raise annotator.ServiceError(
        f'{self.config.base_url}: no API key; set the environment variable {self.config.api_key_env}.'
      )
    return _openai().OpenAI(
      api_key=key.strip() or 'none',
      base_url=self.config.base_url,
      timeout=self.config.timeout_s,
      max_retries=0,
    )

  def _raise_if_final(self, error: Exception, attempt: int) -> None:
    """Raises where no further attempt is made."""
    openai = _openai()
    status: int = getattr(error, 'status_code', None) or 0
    is_last = attempt == self.config.max_attempts
    if status in _REFUSALS or _is_out_of_quota(error):
      raise self._refusal(error) from error
    if isinstance(error, openai.APIStatusError) and not (status in _RETRIED or status >= 500):
      raise annotator.AnnotationError(self._describe(error)) from error
    if (wanted_s := _retry_after_s(error) or 0.0) > self.config.max_retry_after_s:
      raise annotator.ServiceError(
        f'{self._describe(error)}; wants {wanted_s:g} s before the next request, more than '
        f'{self.config.max_retry_after_s:g} s. What was finished is kept: continue later.'
      ) from error
    if is_last and _is_refused(error):
      raise self._refusal(error) from error
    if is_last:
      attempts = f'{attempt} attempt{"s" if attempt > 1 else ""}'
      raise annotator.AnnotationError(f'{self._describe(error)}; gave up after {attempts}') from error

  def _delay_s(self, error: Exception, attempt: int) -> float:
    """Returns eq. 1."""
    limit_s = min(self.config.max_backoff_s, self.config.first_backoff_s * 2.0 ** (attempt - 1))
    backoff_s = self._random.uniform(0.5, 1.0) * limit_s
    wanted_s = _retry_after_s(error)
    if wanted_s:
      self._limit.postpone(wanted_s)
    return max(backoff_s, wanted_s or 0.0)

  def _refusal(self, error: Exception) -> annotator.ServiceError:
    """Returns the error of an endpoint that cannot be used."""
    status, text = getattr(error, 'status_code', None), self._describe(error)
    if status in (401, 403):
      text += f'; the key is that of {self.config.api_key_env}' if self.config.api_key_env else ''
    if status == 404:
      text += f'; {self._models()}'
    return annotator.ServiceError(text)

  def _models(self) -> str:
    """Returns which models the endpoint has, as a sentence."""
    openai = _openai()
    try:
      names = sorted(each.id for each in self.client().models.list())
    except (openai.OpenAIError, ValueError, AttributeError, TypeError):
      return 'it lists no models either: base URLs mostly end in /v1'
    if self.config.model in names:
      return f'it lists the model {self.config.model}, which may not support this request'
    more = f' and {len(names) - _NUM_SHOWN_MODELS} more' if len(names) > _NUM_SHOWN_MODELS else ''
    return f'it has no model {self.config.model}; its models are {", ".join(names[:_NUM_SHOWN_MODELS])}{more}'

  def _describe(self, error: Exception) -> str:
    """Returns an error as one line without the API key."""
    openai = _openai()
    if isinstance(error, openai.APITimeoutError):
      text = f'no answer within {self.config.timeout_s:g} s'
    elif _is_refused(error):
      text = f'no connection ({_root(error)})'
    elif isinstance(error, openai.APIConnectionError):
      text = f'connection lost ({type(_root(error)).__name__}: {_root(error)})'
    elif isinstance(error, openai.APIStatusError):
      body = error.body.get('message') if isinstance(error.body, dict) else None
      text = f'{error.status_code} {body or error.message}'
    else:
      text = f'answer is not of the protocol ({error})'
    key = os.environ.get(self.config.api_key_env or '', '').strip()
    text = text.replace(key, '***') if key else text
    return f'{self.config.base_url}: {file_names.one_line(text)[:_MAX_MESSAGE]}'


def _openai() -> Any:
  """Returns the package, which belongs to an extra and is imported on first use."""
  return importlib.import_module('openai')


def _root(error: BaseException) -> BaseException:
  while error.__cause__ is not None:
    error = error.__cause__
  return error


def _is_refused(error: BaseException | None) -> bool:
  """Whether no connection was made; the class is that of httpx, of whatever version the client uses."""
  while error is not None:
    if type(error).__name__ in ('ConnectError', 'UnsupportedProtocol'):
      return True
    error = error.__cause__
  return False


def _is_out_of_quota(error: Exception) -> bool:
  return getattr(error, 'status_code', None) == 429 and getattr(error, 'code', None) == 'insufficient_quota'


def _retry_after_s(error: Exception) -> float | None:
  """Returns the seconds of Retry-After: a number, or an HTTP date; None if there is none."""
  response = getattr(error, 'response', None)
  value = '' if response is None else response.headers.get('retry-after', '')
  try:
    return max(0.0, float(value))
  except ValueError:
    pass
  try:
    return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
  except ValueError:
    return None
