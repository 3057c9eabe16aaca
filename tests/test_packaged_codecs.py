"""The packaged codecs keep spectrum, level and width of sounds on which they were not trained."""

import json

import numpy as np
import pytest

from v2a import weights
from v2a.cli import main
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import round_trip
from v2a.media import audio_file
from v2a.metrics import reconstruction

NAMES = ('codec_16k', 'codec_16k_rvq')


def wide_noise():
  """Returns 2 s of noise that swells, with a different spectrum left and right."""
  rng = np.random.default_rng(5)
  wave_NA = rng.standard_normal((32000, 2))
  wave_NA[:, 1] = np.convolve(wave_NA[:, 1], np.ones(4) / 2, mode='same')
  return (0.1 * wave_NA * np.linspace(0.05, 1, 32000)[:, None]).astype(np.float32)


@pytest.fixture(name='codecs', scope='module')
def load_codecs():
  return {codec.name: codec for codec in round_trip.of_runs([weights.CODECS_FOLDER / name for name in NAMES])}


@pytest.fixture(name='sounds', scope='module')
def make_sounds(codecs):
  spec = codecs['codec_16k'].clip_spec
  examples = synthetic_examples.render(synthetic_examples.HELDOUT_SEED, 6, spec)
  return [*(record_schema.wave_to_float(example.wave_NA) for example in examples), wide_noise()]


@pytest.mark.parametrize('name', NAMES)
def test_sounds_keep_spectrum_level_and_width(codecs, sounds, name):
  codec = codecs[name]
  measured = [reconstruction.measure(wave_NA, codec.reconstruct(wave_NA), 16000) for wave_NA in sounds]
  mean = reconstruction.mean(measured)
  assert mean['log_spectral_db'] < 6.5
  assert mean['log_mel_db'] < 4.0
  assert mean['stereo_correlation_error'] < 0.1
  assert max(map(abs, mean['band_db'].values())) < 3.0
  noise = measured[-1]  # of independent channels, which no reconstruction of phases separates exactly
  assert noise['stereo_correlation_error'] < 0.15 and max(map(abs, noise['band_db'].values())) < 3.0


def test_both_have_about_one_bit_rate(codecs, sounds):
  bits = {name: np.mean([codec.encode(wave_NA)[1] for wave_NA in sounds]) for name, codec in codecs.items()}
  assert bits['codec_16k'] == pytest.approx(bits['codec_16k_rvq'], rel=0.25)


def test_a_packaged_codec_is_named_on_the_command_line(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  audio_file.wav(tmp_path / 'noise.wav', wide_noise(), 16000)
  assert main.main(['codec', 'roundtrip', 'noise.wav', '--codec', 'codec_16k', '--json']) == 0
  assert json.loads(capsys.readouterr().out)['codec_16k']['n'] == 1


def test_licences_of_the_training_data_are_known():
  for name in NAMES:
    about = weights.read_about(weights.CODECS_FOLDER / name)
    licences = {licence for entry in about['data'] for licence in entry['licences']}
    parts = {part for licence in licences for part in licence.split(' AND ')}
    assert parts <= {'CC0-1.0', 'CC-BY-3.0', 'MIT', 'generated'}, name
  assert (weights.CODECS_FOLDER / 'licences.csv').is_file()
