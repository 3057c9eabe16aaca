"""Runs `python -m v2a` as the program `v2a`."""

from v2a.cli import main

if __name__ == '__main__':
  main.program()
