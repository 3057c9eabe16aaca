"""Small test videos: every frame shows its number, the audio has clicks at known times."""

import fractions
import hashlib
import os
import pathlib

import av
import numpy as np
from scipy import signal

HEIGHT, WIDTH, NUM_BITS = 64, 96, 8
TICK_S = fractions.Fraction(1, 90000)
# Container -> (suffix, video encoder, audio encoder, sample rate).
KINDS = {
  'mp4': ('.mp4', 'libx264', 'aac', 44100),
  'mov': ('.mov', 'libx264', 'aac', 48000),
  'mkv': ('.mkv', 'libx264', 'libopus', 48000),
  'mkv-h265': ('.mkv', 'libx265', 'flac', 44100),
  'webm-vp8': ('.webm', 'libvpx', 'vorbis', 44100),
  'webm-vp9': ('.webm', 'libvpx-vp9', 'libopus', 48000),
  'avi': ('.avi', 'mpeg4', 'pcm_s16le', 44100),
  'avi-h264': ('.avi', 'libx264', 'pcm_s16le', 44100),
  'mpg': ('.mpg', 'mpeg1video', 'mp2', 44100),
  'ts': ('.ts', 'libx264', 'aac', 48000),
  'flv': ('.flv', 'libx264', 'aac', 44100),
  'mp4-av1': ('.mp4', 'libsvtav1', 'aac', 48000),
}
_SPEED = {
  'libx264': {'preset': 'ultrafast', 'bf': '2', 'threads': '1'},
  'libx265': {'preset': 'ultrafast', 'x265-params': 'log-level=none'},
  'libvpx': {'deadline': 'realtime', 'cpu-used': '8', 'lag-in-frames': '0'},
  'libvpx-vp9': {'deadline': 'realtime', 'cpu-used': '8', 'lag-in-frames': '0'},
  'libsvtav1': {'preset': '12'},
}


def numbered_frame(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
  """Returns a frame whose left half shows a number as eight bars, lowest bit first; bottom right is red."""
  bits = np.array([number >> bit & 1 for bit in range(NUM_BITS)])
  frame_YX3 = np.zeros((height, width, 3), np.uint8)
  half = width // 2
  frame_YX3[:, :half] = 16 + 224 * np.repeat(bits, -(-half // NUM_BITS))[:half, None]
  frame_YX3[height // 2 :, half:] = (224, 16, 16)
  return frame_YX3


def frame_number(frame_YX3: np.ndarray) -> int:
  """Returns the number that a frame of any size shows."""
  half = frame_YX3.shape[1] // 2
  edges = np.linspace(0, half, NUM_BITS + 1)
  middles = ((edges[:-1] + edges[1:]) / 2).astype(int)
  rows = frame_YX3.shape[0] // 4, frame_YX3.shape[0] * 3 // 4
  level = frame_YX3[rows[0] : rows[1], middles].astype(float).mean(axis=(0, 2))
  return sum(1 << bit for bit in range(NUM_BITS) if level[bit] > 128)


def clicks(duration_s: float, rate_hz: int, num_channels: int = 2, seed: int = 0) -> np.ndarray:
  """Returns wave_NA with bursts of 6 ms at irregular times, the same in all channels."""
  rng = np.random.default_rng(seed)
  wave_NA = np.zeros((round(duration_s * rate_hz), num_channels), np.float32)
  time_s = 0.05
  while time_s < duration_s - 0.01:
    # Sampled at a fixed rate, so that the click is the same sound at every sample rate.
    burst_N = signal.resample_poly(rng.standard_normal(48) * np.exp(-np.arange(48) / 12), rate_hz, 8000)
    start = round(time_s * rate_hz)
    block_NA = wave_NA[start : start + len(burst_N)]
    block_NA += (0.3 * burst_N[: len(block_NA), None]).astype(np.float32)
    time_s += rng.uniform(0.15, 0.35)
  return wave_NA


def lag_s(audio_N: np.ndarray, expected_N: np.ndarray, rate_hz: int) -> float:
  """Returns the delay of audio_N: the peak of the cross-correlation, with sub-sample precision."""
  correlation_N = signal.correlate(audio_N, expected_N, method='fft')
  lags_N = signal.correlation_lags(len(audio_N), len(expected_N))
  peak = int(np.argmax(correlation_N))
  before, at, after = correlation_N[peak - 1 : peak + 2]
  return (lags_N[peak] + 0.5 * (before - after) / (before - 2 * at + after)) / rate_hz


def make(
  path: pathlib.Path,
  kind: str = 'mp4',
  times_s=None,
  duration_s: float = 2.0,
  fps: int = 25,
  wave_NA: np.ndarray | None = None,
  layout: str = 'stereo',
  sound_start_s: float = 0.0,
  rotation_deg: int = 0,
  gop: int = 12,
  height: int = HEIGHT,
  width: int = WIDTH,
) -> pathlib.Path:
  """Writes a test video and returns its path, with the suffix of its kind.

  Args:
    path: path without suffix.
    kind: a key of KINDS.
    times_s: presentation times of its frames; evenly spaced if None.
    duration_s, fps: used if times_s is None.
    wave_NA: its audio at the sample rate of the kind, or None for no audio track.
    layout: FFmpeg's name of the channel layout.
    sound_start_s: time of the first audio sample.
    rotation_deg: counter-clockwise rotation in the metadata of the video.
    gop: frames between keyframes.
  """
  suffix, video_codec, audio_codec, rate_hz = KINDS[kind]
  path = path.with_name(path.name + suffix)
  wave_bytes = None if wave_NA is None else hashlib.sha256(np.ascontiguousarray(wave_NA).tobytes()).digest()
  times_s = np.arange(round(duration_s * fps)) / fps if times_s is None else times_s
  recipe = (kind, tuple(times_s), fps, wave_bytes, layout, sound_start_s, rotation_deg, gop, height, width)
  if recipe not in _cache:
    _encode(path, kind, times_s, fps, wave_NA, layout, sound_start_s, rotation_deg, gop, height, width)
    # If run by root, SVT-AV1 leaves its caller, and all threads started later, at real-time priority.
    if hasattr(os, 'sched_setscheduler') and os.sched_getscheduler(0) != os.SCHED_OTHER:
      os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    _cache[recipe] = path.read_bytes()
  path.write_bytes(_cache[recipe])
  return path


# Videos already encoded by this process; encoding takes most of the time of these tests.
_cache: dict[tuple, bytes] = {}


def _encode(path, kind, times_s, fps, wave_NA, layout, sound_start_s, rotation_deg, gop, height, width):
  suffix, video_codec, audio_codec, rate_hz = KINDS[kind]
  # MPEG-1 and AVI support whole frames only.
  tick_s = fractions.Fraction(1, fps) if suffix in ('.avi', '.mpg') else TICK_S
  with av.open(str(path), 'w') as output:
    video = output.add_stream(
      video_codec,
      rate=fps,
      width=width,
      height=height,
      pix_fmt='yuv420p',
      gop_size=gop,
      options=_SPEED.get(video_codec, {}),
      time_base=tick_s,
    )
    if rotation_deg:
      video.set_display_rotation(rotation_deg)
    if wave_NA is not None:
      options = {'strict': '-2'} if audio_codec == 'vorbis' else {}
      audio = output.add_stream(
        audio_codec,
        rate=rate_hz,
        layout=layout,
        options=options,
        time_base=fractions.Fraction(1, rate_hz),
        **({} if audio_codec in ('flac', 'pcm_s16le') else {'bit_rate': 192000}),
      )
    for index, time_s in enumerate(times_s):
      frame = av.VideoFrame.from_ndarray(numbered_frame(index, height, width), 'rgb24')
      frame.time_base, frame.pts = tick_s, round(time_s / tick_s)
      output.mux(video.encode(frame))
    output.mux(video.encode(None))
    if wave_NA is not None:
      _sound(output, audio, wave_NA, rate_hz, layout, sound_start_s)
  return path


def _sound(output, audio, wave_NA, rate_hz, layout, start_s):
  name = audio.codec_context.format.name
  size = audio.codec_context.frame_size or 1024
  if name.startswith('s16'):
    wave_NA = np.round(np.clip(wave_NA, -1, 1) * 32767).astype(np.int16)
  for start in range(0, len(wave_NA), size):
    block_NA = wave_NA[start : start + size]
    data = np.ascontiguousarray(block_NA.T) if name.endswith('p') else block_NA.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=name, layout=layout)
    frame.sample_rate, frame.time_base = rate_hz, fractions.Fraction(1, rate_hz)
    frame.pts = start + round(start_s * rate_hz)
    output.mux(audio.encode(frame))
  output.mux(audio.encode(None))


def packets(path: pathlib.Path) -> list[tuple[bytes, float, float]]:
  """Returns (bytes, presentation time, decoding time) of all video packets, relative to the first one."""
  with av.open(str(path)) as container:
    stream = next(s for s in container.streams.video)
    found = [p for p in container.demux(stream) if p.size]
    first_s = found[0].pts * found[0].time_base if found[0].pts is not None else 0
    return [
      (
        bytes(p),
        float(p.pts * p.time_base - first_s) if p.pts is not None else None,
        float(p.dts * p.time_base - first_s) if p.dts is not None else None,
      )
      for p in found
    ]
