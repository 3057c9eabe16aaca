"""Exit codes of `v2a train`, the interface to its launchers; also in docs/concepts/launching.md."""

# Code -> (name, whether to restart).
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
# Codes from here on mean termination by a signal; of these only Ctrl-C is not restarted.
FIRST_SIGNAL = 128


def is_retriable(code: int) -> bool:
  """Returns whether a run that exited with `code` may be restarted unchanged."""
  return CODES[code][1] if code in CODES else code >= FIRST_SIGNAL


def name(code: int) -> str:
  """Returns the meaning of a code."""
  if code in CODES:
    return CODES[code][0]
  return f'killed by signal {code - FIRST_SIGNAL}' if code > FIRST_SIGNAL else 'unknown'


def retriable() -> list[int]:
  """Returns all codes after which a run may be restarted."""
  return [code for code in range(256) if is_retriable(code)]


def from_returncode(returncode: int) -> int:
  """Converts a return code of subprocess (-9) to the exit code of a shell (137)."""
  return returncode if returncode >= 0 else FIRST_SIGNAL - returncode


def combined(codes: list[int]) -> int:
  """Returns the code of a run whose processes exited with `codes`.

  Codes that forbid a restart take precedence, since the failure of one process makes the others fail, too.
  Next come the codes with which processes exited by themselves, before signals.
  """
  final = [code for code in codes if code and not is_retriable(code)]
  own = [code for code in (143, 42, 75, 134) if code in codes]
  return (final + own + [code for code in codes if code] + [0])[0]
