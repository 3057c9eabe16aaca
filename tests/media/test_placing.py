"""Alignment of audio blocks: real gaps stay silent, overlaps are cut, wrong timestamps are ignored."""

import fractions

import av
import numpy as np
import pytest

from v2a.media import read

RATE_HZ, BLOCK = 16000, 800


def _write(path, times_s):
  """Writes a ramp of PCM in blocks of 50 ms, block k at times_s[k]; returns the ramp."""
  wave_N = np.linspace(-0.5, 0.5, BLOCK * len(times_s), dtype=np.float32)
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('pcm_s16le', rate=RATE_HZ, layout='mono')
    for index, time_s in enumerate(times_s):
      block_N = wave_N[index * BLOCK : (index + 1) * BLOCK]
      data = np.round(block_N[None] * 32767).astype(np.int16)
      frame = av.AudioFrame.from_ndarray(data, format='s16', layout='mono')
      frame.sample_rate, frame.time_base = RATE_HZ, fractions.Fraction(1, RATE_HZ)
      frame.pts = round(time_s * RATE_HZ)
      for packet in stream.encode(frame):
        container.mux(packet)
    container.mux(stream.encode(None))
  return wave_N


def _read(path, duration_s):
  return read.wave(path, RATE_HZ, 1, 0.0, duration_s)[:, 0]


def test_jitter_of_timestamps_is_ignored(tmp_path):
  jitter_s = np.resize([0.0, 0.0, -0.012, -0.021, -0.01, 0.002], 40)
  wave_N = _write(tmp_path / 'a.mkv', np.arange(40) * 0.05 + jitter_s)
  np.testing.assert_allclose(_read(tmp_path / 'a.mkv', 2.0), wave_N, atol=1e-3)


@pytest.mark.parametrize('index', [5, 38])
def test_a_gap_is_silent(tmp_path, index):
  times_s = np.arange(40) * 0.05
  times_s[index:] += 0.02
  wave_N = _write(tmp_path / 'a.mkv', times_s)
  expected_N = np.insert(wave_N, index * BLOCK, np.zeros(round(0.02 * RATE_HZ)))
  np.testing.assert_allclose(_read(tmp_path / 'a.mkv', 2.02), expected_N, atol=1e-3)


def test_an_overlap_is_cut(tmp_path):
  times_s = np.arange(40) * 0.05
  times_s[10:] -= 0.03
  wave_N = _write(tmp_path / 'a.mkv', times_s)
  expected_N = np.delete(wave_N, slice(10 * BLOCK, 10 * BLOCK + round(0.03 * RATE_HZ)))
  np.testing.assert_allclose(_read(tmp_path / 'a.mkv', 1.97), expected_N, atol=1e-3)
