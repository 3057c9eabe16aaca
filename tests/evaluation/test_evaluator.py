"""The evaluator on the true sounds, on those of other clips, and on invalid output."""

import dataclasses
import json

import numpy as np
import pytest

from v2a import clip as clip_lib
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import signal_metrics
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.reports import evaluation_report

SEED = 31_000_003
SPEC = clip_lib.ClipSpec(frame_size=16)
QUIET = {'report_progress': lambda line: None}
QUICK = QUIET | {'metrics': registry.load(('synthetic',))}
NUM_BY_ALL = 12
NAMES = (
  'onset_f1',
  'envelope_correlation',
  'pitch_correlation',
  'material_accuracy',
  'panning_correlation',
  'music_rate',
  'music_rate_negative',
  'word_error_rate',
  'lip_lag_ms',
  'onset_f1_archive_ratio',
  'onset_f1_degraded_ratio',
)


@pytest.fixture(scope='module')
def examples():
  return list(synthetic_examples.render(SEED, 36, SPEC))


def true_sounds(examples, delay_samples=0):
  """Returns a system that returns the true sound of a clip, which it finds by its frames."""
  known = {example.frames[0].tobytes(): k for k, example in enumerate(examples)}
  for k, example in enumerate(examples):
    known |= {
      example.paired_variant(corruption)[0].tobytes(): k
      for corruption in ('archive', 'degraded')
      if example.truth['scene'] in synthetic.IMPACT_SCENES
    }

  def generate(conditions):
    waves = []
    for condition in conditions:
      example = examples[known[condition.semantic_frame_MYX3.tobytes()]]
      wave_NA = example.no_music_wave_NA if condition.negative_text == 'music' else example.wave_NA
      waves.append(np.roll(record_schema.wave_to_float(wave_NA), delay_samples, axis=0))
    return np.stack(waves)

  return evaluator.System('truth', generate, lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz)


@pytest.fixture(scope='module')
def evaluated(examples):
  """The metrics of synthetic clips, of which some need many clips."""
  return evaluator.evaluate(true_sounds(examples), examples, 'synthetic:test', batch_size=5, **QUICK)


@pytest.fixture(scope='module')
def evaluated_by_all(examples):
  """All metrics, on fewer clips."""
  metrics = registry.load(use_optical_flow=True)
  return evaluator.evaluate(
    true_sounds(examples), examples[:NUM_BY_ALL], 'synthetic:test', batch_size=5, metrics=metrics, **QUIET
  )


def test_report_has_all_keys(evaluated_by_all):
  evaluated = evaluated_by_all
  result = json.loads(json.dumps(evaluated.result))
  assert {'model', 'data', 'num_clips', 'synthetic'} <= set(result)
  assert tuple(result['synthetic']) == NAMES
  assert result['num_clips'] == NUM_BY_ALL
  assert list(result['signal']) == list(signal_metrics.METRICS) and result['protocol']['captions']
  words = {metric.name: metric for metric in registry.load(('speech',))}
  assert list(result['speech']) == list(words) and result['speech']['wer_synthetic']['value'] < 0.1
  assert set(result['protocol']['scored']) == set(NAMES) | set(signal_metrics.METRICS) | set(words)
  assert list(result['distribution']) == registry.names(('distribution',))
  for name, metric in words.items():
    reasons = result['protocol']['scored'][name]['not_scored']
    assert result['speech'][name].get('reason') == (metric.unavailable_reason or None)
    assert not metric.unavailable_reason or list(reasons) == [metric.unavailable_reason]
  for entry in result['synthetic'].values():
    assert {'value', 'floor', 'ceiling', 'n'} <= set(entry)
    assert (entry['value'] is None) == ('reason' in entry)


def test_true_sounds_are_at_the_ceiling_and_those_of_other_clips_at_the_floor(evaluated):
  for name, entry in evaluated.result['synthetic'].items():
    if name == 'panning_correlation':
      # The ceiling has no music that the annotation omits, which makes positions less accurate.
      assert entry['value'] < entry['ceiling'] < entry['value'] + 0.1
    else:
      assert entry['value'] == pytest.approx(entry['ceiling'], abs=1e-9), name
  result = evaluated.result['synthetic']
  assert result['onset_f1']['value'] > 0.95 and result['onset_f1']['floor'] < 0.6
  assert result['material_accuracy']['value'] > 0.9 and result['material_accuracy']['floor'] < 0.6
  assert result['panning_correlation']['value'] > 0.8 and abs(result['panning_correlation']['floor']) < 0.6
  assert result['word_error_rate']['value'] < 0.2 and result['word_error_rate']['floor'] > 0.6
  assert result['lip_lag_ms']['value'] <= 40
  assert result['music_rate']['value'] > 0.9 and result['music_rate_negative']['value'] < 0.1
  assert result['onset_f1_archive_ratio']['value'] == pytest.approx(1.0)
  low, high = result['onset_f1']['interval']
  assert low <= result['onset_f1']['value'] <= high


def test_metrics_are_combined_from_scores_of_clips(examples, evaluated):
  for name, metric in synthetic.METRICS.items():
    scores, entry = evaluated.scores[name], evaluated.result['synthetic'][name]
    assert [score.index for score in scores] == [
      i for i, example in enumerate(examples) if metric.selects(example.truth)
    ]
    assert sum(score.value is not None for score in scores) == entry['n']
    if metric.relative_to:
      continue
    for kind in ('value', 'floor', 'ceiling'):
      valid = [getattr(score, kind) for score in scores if getattr(score, kind) is not None]
      assert metric.combine(valid) == pytest.approx(entry[kind]), (name, kind)


def test_soundtracks_of_every_variant_are_returned(examples, evaluated):
  assert set(evaluated.sounds_by_variant) == {metric.variant for metric in synthetic.METRICS.values()}
  assert sorted(evaluated.sounds) == list(range(len(examples)))
  for metric in synthetic.METRICS.values():
    sounds = evaluated.sounds_by_variant[metric.variant]
    for score in evaluated.scores[metric.name]:
      example = examples[score.index]
      true_NA = example.no_music_wave_NA if metric.variant.negative_text else example.wave_NA
      sound = sounds[score.index]
      assert sound.sample_rate_hz == SPEC.sample_rate_hz
      np.testing.assert_allclose(sound.wave_NA, record_schema.wave_to_float(true_NA), atol=1e-6)


def test_panning_ceiling_has_no_music_that_the_annotation_omits(examples):
  selected = [example for example in examples if example.truth['scene'] in synthetic.IMPACT_SCENES]
  mixed = next(example for example in selected if synthetic.has_unnamed_music(example.truth))
  selected = [mixed, *(example for example in selected if not synthetic.has_unnamed_music(example.truth))][:4]
  dry_NA = record_schema.wave_to_float(mixed.no_music_wave_NA)
  reconstructed = []

  def reconstruct(wave_BNA):
    reconstructed.extend(wave_BNA)
    return wave_BNA

  model = dataclasses.replace(true_sounds(examples), reconstruct=reconstruct)
  found = evaluator.evaluate(model, selected, 'x', **QUICK)
  assert any(np.array_equal(wave_NA, dry_NA) for wave_NA in reconstructed)
  ceiling = found.scores['panning_correlation'][0].ceiling
  np.testing.assert_allclose(ceiling, synthetic.panning_score(dry_NA.astype(np.float64), mixed.truth, None))
  unknown = [dataclasses.replace(example, no_music_wave_NA=None) for example in selected]
  scores = evaluator.evaluate(true_sounds(examples), unknown, 'x', **QUICK).scores['panning_correlation']
  assert scores[0].ceiling is None and all(score.ceiling is not None for score in scores[1:])


def test_shifted_floor_of_a_regular_sound_and_of_true_sounds(examples, evaluated_by_all):
  entries = evaluated_by_all.result['synthetic'] | evaluated_by_all.result['signal']
  names = ('onset_f1', 'onset_flux_f1', 'onset_accuracy', 'onset_average_precision')
  of_motion = ('av_align', 'motion_onset_iou')
  assert {name for name, entry in entries.items() if 'shifted_floor' in entry} == {*names, *of_motion}
  for name in names:
    assert 0.0 <= entries[name]['shifted_floor'] < 0.6 * entries[name]['value'], name
  # Ten clicks a second match most of the onsets of any clip, whenever they are.
  wave_NA = np.zeros((SPEC.num_samples, 2))
  for first in range(0, SPEC.num_samples, SPEC.sample_rate_hz // 10):
    wave_NA[first : first + 80] = 0.5 * np.random.default_rng(first).standard_normal((80, 2))
  ticking = evaluator.System(
    'ticking', lambda part: np.stack([wave_NA] * len(part)), lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz
  )
  found = evaluator.evaluate(ticking, examples[:6], 'x', **QUIET | {'metrics': registry.load(('signal',))})
  entry = found.result['signal']['onset_accuracy']
  assert entry['value'] > 0.5 and entry['shifted_floor'] == pytest.approx(entry['value'], abs=0.25)


def test_delay_lowers_onset_f1(examples, evaluated):
  impacts = [example for example in examples if example.truth['scene'] in synthetic.IMPACT_SCENES][:6]
  late = evaluator.evaluate(true_sounds(impacts, delay_samples=1600), impacts, 'late', **QUICK)
  assert (
    late.result['synthetic']['onset_f1']['value'] < 0.3 < evaluated.result['synthetic']['onset_f1']['value']
  )
  assert late.result['synthetic']['onset_f1']['ceiling'] > 0.9


def test_unavailable_metrics_are_null_with_a_reason(examples):
  without_variants = [
    dataclasses.replace(example, paired_variant=None, no_music_wave_NA=None)
    for example in examples
    if example.truth['scene'] in ('bounce', 'collide')
  ][:2]
  evaluated = evaluator.evaluate(true_sounds(examples), without_variants, 'two', **QUICK)
  entries = evaluated.result['synthetic']
  assert not evaluated.scores['word_error_rate']
  assert [score.value for score in evaluated.scores['onset_f1_archive_ratio']] == [None, None]
  assert entries['word_error_rate'] == {
    'value': None,
    'floor': None,
    'ceiling': None,
    'n': 0,
    'interval': None,
    'reason': 'no clip of the set has the truth that this metric needs',
  }
  assert 'variants' in entries['onset_f1_archive_ratio']['reason']
  assert entries['onset_f1']['value'] is not None


def test_mono_has_no_panning_correlation(examples):
  mono = [
    dataclasses.replace(
      example,
      wave_NA=example.wave_NA.mean(axis=1, keepdims=True).astype(np.int16),
      no_music_wave_NA=None,
      paired_variant=None,
    )
    for example in examples[:6]
  ]
  model = evaluator.System(
    'mono',
    lambda conditions: np.zeros((len(conditions), SPEC.num_samples, 1)),
    lambda wave_BNA: wave_BNA,
    SPEC.sample_rate_hz,
  )
  result = evaluator.evaluate(model, mono, 'mono', **QUICK).result
  entry = result['synthetic']['panning_correlation']
  assert entry['value'] is None and 'one channel' in entry['reason']


def test_invalid_output_raises(examples):
  def returning(output):
    return evaluator.System(
      'broken', lambda conditions: output, lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz
    )

  with pytest.raises(ValueError, match='NaN or infinity'):
    evaluator.evaluate(returning(np.full((8, 64000, 2), np.nan)), examples[:2], '', **QUIET)
  with pytest.raises(ValueError, match=r'must return \(8, samples, channels\); got \(3, 5\)'):
    evaluator.evaluate(returning(np.zeros((3, 5))), examples[:2], '', **QUIET)
  with pytest.raises(ValueError, match='at least 2 clips'):
    evaluator.evaluate(returning(None), examples[:1], '')


@pytest.mark.parametrize(('num', 'batch_size'), [(5, 2), (4, 2), (1, 3), (7, 3), (0, 2)])
def test_batches_are_in_order_and_padding_is_dropped(num, batch_size):
  batches, progress = [], []

  def run(rows):
    batches.append(rows)
    return np.stack([np.full((4, 1), float(row)) for row in rows])

  rows = iter(range(num))
  waves = list(evaluator.in_batches(run, rows, batch_size, spectra.RATE_HZ, progress.append))
  assert [wave_NA.tolist() for wave_NA in waves] == [[[float(row)]] * 4 for row in range(num)]
  assert all(len(batch) == batch_size for batch in batches) and len(batches) == -(-num // batch_size)
  assert sum(batches, [])[num:] == [num - 1] * (len(batches) * batch_size - num)
  assert progress == [min(batch_size * (k + 1), num) for k in range(len(batches))]


def test_a_finished_stage_says_how_long_it_took(monkeypatch):
  clock, lines = iter([0.0, 5.0, 6.0, 10.0]), []
  monkeypatch.setattr(evaluator.time, 'monotonic', lambda: next(clock))
  progress = evaluator._Progress('soundtracks', 8, lines.append)
  for done in (4, 5, 8):
    progress.update(done)
  words = '0.80 clips/s, 5 s left', '0.80 clips/s, took 10 s'
  assert lines == [f'soundtracks: 4 of 8, {words[0]}', f'soundtracks: 8 of 8, {words[1]}']


def test_batches_are_resampled():
  run = lambda rows: np.zeros((len(rows), spectra.RATE_HZ // 2, 2))
  waves = evaluator.in_batches(run, range(3), 2, spectra.RATE_HZ // 2)
  assert [wave_NA.shape for wave_NA in waves] == [(spectra.RATE_HZ, 2)] * 3


def test_seeds_are_averaged_and_resampled_with_their_clips(examples):
  impacts = [example for example in examples if example.truth['scene'] in synthetic.IMPACT_SCENES][:5]
  impacts = [dataclasses.replace(example, paired_variant=None) for example in impacts]
  seeds = {evaluator.noise_seed(7 + number, i): number for number in range(2) for i in range(5)}

  def generate(conditions):
    # The true sound with the first seed, silence with the second.
    known = {example.frames[0].tobytes(): example for example in impacts}
    waves = [record_schema.wave_to_float(known[c.semantic_frame_MYX3.tobytes()].wave_NA) for c in conditions]
    return np.stack([wave_NA * (seeds[c.seed] == 0) for c, wave_NA in zip(conditions, waves)])

  model = evaluator.System('half', generate, lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz)
  metrics = registry.load(('synthetic', 'signal'))
  both = evaluator.evaluate(model, impacts, 'x', seed=7, num_seeds=2, metrics=metrics, **QUIET)
  first = evaluator.evaluate(model, impacts, 'x', seed=7, **QUICK)
  assert (both.result['num_seeds'], first.result['num_seeds']) == (2, 1)
  assert 'signal' not in first.result
  for name in ('onset_f1', 'panning_correlation'):
    mean, alone = both.result['synthetic'][name], first.result['synthetic'][name]
    assert mean['value'] == pytest.approx(alone['value'] / 2), name
    assert mean['ceiling'] == alone['ceiling'] and mean['n'] == alone['n'] == 5
    # The second seed scores 0 on every clip, and clips are resampled with both of their seeds.
    half = [edge / 2 for edge in alone['interval']]
    assert mean['interval'][1] == pytest.approx(half[1]) and mean['interval'][0] <= half[0] + 1e-9
    # The panning correlation of a resample with equal positions is defined only for silence.
    assert name == 'panning_correlation' or mean['interval'][0] == pytest.approx(half[0])
  assert both.result['signal']['silence_error']['mean'] > 0.5
  np.testing.assert_array_equal(both.sounds[0].wave_NA, first.sounds[0].wave_NA)


def test_external_soundtracks_are_for_clean_video_only(examples):
  selected = [example for example in examples if synthetic.has_unnamed_music(example.truth)][:3]
  model = dataclasses.replace(true_sounds(examples), is_external=True)
  evaluated = evaluator.evaluate(model, selected, 'x', num_seeds=3, **QUICK)
  assert evaluated.result['num_seeds'] == 1 and set(evaluated.sounds_by_variant) == {metric_lib.CLEAN_VARIANT}
  entry = evaluated.result['synthetic']['music_rate_negative']
  assert entry['value'] is None and 'generated beforehand' in entry['reason']
  protocol = evaluated.result['protocol']['scored']['music_rate_negative']
  assert protocol['num_scored'] == 0 and sum(protocol['not_scored'].values()) == 3
  assert evaluated.result['synthetic']['music_rate']['value'] is not None


def test_a_system_with_another_sample_rate():
  spec = dataclasses.replace(SPEC, clip_s=2.0, sample_rate_hz=32000)
  examples = list(synthetic_examples.render(SEED, 2, spec, scenes=('strike',)))
  known = {example.frames[0].tobytes(): record_schema.wave_to_float(example.wave_NA) for example in examples}
  model = evaluator.System(
    'truth',
    lambda conditions: np.stack([known[c.semantic_frame_MYX3.tobytes()] for c in conditions]),
    lambda wave_BNA: wave_BNA,
    32000,
  )
  evaluated = evaluator.evaluate(
    model,
    [dataclasses.replace(example, paired_variant=None) for example in examples],
    'x',
    report_progress=print,
  )
  for sound in (evaluated.sounds[0], evaluated.codec_sounds[1]):
    assert sound.wave_NA.shape == (64000, 2) and sound.resampled_NA.shape == (32000, 2)
  assert evaluated.result['signal']['rolloff_error_hz']['value'] == pytest.approx(0.0, abs=1e-6)
  assert evaluated.result['protocol']['sample_rate_hz'] == 32000


def test_evaluation_without_captions(examples):
  prompts = []

  def generate(conditions):
    prompts.extend(condition.text for condition in conditions)
    return np.zeros((len(conditions), SPEC.num_samples, 2))

  model = evaluator.System('silent', generate, lambda wave_BNA: wave_BNA, SPEC.sample_rate_hz)
  selected = [dataclasses.replace(example, paired_variant=None) for example in examples[:2]]
  evaluated = evaluator.evaluate(model, selected, 'x', has_captions=False, **QUICK)
  assert set(prompts) == {''} and not evaluated.result['protocol']['captions']


def test_noise_seeds_are_distinct():
  seeds = {evaluator.noise_seed(seed, index) for seed in range(4) for index in range(200)}
  assert len(seeds) == 800 and max(seeds) < 2**31


def test_report_files(examples, evaluated_by_all, tmp_path):
  evaluated = evaluated_by_all
  shown = examples[:3]
  evaluation_report.write(tmp_path / 'out', evaluated, shown)
  written = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert written == {'about': 'Written by v2a evaluate.', **json.loads(json.dumps(evaluated.result))}
  scenes = {example.truth['scene'] for example in shown}
  assert {path.stem for path in (tmp_path / 'out').glob('*.png')} == scenes
  assert all(path.stat().st_size > 20_000 for path in (tmp_path / 'out').glob('*.png'))
  assert not list((tmp_path / 'out').glob('.*'))
  evaluation_report.write(tmp_path / 'out', evaluated, shown)  # replaces its own files
  mine = tmp_path / 'out' / f'{shown[0].truth["scene"]}.png'
  mine.write_text('mine')
  with pytest.raises(FileExistsError, match='exists and was not written by v2a'):
    evaluation_report.write(tmp_path / 'out', evaluated, shown)
  text = evaluation_report.format_table(evaluated.result)
  lines = text.splitlines()
  entries = {name: entry for group in registry.GROUPS for name, entry in evaluated.result[group].items()}
  names = [name for name, entry in entries.items() if entry['value'] is not None]
  notes = [line for line in lines if line.startswith('[')]
  last = lines.index('Without a value')
  legend = 2  # lines on arrows, floor, shifted and ceiling
  assert notes and last == 1 + legend + 3 * len(registry.GROUPS) + len(names) + 1 + len(notes) + 1
  # Behind the arrow of the better direction.
  assert all(any(line[2:].startswith(f'{name} ') for line in lines) for name in names)
  # Those without a value are below, once for each reason.
  missing = ' '.join(' '.join(lines[last:]).split())
  assert all(name in missing for name in set(entries) - set(names)) and max(map(len, lines[last:])) <= 100
  reasons = {entry['reason'].rstrip('.') for entry in entries.values() if entry['value'] is None}
  assert len(reasons) > 1 and all(missing.count(f': {reason}.') == 1 for reason in reasons)
  assert any(line[2:].startswith('true_peak_error_db') and '(mean -' in line for line in lines)
