"""The program `v2a`: finds the sub-command, and reports errors of the input in one line with exit code 2."""

import argparse
import contextlib
import difflib
import importlib
import io
import logging
import os
import sys
from typing import Any
from typing import NoReturn

import v2a
from v2a import file_names
from v2a import flags
from v2a import input_errors
from v2a import termination
from v2a import workarounds

COMMANDS = {
  'generate': 'generate soundtracks for videos, stills or a prompt alone',
  'data': 'build, verify and encode data sets for training',
  'train': 'train a codec, a sync encoder or a generator from a config',
  'codec': 'encode and decode sounds with a codec: what it loses',
  'compile': 'compile a training step ahead of time for TPUs: does it fit, what bounds it',
  'evaluate': 'compute metrics of a model on clips with ground truth',
  'compare': 'compare models and external soundtracks on the same clips',
  'demo': 'generate soundtracks for the bundled clips and make a page of them',
  'models': 'list the packaged models',
  'doctor': 'show devices, versions and what is missing',
}
# Unknown flags of the form --config.KEY are overrides of the config, which checks its keys.
TAKES_OVERRIDES = ('train', 'compile')
MAX_MESSAGE = 600


def _top() -> flags.Parser:
  commands = '\n'.join(f'  {name:<10} {text}' for name, text in COMMANDS.items())
  parser = flags.Parser(
    prog='v2a',
    formatter_class=argparse.RawDescriptionHelpFormatter,
    usage='v2a COMMAND [flags]',
    description='Soundtracks for silent video.',
    epilog=f'commands:\n{commands}\n\nv2a COMMAND --help shows the flags of one.',
  )
  parser.add_argument('--version', action='version', version=f'v2a {v2a.__version__}')
  return parser


def _parse(argv: list[str]) -> tuple[argparse.Namespace, Any]:
  """Returns the parsed flags and the module of the sub-command."""
  command = argv[0]
  if command not in COMMANDS:
    near = difflib.get_close_matches(command, COMMANDS, n=1)
    hint = f'Did you mean {near[0]}?' if near else f'There are {", ".join(COMMANDS)}.'
    raise ValueError(f'no command {command!r}. {hint}')
  module = importlib.import_module(f'v2a.cli.{command}')
  parser = flags.Parser(
    prog=f'v2a {command}', description=f'{COMMANDS[command].capitalize()}.', allow_abbrev=False)  # fmt: skip
  module.add_flags(parser)
  args, unknown = parser.parse_known_args(argv[1:])
  overrides = [flag for flag in unknown if command in TAKES_OVERRIDES and flag.startswith('--config.')]
  unrecognized = [flag for flag in unknown if flag not in overrides]
  if unrecognized:
    known = [flag for action in parser._actions for flag in action.option_strings]
    near = difflib.get_close_matches(unrecognized[0].split('=')[0], known, n=1)
    hint = f' Did you mean {near[0]}?' if near else ''
    parser.error(f'unrecognized arguments: {" ".join(unrecognized)}.{hint}')
  if command in TAKES_OVERRIDES:
    args.overrides = overrides
  return args, module


def error_message(error: BaseException) -> str:
  """Returns an error as one line: for files the name and the reason, else its message."""
  if isinstance(error, input_errors.ArgumentError):
    return file_names.one_line(error.flag_message, None)
  path, reason = (error.filename, error.strerror) if isinstance(error, OSError) else (None, None)
  text = f'{path}: {reason}' if path and reason else str(error) or type(error).__name__
  text = file_names.one_line(text, path)
  return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + '...'


def _silence_stdout() -> None:
  """Points stdout to nowhere, so that the interpreter's last flush does not fail on a closed pipe."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: list[str] | None = None) -> int:
  """Runs one command line.

  Args:
    argv: the words after the program's name; None: those of this process.

  Returns:
    The exit code (see v2a.cli).
  """
  argv = sys.argv[1:] if argv is None else argv
  for stream in (sys.stdout, sys.stderr):
    # A file name that the encoding of the terminal lacks must not end a run.
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='backslashreplace')
  # Before NumPy is imported: the threads of its BLAS spin while they wait, and the matrices that it is given
  # (covariances in evaluation) are small. JAX has its own threads.
  os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
  workarounds.order_cpu_collectives()
  # Its warning about a missing home folder has no consequence but a slower start.
  logging.getLogger('matplotlib').setLevel(logging.ERROR)
  try:
    if not argv or argv[0].startswith('-'):
      _top().parse_args(argv)
      _top().print_help()
      return 0
    args, module = _parse(argv)
    # Training handles signals itself (v2a.training.distributed.stopping).
    with contextlib.nullcontext() if argv[0] == 'train' else termination.raise_on_signals():
      code = module.run(args)
    sys.stdout.flush()
    return code
  except BrokenPipeError:
    _silence_stdout()
    return 1
  except KeyboardInterrupt:
    print('v2a: interrupted', file=sys.stderr)
    return 130
  except termination.Terminated as stop:
    print(f'v2a: interrupted ({stop.name})', file=sys.stderr)
    return stop.exit_code
  except (ValueError, OSError) as error:
    if os.environ.get('V2A_DEBUG') == '1':
      raise
    print(f'v2a: {error_message(error)}', file=sys.stderr)
    return 2
  except (MemoryError, RuntimeError) as error:
    if os.environ.get('V2A_DEBUG') == '1' or not input_errors.is_out_of_memory(error):
      raise
    print(f'v2a: {input_errors.format_error(error)}', file=sys.stderr)
    return 2


def check(argv: list[str]) -> int:
  """Checks a command line that is to run on another machine: its flags, and `check` of its command.

  Returns:
    0, or 2 with one line on stderr.
  """
  try:
    if argv and not argv[0].startswith('-'):
      args, module = _parse(argv)
      if hasattr(module, 'check'):
        module.check(args)
  except (ValueError, OSError) as error:
    print(f'v2a: {error_message(error)}', file=sys.stderr)
    return 2
  return 0


def program() -> NoReturn:
  """Runs the command line of this process, and ends it."""
  termination.exit_program(main())


if __name__ == '__main__':
  program()
