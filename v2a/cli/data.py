"""`v2a data`: the commands of data_pipelines under one name; their flags and exit codes are their own."""

import argparse
import importlib
import shlex

# Name of the command -> module, and what it does.
COMMANDS = {
  'recordings': ('data_pipelines.recordings.__main__', 'fetch recorded sounds with clean licences'),
  'mixtures': ('data_pipelines.mixtures', 'render mixtures of recorded sounds'),
  'build': ('data_pipelines.build', 'build a data set from videos and metadata, filtered and annotated'),
  'annotate': ('data_pipelines.annotate_records', 'annotate the records of a data set, beside them'),
  'verify': ('data_pipelines.build', 'reread a data set: v2a data verify DIR'),
  'encode': ('data_pipelines.encode', 'add the latents or codes of a codec to records'),
  'report': ('data_pipelines.report', 'write a page of a data set: v2a data report DIR'),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags; those of the commands are parsed by the commands."""
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.epilog = '\n'.join(f'  {name:<10} {text}' for name, (_, text) in COMMANDS.items())
  parser.add_argument('command', choices=COMMANDS, metavar='COMMAND', help=', '.join(COMMANDS))
  parser.add_argument('arguments', nargs=argparse.REMAINDER, help='v2a data COMMAND --help shows them')


def run(args: argparse.Namespace) -> int:
  """Runs the command and returns its exit code.

  Raises:
    ValueError: `verify` was not given one folder.
  """
  argv = list(args.arguments)
  if args.command == 'verify':
    if argv in (['-h'], ['--help']):
      print('usage: v2a data verify DIR\n\nRereads a data set: its shards, its columns and their checksums.')
      return 0
    if len(argv) != 1 or argv[0].startswith('-'):
      raise ValueError(f'v2a data verify wants the folder of a data set alone; got {shlex.join(argv)!r}.')
    argv = ['--verify', '--output', *argv]
  module = importlib.import_module(COMMANDS[args.command][0])
  return module.main(argv)
