"""Types of TensorBoard's events, as far as v2a uses them; protobuf creates the classes at import."""

from tensorboard.compat.proto import summary_pb2

class Event:
  def __init__(
    self, *, wall_time: float = ..., step: int = ..., summary: summary_pb2.Summary = ...
  ) -> None: ...
