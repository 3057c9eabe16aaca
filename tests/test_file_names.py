"""Names of files as text."""

import json
import os

import pytest

from v2a import file_names

BYTES = 'caf\udce9'


@pytest.mark.parametrize(
  ('text', 'wanted'),
  [
    (BYTES, 'caf\\xe9'),
    ('a\nb\x1b', 'a\\nb\\x1b'),
    ('a\u2028b', 'a\\u2028b'),
    ('Björn \u97f3 $x$ 50%d', 'Björn \u97f3 $x$ 50%d'),
  ],
)
def test_printable(text, wanted):
  assert file_names.printable(text) == wanted
  wanted.encode()


def test_a_message_is_one_line_and_keeps_a_name():
  path = 'clips/a  b\nc\udce9.mp4'
  message = f'{path}: is no video;\n  wanted  one. (\udcff)'
  assert file_names.one_line(message, path) == 'clips/a  b\\nc\\xe9.mp4: is no video; wanted one. (\\xff)'
  assert file_names.one_line('a\n\tb') == 'a b'


def test_json_is_utf8():
  value = {BYTES: [BYTES, 1, None, (True, 'a\nb')]}
  found = json.loads(json.dumps(file_names.utf8(value), ensure_ascii=False).encode())
  assert found == {'caf\\xe9': ['caf\\xe9', 1, None, [True, 'a\nb']]}


@pytest.mark.parametrize('text', ['a', BYTES, 'a/b', '\u97f3' * 85, 'x' * 300, BYTES * 99, '%\n' * 99])
def test_names_of_new_files(text, tmp_path):
  name = file_names.file_name(text, 246)
  assert len(name.encode()) <= 246
  (tmp_path / f'{name}.999.webm').touch()
  (tmp_path / file_names.truncate(text.replace('/', ''), 255)).touch()
  assert file_names.file_name(text + 'b', 246) != name
  assert file_names.file_name('a', 246) == 'a' and file_names.file_name('\u97f3' * 82, 246) == '\u97f3' * 82


def test_a_name_is_cut_by_bytes():
  assert file_names.truncate('\u97f3' * 3, 8) == '\u97f3' * 2
  assert file_names.truncate(BYTES, 4) == BYTES
  assert os.fsencode(file_names.truncate(BYTES * 50, 80)).startswith(b'caf')
