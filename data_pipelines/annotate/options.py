"""The flags of annotators, which the commands that annotate share, and what they say."""

import argparse

from data_pipelines.annotate import catalog
from data_pipelines.annotate import endpoint
from data_pipelines.annotate import usage
from v2a import flags


def add_flags(group: argparse._ArgumentGroup) -> None:
  """Adds the flags to a group of a parser."""
  names = ', '.join(catalog.NAMES)
  group.add_argument('--annotate', metavar='NAMES', default='', help=f'separated by commas: {names}')
  group.add_argument('--captioner', metavar='MODEL@URL', help='model of an OpenAI-compatible endpoint')
  group.add_argument('--transcriber', metavar='MODEL@URL', help='likewise, for transcripts')
  group.add_argument('--api-key-env', metavar='NAME', help='variable with the API key; default: no key')
  group.add_argument(
    '--requests-per-minute',
    type=flags.number(float, 0, is_open=True),
    help='of an endpoint; default: no limit',
  )
  group.add_argument(
    '--num-threads',
    type=flags.number(int, 1),
    default=1,
    help='clips annotated at once by a worker; default 1',
  )
  price = flags.number(float, 0)
  group.add_argument('--usd-per-m-input', type=price, default=0.0, help='price of a million input tokens')
  group.add_argument('--usd-per-m-output', type=price, default=0.0, help='price of a million output tokens')
  group.add_argument('--usd-per-minute', type=price, default=0.0, help='price of a minute to transcribe')


def settings(args: argparse.Namespace) -> catalog.Settings:
  """Returns which annotators are applied.

  Args:
    args: of `add_flags`, and `weights`, the folder of published weights.

  Raises:
    ValueError: a value is wrong.
  """
  return catalog.Settings(
    names=tuple(name for name in args.annotate.split(',') if name),
    captioner=_endpoint(args.captioner, '--captioner', args),
    transcriber=_endpoint(args.transcriber, '--transcriber', args),
    weights=args.weights,
  )


def prices(args: argparse.Namespace) -> usage.Prices:
  """Returns the stated prices."""
  return usage.Prices(args.usd_per_m_input, args.usd_per_m_output, args.usd_per_minute)


def _endpoint(text: str | None, flag: str, args: argparse.Namespace) -> endpoint.EndpointConfig | None:
  if text is None:
    return None
  model, sign, url = text.rpartition('@')
  if not sign:
    raise ValueError(f'{flag} must be MODEL@URL; got {text!r}.')
  return endpoint.EndpointConfig(
    url, model, api_key_env=args.api_key_env, requests_per_minute=args.requests_per_minute
  )
