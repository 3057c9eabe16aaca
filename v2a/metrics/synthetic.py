"""Metrics against the ground truth of the synthetic set: clips that they select, scores, and aggregation.

A metric maps (waveform, truth) to a small tuple per clip, and the tuples of all clips to one number, see
v2a.metrics.metric. All waveforms are at spectra.RATE_HZ.
"""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import functools

import jiwer
import numpy as np

from v2a.metrics import classifiers as classifiers_lib
from v2a.metrics import curves
from v2a.metrics import metric
from v2a.metrics import onsets

IMPACT_SCENES = ('bounce', 'collide', 'strike', 'hidden')
ENVELOPE_SCENES = ('engine', 'rain', 'wind', 'pass')
DIALOGUE_SCENE = 'dialogue'
ENGINE_SCENE = 'engine'
PASS_SCENE = 'pass'
# Scenes whose own sound is music, so that there is no off-screen music to remove.
MUSIC_SCENES = ('keys', 'score')

# Clarity of curves.pitch above which a frame has a pitch.
MIN_CLARITY = 0.15
# Square root of the energy at an event, in samples at spectra.RATE_HZ, below which it counts as silent: the
# first percentile over events of ground-truth audio.
MIN_PANNING_WEIGHT = 0.01

# A few numbers per clip; an array with a row per event where a clip has several.
Score = tuple | np.ndarray
Measure = Callable[[np.ndarray, Mapping, classifiers_lib.Classifiers], Score | None]


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticMetric(metric.Metric):
  """A metric of the ground truth of synthetic clips.

  Attributes:
    measure: (wave_NA at spectra.RATE_HZ, truth, classifiers) -> score; None where it is not defined.
    aggregate: scores of all clips -> value; None where it is not defined.
    applies_to: truth -> whether the clip is selected.
  """

  group: str = 'synthetic'
  needs: tuple[metric.Need, ...] = ('truth', 'classifiers')
  smallest_effect: float | None = 0.02
  measure: Measure
  aggregate: Callable[[Sequence[Score]], float | None]
  applies_to: Callable[[Mapping], bool]

  def selects(self, truth: Mapping) -> bool:
    """Returns whether a clip with this truth is selected."""
    return self.applies_to(truth)

  def score(self, sample: metric.Sample) -> Score | None:
    """Returns the score of one sample, by the packaged classifiers."""
    wave_NA, truth = sample.sound.resampled_NA.astype(np.float64), sample.reference.ground_truth
    if sample.reference.onset_shift_s:
      time_s = np.array([event['time_s'] for event in truth['events']])
      shifted_s = (time_s + sample.reference.onset_shift_s) % sample.reference.duration_s
      truth = {
        **truth,
        'events': [{**event, 'time_s': each} for event, each in zip(truth['events'], shifted_s.tolist())],
      }
    return self.measure(wave_NA, truth, classifiers_lib.load())

  def combine(self, scores: Sequence[Score]) -> float | None:
    """Returns the value."""
    return self.aggregate(scores)


def onset_score(wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns numbers of matched, reference and detected onsets; those of invisible impacts do not count."""
  detected_s = classifiers.onsets(wave_NA)
  known_s = np.array(sorted(event['time_s'] for event in truth['events'] if event['visible']))
  invisible_s = np.array(sorted(event['time_s'] for event in truth['events'] if not event['visible']))
  matched = {j for _, j in onsets.match(known_s, detected_s)}
  unmatched_s = np.array([time_s for j, time_s in enumerate(detected_s) if j not in matched])
  num_ignored = len(onsets.match(invisible_s, unmatched_s))
  return onsets.Counts(len(matched), len(known_s), len(detected_s) - num_ignored)


def combine_f1(scores: Sequence[Score]) -> float | None:
  """Returns F1 over the onsets of all clips together."""
  counts = onsets.total(scores)
  return counts.f1 if counts.num_known else None


def envelope_score(
  wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers
) -> Score | None:
  """Returns the correlation of the level with the true envelope: 0 for a constant level.

  None for a constant true envelope.
  """
  del classifiers
  known_J = np.asarray(truth['envelope'], np.float64)
  if np.ptp(known_J) < 0.05:
    return None
  return (curves.correlate(curves.level(wave_NA, len(known_J)), known_J) or 0.0,)


def pitch_score(
  wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers
) -> Score | None:
  """Returns the correlation of log pitch over voiced frames, times the recall of voiced frames.

  The recall is over the frames with a reference pitch, and penalizes missing sound.
  """
  del classifiers
  known_J = np.array([hz or 0.0 for hz in truth['pitch_hz']], np.float64)
  pitch_J, clarity_J = curves.pitch(wave_NA, len(known_J))
  is_known_J = known_J > 0
  if is_known_J.sum() < curves.CURVE_HZ or np.ptp(known_J[is_known_J]) < 0.05 * known_J[is_known_J].mean():
    return None
  is_voiced_J = is_known_J & (clarity_J > MIN_CLARITY)
  # Less than half a second of voiced frames is too short for a correlation.
  if is_voiced_J.sum() < curves.CURVE_HZ // 2:
    return (0.0,)
  correlation = curves.correlate(np.log(pitch_J[is_voiced_J]), np.log(known_J[is_voiced_J])) or 0.0
  return (correlation * float(is_voiced_J.sum() / is_known_J.sum()),)


def material_score(wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns whether the classified material is the true one."""
  return (float(classifiers.material(wave_NA) == truth['material']),)


def music_score(wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns whether music is detected."""
  del truth
  return (float(classifiers.has_music(wave_NA)),)


def panning_score(
  wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers
) -> Score | None:
  """Returns rows of (true position, stereo position, weight): at events, or twice a second of a passing body.

  Measured on the first difference of the waveform, which attenuates the low frequencies of music and wind
  relative to impacts. The weight is the square root of the energy, since the position of a loud sound is more
  accurate.
  """
  del classifiers
  if wave_NA.shape[1] != 2:
    return None
  wave_NA = np.diff(wave_NA, axis=0, prepend=wave_NA[:1])
  if truth['scene'] == PASS_SCENE:
    step = curves.CURVE_HZ // 2
    starts = range(0, len(truth['x']) - step, step)
    segments = [(k / curves.CURVE_HZ + 0.15, 0.2, 0.0, truth['x'][k + step // 2]) for k in starts]
  else:
    segments = [
      (event['time_s'] - 0.01, 0.08, 0.04, event['x']) for event in truth['events'] if event['visible']
    ]
  measured = [(x, *curves.pan_position(wave_NA, *segment)) for *segment, x in segments]
  return np.array([(x, position, np.sqrt(energy)) for x, position, energy in measured], np.float64)


def combine_panning(scores: Sequence[Score]) -> float | None:
  """Returns the weighted correlation of true and stereo position, times the share of audible events.

  Silence has no weight in the correlation; the share of rows with at least MIN_PANNING_WEIGHT penalizes
  missing sound.
  """
  x_N, position_N, weight_N = np.concatenate(scores).T
  share = float((weight_N >= MIN_PANNING_WEIGHT).mean())
  if weight_N.sum() < 1e-3:
    return 0.0
  weight_N = weight_N / weight_N.sum()
  x_N, position_N = x_N - weight_N @ x_N, position_N - weight_N @ position_N
  spread = np.sqrt((weight_N @ x_N**2) * (weight_N @ position_N**2))
  if weight_N @ x_N**2 < 1e-9:
    return None
  return share * float(weight_N @ (x_N * position_N) / spread) if spread > 1e-9 else 0.0


def word_score(wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns the number of word errors and of reference words, lower case and without punctuation."""
  reference = classifiers_lib.split_words(truth['transcript'])
  hypothesis = classifiers.words(wave_NA)
  result = jiwer.process_words(' '.join(reference), ' '.join(hypothesis))
  return result.substitutions + result.deletions + result.insertions, len(reference)


def combine_ratio(scores: Sequence[Score]) -> float | None:
  """Returns the sum of the first elements over the sum of the second ones."""
  numerator, denominator = np.sum(scores, axis=0)
  return float(numerator / denominator) if denominator else None


def lip_score(wave_NA: np.ndarray, truth: Mapping, classifiers: classifiers_lib.Classifiers) -> Score | None:
  """Returns the absolute audio-video offset of level and mouth opening in ms, by cross-correlation."""
  del classifiers
  mouth_J = np.asarray(truth['mouth'], np.float64)
  if np.ptp(mouth_J) < 0.05:
    return None
  level_J = curves.level(wave_NA, len(mouth_J), smooth_s=0.06)
  return (1000.0 * abs(curves.lag(mouth_J, level_J)),)


def combine_mean(scores: Sequence[Score]) -> float | None:
  """Returns the mean over clips."""
  return float(np.mean(scores)) if len(scores) else None


def combine_median(scores: Sequence[Score]) -> float | None:
  """Returns the median over clips."""
  return float(np.median(scores)) if len(scores) else None


def _is_impact(truth: Mapping) -> bool:
  return truth['scene'] in IMPACT_SCENES and any(event['visible'] for event in truth['events'])


def _has_material(truth: Mapping) -> bool:
  return truth['material'] is not None and bool(truth['events'])


def _has_position(truth: Mapping) -> bool:
  return _is_impact(truth) or (truth['scene'] == PASS_SCENE and bool(truth['x']))


def has_off_screen_music(truth: Mapping) -> bool:
  """Returns whether music without a visible source was added to a scene with another sound."""
  return bool(truth['has_music']) and truth['scene'] not in MUSIC_SCENES


def has_unnamed_music(truth: Mapping) -> bool:
  """Returns whether there is off-screen music that the annotation does not mention.

  Music that the annotation mentions is part of the prompt, which a negative prompt would contradict.
  """
  return has_off_screen_music(truth) and not truth.get('is_music_named')


def has_any_music(truth: Mapping) -> bool:
  """Returns whether there is any music, on or off screen."""
  return bool(truth['has_music']) or truth['scene'] in MUSIC_SCENES or bool(truth.get('notes'))


_onset_metric = functools.partial(
  SyntheticMetric, measure=onset_score, aggregate=combine_f1, applies_to=_is_impact, direction='higher'
)
_music_metric = functools.partial(
  SyntheticMetric,
  measure=music_score,
  aggregate=combine_mean,
  applies_to=has_unnamed_music,
  floor='without_music',
)
_SOUND_METRICS = (
  _onset_metric(
    name='onset_f1',
    label='onsets',
    description='F1 of onsets within 50 ms of visible impacts',
    has_shifted_floor=True,
  ),
  SyntheticMetric(
    name='envelope_correlation',
    label='level',
    description='correlation of level and true envelope for engine, rain, wind and passing bodies',
    direction='higher',
    measure=envelope_score,
    aggregate=combine_mean,
    applies_to=lambda truth: truth['scene'] in ENVELOPE_SCENES and bool(truth['envelope']),
  ),
  SyntheticMetric(
    name='pitch_correlation',
    label='pitch',
    description='correlation of the pitch of engines with the true one, times the voiced share',
    direction='higher',
    measure=pitch_score,
    aggregate=combine_mean,
    applies_to=lambda truth: truth['scene'] == ENGINE_SCENE and bool(truth['pitch_hz']),
  ),
  SyntheticMetric(
    name='material_accuracy',
    label='material',
    description='share of clips in which the material is classified correctly',
    direction='higher',
    measure=material_score,
    aggregate=combine_mean,
    applies_to=_has_material,
  ),
  SyntheticMetric(
    name='panning_correlation',
    label='panning',
    description='correlation of stereo position and position in the frame, times the audible share',
    direction='higher',
    measure=panning_score,
    aggregate=combine_panning,
    ceiling='codec_without_music',
    applies_to=_has_position,
  ),
)
_MUSIC_METRICS = (
  _music_metric(
    name='music_rate',
    label='music',
    description='share of clips with music, where there is off-screen music that the annotation omits',
    direction='higher',
  ),
  _music_metric(
    name='music_rate_negative',
    label='music, negative prompt',
    description='the same with the negative prompt "music"',
    direction='lower',
    variant=metric.Variant(negative_text='music'),
    ceiling='codec_without_music',
  ),
)
_DIALOGUE_METRICS = (
  SyntheticMetric(
    name='word_error_rate',
    label='words',
    description='word error rate of the dialogue, by the recognizer of the synthetic set',
    direction='lower',
    measure=word_score,
    aggregate=combine_ratio,
    applies_to=lambda truth: bool(truth['words']),
  ),
  SyntheticMetric(
    name='lip_lag_ms',
    label='lips',
    description='median lag between mouth and sound',
    unit='ms',
    smallest_effect=10.0,
    direction='lower',
    measure=lip_score,
    aggregate=combine_median,
    applies_to=lambda truth: bool(truth['words']) and bool(truth['mouth']),
  ),
)
_CORRUPTION_METRICS = (
  _onset_metric(
    name='onset_f1_archive_ratio',
    label='onsets, archive corruption',
    description='onset F1 on videos with archive corruption over that on clean ones',
    variant=metric.Variant('archive'),
    relative_to='onset_f1',
  ),
  _onset_metric(
    name='onset_f1_degraded_ratio',
    label='onsets, degraded corruption',
    description='onset F1 on videos with degraded corruption over that on clean ones',
    variant=metric.Variant('degraded'),
    relative_to='onset_f1',
  ),
)
# By name, in the order of reports.
METRICS = {
  each.name: each for each in (*_SOUND_METRICS, *_MUSIC_METRICS, *_DIALOGUE_METRICS, *_CORRUPTION_METRICS)
}
