"""The new audio track: a waveform as long as the video, alone or mixed with the original audio."""

from collections.abc import Iterator
import fractions
import itertools
from typing import Literal

import av
import av.stream
import numpy as np
import soxr

from v2a.media import audio_reader
from v2a.media import remux
from v2a.media import timestamps

Codec = Literal['aac', 'libopus', 'pcm_s16le']
# A mix peaks at most here: 1 dB below full scale, because lossy codecs overshoot.
_MIX_PEAK = 10 ** (-1 / 20)
_BLOCK_S = 1
_RATES_HZ: dict[Codec, tuple[int, ...]] = {
  'aac': (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350),
  'libopus': (48000, 24000, 16000, 12000, 8000),
}
# For codecs without a fixed frame length.
_PCM_FRAME_SAMPLES = 1024
_FORMATS: dict[Codec, str] = {'aac': 'fltp', 'libopus': 'flt', 'pcm_s16le': 's16'}
# At these bit rates the fast coder is as good as the default one or better (SNR 32 against 26 dB on a
# recording of the sea), and takes a third of the time.
_OPTIONS: dict[Codec, dict[str, str]] = {'aac': {'aac_coder': 'fast'}}
_FALLBACK_RATE_HZ = 48000
# Bits per second and channel; an AAC frame holds at most 6144 bits per channel, 6 per sample.
_BIT_RATE_HZ = 96000
_MAX_BITS_PER_SAMPLE = 5


class OutputAudio:
  """The audio of a video segment, from its first shown frame to its last.

  Attributes:
    sample_rate_hz: samples per second; for a mix the higher rate of both inputs, so that neither loses
      bandwidth.
    num_channels: 1 or 2.
    num_samples: number of samples, matching the duration of the segment.
    not_copied: descriptions of what a mix loses of the original audio.
  """

  def __init__(self, part: remux.Segment, wave_NA: np.ndarray, sample_rate_hz: int, is_mixed: bool):
    """Measures the peak of a mix.

    Args:
      part: the video segment.
      wave_NA: the new waveform; sample 0 coincides with the first frame.
      sample_rate_hz: samples per second of wave_NA.
      is_mixed: whether the original audio is added.
    """
    info = part.info
    self._part, self._wave_NA, self._wave_rate_hz = part, wave_NA, sample_rate_hz
    self._is_mixed = is_mixed and info.has_audio
    self.sample_rate_hz = max(sample_rate_hz, info.audio_sample_rate_hz) if self._is_mixed else sample_rate_hz
    self.num_samples = max(1, round(part.duration_s * self.sample_rate_hz))
    self.num_channels = max(wave_NA.shape[1], min(info.audio_channels, 2) if self._is_mixed else 1)
    self.not_copied = ()
    if self._is_mixed and info.audio_channels > 2:
      self.not_copied = (f'surround sound ({info.audio_channels} channels, mixed to stereo)',)
    self._gain = 1.0
    if self._is_mixed:
      peak = max(float(np.abs(block_NA).max()) for block_NA in self.blocks())
      self._gain = min(1.0, _MIX_PEAK / peak) if peak else 1.0

  def blocks(self) -> Iterator[np.ndarray]:
    """Yields block_NA (float32), num_samples samples in total."""
    if not self._is_mixed:
      for start in range(0, self.num_samples, _BLOCK_S * self.sample_rate_hz):
        yield self._block(start, min(_BLOCK_S * self.sample_rate_hz, self.num_samples - start))
      return
    new_blocks, rest_NA = self._resampled(), np.zeros((0, self.num_channels), np.float32)
    for original_NA in audio_reader.iterate_blocks(
      self._part.info.path,
      self.sample_rate_hz,
      self.num_channels,
      float(self._part.start_s),
      self.num_samples / self.sample_rate_hz,
    ):
      while len(rest_NA) < len(original_NA):
        rest_NA = np.concatenate([rest_NA, next(new_blocks)])
      yield np.float32(self._gain) * (original_NA + rest_NA[: len(original_NA)])
      rest_NA = rest_NA[len(original_NA) :]

  def _resampled(self) -> Iterator[np.ndarray]:
    """Yields the new waveform at sample_rate_hz, followed by endless silence."""
    resampler = soxr.ResampleStream(self._wave_rate_hz, self.sample_rate_hz, self.num_channels)
    size = _BLOCK_S * self._wave_rate_hz
    for start in itertools.count(0, size):
      block_NA = self._block(start, size)
      if self._wave_rate_hz != self.sample_rate_hz:
        block_NA = resampler.resample_chunk(block_NA)
      yield block_NA

  def _block(self, start: int, num_samples: int) -> np.ndarray:
    """Returns a block of the new waveform at its own rate, padded with silence after its end."""
    block_NA = np.zeros((num_samples, self.num_channels), np.float32)
    available_NA = self._wave_NA[start : start + num_samples]
    block_NA[: len(available_NA)] = available_NA
    return block_NA


class Encoder:
  """Encodes an OutputAudio into packets of an output's audio stream; sample 0 has timestamp 0."""

  def __init__(self, output: av.container.OutputContainer, wave: OutputAudio, codec: Codec):
    """Adds the stream.

    Args:
      output: opened for writing, header not yet written.
      wave: the audio to encode.
      codec: FFmpeg's name of an encoder.
    """
    self._wave = wave
    is_native = codec not in _RATES_HZ or wave.sample_rate_hz in _RATES_HZ[codec]
    self._rate_hz = wave.sample_rate_hz if is_native else _FALLBACK_RATE_HZ
    self.num_samples = round(fractions.Fraction(wave.num_samples * self._rate_hz, wave.sample_rate_hz))
    bit_rate = min(_BIT_RATE_HZ, _MAX_BITS_PER_SAMPLE * self._rate_hz) * wave.num_channels
    self._layout = 'mono' if wave.num_channels == 1 else 'stereo'
    self._stream = output.add_stream(
      codec,
      rate=self._rate_hz,
      layout=self._layout,
      bit_rate=bit_rate,
      time_base=fractions.Fraction(1, self._rate_hz),
      format=_FORMATS[codec],
      options=_OPTIONS.get(codec, {}),
    )
    self._stream.disposition = av.stream.Disposition.default

  def packets(self) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
    """Yields (decoding time in seconds, packet); the output's header must be written."""
    frame_samples = self._stream.codec_context.frame_size or _PCM_FRAME_SAMPLES
    for block_NA, start in self._framed(frame_samples):
      yield from self._encode(self._frame(block_NA, start))
    yield from self._encode(None)

  def _encode(self, frame: av.AudioFrame | None) -> Iterator[tuple[fractions.Fraction, av.Packet]]:
    for packet in self._stream.codec_context.encode(frame):
      packet.stream = self._stream
      yield timestamps.dts(packet) * packet.time_base, packet

  def _frame(self, block_NA: np.ndarray, start: int) -> av.AudioFrame:
    name = self._stream.codec_context.format.name
    if name == 's16':
      block_NA = np.round(np.clip(block_NA, -1, 1) * 32767).astype(np.int16)
    data = block_NA.T if name.endswith('p') else block_NA.reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), format=name, layout=self._layout)
    frame.sample_rate = self._rate_hz
    frame.time_base = fractions.Fraction(1, self._rate_hz)
    frame.pts = start
    return frame

  def _framed(self, frame_samples: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (block_NA of the codec's frame length, index of its first sample); the last may be shorter."""
    rest_NA, start = np.zeros((0, self._wave.num_channels), np.float32), 0
    for block_NA in self._resampled():
      rest_NA = np.concatenate([rest_NA, block_NA])
      whole = len(rest_NA) // frame_samples * frame_samples
      for first in range(0, whole, frame_samples):
        yield rest_NA[first : first + frame_samples], start + first
      rest_NA, start = rest_NA[whole:], start + whole
    if len(rest_NA):
      yield rest_NA, start

  def _resampled(self) -> Iterator[np.ndarray]:
    if self._rate_hz == self._wave.sample_rate_hz:
      yield from self._wave.blocks()
      return
    resampler = soxr.ResampleStream(self._wave.sample_rate_hz, self._rate_hz, self._wave.num_channels)
    for block_NA in self._wave.blocks():
      yield resampler.resample_chunk(np.ascontiguousarray(block_NA))
    yield resampler.resample_chunk(np.zeros((0, self._wave.num_channels), np.float32), last=True)
