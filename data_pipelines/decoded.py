"""A decoded segment as filters and annotators see it: small frames, and the sound at its own rate."""

import dataclasses

import numpy as np

FRAMES_PER_S = 8.0  # of frame_MYX3
MAX_SIDE = 256  # pixels of the longer side of frame_MYX3


@dataclasses.dataclass(frozen=True)
class Alignment:
  """Where the sound of a file lies relative to its video. Decoding places sound by its timestamps.

  Attributes:
    offset_s: start of the sound minus start of the video, after encoder priming and edit lists; above 0 the
      sound starts late, and decoding begins with silence.
    drift_s: duration of the sound minus duration of the video; a codec's last block gives up to 0.05 s.
    gap_s: duration by timestamps minus duration by counted samples: what decoding filled with silence (above
      0) or cut (below 0).
  """

  offset_s: float
  drift_s: float
  gap_s: float


@dataclasses.dataclass(frozen=True)
class DecodedClip:
  """A decoded segment of a video or sound file.

  Attributes:
    id: of its item, with the start of the segment where an item has several.
    frame_MYX3: RGB frames at FRAMES_PER_S, uint8, at the aspect ratio of the video, the longer side MAX_SIDE
      at most; (0, 0, 0, 3) without video.
    wave_NA: sound, full scale 1, float32, at its own rate, mono or stereo (more channels are mixed to stereo,
      see v2a.media.channels); (0, 1) without sound.
    sample_rate_hz: of wave_NA.
    start_s: start of the segment in the media, in seconds.
    duration_s: of the segment.
    sync_frame_LYX3: RGB frames of 224 x 224 pixels at 25 frames per second where an annotator or filter asked
      for them (Synchformer); None otherwise.
    alignment: of the file; None without video or without sound.
  """

  id: str
  frame_MYX3: np.ndarray
  wave_NA: np.ndarray
  sample_rate_hz: int
  start_s: float
  duration_s: float
  sync_frame_LYX3: np.ndarray | None = None
  alignment: Alignment | None = None

  @property
  def has_video(self) -> bool:
    """Whether there are frames."""
    return len(self.frame_MYX3) > 0

  @property
  def has_audio(self) -> bool:
    """Whether there is an audio stream, silent or not."""
    return len(self.wave_NA) > 0

  @property
  def mono_N(self) -> np.ndarray:
    """Mean of the channels."""
    return self.wave_NA.mean(axis=1)
