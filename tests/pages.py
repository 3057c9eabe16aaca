"""Reads what a written page holds, for the tests of every page."""

import html.parser
import pathlib


class Reader(html.parser.HTMLParser):
  """Collects elements and text, and refuses elements that are not closed."""

  VOID = {'meta', 'img', 'link', 'br'}

  def __init__(self):
    super().__init__()
    self.tags, self.text_parts, self.open = [], [], []

  def handle_starttag(self, tag, attributes):
    """Notes an element."""
    self.tags.append((tag, dict(attributes)))
    if tag not in self.VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    """Checks that the innermost element ends."""
    if tag not in self.VOID:
      assert self.open.pop() == tag

  def handle_data(self, data):
    """Notes text."""
    self.text_parts.append(data)

  @property
  def text(self) -> str:
    """All text with single spaces."""
    return ' '.join(' '.join(self.text_parts).split())


def read(path: pathlib.Path) -> Reader:
  """Parses a page."""
  reader = Reader()
  reader.feed(path.read_text(encoding='utf-8'))
  reader.close()
  assert reader.open == []
  return reader
