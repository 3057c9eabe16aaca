import dataclasses

import pytest

from v2a.aot import program
from v2a.aot import search

CLIP_BYTES = {'none': 4.0, 'dots': 2.0, 'full': 1.0}


def compiler(capacity, compiled):
  fields = dict.fromkeys(field.name for field in dataclasses.fields(program.Report))

  def compile_fn(size, remat):
    compiled.append((size, remat))
    fits = size * CLIP_BYTES[remat] <= capacity
    return program.Report(**fields | {'batch_size': size, 'remat': remat, 'fits': fits})

  return compile_fn


@pytest.mark.parametrize(
  ('capacity', 'size', 'remat'),
  [(64, 64, 'full'), (127, 112, 'full'), (100, 96, 'full'), (40, 32, 'full'), (1000, 896, 'full')],
)
def test_the_largest_batch_needs_the_most_remat(capacity, size, remat):
  compiled = []
  best = search.largest_batch(compiler(capacity, compiled), 16)
  assert (best.batch_size, best.remat) == (size, remat)
  assert len(compiled) == len(set(compiled)), 'nothing is compiled twice'
  assert compiled[-2:] == [(size, 'none'), (size, 'dots')]


def test_the_least_remat_that_fits_is_chosen():
  # With more than 128 clips nothing fits, whatever the remat.
  reports = []
  fn = compiler(4 * 128, [])
  limited = lambda size, remat: fn(size if size <= 128 else 10**9, remat)
  best = search.largest_batch(limited, 16, reports.append)
  assert (best.batch_size, best.remat) == (128, 'none')
  assert [report.batch_size for report in reports if report.fits] == [16, 32, 64, 128, 128]
  assert sum(not report.fits for report in reports) == 4  # 256, 192, 160, 144


def test_nothing_fits():
  assert search.largest_batch(compiler(8, []), 16) is None
