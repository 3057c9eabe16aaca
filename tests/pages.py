"""Reads what a written page holds, for the tests of every page."""

import html
import html.parser
import json
import pathlib
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason='there is no Chromium to show the page')


class Reader(html.parser.HTMLParser):
  """Collects elements and text, and refuses elements that are not closed."""

  VOID = {'meta', 'img', 'link', 'br', 'wbr'}

  def __init__(self):
    super().__init__()
    self.tags, self.text_parts, self.open, self.source = [], [], [], ''

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
    """Notes text; what follows a possible line break belongs to the same word."""
    if self.text_parts and self.tags and self.tags[-1][0] == 'wbr':
      data = self.text_parts.pop() + data
    self.text_parts.append(data)

  @property
  def text(self) -> str:
    """All text with single spaces."""
    return ' '.join(' '.join(self.text_parts).split())


def read(path: pathlib.Path) -> Reader:
  """Parses a page."""
  reader = Reader()
  reader.source = path.read_text(encoding='utf-8')
  reader.feed(reader.source)
  reader.close()
  assert reader.open == []
  return reader


def measure(path: pathlib.Path, width: int) -> dict:
  """Returns what a script in a page writes into its title as JSON, in Chromium without network."""
  command = [
    CHROMIUM,
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--host-resolver-rules=MAP * ~NOTFOUND',
    f'--user-data-dir={path.parent / "profile"}',
    f'--window-size={width},900',
    '--dump-dom',
    path.as_uri(),
  ]
  dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout
  return json.loads(html.unescape(re.search('<title>(.*?)</title>', dom).group(1)))
