"""The command line: one module a sub-command, flags, printing and exit codes only.

A module NAME.py has two functions, and imports heavy modules inside the second, so that help is instant:

  add_flags(parser: argparse.ArgumentParser) -> None
  run(args: argparse.Namespace) -> int        # the exit code

Exit codes: 0 done; 1 some inputs of many failed, or something is missing; 2 the input is at fault, stated
in one line on stderr; 130 interrupted, 143 after SIGTERM, 129 after SIGHUP. `run` raises ValueError or an
OSError for what is the input's fault.
"""
