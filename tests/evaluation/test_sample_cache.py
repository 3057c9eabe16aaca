"""Drawn soundtracks are drawn once; folders of wav files are read, or refused in one line."""

import dataclasses
import json
import os

import numpy as np
import pytest
import soundfile

from v2a import clip as clip_lib
from v2a.data import examples
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.evaluation import sample_cache
from v2a.metrics import registry
from v2a.sampling import bundle
from v2a.sampling import request as request_lib

SPEC = clip_lib.ClipSpec(clip_s=2.0, frame_size=16)
RATE_HZ = SPEC.sample_rate_hz


@pytest.fixture(scope='module')
def cases():
  found = synthetic_examples.render(31_000_007, 5, SPEC, scenes=('strike',))
  return [dataclasses.replace(case, paired_variant=None) for case in found]


def conditions(cases, seed=0):
  """Returns what a model is given for the cases."""
  return [examples.generation_inputs(case, 'clean', '', seed + i) for i, case in enumerate(cases)]


class Counter:
  """A model that counts its batches and draws noise by the seed alone."""

  def __init__(self):
    self.batches = []

  def __call__(self, part):
    self.batches.append(part)
    rngs = [np.random.default_rng(condition.seed) for condition in part]
    return np.stack([rng.uniform(-0.5, 0.5, (SPEC.num_samples, 2)) for rng in rngs])


def kept(folder, draw, **key):
  """Returns a model that keeps what it draws, and what it is kept by."""
  keeper = sample_cache.SampleCache(folder, {'model': 'a', **key})
  return keeper, keeper.wrap(evaluator.System('counter', draw, lambda wave_BNA: wave_BNA, RATE_HZ))


def test_a_second_call_draws_nothing_and_returns_the_same(cases, tmp_path):
  draw = Counter()
  keeper, model = kept(tmp_path, draw)
  first_BNA = model.generate(conditions(cases))
  # The second batch was for the time alone, since the first compiles.
  assert len(draw.batches) == 2
  np.testing.assert_allclose(first_BNA, draw(conditions(cases)), atol=1 / 32767)
  assert keeper.measured_costs.wall_s > 0 and keeper.measured_costs.peak_bytes > 1e6
  again, model = kept(tmp_path, None)
  np.testing.assert_array_equal(model.generate(conditions(cases)), first_BNA)
  assert again.measured_costs == keeper.measured_costs
  assert not list(tmp_path.rglob('.*'))


def test_a_batch_with_a_gap_is_drawn_again_as_a_whole(cases, tmp_path):
  draw = Counter()
  _, model = kept(tmp_path, draw)
  first_BNA = model.generate(conditions(cases))
  next(tmp_path.rglob('*.wav')).unlink()
  num_batches = len(draw.batches)
  np.testing.assert_array_equal(model.generate(conditions(cases)), first_BNA)
  assert [len(batch) for batch in draw.batches[num_batches:]] == [5]


def test_all_that_decides_a_soundtrack_keeps_them_apart(cases, tmp_path):
  draw = Counter()
  kept(tmp_path, draw)[1].generate(conditions(cases[:1]))
  case = cases[0]
  frames = tuple(255 - frame for frame in case.frames)
  changes = (
    {'truth': case.truth | {'annotation': 'else'}},
    {'truth': case.truth | {'transcript': 'words'}},
    {'frames': frames},
  )
  base = conditions([case])[0]
  others = [conditions([dataclasses.replace(case, **change)])[0] for change in changes]
  others += [dataclasses.replace(base, seed=9), dataclasses.replace(base, negative_text='music')]
  hashes = {sample_cache.inputs_hash(each) for each in (base, *others)}
  assert len(hashes) == 6
  assert sample_cache.inputs_hash(dataclasses.replace(base, name='other')) in hashes
  num_batches = len(draw.batches)
  kept(tmp_path, draw, steps=3)[1].generate(conditions(cases[:1]))
  assert len(draw.batches) > num_batches


def test_what_is_no_sound_is_not_kept(cases, tmp_path):
  _, model = kept(tmp_path, lambda part: np.full((len(part), 8, 2), np.nan))
  with pytest.raises(ValueError, match='NaN'):
    model.generate(conditions(cases))
  assert not list(tmp_path.rglob('*.wav'))


def test_a_model_is_known_by_its_weights_and_settings(tiny_bundle):
  model = bundle.load(tiny_bundle)
  known = model.digest()
  export = model.exports['flow']
  renamed = export.config.copy_and_resolve_references().unlock()
  renamed.name, renamed.data.train = 'other', ('elsewhere',)
  slower = export.config.copy_and_resolve_references().unlock()
  slower.generation.steps += 1
  arrays = dict(export.arrays)
  name = next(iter(arrays))
  arrays[name] = arrays[name] + 1e-3

  def changed(**changes):
    exports = {**model.exports, 'flow': dataclasses.replace(export, **changes)}
    return bundle.Bundle('x', exports).digest()

  assert changed(config=renamed.lock()) == known
  assert known not in (changed(config=slower.lock()), changed(arrays=arrays))
  request = request_lib.Request(steps=3, seed=7, prompt='x')
  key = sample_cache.cache_key(model, request, 8)
  assert key['model'] == known and key['request']['steps'] == 3 and 'prompt' not in key['request']
  assert json.loads(json.dumps(key)) == key


def write_folder(path, cases, rate_hz=RATE_HZ, **waves):
  """Writes the true sounds as another system's, or others under their names."""
  path.mkdir()
  for case in cases:
    wave_NA = waves.get(case.name.replace('-', '_'), record_schema.wave_to_float(case.wave_NA))
    soundfile.write(path / f'{case.name}.wav', wave_NA, rate_hz)
  return path


def name_of(case):
  """Returns a case's name as a keyword."""
  return case.name.replace('-', '_')


def test_a_clip_and_its_soundtrack_may_have_any_name(cases, tmp_path):
  folder = write_folder(tmp_path / 'other', cases)
  (folder / f'{cases[0].name}.wav').rename(os.fsdecode(os.fsencode(folder) + b'/caf\xe9.wav'))
  named = [dataclasses.replace(cases[0], name='caf\\xe9'), *cases[1:]]  # as cases.from_folder names it
  made = sample_cache.read_folder(folder, named, RATE_HZ)
  assert made.num_unused == 0 and made.system.generate(conditions(named[:1])).any()


def test_a_folder_of_the_truth_is_the_truth(cases, tmp_path):
  folder = write_folder(tmp_path / 'other', cases)
  assert sample_cache.is_wav_folder(folder) and not sample_cache.is_wav_folder(tmp_path)
  soundfile.write(folder / 'stranger.wav', np.zeros((8, 2)), RATE_HZ)
  made = sample_cache.read_folder(folder, cases, RATE_HZ)
  assert (made.silent, made.length_adjusted, made.num_unused, made.system.name) == ([], [], 1, 'other')
  outcome = evaluator.evaluate(
    made.system, cases, 'x', report_progress=lambda line: None, clip_rate_hz=RATE_HZ
  )
  assert outcome.result['signal']['log_mel_distance']['value'] == pytest.approx(0.0, abs=0.01)
  entry = outcome.result['synthetic']['onset_f1']
  assert entry['value'] == pytest.approx(entry['ceiling'], abs=0.05)


def test_silence_counts_and_is_told(cases, tmp_path):
  silence = {name_of(cases[1]): np.zeros((SPEC.num_samples, 2))}
  made = sample_cache.read_folder(write_folder(tmp_path / 'x', cases, **silence), cases, RATE_HZ)
  assert made.silent == [cases[1].name]
  outcome = evaluator.evaluate(
    made.system,
    cases,
    'x',
    report_progress=lambda line: None,
    clip_rate_hz=RATE_HZ,
    metrics=registry.load(('synthetic',)),
  )
  assert outcome.result['synthetic']['onset_f1']['n'] == 5


def test_other_rates_channels_and_a_few_samples_are_fitted(cases, tmp_path):
  long_N = np.zeros(round(2.02 * 48000))
  waves = {name_of(case): long_N for case in cases}
  made = sample_cache.read_folder(write_folder(tmp_path / 'x', cases, 48000, **waves), cases, RATE_HZ)
  assert made.system.sample_rate_hz == 48000 and len(made.length_adjusted) == 5
  assert made.system.generate(conditions(cases)).shape == (5, 96000, 2)
  assert made.system.reconstruct(np.zeros((1, 32000, 2))).shape == (1, 96000, 2)


def test_a_soundtrack_of_a_whole_video_is_cut_to_what_is_evaluated(cases, tmp_path):
  videos = [dataclasses.replace(case, video=tmp_path / f'{case.name}.mp4') for case in cases]
  rising_N = np.linspace(0, 0.5, 3 * RATE_HZ)
  folder = write_folder(tmp_path / 'x', cases, **{name_of(cases[2]): rising_N})
  made = sample_cache.read_folder(folder, videos, RATE_HZ)
  assert made.length_adjusted == [cases[2].name]
  wave_NA = made.system.generate(conditions(cases))[2]
  np.testing.assert_allclose(wave_NA[:, 0], rising_N[: 2 * RATE_HZ], atol=1e-4)


@pytest.mark.parametrize(
  ('change', 'words'),
  [
    (lambda folder, name: (folder / f'{name}.wav').rename(folder / 'b.wav'), 'wanted {name}; it holds b, of'),
    (lambda folder, name: (folder / f'{name}.wav').write_bytes(b'RIFFnonsense'), 'cannot be read as a wav'),
    (
      lambda folder, name: soundfile.write(folder / f'{name}.wav', np.zeros((0, 2)), RATE_HZ),
      'holds no sound',
    ),
    (
      lambda folder, name: soundfile.write(
        folder / f'{name}.wav', np.full((9, 2), np.nan), RATE_HZ, subtype='FLOAT'
      ),
      'NaN or infinity',
    ),
    (
      lambda folder, name: soundfile.write(folder / f'{name}.wav', np.zeros((48000, 2)), RATE_HZ),
      'lasts 3.000 s; its clip lasts 2.000 s',
    ),
    (
      lambda folder, name: soundfile.write(folder / f'{name}.wav', np.zeros((48000, 2)), 24000),
      'has 24000 samples a second; the files before it have 16000',
    ),
  ],
)
def test_faults_name_the_file(cases, tmp_path, change, words):
  folder = write_folder(tmp_path / 'x', cases)
  change(folder, cases[3].name)
  with pytest.raises(ValueError) as error:
    sample_cache.read_folder(folder, cases, RATE_HZ)
  message = str(error.value)
  assert words.format(name=cases[3].name) in message and '\n' not in message
  assert str(folder) in message
