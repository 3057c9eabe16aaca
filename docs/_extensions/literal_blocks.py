"""Griffe extension: indented blocks of docstrings, such as equations, are shown as they are."""

import re

import griffe

# After a blank line: lines of two or more spaces, and blank ones between them. Sections such as Args: follow
# their heading without one.
_BLOCK = re.compile(r'(?<=\n\n)((?: {2,}\S.*(?:\n|$)|\n(?= {2}))+)')


class LiteralBlocks(griffe.Extension):
  """Puts fences around indented blocks."""

  def on_instance(self, *, obj: griffe.Object, **_) -> None:
    """Changes the docstring of one object."""
    if obj.docstring is not None:
      obj.docstring.value = _BLOCK.sub(
        lambda match: f'```text\n{match[1].rstrip()}\n```\n', obj.docstring.value
      )
