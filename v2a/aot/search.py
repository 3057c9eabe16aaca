"""Search of the largest batch that fits a topology, and of the least rematerialization for it."""

from collections.abc import Callable

from v2a.aot import program

REMATS = ('none', 'dots', 'full')  # from the least rematerialization to the most


def largest_batch(
  compile_fn: Callable[[int, str], program.Report],
  first: int,
  show: Callable[[program.Report], object] = lambda report: None,
) -> program.Report | None:
  """Returns the report of the largest batch that fits, within an eighth, with the least remat that it needs.

  With the most remat, the batch is doubled until it does not fit, then bisected down to an eighth, since a
  compilation takes minutes. Then less remat is tried for the largest batch.

  Args:
    compile_fn: (batch size, remat) -> report.
    first: first batch size, a multiple of the number of parts that the mesh splits a batch into.
    show: called with every report.

  Returns:
    The report, None if not even `first` fits.
  """

  def compiled(size: int, remat: str) -> program.Report:
    report = compile_fn(size, remat)
    show(report)
    return report

  best, size = None, first
  while (report := compiled(size, REMATS[-1])).fits:
    best, size = report, 2 * size
  if best is None:
    return None
  while (middle := (best.batch_size + size) // 2 // first * first) - best.batch_size >= best.batch_size / 8:
    report = compiled(middle, REMATS[-1])
    best, size = (report, size) if report.fits else (best, middle)
  with_less_remat = (compiled(best.batch_size, remat) for remat in REMATS[:-1])
  return next((report for report in with_less_remat if report.fits), best)
