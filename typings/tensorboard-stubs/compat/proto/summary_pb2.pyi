"""Types of TensorBoard's summaries, as far as v2a uses them; protobuf creates the classes at import."""

from collections.abc import Iterable

class Summary:
  class Audio:
    def __init__(
      self,
      *,
      sample_rate: float = ...,
      num_channels: int = ...,
      length_frames: int = ...,
      encoded_audio_string: bytes = ...,
      content_type: str = ...,
    ) -> None: ...

  class Image:
    def __init__(
      self, *, height: int = ..., width: int = ..., colorspace: int = ..., encoded_image_string: bytes = ...
    ) -> None: ...

  class Value:
    def __init__(
      self,
      *,
      tag: str = ...,
      simple_value: float = ...,
      audio: Summary.Audio = ...,
      image: Summary.Image = ...,
    ) -> None: ...

  def __init__(self, *, value: Iterable[Summary.Value] = ...) -> None: ...
