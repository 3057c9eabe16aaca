"""The format of a saved soundtrack is that of its suffix."""

import numpy as np
import pytest
import soundfile

from v2a.sampling import soundtrack as soundtrack_lib

RATE_HZ = 16000


@pytest.fixture
def soundtrack():
  wave_NA = 0.1 * np.random.default_rng(0).standard_normal((RATE_HZ // 10, 2)).astype(np.float32)
  return soundtrack_lib.Soundtrack(wave_NA, RATE_HZ, seed=0, index=0)


@pytest.mark.parametrize(
  ('name', 'wanted'), [('a.wav', 'WAV'), ('new/folder/a.flac', 'FLAC'), ('a.b.WAV', 'WAV')]
)
def test_the_suffix_selects_the_format(soundtrack, tmp_path, name, wanted):
  path = soundtrack.save(tmp_path / name)
  assert path == tmp_path / name and soundfile.info(path).format == wanted
  written_NA, rate_hz = soundfile.read(path, dtype='float32')
  assert rate_hz == RATE_HZ
  np.testing.assert_allclose(written_NA, soundtrack.waveform, atol=2 / 32768)


@pytest.mark.parametrize(('name', 'got'), [('a.mp3', "'.mp3'"), ('a.txt', "'.txt'"), ('a', "''")])
def test_other_suffixes_are_refused(soundtrack, tmp_path, name, got):
  with pytest.raises(ValueError, match=rf'{name}: .* must end in \.wav or \.flac; got {got}\.$'):
    soundtrack.save(tmp_path / 'new' / name)
  assert not list(tmp_path.iterdir())
