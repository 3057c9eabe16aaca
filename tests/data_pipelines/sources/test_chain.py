"""Several tables of one data set as one source."""

import pathlib

from data_pipelines.sources import chain
from data_pipelines.sources import items
from data_pipelines.sources import vggsound

FIRST, SECOND = '---g-f_I2yQ', '--U7joUcTCo'


def test_a_clip_of_two_tables_is_a_duplicate(tmp_path: pathlib.Path):
  (tmp_path / f'{FIRST}_000030.mp4').touch()
  (tmp_path / f'{SECOND}_000000.mp4').touch()
  train, test = tmp_path / 'train.csv', tmp_path / 'test.csv'
  train.write_text(f'{FIRST}_000030.mp4,dog\n#NAME?,x\n')
  test.write_text(f'{SECOND}_000000.mp4,speech\n{FIRST}_000030.mp4,dog\n')
  source = chain.Chain((vggsound.VggSound(train), vggsound.VggSound(test)), 'vggsound')
  first, malformed, second, duplicate = source
  assert (first.id, first.split) == (f'{FIRST}_000030', 'train') and malformed.kind == 'malformed'
  assert (second.id, second.split) == (f'{SECOND}_000000', 'test')
  reason = f'its id is already used in {train}'
  assert duplicate == items.Problem('duplicate', first.id, str(test), reason)
  assert list(source) == [first, malformed, second, duplicate]
