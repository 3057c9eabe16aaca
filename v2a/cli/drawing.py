"""The flags that tell how soundtracks are drawn, for every command that draws some."""

import argparse
import math

# Known here too, since help shall not wait for JAX.
GENERATORS = ('flow', 'tokens', 'masked')
AXES = ('fsdp', 'context', 'tensor')  # of sharding.mesh, those that split a generator or a clip


def number(kind: type, least: float, is_open: bool = False):
  """Returns an argparse type: a finite number of at least `least`, or above it where `is_open`."""

  def parse(text: str):
    try:
      value = kind(text)
    except ValueError:
      value = math.nan
    if not math.isfinite(value) or value < least or (is_open and value == least):
      wanted = (
        f'{"a whole number" if kind is int else "a number"} {"above" if is_open else "of at least"} {least:g}'
      )
      raise argparse.ArgumentTypeError(f'wanted {wanted}; got {text!r}')
    return value

  return parse


def add_flags(group, is_compared: bool = False) -> None:
  """Adds --generator and the flags of requests.CHOICES to a parser or a group of one.

  Args:
    group: parser or group.
    is_compared: whether models are compared: each names its generator itself, and --steps takes several.
  """
  if not is_compared:
    group.add_argument(
      '--generator',
      choices=GENERATORS,
      help="what draws: a flow, tokens in turn, or masked tokens (the model's)",
    )
  group.add_argument(
    '--steps',
    type=number(int, 1),
    nargs='+' if is_compared else None,
    metavar='N',
    help=f"flow: steps; masked: passes{', all of these' if is_compared else ''} (the model's)",
  )
  group.add_argument('--solver', choices=('euler', 'heun', 'dpmpp2m'), help="flow: the solver (the model's)")
  group.add_argument(
    '--temperature',
    type=number(float, 0, is_open=True),
    metavar='T',
    help="tokens, masked: below 1 is more certain (the model's)",
  )
  group.add_argument(
    '--top-k',
    type=number(int, 0),
    metavar='K',
    help="tokens, masked: only the K likeliest; 0 is all (the model's)",
  )
  group.add_argument(
    '--top-p',
    type=number(float, 0, is_open=True),
    metavar='P',
    help="tokens, masked: only the likeliest that reach the probability P (the model's)",
  )
  group.add_argument(
    '--guidance',
    type=number(float, 0),
    metavar='G',
    help="guidance by everything at once (the model's); 1 is none",
  )
  for name in ('video', 'text', 'transcript'):
    group.add_argument(
      f'--guidance-{name}',
      type=number(float, 0),
      metavar='G',
      help=f"guidance by {name} (the model's); 1 is none",
    )


def axis(text: str) -> tuple[str, int]:
  """Returns an axis of the mesh and its size from a flag's text."""
  name, _, size = text.partition('=')
  if name not in AXES or not size.isdecimal() or int(size) < 1:
    raise argparse.ArgumentTypeError(f'wanted AXIS=N with an axis of {", ".join(AXES)}; got {text!r}')
  return name, int(size)


def add_mesh_flag(group) -> None:
  """Adds the flag that spreads one model over several devices."""
  group.add_argument(
    '--mesh',
    type=axis,
    nargs='+',
    default=[],
    metavar='AXIS=N',
    help=f'spread the weights of the generator over devices, for what is larger than one, along '
    f'{", ".join(AXES)}; soundtracks share what is left (each device has a copy)',
  )


def mesh_sizes(args: argparse.Namespace) -> dict[str, int] | None:
  """Returns the mesh that was asked for, or None.

  Raises:
    ValueError: an axis stands twice.
  """
  names = [name for name, _ in args.mesh]
  if len(set(names)) < len(names):
    raise ValueError(f'--mesh must name each axis once; got {" ".join(names)}.')
  return {'data': -1, **dict(args.mesh)} if args.mesh else None


def settings(args: argparse.Namespace) -> dict:
  """Returns the parsed flags by the names of generate.Request."""
  from v2a import requests

  return {name: getattr(args, name) for name in requests.CHOICES}
