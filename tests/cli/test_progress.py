"""Progress: the text of the line, when it is printed, and that none is left behind."""

import io

import pytest

from v2a.cli import progress


class Terminal(io.StringIO):
  """A stream that claims to be a terminal."""

  def isatty(self):
    """Returns True."""
    return True


@pytest.mark.parametrize(('seconds', 'text'), [(0, '0:00'), (59.4, '0:59'), (61, '1:01'), (3725, '1:02:05')])
def test_clock(seconds, text):
  assert progress.format_duration(seconds) == text


def test_line_has_rate_and_time_left():
  text = progress.line('sampling', 25, 100, 'steps', 10.0)
  assert text == 'sampling ██████░░░░░░░░░░░░░░░░░░ 25/100 steps, 2.5 steps/s, 0:30 left'
  assert 'left' not in progress.line('sampling', 0, 100, 'steps', 0.0)


def test_terminal_is_left_clean():
  stream = Terminal()
  with progress.Progress('sampling', 'steps', stream=stream) as bar:
    for done in range(1, 11):
      bar.update(done, 10)
  printed = stream.getvalue()
  assert '1/10' in printed and '10/10' in printed
  assert printed.endswith('\r') and printed.rsplit('\r', 2)[1].strip() == ''


@pytest.mark.parametrize(('stream', 'is_quiet'), [(io.StringIO(), False), (Terminal(), True)])
def test_no_progress_is_printed_without_a_terminal_or_when_quiet(stream, is_quiet):
  with progress.Progress('sampling', 'steps', is_quiet=is_quiet, stream=stream) as bar:
    bar.update(1, 2)
    bar.update(2, 2)
  assert stream.getvalue() == ''


def test_updates_are_rare():
  stream = Terminal()
  with progress.Progress('sampling', 'steps', stream=stream) as bar:
    for done in range(1, 10_000):
      bar.update(done, 10_000)
  assert stream.getvalue().count('steps/s') < 100
