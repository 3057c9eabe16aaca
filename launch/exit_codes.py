"""Exit codes of `v2a train`, a contract with whatever starts it; also in docs/concepts/launching.md."""

# Code -> (name, whether to start again).
CODES = {
  0: ('done', False),
  1: ('bug', False),
  2: ('bad input', False),
  3: ('loss not finite', False),
  42: ('hung, stopped by its watchdog', True),
  75: ('a file could not be read or written', True),
  130: ('interrupted by Ctrl-C', False),
  134: ('lost another process', True),
  143: ('preempted, state saved', True),
}
# What a machine's end or a signal leaves; of these only Ctrl-C is somebody's wish.
FIRST_SIGNAL = 128


def is_retriable(code: int) -> bool:
  """Returns whether a run that left with `code` may be started again as it is."""
  return CODES[code][1] if code in CODES else code >= FIRST_SIGNAL


def name(code: int) -> str:
  """Returns what a code means, in words."""
  if code in CODES:
    return CODES[code][0]
  return f'killed by signal {code - FIRST_SIGNAL}' if code > FIRST_SIGNAL else 'unknown'


def retriable() -> list[int]:
  """Returns all codes after which a run may be started again."""
  return [code for code in range(256) if is_retriable(code)]


def from_returncode(returncode: int) -> int:
  """Returns the code a shell would give: subprocess says -9 where a shell says 137."""
  return returncode if returncode >= 0 else FIRST_SIGNAL - returncode


def combined(codes: list[int]) -> int:
  """Returns the code of a run whose processes left with `codes`.

  What forbids another start outweighs the rest, for one process' bug makes the others lose it. Then what the
  processes said of their own accord outweighs what was done to them.
  """
  final = [code for code in codes if code and not is_retriable(code)]
  own = [code for code in (143, 42, 75, 134) if code in codes]
  return (final + own + [code for code in codes if code] + [0])[0]
