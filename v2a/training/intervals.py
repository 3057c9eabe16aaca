"""Whether something that is done every so many steps is due."""


def is_due(step: int, every_steps: int) -> bool:
  """Returns whether `step` is a multiple of `every_steps`; 0 is for never."""
  return every_steps > 0 and step % every_steps == 0
