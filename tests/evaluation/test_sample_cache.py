"""The cache of soundtracks, and folders of WAV files of other systems."""

import dataclasses
import json
import os

import numpy as np
import pytest
import soundfile
import soxr

from v2a import clip as clip_lib
from v2a.data import examples as examples_lib
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
def examples():
  found = synthetic_examples.render(31_000_007, 5, SPEC, scenes=('strike',))
  return [dataclasses.replace(example, paired_variant=None) for example in found]


def conditions(examples, seed=0):
  """Returns the conditions of the examples."""
  return [
    examples_lib.generation_inputs(example, 'clean', '', seed + i) for i, example in enumerate(examples)
  ]


class Counter:
  """A model that counts its batches and returns noise that depends on the seed alone."""

  def __init__(self):
    self.batches = []

  def __call__(self, part):
    self.batches.append(part)
    rngs = [np.random.default_rng(condition.seed) for condition in part]
    return np.stack([rng.uniform(-0.5, 0.5, (SPEC.num_samples, 2)) for rng in rngs])


def cached(folder, generate, **key):
  """Returns a cache, and a system with it."""
  cache = sample_cache.SampleCache(folder, {'model': 'a', **key})
  return cache, cache.wrap(evaluator.System('counter', generate, lambda wave_BNA: wave_BNA, RATE_HZ))


def test_a_second_call_reads_the_cache(examples, tmp_path):
  counter = Counter()
  cache, model = cached(tmp_path, counter)
  first_BNA = model.generate(conditions(examples))
  # The second batch is only for timing, since the first one includes compilation.
  assert len(counter.batches) == 2
  np.testing.assert_allclose(first_BNA, counter(conditions(examples)), atol=1 / 32767)
  assert cache.measured_costs.wall_s > 0 and cache.measured_costs.peak_bytes > 1e6
  again, model = cached(tmp_path, None)
  np.testing.assert_array_equal(model.generate(conditions(examples)), first_BNA)
  assert again.measured_costs == cache.measured_costs
  assert not list(tmp_path.rglob('.*'))


def test_a_batch_with_a_missing_soundtrack_is_generated_again(examples, tmp_path):
  counter = Counter()
  _, model = cached(tmp_path, counter)
  first_BNA = model.generate(conditions(examples))
  next(tmp_path.rglob('*.wav')).unlink()
  num_batches = len(counter.batches)
  np.testing.assert_array_equal(model.generate(conditions(examples)), first_BNA)
  assert [len(batch) for batch in counter.batches[num_batches:]] == [5]


def test_cache_key_depends_on_condition_and_settings(examples, tmp_path):
  counter = Counter()
  cached(tmp_path, counter)[1].generate(conditions(examples[:1]))
  example = examples[0]
  frames = tuple(255 - frame for frame in example.frames)
  changes = (
    {'truth': example.truth | {'annotation': 'else'}},
    {'truth': example.truth | {'transcript': 'words'}},
    {'frames': frames},
  )
  base = conditions([example])[0]
  others = [conditions([dataclasses.replace(example, **change)])[0] for change in changes]
  others += [dataclasses.replace(base, seed=9), dataclasses.replace(base, negative_text='music')]
  hashes = {sample_cache.inputs_hash(each) for each in (base, *others)}
  assert len(hashes) == 6
  assert sample_cache.inputs_hash(dataclasses.replace(base, name='other')) in hashes
  num_batches = len(counter.batches)
  cached(tmp_path, counter, steps=3)[1].generate(conditions(examples[:1]))
  assert len(counter.batches) > num_batches


def test_invalid_output_is_not_cached(examples, tmp_path):
  _, model = cached(tmp_path, lambda part: np.full((len(part), 8, 2), np.nan))
  with pytest.raises(ValueError, match='NaN'):
    model.generate(conditions(examples))
  assert not list(tmp_path.rglob('*.wav'))


def test_digest_of_a_model_depends_on_weights_and_settings(tiny_bundle):
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


def write_folder(path, examples, rate_hz=RATE_HZ, **waves):
  """Writes the true sounds as soundtracks, or others by keyword (see `keyword`)."""
  path.mkdir()
  for example in examples:
    wave_NA = waves.get(example.name.replace('-', '_'), record_schema.wave_to_float(example.wave_NA))
    soundfile.write(path / f'{example.name}.wav', wave_NA, rate_hz)
  return path


def keyword(example):
  """Returns the name of an example as a keyword of `write_folder`."""
  return example.name.replace('-', '_')


def test_names_that_are_not_utf_8(examples, tmp_path):
  folder = write_folder(tmp_path / 'other', examples)
  (folder / f'{examples[0].name}.wav').rename(os.fsdecode(os.fsencode(folder) + b'/caf\xe9.wav'))
  # As folder_examples.read names it.
  named = [dataclasses.replace(examples[0], name='caf\\xe9'), *examples[1:]]
  samples = sample_cache.read_folder(folder, named, RATE_HZ)
  assert not samples.unused and samples.system.generate(conditions(named[:1])).any()


def test_a_soundtrack_belongs_to_one_clip(tmp_path, examples):
  folder = write_folder(tmp_path / 'x', examples)
  twice = [examples[0], examples[1], dataclasses.replace(examples[2], name=examples[0].name)]
  with pytest.raises(ValueError, match=f'several clips share the name {examples[0].name}; a soundtrack must'):
    sample_cache.read_folder(folder, twice, RATE_HZ)


def test_folder_of_true_sounds(examples, tmp_path):
  folder = write_folder(tmp_path / 'other', examples)
  assert sample_cache.is_wav_folder(folder) and not sample_cache.is_wav_folder(tmp_path)
  soundfile.write(folder / 'unused.wav', np.zeros((8, 2)), RATE_HZ)
  samples = sample_cache.read_folder(folder, examples, RATE_HZ)
  assert (samples.silent, samples.length_adjusted, samples.unused, samples.system.name) == (
    [],
    [],
    ['unused'],
    'other',
  )
  evaluated = evaluator.evaluate(
    samples.system, examples, 'x', report_progress=lambda line: None, clip_rate_hz=RATE_HZ
  )
  assert evaluated.result['signal']['log_mel_distance']['value'] == pytest.approx(0.0, abs=0.01)
  assert evaluated.result['synthetic']['onset_f1']['value'] > 0.9


def test_silent_soundtracks_are_listed_and_evaluated(examples, tmp_path):
  silence = {keyword(examples[1]): np.zeros((SPEC.num_samples, 2))}
  samples = sample_cache.read_folder(write_folder(tmp_path / 'x', examples, **silence), examples, RATE_HZ)
  assert samples.silent == [examples[1].name]
  evaluated = evaluator.evaluate(
    samples.system,
    examples,
    'x',
    report_progress=lambda line: None,
    clip_rate_hz=RATE_HZ,
    metrics=registry.load(('synthetic',)),
  )
  assert evaluated.result['synthetic']['onset_f1']['n'] == 5


def test_other_rates_channels_and_lengths_are_adjusted(examples, tmp_path):
  long_N = np.zeros(round(2.02 * 48000))
  waves = {keyword(example): long_N for example in examples}
  samples = sample_cache.read_folder(
    write_folder(tmp_path / 'x', examples, 48000, **waves), examples, RATE_HZ
  )
  assert samples.system.sample_rate_hz == 48000 and len(samples.length_adjusted) == 5
  assert samples.system.generate(conditions(examples)).shape == (5, 96000, 2)


def test_a_folder_has_no_codec_and_no_ceiling(examples, tmp_path):
  # At another rate than the clips, at which resampled true sounds have errors of their own.
  true = [soxr.resample(record_schema.wave_to_float(each.wave_NA), RATE_HZ, 48000) for each in examples]
  waves = {keyword(example): wave_NA for example, wave_NA in zip(examples, true)}
  folder = write_folder(tmp_path / 'x', examples, 48000, **waves)
  lines = []
  evaluated = evaluator.evaluate(
    sample_cache.read_folder(folder, examples, RATE_HZ).system,
    examples,
    'x',
    report_progress=lines.append,
    clip_rate_hz=RATE_HZ,
    metrics=registry.load(('synthetic', 'signal')),
  )
  entries = evaluated.result['synthetic'] | evaluated.result['signal']
  assert {entry['ceiling'] for entry in entries.values()} == {None} and evaluated.codec_sounds == {}
  assert entries['onset_f1']['value'] > 0.9 and not any('codec' in line for line in lines)


def test_soundtrack_of_a_longer_video_is_truncated(examples, tmp_path):
  videos = [dataclasses.replace(example, video=tmp_path / f'{example.name}.mp4') for example in examples]
  rising_N = np.linspace(0, 0.5, 3 * RATE_HZ)
  folder = write_folder(tmp_path / 'x', examples, **{keyword(examples[2]): rising_N})
  samples = sample_cache.read_folder(folder, videos, RATE_HZ)
  assert samples.length_adjusted == [examples[2].name]
  wave_NA = samples.system.generate(conditions(examples))[2]
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
      'of one sample rate; got 16000 Hz in 4 (such as {first}.wav), 24000 Hz in 1 (such as {name}.wav).',
    ),
  ],
)
def test_errors_name_the_file(examples, tmp_path, change, words):
  folder = write_folder(tmp_path / 'x', examples)
  change(folder, examples[3].name)
  with pytest.raises(ValueError) as error:
    sample_cache.read_folder(folder, examples, RATE_HZ)
  message = str(error.value)
  assert words.format(name=examples[3].name, first=examples[0].name) in message and '\n' not in message
  assert str(folder) in message


def test_different_sample_rates_are_found_before_any_file_is_read(examples, tmp_path, monkeypatch):
  folder = write_folder(tmp_path / 'x', examples)
  soundfile.write(folder / f'{examples[3].name}.wav', np.zeros((96000, 2)), 48000)
  soundfile.write(folder / 'unused.wav', np.zeros((8, 2)), 8000)
  monkeypatch.setattr(sample_cache.soundfile, 'read', lambda *args, **kwargs: pytest.fail('was read'))
  with pytest.raises(ValueError, match=r'got 16000 Hz in 4 \(such as [^)]*\), 48000 Hz in 1'):
    sample_cache.read_folder(folder, examples, RATE_HZ)
