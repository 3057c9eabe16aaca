import dataclasses

import pytest

from v2a.aot import program
from v2a.aot import search

NEEDED = {'none': 4.0, 'dots': 2.0, 'full': 1.0}  # bytes a clip


def compiler(capacity, tried):
  fields = dict.fromkeys(field.name for field in dataclasses.fields(program.Report))

  def compile_fn(size, remat):
    tried.append((size, remat))
    fits = size * NEEDED[remat] <= capacity
    return program.Report(**fields | {'batch_size': size, 'remat': remat, 'fits': fits})

  return compile_fn


@pytest.mark.parametrize(
  ('capacity', 'size', 'remat'),
  [(64, 64, 'full'), (127, 112, 'full'), (100, 96, 'full'), (40, 32, 'full'), (1000, 896, 'full')],
)
def test_the_largest_batch_wants_the_most_remat(capacity, size, remat):
  tried = []
  best = search.largest_batch(compiler(capacity, tried), 16)
  assert (best.batch_size, best.remat) == (size, remat)
  assert len(tried) == len(set(tried)), 'nothing is compiled twice'
  assert tried[-2:] == [(size, 'none'), (size, 'dots')]


def test_the_least_remat_is_taken():
  # Something other than the batch fills the chip from 256 clips on.
  shown = []
  fn = compiler(4 * 128, [])
  cut = lambda size, remat: fn(size if size <= 128 else 10**9, remat)
  best = search.largest_batch(cut, 16, shown.append)
  assert (best.batch_size, best.remat) == (128, 'none')
  assert [report.batch_size for report in shown if report.fits] == [16, 32, 64, 128, 128]
  assert sum(not report.fits for report in shown) == 4  # 256, 192, 160, 144


def test_nothing_fits():
  assert search.largest_batch(compiler(8, []), 16) is None
