"""Keeps freed memory in the process, where the C library allows it.

XLA on a CPU allocates its large buffers in every step. glibc gives such memory back to the
system at once, and the system clears every page again before the next step: on two cores a codec
step spent a third of its time there. Threads have heaps of their own, and the C library
always gives back whole heaps, so all threads share one (flow and token steps: a tenth of the time).
"""

import ctypes
import sys

# glibc malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_PAD_BYTES = 256 << 20


def keep_freed_pages() -> bool:
  """Tells malloc to keep what is freed; call before the first step. Returns whether it could."""
  if not sys.platform.startswith('linux'):
    return False
  mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
  if mallopt is None:
    return False
  # A threshold of -1: never.
  settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _PAD_BYTES), (_M_ARENA_MAX, 1))
  return sum(mallopt(name, value) for name, value in settings) == len(settings)
