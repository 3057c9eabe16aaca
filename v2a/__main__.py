"""Runs `python -m v2a` as the program `v2a`."""

import sys

from v2a.cli import main

if __name__ == '__main__':
  sys.exit(main.main())
