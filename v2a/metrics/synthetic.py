"""The figures of the world: which clips each one counts, what it measures there, and how clips add up.

A figure maps (wave, truth) to one small tuple a clip, and the tuples of all clips to one number, so that the
value, the floor and the ceiling are the same computation on other waves, and a bootstrap over clips needs no
new measuring. All measuring happens at spectra.RATE_HZ.
"""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses

import jiwer
import numpy as np

from v2a.metrics import classifiers as classifiers_lib
from v2a.metrics import curves
from v2a.metrics import onsets

IMPACT_SCENES = ('bounce', 'collide', 'strike', 'hidden')
ENVELOPE_SCENES = ('engine', 'rain', 'wind', 'pass')
DIALOGUE_SCENE = 'dialogue'
ENGINE_SCENE = 'engine'
PASS_SCENE = 'pass'
# Keys sound what they show, a score is all the clip has: there is nothing off-screen to remove in either.
MUSIC_SCENES = ('keys', 'score')

# A few numbers a clip; an array where a clip has several spots.
Score = tuple | np.ndarray
Measure = Callable[[np.ndarray, dict, classifiers_lib.Classifiers], Score | None]


@dataclasses.dataclass(frozen=True)
class SyntheticMetric:
  """One figure.

  Attributes:
    name: its key in the report.
    selects: whether a clip of this truth counts.
    measure: (wave_NA at spectra.RATE_HZ, truth, instruments) to the clip's score; None where the truth
      allows none.
    combine: scores of all clips to the figure; None where they allow none.
    corruption: the picture that the model is given.
    negative_text: the negative prompt that the model is given.
    relative_to: name of the figure that this one is divided by.
    unit: what the number is in, '' for a plain ratio.
  """

  name: str
  selects: Callable[[dict], bool]
  measure: Measure
  combine: Callable[[Sequence[Score]], float | None]
  corruption: str = 'clean'
  negative_text: str = ''
  relative_to: str | None = None
  unit: str = ''


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
  """Returns the correlation of tracked and known pitch over the frames in which both are voiced."""
  del classifiers
  known_J = np.array([hz or 0.0 for hz in truth['pitch_hz']], np.float64)
  pitch_J, clarity_J = curves.pitch(wave_NA, len(known_J))
  is_known_J = known_J > 0
  if is_known_J.sum() < curves.CURVE_HZ or np.ptp(known_J[is_known_J]) < 0.05 * known_J[is_known_J].mean():
    return None
  is_voiced_J = is_known_J & (clarity_J > 0.15)
  # A sound that is not a tone for at least half a second has no pitch to speak of.
  if is_voiced_J.sum() < curves.CURVE_HZ // 2:
    return (0.0,)
  return (curves.correlate(np.log(pitch_J[is_voiced_J]), np.log(known_J[is_voiced_J])) or 0.0,)


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
  """Returns the weighted correlation of position and balance over all clips together."""
  x_N, place_N, weight_N = np.concatenate(scores).T
  # Silence sits nowhere, and follows nothing.
  if weight_N.sum() < 1e-3:
    return 0.0
  weight_N = weight_N / weight_N.sum()
  x_N, place_N = x_N - weight_N @ x_N, place_N - weight_N @ place_N
  spread = np.sqrt((weight_N @ x_N**2) * (weight_N @ place_N**2))
  if weight_N @ x_N**2 < 1e-9:
    return None
  return float(weight_N @ (x_N * place_N) / spread) if spread > 1e-9 else 0.0


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


def _has_place(truth: dict) -> bool:
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


_ALL = (
  SyntheticMetric('onset_f1', _is_impact, onset_score, combine_f1),
  SyntheticMetric(
    'envelope_correlation',
    lambda truth: truth['scene'] in ENVELOPE_SCENES and bool(truth['envelope']),
    envelope_score,
    combine_mean,
  ),
  SyntheticMetric(
    'pitch_correlation',
    lambda truth: truth['scene'] == ENGINE_SCENE and bool(truth['pitch_hz']),
    pitch_score,
    combine_mean,
  ),
  SyntheticMetric('material_accuracy', _has_material, material_score, combine_mean),
  SyntheticMetric('panning_correlation', _has_place, panning_score, combine_panning),
  SyntheticMetric('music_rate', has_unnamed_music, music_score, combine_mean),
  SyntheticMetric('music_rate_negative', has_unnamed_music, music_score, combine_mean, negative_text='music'),
  SyntheticMetric('word_error_rate', lambda truth: bool(truth['words']), word_score, combine_ratio),
  SyntheticMetric(
    'lip_lag_ms',
    lambda truth: bool(truth['words']) and bool(truth['mouth']),
    lip_score,
    combine_median,
    unit='ms',
  ),
  SyntheticMetric(
    'onset_f1_archive_ratio',
    _is_impact,
    onset_score,
    combine_f1,
    corruption='archive',
    relative_to='onset_f1',
  ),
  SyntheticMetric(
    'onset_f1_degraded_ratio',
    _is_impact,
    onset_score,
    combine_f1,
    corruption='degraded',
    relative_to='onset_f1',
  ),
)
METRICS = {figure.name: figure for figure in _ALL}
# Of all others more is better.
LOWER_IS_BETTER = ('music_rate_negative', 'word_error_rate', 'lip_lag_ms')
