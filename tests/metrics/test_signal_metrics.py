"""Signal metrics: perfect values of the true sounds, and the metric that each degradation changes."""

import dataclasses

import numpy as np
import pytest

from tests.media import films
from v2a import clip as clip_lib
from v2a.data import folder_examples
from v2a.data import record_schema
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.evaluation import scoring
from v2a.media import probe
from v2a.media import read
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import signal_metrics

SPEC = clip_lib.ClipSpec(frame_size=16)
RATE_HZ = SPEC.sample_rate_hz
PERFECT = dict.fromkeys(('onset_flux_f1', 'onset_accuracy', 'onset_count_accuracy'), 1.0)


@pytest.fixture(scope='module')
def examples():
  return list(synthetic_examples.render(31_000_006, 3, SPEC, scenes=('strike',)))


@pytest.fixture(scope='module')
def waves(examples):
  return [record_schema.wave_to_float(example.wave_NA).astype(np.float64) for example in examples]


@pytest.fixture(scope='module')
def references(examples):
  return evaluator.make_references(examples, RATE_HZ)


def evaluate(waves, references, use_optical_flow=True):
  """Returns the entry of every metric."""
  sounds = {i: metric_lib.Sound(wave_NA, RATE_HZ) for i, wave_NA in enumerate(waves)}
  samples, everything = scoring.Samples(sounds, references), list(range(len(waves)))
  metrics = registry.load(('signal',), use_optical_flow=use_optical_flow)
  scores = {
    metric.name: scoring.score_metric(metric, references, everything, samples, samples, None)
    for metric in metrics
  }
  return scoring.entries(metrics, scores)[0]['signal']


def test_optical_flow_is_computed_on_request(waves, references, monkeypatch):
  monkeypatch.setattr(signal_metrics.av_align, 'motion', lambda source: pytest.fail('computed'))
  entries = evaluate(waves, references, use_optical_flow=False)
  assert entries['av_align']['value'] is entries['av_align']['floor'] is None
  assert entries['av_align']['reason'] == signal_metrics.NO_OPTICAL_FLOW
  assert all('reason' not in entry for name, entry in entries.items() if name != 'av_align')


def test_true_sounds_have_perfect_values(waves, references):
  entries = evaluate(waves, references)
  assert list(entries) == list(signal_metrics.METRICS)
  for name, entry in entries.items():
    if name.startswith(('av_', 'motion_')) or name == 'onset_average_precision':
      continue
    assert entry['value'] == pytest.approx(PERFECT.get(name, 0.0), abs=1e-6), name
    assert entry['n'] == 3 and entry['ceiling'] is None
  assert entries['onset_average_precision']['value'] == pytest.approx(1.0)
  assert entries['log_mel_distance']['floor'] > 1.0 and entries['onset_flux_f1']['floor'] < 0.9
  peak = entries['true_peak_error_db']
  assert peak['mean'] == pytest.approx(peak['mean_truth']) and peak['mean'] < 0.0


def test_each_degradation_changes_its_metric(waves, references):
  def of(change):
    return evaluate([change(wave_NA) for wave_NA in waves], references)

  quiet = of(lambda wave_NA: 0.5 * wave_NA)
  assert quiet['true_peak_error_db']['value'] == pytest.approx(6.02, abs=0.05)
  assert quiet['true_peak_error_db']['mean'] < quiet['true_peak_error_db']['mean_truth']
  assert quiet['loudness_error_lu']['value'] == pytest.approx(6.02, abs=0.3)
  assert quiet['onset_flux_f1']['value'] > 0.8 and quiet['envelope_l1']['value'] > 0.001
  late = of(lambda wave_NA: np.roll(wave_NA, round(0.2 * RATE_HZ), axis=0))
  assert late['onset_flux_f1']['value'] < 0.5
  assert late['true_peak_error_db']['value'] == pytest.approx(0.0, abs=0.05)
  left = of(lambda wave_NA: wave_NA * np.array([1.0, 0.1]))
  assert left['level_difference_error_db']['value'] == pytest.approx(20.0, abs=0.1)
  assert left['level_difference_error_db']['mean'] < left['level_difference_error_db']['mean_truth'] - 19.0
  shifted = of(lambda wave_NA: wave_NA + 0.05)
  assert shifted['dc_error']['value'] == pytest.approx(0.05, abs=0.002)
  loud = of(lambda wave_NA: np.clip(40.0 * wave_NA, -1.0, 1.0))
  assert loud['clipping_error']['value'] > 0.01 > loud['clipping_error']['mean_truth']
  dull = of(lambda wave_NA: np.cumsum(wave_NA, axis=0) * 0.01)
  assert dull['rolloff_error_hz']['mean'] < dull['rolloff_error_hz']['mean_truth']
  assert dull['log_spectral_distance']['value'] > 0.5


def test_silence_has_bad_values(waves, references):
  silent = evaluate([np.zeros_like(wave_NA) for wave_NA in waves], references)
  assert silent['onset_accuracy']['value'] == 0.0 and silent['onset_flux_f1']['value'] == 0.0
  assert silent['silence_error']['mean'] == 1.0
  # Silent clips are not excluded.
  loud = evaluate(waves, references)
  assert [entry['n'] for entry in silent.values()] == [entry['n'] for entry in loud.values()]
  assert silent['av_offset_ms']['value'] == 500.0 > loud['av_offset_ms']['value']
  assert silent['stereo_correlation_error']['mean'] == 0.0


def test_onsets_are_shifted_within_the_clip(waves, references):
  reference = dataclasses.replace(references[0], onset_shift_s=1.0)
  time_s = np.array([0.5, 3.5])
  assert reference.shift_onsets(time_s).tolist() == pytest.approx([0.5, 1.5])
  assert references[0].shift_onsets(time_s) is time_s
  late = metric_lib.Sound(np.roll(waves[0], RATE_HZ, axis=0), RATE_HZ)
  metric = registry.get('onset_accuracy')
  assert metric.score(metric_lib.Sample(late, reference)) > 0.8
  assert metric.score(metric_lib.Sample(late, references[0])) < 0.8


def test_motion_peaks_are_shifted_for_the_floor():
  frame_LYX3 = np.zeros((100, 8, 8, 3), np.uint8)
  frame_LYX3[25:], frame_LYX3[60:] = 100, 200  # motion at 1.0 and 2.4 s of 4 s
  wave_NA = np.zeros((4 * RATE_HZ, 1))
  for time_s in (1.0, 2.4):
    first = round(time_s * RATE_HZ)
    wave_NA[first : first + 400] = np.random.default_rng(0).standard_normal((400, 1))
  sound, metric = metric_lib.Sound(wave_NA, RATE_HZ), registry.get('motion_onset_iou')
  reference = metric_lib.Reference(sound, None, frame_LYX3, 25.0)
  shifted = [row[0] for row in scoring.shift_references([reference])]
  assert metric.score(metric_lib.Sample(sound, reference)) > 0.0
  assert [metric.score(metric_lib.Sample(sound, each)) for each in shifted] == [0.0] * scoring.NUM_SHIFTS


def test_clips_whose_true_sound_has_no_onsets_are_excluded(waves, references):
  quiet = dataclasses.replace(references[0], sound=metric_lib.Sound(np.zeros_like(waves[0]), RATE_HZ))
  with_quiet = [quiet, *references[1:]]
  silent = evaluate([np.zeros_like(wave_NA) for wave_NA in waves], with_quiet)['onset_flux_f1']
  assert (silent['value'], silent['n']) == (0.0, 2)


def test_clips_are_scored_independently_and_in_order(waves, references):
  samples = [
    metric_lib.Sample(metric_lib.Sound(wave_NA, RATE_HZ), each)
    for wave_NA, each in zip(waves[::-1], references)
  ]
  for metric in registry.load(('signal',), use_optical_flow=True):
    together = metric.score_all(samples)
    for k, sample in enumerate(samples):
      alone = metric_lib.Sample(metric_lib.Sound(sample.sound.wave_NA, RATE_HZ), sample.reference)
      assert metric.score(alone) == together[k], metric.name


def test_errors_are_against_the_sound_of_the_file_at_its_own_rate(tmp_path):
  rate_hz = 48000
  noise_NA = 0.1 * np.random.default_rng(0).standard_normal((3 * rate_hz, 2), np.float32)
  films.make(tmp_path / 'a', 'mov', duration_s=3.0, fps=30, wave_NA=noise_NA)
  spec = clip_lib.ClipSpec(clip_s=2.0, frame_size=8, sample_rate_hz=RATE_HZ)
  (reference,) = evaluator.make_references(list(folder_examples.read(tmp_path, None, spec)), RATE_HZ)
  true = reference.native_sound()
  assert true.sample_rate_hz == rate_hz and reference.sound.sample_rate_hz == RATE_HZ
  copy = metric_lib.Sound(true.resampled_NA, RATE_HZ)
  errors = {}
  for name, sound in (('true', true), ('copy', copy)):
    metric = registry.get('rolloff_error_hz')
    metric.update([metric_lib.Sample(sound, reference)])
    errors[name] = metric.compute()
  # The clips of the evaluation are at 16 kHz, the file at 48 kHz: the copy has nothing above 8 kHz.
  assert errors['true'] == 0.0 and errors['copy'] > 10_000


def test_a_mono_file_and_its_copy_in_two_channels_have_no_error(tmp_path):
  rate_hz, stereo = 48000, ('stereo_correlation_error', 'level_difference_error_db')
  noise_NA = 0.1 * np.random.default_rng(0).standard_normal((2 * rate_hz, 1), np.float32)
  path = films.make(tmp_path / 'a', 'mov', duration_s=2.0, fps=30, wave_NA=noise_NA, layout='mono')
  assert probe.probe(path).audio_channels == 1
  mono_NA = read.wave(path, rate_hz, 1, 0.0, 2.0)
  for num_channels in (1, 2):
    spec = clip_lib.ClipSpec(clip_s=2.0, frame_size=8, sample_rate_hz=RATE_HZ, num_channels=num_channels)
    (reference,) = evaluator.make_references(list(folder_examples.read(tmp_path, None, spec)), RATE_HZ)
    copy = metric_lib.Sound(np.repeat(mono_NA, num_channels, axis=1), rate_hz)
    for name in signal_metrics.STATISTICS:
      metric = registry.get(name)
      metric.update([metric_lib.Sample(copy, reference)])
      assert metric.compute() == (None if num_channels == 1 and name in stereo else 0.0), (name, num_channels)


def test_one_channel_has_no_stereo(waves, references):
  mono = [wave_NA[:, :1] for wave_NA in waves]
  truths = [
    dataclasses.replace(each, sound=metric_lib.Sound(wave_NA, RATE_HZ))
    for wave_NA, each in zip(mono, references)
  ]
  assert evaluate(mono, truths)['level_difference_error_db']['value'] is None
  with pytest.raises(ValueError, match='A=1'):
    registry.get('stft_distance').score(metric_lib.Sample(metric_lib.Sound(mono[0], RATE_HZ), references[0]))
