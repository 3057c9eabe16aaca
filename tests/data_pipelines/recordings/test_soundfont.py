"""Samples of SoundFont 2 files."""

import numpy as np
import pytest

from data_pipelines.recordings import soundfont
from tests.data_pipelines.recordings import packing

A, B, C, D = (
  np.arange(start, start + length) for start, length in ((0, 50), (100, 40), (200, 30), (300, 30))
)


def read(samples):
  """Returns name, rate and waveform of the samples of a file."""
  return [
    (sample.name, sample.sample_rate_hz, sample.wave_NA)
    for sample in soundfont.read(packing.soundfont(samples))
  ]


def test_mono_samples_are_what_the_headers_say():
  found = read([('Gun', A, 11025, 0, 1), ('Sea(L)', B, 44100, 0, 1)])
  assert [(name, rate) for name, rate, _ in found] == [('Gun', 11025), ('Sea(L)', 44100)]
  np.testing.assert_array_equal(found[0][2][:, 0], A)
  np.testing.assert_array_equal(found[1][2][:, 0], B)


def test_linked_channels_are_one_sample_left_first():
  # Apart from each other, with names that do not tell.
  found = read([('Right', A, 32000, 2, 2), ('Gun', C, 8000, 0, 1), ('Left', B, 32000, 0, 4)])
  assert [(name, wave.shape) for name, _, wave in found] == [('Right', (40, 2)), ('Gun', (30, 1))]
  np.testing.assert_array_equal(found[0][2], np.stack([B, A[:40]], axis=1))


def test_channels_without_links_are_paired_by_name():
  samples = [('Alto C#6(R)', C, 32000, 0, 2), ('Alto C#6(L)', D, 32000, 0, 4), ('Koto(R)', A, 32000, 0, 2)]
  found = read(samples)
  assert [name for name, *_ in found] == ['Alto C#6', 'Koto(R)']
  np.testing.assert_array_equal(found[0][2], np.stack([D, C], axis=1))


@pytest.mark.parametrize(
  'other', [('Alto C5(R)', D, 32000, 0, 2), ('Alto C6(R)', D, 44100, 0, 2), ('Alto C6(L)', D, 32000, 0, 4)]
)
def test_other_samples_are_not_paired(other):
  assert len(read([('Alto C6(L)', C, 32000, 0, 4), other])) == 2


def test_errors():
  content = packing.soundfont([('Gun', A, 11025, 0, 1)])
  for damaged, message in (
    (b'RIFF', 'no SoundFont'),
    (content[:-60], 'not whole'),
    (content.replace(b'smpl', b'smpx'), 'no chunk smpl'),
    (packing.soundfont([('Gun', A, 0, 0, 1)]), "sample 'Gun'"),
    (packing.soundfont([('Gun', A, 8000, 0, 0x8001)]), 'ROM'),
  ):
    with pytest.raises(ValueError, match=message):
      list(soundfont.read(damaged))
