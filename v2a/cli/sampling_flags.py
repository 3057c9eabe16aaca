"""Flags of sampling, for every command that generates soundtracks."""

import argparse

from v2a import flags

# Repeated here, so that --help does not import JAX.
GENERATORS = ('flow', 'tokens', 'masked')
MAX_DEVICES = 2**20
AXES = ('fsdp', 'context', 'tensor')  # of sharding.mesh, those that split a generator or a clip


def add_flags(group: argparse._ActionsContainer, is_compared: bool = False) -> None:
  """Adds --generator and the flags of sampling.request.OPTIONAL_SETTINGS to a parser or a group of one.

  Args:
    group: parser or group.
    is_compared: whether models are compared: each names its generator, and --steps takes several values.
  """
  if not is_compared:
    group.add_argument(
      '--generator',
      choices=GENERATORS,
      help='flow (diffusion), tokens (autoregressive) or masked (masked decoding) '
      '(default: that of the model)',
    )
  group.add_argument(
    '--steps',
    type=flags.number(int, 1),
    nargs='+' if is_compared else None,
    metavar='N',
    help=f'flow: steps; masked: decoding iterations{", all of these" if is_compared else ""} '
    '(default: that of the model)',
  )
  group.add_argument(
    '--solver', choices=('euler', 'heun', 'dpmpp2m'), help='flow: the solver (default: that of the model)'
  )
  group.add_argument(
    '--temperature',
    type=flags.number(float, 0, is_open=True),
    metavar='T',
    help='tokens, masked: sampling temperature (default: that of the model)',
  )
  group.add_argument(
    '--top-k',
    type=flags.number(int, 0),
    metavar='K',
    help='tokens, masked: top-k sampling; 0 is off (default: that of the model)',
  )
  group.add_argument(
    '--top-p',
    type=flags.number(float, 0, is_open=True),
    metavar='P',
    help='tokens, masked: nucleus sampling; 1 is off (default: that of the model)',
  )
  group.add_argument(
    '--guidance',
    type=flags.number(float, 0),
    metavar='G',
    help='guidance scale of all conditions together; 1 is none (default: that of the model)',
  )
  for name in ('video', 'text', 'transcript'):
    group.add_argument(
      f'--guidance-{name}',
      type=flags.number(float, 0),
      metavar='G',
      help=f'guidance scale of the {name}; 1 is none (default: that of the model)',
    )


def axes(text: str) -> str:
  """Returns a flag's text: axes of the mesh and their sizes, each once.

  Raises:
    ArgumentTypeError: the text has another form.
  """
  parts = [part.partition('=') for part in text.split(',')]
  is_right = all(name in AXES for name, _, _ in parts)
  try:
    for _, _, size in parts:
      flags.parse_number(int, size, 1, MAX_DEVICES)
  except ValueError:
    is_right = False
  if not is_right or len({name for name, _, _ in parts}) < len(parts):
    raise argparse.ArgumentTypeError(
      f'wanted AXIS=N, N a whole number of at least 1, or several with commas between them, each of '
      f'{", ".join(AXES)} once; got {text!r}'
    )
  return text


def add_mesh_flag(group: argparse._ActionsContainer) -> None:
  """Adds the flag that shards one model over several devices."""
  group.add_argument(
    '--mesh',
    type=axes,
    metavar='AXIS=N,...',
    help='shard one generator over devices: fsdp and tensor shard its weights, context the clip; the '
    'remaining devices sample in parallel (default: each device has all weights)',
  )


def mesh_sizes(args: argparse.Namespace) -> dict[str, int] | None:
  """Returns the mesh of --mesh, or None."""
  if args.mesh is None:
    return None
  parts = (part.split('=') for part in args.mesh.split(','))
  return {'data': -1, **{name: int(size) for name, size in parts}}


def settings(args: argparse.Namespace) -> dict:
  """Returns the parsed flags by the names of request.Request."""
  from v2a.sampling import request

  return {name: getattr(args, name) for name in request.OPTIONAL_SETTINGS}
