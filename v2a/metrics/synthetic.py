"""Metrics of the synthetic set: which clips each one selects, what it measures there, and how scores combine.

A metric maps (wave, truth) to a small tuple per clip, and the tuples of all clips to one number, see
v2a.metrics.metric. Everything is measured at spectra.RATE_HZ.
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
# Music is the sound of the scene itself: there is no off-screen music to remove.
MUSIC_SCENES = ('keys', 'score')

# Clarity of curves.pitch above which a frame has a pitch.
MIN_CLARITY = 0.15
# Square root of the energy at an event, in samples at spectra.RATE_HZ, below which it is silent: 1 % of the
# events of true sounds are.
MIN_PANNING_WEIGHT = 0.01

# A few numbers a clip; an array where a clip has several spots.
Score = tuple | np.ndarray
Measure = Callable[[np.ndarray, dict, classifiers_lib.Classifiers], Score | None]


@dataclasses.dataclass(eq=False, kw_only=True)
class SyntheticMetric(metric.Metric):
  """A metric of the ground truth of synthetic clips.

  Attributes:
    measure: (wave_NA at spectra.RATE_HZ, truth, classifiers) to the score; None where the truth allows none.
    aggregate: scores of all clips to the value; None where they allow none.
    applies_to: whether a clip with this truth counts.
  """

  group: str = 'synthetic'
  needs: tuple[metric.Need, ...] = ('truth', 'classifiers')
  smallest_effect: float | None = 0.02
  measure: Measure
  aggregate: Callable[[Sequence[Score]], float | None]
  applies_to: Callable[[Mapping], bool]

  def selects(self, truth: Mapping) -> bool:
    """Returns whether a clip with this truth counts."""
    return self.applies_to(truth)

  def score(self, sample: metric.Sample) -> Score | None:
    """Returns the score of one sample, by the packaged classifiers."""
    wave_NA, truth = sample.sound.resampled_NA.astype(np.float64), sample.reference.truth
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


def onset_score(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns (matched, known, detected) onsets; a hit that nobody can see is neither wanted nor wrong."""
  detected_s = classifiers.onsets(wave_NA)
  known_s = np.array(sorted(event['time_s'] for event in truth['events'] if event['visible']))
  unseen_s = np.array(sorted(event['time_s'] for event in truth['events'] if not event['visible']))
  matched = {j for _, j in onsets.match(known_s, detected_s)}
  rest_s = np.array([time_s for j, time_s in enumerate(detected_s) if j not in matched])
  excused = len(onsets.match(unseen_s, rest_s))
  return len(matched), len(known_s), len(detected_s) - excused


def combine_f1(scores: Sequence[Score]) -> float | None:
  """Returns F1 over the onsets of all clips together."""
  matched, known, detected = np.sum(scores, axis=0)
  return onsets.f1(matched, known, detected) if known else None


def envelope_score(
  wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers
) -> Score | None:
  """Returns the correlation of level and truth: 0 for a flat sound, nothing for a flat truth."""
  del classifiers
  known_J = np.asarray(truth['envelope'], np.float64)
  if np.ptp(known_J) < 0.05:
    return None
  return (curves.correlate(curves.level(wave_NA, len(known_J)), known_J) or 0.0,)


def pitch_score(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> Score | None:
  """Returns the correlation of generated and known pitch where both are voiced, times the share of that.

  The share, of the frames with a known pitch, is the penalty for sound that is missing.
  """
  del classifiers
  known_J = np.array([hz or 0.0 for hz in truth['pitch_hz']], np.float64)
  pitch_J, clarity_J = curves.pitch(wave_NA, len(known_J))
  is_known_J = known_J > 0
  if is_known_J.sum() < curves.CURVE_HZ or np.ptp(known_J[is_known_J]) < 0.05 * known_J[is_known_J].mean():
    return None
  is_voiced_J = is_known_J & (clarity_J > MIN_CLARITY)
  # Less than half a second with a pitch is too short for a correlation.
  if is_voiced_J.sum() < curves.CURVE_HZ // 2:
    return (0.0,)
  correlation = curves.correlate(np.log(pitch_J[is_voiced_J]), np.log(known_J[is_voiced_J])) or 0.0
  return (correlation * float(is_voiced_J.sum() / is_known_J.sum()),)


def material_score(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns whether the material heard is the one that was named."""
  return (float(classifiers.material(wave_NA) == truth['material']),)


def music_score(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns whether music is heard."""
  del truth
  return (float(classifiers.has_music(wave_NA)),)


def panning_score(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> Score | None:
  """Returns (known position, balance, weight): at events, or twice a second along a passing body.

  Differences of the wave are heard, not the wave: music and wind are low, blows are bright. The weight is the
  square root of the energy, since a place is heard the better the louder the sound is.
  """
  del classifiers
  if wave_NA.shape[1] != 2:
    return None
  wave_NA = np.diff(wave_NA, axis=0, prepend=wave_NA[:1])
  if truth['scene'] == PASS_SCENE:
    step = curves.CURVE_HZ // 2
    starts = range(0, len(truth['x']) - step, step)
    spots = [(k / curves.CURVE_HZ + 0.15, 0.2, 0.0, truth['x'][k + step // 2]) for k in starts]
  else:
    spots = [
      (event['time_s'] - 0.01, 0.08, 0.04, event['x']) for event in truth['events'] if event['visible']
    ]
  heard = [(x, *curves.pan_position(wave_NA, *spot)) for *spot, x in spots]
  return np.array([(x, place, np.sqrt(energy)) for x, place, energy in heard], np.float64)


def combine_panning(scores: Sequence[Score]) -> float | None:
  """Returns the weighted correlation of position and balance over all clips, times the share that sounds.

  Silence has no weight in the correlation; the share of positions with at least MIN_PANNING_WEIGHT is the
  penalty for sound that is missing.
  """
  x_N, place_N, weight_N = np.concatenate(scores).T
  share = float((weight_N >= MIN_PANNING_WEIGHT).mean())
  if weight_N.sum() < 1e-3:
    return 0.0
  weight_N = weight_N / weight_N.sum()
  x_N, place_N = x_N - weight_N @ x_N, place_N - weight_N @ place_N
  spread = np.sqrt((weight_N @ x_N**2) * (weight_N @ place_N**2))
  if weight_N @ x_N**2 < 1e-9:
    return None
  return share * float(weight_N @ (x_N * place_N) / spread) if spread > 1e-9 else 0.0


def word_score(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> Score:
  """Returns (errors, words) of the recognized against the spoken words, lower case, without punctuation."""
  spoken = classifiers_lib.split_words(truth['transcript'])
  heard = classifiers.words(wave_NA)
  result = jiwer.process_words(' '.join(spoken), ' '.join(heard))
  return result.substitutions + result.deletions + result.insertions, len(spoken)


def combine_ratio(scores: Sequence[Score]) -> float | None:
  """Returns the sum of the first parts over the sum of the second."""
  part, whole = np.sum(scores, axis=0)
  return float(part / whole) if whole else None


def lip_score(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> Score | None:
  """Returns the distance in milliseconds between mouth and sound at their best agreement."""
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


def _is_impact(truth: dict) -> bool:
  return truth['scene'] in IMPACT_SCENES and any(event['visible'] for event in truth['events'])


def _has_material(truth: dict) -> bool:
  return truth['material'] is not None and bool(truth['events'])


def _has_position(truth: dict) -> bool:
  return _is_impact(truth) or (truth['scene'] == PASS_SCENE and bool(truth['x']))


def has_off_screen_music(truth: dict) -> bool:
  """Returns whether music was added to a scene that has another sound, unseen in the picture."""
  return bool(truth['has_music']) and truth['scene'] not in MUSIC_SCENES


def has_unnamed_music(truth: dict) -> bool:
  """Returns whether there is off-screen music that the annotation leaves open.

  What the annotation names is asked for; a negative prompt of the same would contradict it.
  """
  return has_off_screen_music(truth) and not truth.get('is_music_named')


def has_any_music(truth: dict) -> bool:
  """Returns whether any music sounds, seen or unseen."""
  return bool(truth['has_music']) or truth['scene'] in MUSIC_SCENES or bool(truth.get('notes'))


def _make_metrics() -> tuple[SyntheticMetric, ...]:
  onsets_of = functools.partial(
    SyntheticMetric, measure=onset_score, aggregate=combine_f1, applies_to=_is_impact, direction='higher'
  )
  music_of = functools.partial(
    SyntheticMetric,
    measure=music_score,
    aggregate=combine_mean,
    applies_to=has_unnamed_music,
    floor='without_music',
  )
  return (
    onsets_of(
      name='onset_f1',
      label='onsets',
      description='impacts within 50 ms of the visible ones, F1 of onsets',
      has_shifted_floor=True,
    ),
    SyntheticMetric(
      name='envelope_correlation',
      label='level',
      description='correlation of level and truth for engine, rain, wind and passing bodies',
      direction='higher',
      measure=envelope_score,
      aggregate=combine_mean,
      applies_to=lambda truth: truth['scene'] in ENVELOPE_SCENES and bool(truth['envelope']),
    ),
    SyntheticMetric(
      name='pitch_correlation',
      label='pitch',
      description='correlation of the pitch of the engine and its speed, times the share with a pitch',
      direction='higher',
      measure=pitch_score,
      aggregate=combine_mean,
      applies_to=lambda truth: truth['scene'] == ENGINE_SCENE and bool(truth['pitch_hz']),
    ),
    SyntheticMetric(
      name='material_accuracy',
      label='material',
      description='share of clips with the material that is hit',
      direction='higher',
      measure=material_score,
      aggregate=combine_mean,
      applies_to=_has_material,
    ),
    SyntheticMetric(
      name='panning_correlation',
      label='panning',
      description='correlation of stereo position and position in the picture, times the share that sounds',
      direction='higher',
      measure=panning_score,
      aggregate=combine_panning,
      ceiling='codec_without_music',
      applies_to=_has_position,
    ),
    music_of(
      name='music_rate',
      label='music',
      description='share of clips with music where there is off-screen music that the annotation leaves open',
      direction='higher',
    ),
    music_of(
      name='music_rate_negative',
      label='music, negative prompt',
      description='the same with the negative prompt "music"',
      direction='lower',
      variant=metric.Variant(negative_text='music'),
      ceiling='codec_without_music',
    ),
    SyntheticMetric(
      name='word_error_rate',
      label='words',
      description='errors per word of the dialogue, by the recognizer of the synthetic set',
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
    onsets_of(
      name='onset_f1_archive_ratio',
      label='onsets, archive corruption',
      description='onset F1 on the archive variants of the pictures over that on clean ones',
      variant=metric.Variant('archive'),
      relative_to='onset_f1',
    ),
    onsets_of(
      name='onset_f1_degraded_ratio',
      label='onsets, degraded corruption',
      description='onset F1 on the degraded variants of the pictures over that on clean ones',
      variant=metric.Variant('degraded'),
      relative_to='onset_f1',
    ),
  )


METRICS = {each.name: each for each in _make_metrics()}
