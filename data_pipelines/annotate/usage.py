"""What endpoints were asked, counted, and what that costs by stated prices."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Usage:
  """Counts of requests to an endpoint.

  Attributes:
    num_requests: sent, retries included.
    num_retries: requests that repeated a failed one.
    num_invalid: answers that were not of the schema.
    input_tokens, output_tokens: as the endpoint counted them.
    num_uncounted: answers in which the endpoint gave no tokens; where this is not 0, the costs are a lower
      bound.
    audio_s: seconds of sound that were transcribed.
  """

  num_requests: int = 0
  num_retries: int = 0
  num_invalid: int = 0
  input_tokens: int = 0
  output_tokens: int = 0
  num_uncounted: int = 0
  audio_s: float = 0.0

  def __add__(self, other: 'Usage') -> 'Usage':
    return Usage(**{name: value + getattr(other, name) for name, value in dataclasses.asdict(self).items()})


@dataclasses.dataclass(frozen=True)
class Prices:
  """Prices of an endpoint in US dollars, as its operator states them.

  Attributes:
    input_usd_per_m, output_usd_per_m: of a million tokens.
    audio_usd_per_minute: of sound that is transcribed.
  """

  input_usd_per_m: float = 0.0
  output_usd_per_m: float = 0.0
  audio_usd_per_minute: float = 0.0

  def __post_init__(self):
    if min(dataclasses.astuple(self)) < 0:
      raise ValueError(f'prices must not be negative; got {self}.')

  def cost_usd(self, usage: Usage) -> float:
    """Returns the costs of requests."""
    tokens_usd = self.input_usd_per_m * usage.input_tokens + self.output_usd_per_m * usage.output_tokens
    return tokens_usd / 1e6 + self.audio_usd_per_minute * usage.audio_s / 60.0
