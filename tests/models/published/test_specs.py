"""The text format of tensor specs, and the specs that are stored."""

import json

import numpy as np
import pytest
import safetensors.numpy

from tests.models.published import specs

SPEC = {
  'blocks.0.0.weight': ((4, 3), 'float32'),
  'blocks.0.0.index': ((), 'int64'),
  'blocks.0.1.weight': ((4, 3), 'float32'),
  'blocks.1.0.weight': ((4, 3), 'float32'),
  'blocks.1.1.weight': ((4, 3), 'float32'),
  'blocks.1.0.bias': ((4,), 'float32'),
  'blocks.3.0.bias': ((4,), 'float32'),
  'blocks.4.0.bias': ((4,), 'float32'),
  'blocks.5.0.bias': ((4,), 'float32'),
  'head': ((4,), 'float16'),
}
TEXT = """\
blocks.{0,1}.{0,1}.weight [4,3]
blocks.0.0.index [] int64
blocks.{1,3-5}.0.bias [4]
head [4] float16
"""


def test_numbers_in_names_are_merged():
  assert specs.format_spec(SPEC) == TEXT
  assert specs.parse(TEXT) == SPEC


@pytest.mark.parametrize('path', sorted(specs.FOLDER.iterdir()), ids=lambda path: path.stem)
def test_stored_specs_are_small_and_in_the_form_that_is_written(path):
  text = path.read_text()
  assert specs.format_spec(specs.parse(text)) == text
  assert path.stat().st_size < 8000


@pytest.mark.parametrize(
  ('text', 'message'),
  [('head 4\n', 'must be `name'), ('a.{0-2} [1]\na.1 [2]\n', 'a.1 is listed twice')],
)
def test_malformed_specs_are_refused(text, message):
  with pytest.raises(ValueError, match=message):
    specs.parse(text)


@pytest.mark.parametrize('suffix', ['safetensors', 'json'])
def test_spec_is_written_from_a_checkpoint(tmp_path, monkeypatch, suffix):
  path = tmp_path / f'net.{suffix}'
  if suffix == 'json':
    path.write_text(json.dumps({'keys': {name: list(content) for name, content in SPEC.items()}}))
  else:
    safetensors.numpy.save_file({name: np.zeros(shape, dtype) for name, (shape, dtype) in SPEC.items()}, path)
  monkeypatch.setattr(specs, 'FOLDER', tmp_path)
  monkeypatch.setattr('sys.argv', ['specs', 'net', str(path)])
  specs.main()
  assert specs.parse((tmp_path / 'net.txt').read_text()) == SPEC
