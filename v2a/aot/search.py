"""The largest batch that fits a topology, and the least that must be computed again for it."""

from collections.abc import Callable

from v2a.aot import program

REMATS = ('none', 'dots', 'full')  # from the least that is computed again to the most


def largest_batch(
  compile_fn: Callable[[int, str], program.Report],
  first: int,
  show: Callable[[program.Report], object] = lambda report: None,
) -> program.Report | None:
  """Returns the report of the largest batch that fits, within an eighth, with the least remat that it needs.

  Under the most remat, batches are doubled until one does not fit, and what lies between is halved: to an
  eighth, since a compilation takes minutes. Then less remat is tried for the largest.

  Args:
    compile_fn: (clips a step, remat) -> report.
    first: clips a step to begin with, a multiple of what the mesh splits a batch in.
    show: is given every report.

  Returns:
    None where not even `first` fits.
  """

  def tried(size: int, remat: str) -> program.Report:
    report = compile_fn(size, remat)
    show(report)
    return report

  best, size = None, first
  while (report := tried(size, REMATS[-1])).fits:
    best, size = report, 2 * size
  if best is None:
    return None
  while (middle := (best.batch_size + size) // 2 // first * first) - best.batch_size >= best.batch_size / 8:
    report = tried(middle, REMATS[-1])
    best, size = (report, size) if report.fits else (best, middle)
  less = (tried(best.batch_size, remat) for remat in REMATS[:-1])
  return next((report for report in less if report.fits), best)
