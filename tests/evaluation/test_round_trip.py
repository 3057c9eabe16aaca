"""The round trip of sounds through codecs: pieces equal the whole, and files become numbers."""

import json
import pathlib

from flax import nnx
import jax
import numpy as np
import pytest

from tests.media import films
from v2a import builders
from v2a import weights
from v2a.cli import main
from v2a.config import schema
from v2a.evaluation import round_trip
from v2a.media import audio_file
from v2a.media import read
from v2a.sampling import windows


def make_run(folder: pathlib.Path, bottleneck: str) -> pathlib.Path:
  """Writes a tiny codec with random weights."""
  c = schema.tiny(schema.base()).unlock()
  c.task, c.codec.bottleneck = 'codec', bottleneck
  state = nnx.state(nnx.eval_shape(lambda: builders.codec(c, nnx.Rngs(0))))
  rng = np.random.default_rng(0)
  arrays = jax.tree.map(lambda leaf: 0.3 * rng.uniform(-1, 1, leaf.shape).astype(leaf.dtype), state)
  arrays['latent_std_C'] = arrays['latent_std_C'].replace(np.ones_like(arrays['latent_std_C'].get_value()))
  weights.export(arrays, folder / bottleneck, c.lock(), 'float32')
  return folder / bottleneck


@pytest.fixture(name='runs', scope='module')
def make_runs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('runs')
  return {bottleneck: make_run(folder, bottleneck) for bottleneck in ('kl', 'rvq')}


@pytest.fixture(name='codecs', scope='module')
def make_codecs(runs):
  return {name: round_trip.of_run(path) for name, path in runs.items()}


@pytest.fixture(name='sounds', scope='module')
def make_sounds(tmp_path_factory):
  """Returns a folder with a video, a sound, a silent sound, and a file that is neither."""
  folder = tmp_path_factory.mktemp('sounds')
  noise_NA = 0.1 * np.random.default_rng(0).standard_normal((20000, 1)).astype(np.float32)
  films.make(folder / 'film', wave_NA=np.repeat(noise_NA, 2, axis=1))
  audio_file.wav(folder / 'noise.wav', noise_NA, 16000)
  audio_file.wav(folder / 'silence.wav', 0 * noise_NA, 16000)
  (folder / 'damaged.mp3').write_bytes(b'no sound' * 100)
  return folder


@pytest.mark.parametrize('bottleneck', ['kl', 'rvq'])
def test_pieces_are_encoded_as_the_whole(codecs, bottleneck):
  codec = codecs[bottleneck]
  rate_hz = codec.clip_spec.sample_rate_hz
  wave_NA = 0.1 * np.random.default_rng(1).standard_normal((19 * rate_hz + 17, 2)).astype(np.float32)
  encoded_TF, bits_per_s = codec.encode(wave_NA)
  hop = codec.clip_spec.latent_hop_samples
  whole_NA = np.pad(wave_NA, ((rate_hz, rate_hz + -len(wave_NA) % hop), (0, 0)))
  first = codec.clip_spec.latents_in(1.0)
  whole_TF = np.asarray(codec._encode(whole_NA[None])[0][0])[first : first + len(encoded_TF)]
  assert len(encoded_TF) == -(-len(wave_NA) // hop)
  np.testing.assert_allclose(encoded_TF, whole_TF, rtol=1e-4, atol=1e-4)
  assert bits_per_s > 0
  assert codec.reconstruct(wave_NA).shape == wave_NA.shape


@pytest.fixture(name='codec_with_phases', scope='module', params=['phase', 'waveform'])
def make_codec_with_phases(request, tmp_path_factory):
  c = schema.tiny(schema.base()).unlock()
  c.task, c.codec.architecture = 'codec', request.param
  state = nnx.state(nnx.jit(lambda: builders.codec(c, nnx.Rngs(0)))())
  folder = tmp_path_factory.mktemp('codec') / request.param
  weights.export(state, folder, c.lock(), 'float32')
  return round_trip.of_run(folder)


@pytest.mark.parametrize('duration_s', [2, 9, 61, pytest.param(300, marks=pytest.mark.slow)])
def test_codecs_with_phases_have_no_seams(codec_with_phases, duration_s):
  codec = codec_with_phases
  num_latents = codec.clip_spec.latents_in(duration_s)
  num_samples = num_latents * codec.clip_spec.latent_hop_samples
  # The end of a sound is continued by its last step, see `windows.decode`.
  latent_TC = np.random.default_rng(2).standard_normal((num_latents, 4)).astype(np.float32)
  padded_TC = np.pad(latent_TC, ((0, codec.clip_spec.latents_in(windows.CONTEXT_S)), (0, 0)), mode='edge')
  whole_NA = np.asarray(codec.decode(padded_TC[None]))[0, :num_samples]
  wave_NA = windows.decode(codec, latent_TC, num_samples)
  assert np.abs(whole_NA).max() > 1e-3
  np.testing.assert_allclose(wave_NA, whole_NA, atol=1e-5 * np.abs(whole_NA).max())


def harmonics(num_samples):
  """Returns a steady stereo sound of partials that are no multiples of the frame rate."""
  time_N = np.arange(num_samples) / 16000
  partials = [np.sin(2 * np.pi * 87.3 * k * time_N + k) / k for k in range(1, 12)]
  return 0.1 * np.stack([sum(partials), sum(partials[::2])], axis=-1).astype(np.float32)


@pytest.fixture(name='stereo_codec', scope='module')
def make_stereo_codec(tmp_path_factory):
  c = schema.tiny(schema.base()).unlock()
  c.task = 'codec'
  c.codec.update(architecture='stereo_magnitude', num_griffin_lim_iterations=16)
  codec = builders.codec(c, nnx.Rngs(0))
  codec.set_statistics(np.asarray(codec.patches(codec.levels(harmonics(64000)[None]))[0]))
  folder = tmp_path_factory.mktemp('codec') / 'stereo'
  weights.export(nnx.state(codec), folder, c.lock(), 'float32')
  return round_trip.of_run(folder)


@pytest.mark.parametrize('duration_s', [2, 9, 61, pytest.param(300, marks=pytest.mark.slow)])
def test_reconstructed_phases_have_no_seams(stereo_codec, duration_s):
  wave_NA = stereo_codec.reconstruct(harmonics(duration_s * 16000))
  inner_NA = wave_NA[8000:-8000]
  assert 0.03 < inner_NA.std() < 0.3
  step_N = np.abs(np.diff(wave_NA, axis=0)).max(axis=1)
  for second in range(windows.DECODE_S, duration_s - 1, windows.DECODE_S):
    around_N = step_N[second * 16000 - 400 : second * 16000 + 800]
    assert around_N.max() < 1.5 * np.quantile(step_N, 0.999), f'{second} s'


def test_the_bit_rate_of_codes_is_that_of_their_codebooks(codecs):
  codec = codecs['rvq']
  _, bits_per_s = codec.encode(np.zeros((16000, 2), np.float32))
  c = schema.tiny(schema.base()).codec
  assert bits_per_s == codec.clip_spec.latent_rate_hz * c.num_codebooks * np.log2(c.codebook_size)


def test_command_prints_means_and_leaves_sounds(runs, sounds, tmp_path, capsys):
  argv = ['codec', 'roundtrip', str(sounds), '--codec', str(runs['kl']), '--codec', str(runs['rvq'])]
  argv += ['--seconds', '2', '--json', '--output', str(tmp_path / 'out')]
  assert main.main(argv) == 1
  out, err = capsys.readouterr()
  found = json.loads(out)
  assert set(found) == {'kl', 'rvq'} and found['kl']['n'] == 2
  assert set(found['kl']) >= {
    'log_spectral_db',
    'band_db',
    'stereo_correlation_error',
    'log_mel_db',
    'si_sdr_db',
  }
  assert found['kl']['bits_per_s'] > 0 and '500' in found['kl']['band_db']
  assert 'silence.wav: is silent' in err and 'damaged.mp3: is not a media file' in err
  names = {path.name for path in (tmp_path / 'out').iterdir()}
  per_sound = {
    f'{stem}.{end}' for stem in ('film', 'noise') for end in ('true.wav', 'kl.wav', 'rvq.wav', 'png')
  }
  assert names == per_sound | {'roundtrip.json'}
  true_NA = read.wave(tmp_path / 'out' / 'noise.true.wav', 16000, 1)
  np.testing.assert_allclose(true_NA, read.wave(sounds / 'noise.wav', 16000, 1), atol=1e-3)
  each = json.loads((tmp_path / 'out' / 'roundtrip.json').read_text())
  values = [of_file['log_spectral_db'] for of_file in each['kl'].values()]
  assert found['kl']['log_spectral_db'] == pytest.approx(np.mean(values))


def test_bad_input_is_one_line(runs, sounds, tmp_path, capsys):
  codec = ['--codec', str(runs['kl'])]
  noise = str(sounds / 'noise.wav')
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'noise.kl.wav').write_text('mine')
  for argv, message in [
    ([str(tmp_path / 'none.wav'), *codec], 'none.wav: does not exist'),
    ([str(tmp_path / 'empty'), *codec], 'the folder holds no videos or sounds'),
    ([str(sounds / 'silence.wav'), *codec], 'silence.wav: is silent'),
    ([noise, '--codec', str(tmp_path / 'empty')], 'empty'),
    ([noise, '--codec', ''], 'argument --codec: it must be a path; got an empty one'),
    (['', *codec], 'must be a path; got an empty one'),
    ([noise, *codec, '--output', ''], 'argument --output: it must be a path; got an empty one'),
    ([noise, *codec, '--output', noise], 'noise.wav: is a file; --output must be a folder'),
    (
      [noise, *codec, '--output', str(tmp_path / 'out')],
      'noise.kl.wav: exists already; nothing is overwritten',
    ),
  ]:
    assert main.main(['codec', 'roundtrip', *argv]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
  assert (tmp_path / 'out' / 'noise.kl.wav').read_text() == 'mine'
  assert len(list((tmp_path / 'out').iterdir())) == 1


def test_names_are_as_long_as_they_must_be():
  paths = [pathlib.Path(text) for text in ('/a/x/codec', '/a/y/codec', '/b/y/codec', '/b/y/codec')]
  assert list(round_trip.names_of(paths).values()) == ['a-x-codec', 'a-y-codec', 'b-y-codec']
  assert list(round_trip.names_of(paths[:2]).values()) == ['x-codec', 'y-codec']
  assert list(round_trip.names_of([pathlib.Path('/runs/true')]).values()) == ['runs-true']
  assert list(round_trip.names_of([pathlib.Path('.')]).values()) == [pathlib.Path.cwd().name]


def test_codecs_of_different_rates_are_no_table(runs, tmp_path):
  export = weights.load_export(runs['kl'])
  c = export.config.copy_and_resolve_references().unlock()
  c.clip.sample_rate_hz = 48000
  weights.export(export.arrays, tmp_path / 'fast', c.lock(), 'float32')
  with pytest.raises(ValueError, match=r'got 16000 Hz with 2 channel\(s\) of kl, 48000 Hz.*fast'):
    round_trip.of_runs([runs['kl'], tmp_path / 'fast'])


def test_an_interrupted_run_leaves_its_numbers(runs, sounds, tmp_path, monkeypatch):
  round_trip_of = round_trip.of_file

  def interrupted(codec, path, duration_s):
    if path.name == 'noise.wav':
      raise KeyboardInterrupt
    return round_trip_of(codec, path, duration_s)

  monkeypatch.setattr(round_trip, 'of_file', interrupted)
  argv = ['codec', 'roundtrip', str(sounds), '--codec', str(runs['kl']), '--output', str(tmp_path / 'out')]
  assert main.main(argv) == 130
  (of_film,) = json.loads((tmp_path / 'out' / 'roundtrip.json').read_text())['kl'].values()
  assert of_film['wav'] == 'film.kl.wav' and (tmp_path / 'out' / 'film.kl.wav').exists()


def test_files_of_one_name_have_different_outputs(runs, sounds, tmp_path):
  other = tmp_path / 'other'
  other.mkdir()
  (other / 'noise.wav').write_bytes((sounds / 'noise.wav').read_bytes())
  argv = ['codec', 'roundtrip', str(sounds / 'noise.wav'), str(other), '--codec', str(runs['kl'])]
  assert main.main([*argv, '--output', str(tmp_path / 'out')]) == 0
  assert {path.name for path in (tmp_path / 'out').iterdir()} >= {'noise.kl.wav', 'noise.wav.kl.wav'}
