"""Explains the score of one clip: what is wrong with the soundtrack, and the likely cause.

All statements are measured. A cause is a property of the clip that may explain the error, not a proof; it is
the first that applies of

  1. the codec's round trip of the true sound fails in the same way: the codec or the classifier is the cause;
  2. neither video nor text determines the sound, or the text describes another sound;
  3. impacts are less than MIN_CLEAR_GAP_S apart;
  4. music or wind masks the sound;
  5. the corruption of the video, with its severity;
  6. none of these: an error of the model.

A corruption can be tested, since a soundtrack was generated for the clean video of the same clip with the
same noise. Where that has a better score, causes 1 to 4 were present as well and did no harm: the cause is 5.
Where it has not, the corruption is not the cause.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from v2a.metrics import classifiers as classifiers_lib
from v2a.metrics import curves
from v2a.metrics import onsets
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.synthetic import annotations
from v2a.synthetic import corruptions
from v2a.synthetic import random_streams

MIN_CLEAR_GAP_S = 0.12
# A missed onset and an extra one that are this close are one onset at the wrong time.
MAX_SHIFT_S = 0.15
# What counts as a perfect score: half of the second decimal, one step of a curve, a fortieth of the frame's
# width.
_CORRELATION_STEP, _LAG_STEP_MS, _POSITION_STEP = 0.005, 1000.0 / curves.CURVE_HZ, 0.05
_NUM_TIMES = 3
# As in synthetic.lip_score.
_LIP_SMOOTH_S = 0.06
# Of full scale, and of the loudest moment.
_SILENCE, _QUIET = 1e-3, 0.05

Score = synthetic.Score


def explain(
  metric: synthetic.SyntheticMetric,
  truth: dict,
  score: Score,
  ceiling_score: Score | None,
  wave_NA: np.ndarray,
  classifiers: classifiers_lib.Classifiers,
  clean_score: Score | None = None,
) -> str:
  """Returns the error and its likely cause, two short sentences.

  Args:
    metric: of the score.
    truth: of the clip.
    score: of the soundtrack, not a perfect one.
    ceiling_score: of the true sound through the codec, or None.
    wave_NA: the soundtrack at spectra.RATE_HZ.
    classifiers: of the metrics.
    clean_score: for a metric of a corrupted variant, the score of the same clip with the clean video.
  """
  error = _kind(metric).describe(wave_NA.astype(np.float64), truth, classifiers)
  if np.abs(wave_NA).max() < _SILENCE:
    error = f'the soundtrack is silent: {error}'
  is_corrupted = metric.variant.corruption != 'clean' and clean_score is not None
  if is_corrupted and score_error(metric, clean_score) < score_error(metric, score):
    return _sentences(error, _corruption_cause(metric, truth, clean_score))
  if is_corrupted:
    error += '; no better with the clean video'
  cause = (
    _codec_cause(metric, score, ceiling_score)
    or _condition_cause(metric, truth)
    or _density_cause(metric, truth)
    or _masking_cause(metric, truth, wave_NA, classifiers)
    or 'no other cause found: an error of the model'
  )
  return _sentences(error, cause)


def score_error(metric: synthetic.SyntheticMetric, score: Score) -> float:
  """Returns how far a clip's score is from a perfect one: 0 for perfect, the larger the worse."""
  return _kind(metric).error(score)


def format_score(metric: synthetic.SyntheticMetric, score: Score) -> str:
  """Returns a clip's score in words."""
  return _kind(metric).format(score)


def severity(truth: dict, corruption: str) -> float | None:
  """Returns the severity of a clip's corrupted variant, 0.15..1; None for a clip that is not synthetic.

  truth['severity'] is that of the clean video; variants are rendered on demand.
  """
  if 'seed' not in truth or 'index' not in truth:
    return None
  return corruptions.random_corruption(
    random_streams.RandomStreams(truth['seed'], truth['index']), corruption
  ).severity


def _sentences(error: str, cause: str) -> str:
  return f'{error[0].upper()}{error[1:]}. {cause[0].upper()}{cause[1:]}.'


def _corruption_cause(metric: synthetic.SyntheticMetric, truth: dict, clean_score: Score) -> str:
  corruption = metric.variant.corruption
  known = severity(truth, corruption)
  words = '' if known is None else f' has severity {known:.2f} of 1'
  return f'the {corruption} corruption{words}; with the clean video: {format_score(metric, clean_score)}'


def _codec_cause(metric: synthetic.SyntheticMetric, score: Score, ceiling_score: Score | None) -> str | None:
  if ceiling_score is None:
    return None
  if metric.measure is synthetic.onset_score:
    # Onsets that the codec loses do not explain extra onsets, nor the other way round.
    own, codec = (
      (known - matched, detected - matched) for matched, known, detected in (score, ceiling_score)
    )
    is_alike = 2 * sum(min(pair) for pair in zip(own, codec)) >= sum(own)
  else:
    is_alike = 2 * score_error(metric, ceiling_score) >= score_error(metric, score)
  if not is_alike:
    return None
  return (
    "the codec's round trip of the true sound has much of this error, too "
    f'({format_score(metric, ceiling_score)}): the codec or the classifier rather than the generator'
  )


def _condition_cause(metric: synthetic.SyntheticMetric, truth: dict) -> str | None:
  if metric.measure is synthetic.music_score:
    return None if metric.variant.negative_text else 'neither video nor text tells that there is music'
  if metric.measure is synthetic.material_score and not names_material(truth):
    if truth.get('is_material_hidden'):
      return 'neither video nor text tells the material'
    return 'the text does not name the material, only the video shows it'
  text = (truth['annotation'] or '').lower().strip(' .')
  if text in annotations.MUSIC_PHRASES:
    return 'the text describes music alone'
  if text in annotations.WIND_PHRASES and truth['scene'] != 'wind':
    return 'the text describes wind alone'
  return None


def names_material(truth: dict) -> bool:
  """Returns whether the annotation names the material or the sound that it makes."""
  material, text = truth['material'], (truth['annotation'] or '').lower()
  phrases = annotations.MATERIAL_PHRASES.get(material, ()) + annotations.IMPACT_SOUND_PHRASES.get(
    material, ()
  )
  return any(word in text for word in (material, *phrases))


def _density_cause(metric: synthetic.SyntheticMetric, truth: dict) -> str | None:
  if metric.measure not in (synthetic.onset_score, synthetic.material_score, synthetic.panning_score):
    return None
  gap_s = np.diff(sorted(event['time_s'] for event in truth['events']))
  if not len(gap_s) or gap_s.min() >= MIN_CLEAR_GAP_S:
    return None
  return f'impacts are only {1000 * gap_s.min():.0f} ms apart'


def _masking_cause(
  metric: synthetic.SyntheticMetric,
  truth: dict,
  wave_NA: np.ndarray,
  classifiers: classifiers_lib.Classifiers,
) -> str | None:
  if metric.measure is synthetic.music_score:
    return None
  if classifiers.has_music(wave_NA):
    return 'music masks it'
  # No classifier detects wind: the truth tells it, and where it was generated the sound is never quiet.
  if not truth.get('has_wind'):
    return None
  level_J = curves.level(wave_NA, len(wave_NA) * curves.CURVE_HZ // spectra.RATE_HZ, smooth_s=0.06)
  is_never_quiet = np.quantile(level_J, 0.1) > _QUIET * level_J.max()
  return 'the true sound has wind, and this one is never quiet' if is_never_quiet else None


def _times(time_s: np.ndarray) -> str:
  shown = ', '.join(f'{value:.2f} s' for value in time_s[:_NUM_TIMES])
  return f'({shown}{", ..." if len(time_s) > _NUM_TIMES else ""})'


def _onset_words(score: Score) -> str:
  matched, known, detected = (int(count) for count in score)
  extra = f', {detected - matched} extra' if detected > matched else ''
  return f'{matched} of {known} found{extra}'


def _onset_description(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> str:
  detected_s = classifiers.onsets(wave_NA)
  visible_s, hidden_s = (
    np.array(sorted(event['time_s'] for event in truth['events'] if bool(event['visible']) is is_visible))
    for is_visible in (True, False)
  )
  pairs = onsets.match(visible_s, detected_s)
  missed_s = np.delete(visible_s, [i for i, _ in pairs])
  extra_s = np.delete(detected_s, [j for _, j in pairs])
  extra_s = np.delete(extra_s, [j for _, j in onsets.match(hidden_s, extra_s)])
  parts = []
  if len(missed_s):
    parts.append(f'{len(missed_s)} of {len(visible_s)} impacts missed {_times(missed_s)}')
  if len(extra_s):
    sounds = 'onset' if len(extra_s) == 1 else 'onsets'
    parts.append(f'{len(extra_s)} {sounds} without an impact {_times(extra_s)}')
  shifted = onsets.match(missed_s, extra_s, MAX_SHIFT_S)
  if shifted:
    shift_ms = 1000 * float(np.median([extra_s[j] - missed_s[i] for i, j in shifted]))
    when = 'late' if shift_ms > 0 else 'early'
    parts.append(f'{len(shifted)} of the missed only {abs(shift_ms):.0f} ms {when}')
  return ', '.join(parts) or 'all impacts found'


def _envelope_description(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> str:
  score = synthetic.envelope_score(wave_NA, truth, classifiers)
  known = float(np.ptp(np.asarray(truth['envelope'], np.float64)))
  correlation = 'no correlation of the level' if score is None else f'correlation of the level {score[0]:.2f}'
  return f'{correlation}, range of the true level {"only " if known < 0.3 else ""}{known:.2f} of full scale'


def _pitch_description(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> str:
  score = synthetic.pitch_score(wave_NA, truth, classifiers)
  known_J = np.array([hz or 0.0 for hz in truth['pitch_hz']], np.float64)
  pitch_J, clarity_J = curves.pitch(wave_NA, len(known_J))
  is_voiced_J = (known_J > 0) & (clarity_J > synthetic.MIN_CLARITY)
  true = 'true pitch {:.0f} to {:.0f} Hz'.format(*np.quantile(known_J[known_J > 0], (0, 1)))
  if is_voiced_J.sum() < curves.CURVE_HZ // 2 or score is None:
    return f'no lasting pitch, {true}'
  # Without the few frames that jump by an octave.
  found = 'generated {:.0f} to {:.0f} Hz'.format(*np.quantile(pitch_J[is_voiced_J], (0.05, 0.95)))
  return f'correlation of the pitch {score[0]:.2f}, {true}, {found}'


def _material_description(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> str:
  found = classifiers.material(wave_NA)
  return (
    f'{"no impact" if found is None else f"sounds like {found}"}, '
    f'{"named" if names_material(truth) else "it is"} {truth["material"]}'
  )


def _panning_error(score: Score) -> float:
  x_N, position_N, weight_N = np.asarray(score).T
  # As in synthetic.combine_panning: silence has no position.
  if weight_N.sum() < 1e-3:
    return 1.0
  distance = float(weight_N @ np.abs(position_N - x_N) / weight_N.sum())
  return distance if distance >= _POSITION_STEP else 0.0


def _panning_words(score: Score) -> str:
  x_N, position_N, weight_N = np.asarray(score).T
  if weight_N.sum() < 1e-3:
    return 'silence at the events'
  return f'{weight_N @ np.abs(position_N - x_N) / weight_N.sum():.2f} off on average'


def _panning_description(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> str:
  score = synthetic.panning_score(wave_NA, truth, classifiers)
  if score is None:
    return 'no position of a sound is known'
  x_N, position_N, weight_N = np.asarray(score).T
  if weight_N.sum() < 1e-3:
    return _panning_words(score)
  is_loud_N = weight_N > 0.1 * weight_N.max()
  visible, found = (_span(values_N[is_loud_N]) for values_N in (x_N, position_N))
  return f'{_panning_words(score)}, in the frames {visible}, in the sound {found} (-1 left, 1 right)'


def _span(values_N: np.ndarray) -> str:
  low, high = values_N.min(), values_N.max()
  return f'at {low:.2f}' if high - low < _POSITION_STEP else f'from {low:.2f} to {high:.2f}'


def _word_words(score: Score) -> str:
  errors, known = score
  return f'{errors} {"error" if errors == 1 else "errors"} in {known}'


def _word_description(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> str:
  spoken, found = classifiers_lib.split_words(truth['transcript']), classifiers.words(wave_NA)
  return f"transcript '{' '.join(spoken)}', recognized " + (f"'{' '.join(found)}'" if found else 'nothing')


def _lip_description(wave_NA: np.ndarray, truth: dict, classifiers: classifiers_lib.Classifiers) -> str:
  del classifiers
  mouth_J = np.asarray(truth['mouth'], np.float64)
  level_J = curves.level(wave_NA, len(mouth_J), smooth_s=_LIP_SMOOTH_S)
  lag_ms = 1000 * curves.lag(mouth_J, level_J)
  return f'best match {abs(lag_ms):.0f} ms {"after" if lag_ms >= 0 else "before"} the mouth'


@dataclasses.dataclass(frozen=True)
class _Kind:
  """How scores of one measure are explained; `describe` maps (wave_NA, truth, classifiers) to the error."""

  error: Callable[[Score], float]
  format: Callable[[Score], str]
  describe: Callable[[np.ndarray, dict, classifiers_lib.Classifiers], str]


def _correlation_error(score: Score) -> float:
  return 1.0 - score[0] if score[0] < 1.0 - _CORRELATION_STEP else 0.0


def _correlation_words(score: Score) -> str:
  return f'correlation {score[0]:.2f}'


_KINDS: dict[synthetic.Measure, _Kind] = {
  synthetic.onset_score: _Kind(
    lambda score: 1.0 - onsets.Counts(*score).f1, _onset_words, _onset_description
  ),
  synthetic.envelope_score: _Kind(_correlation_error, _correlation_words, _envelope_description),
  synthetic.pitch_score: _Kind(_correlation_error, _correlation_words, _pitch_description),
  synthetic.material_score: _Kind(
    lambda score: 1.0 - score[0], lambda score: 'right' if score[0] else 'wrong', _material_description
  ),
  synthetic.panning_score: _Kind(_panning_error, _panning_words, _panning_description),
  synthetic.music_score: _Kind(
    lambda score: 1.0 - score[0],
    lambda score: 'present' if score[0] else 'absent',
    lambda wave_NA, truth, classifiers: 'no music, the true sound has some',
  ),
  synthetic.word_score: _Kind(lambda score: score[0] / max(score[1], 1), _word_words, _word_description),
  synthetic.lip_score: _Kind(
    lambda score: score[0] if score[0] > _LAG_STEP_MS else 0.0,
    lambda score: f'{score[0]:.0f} ms apart',
    _lip_description,
  ),
}
_WITHOUT_MUSIC = _Kind(
  lambda score: score[0],
  lambda score: 'present' if score[0] else 'absent',
  lambda wave_NA, truth, classifiers: 'music in spite of the negative prompt',
)


def _kind(metric: synthetic.SyntheticMetric) -> _Kind:
  if metric.measure is synthetic.music_score and metric.variant.negative_text:
    return _WITHOUT_MUSIC
  return _KINDS[metric.measure]
