"""A clip's score in words, and where it is not perfect what happened and what may have caused it.

All of it is measured, none of it guessed. A cause is what is there at the same time, no proof; told is the
first that is found of

  1. the codec's round trip of the truth fails likewise: the codec or the measuring tool, not the generator;
  2. neither picture nor words tell it, or the words speak of something else;
  3. hits follow each other within CLOSE_S;
  4. music or wind sounds over it;
  5. the look of the picture, with its severity;
  6. none of these: the model's own fault.

A look can be put to the test, since the same clip was drawn with its clean picture and the same noise, too.
Where that did better, causes 1 to 4 were there as well and did no harm: 5 is told. Where it did not, the
look is not to blame.
"""

from collections.abc import Callable
import dataclasses

import numpy as np

from v2a.metrics import classifiers
from v2a.metrics import curves
from v2a.metrics import onsets
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.synthetic import annotations
from v2a.synthetic import corruptions
from v2a.synthetic import random_streams

MIN_CLEAR_GAP_S = 0.12
# A missed hit and a sound without a hit that are this close are one hit at the wrong time.
MAX_SHIFT_S = 0.15
# What cannot be told from a perfect score: half of the second decimal, one step of a track, a fortieth of the
# picture's width.
_CORRELATION_STEP, _LAG_STEP_MS, _PLACE_STEP = 0.005, 1000.0 / curves.CURVE_HZ, 0.05
_NUM_TIMES = 3
# As in figures.pitch_score and figures.lip_score.
_CLARITY, _LIP_SMOOTH_S = 0.15, 0.06
# Of full scale, and of the loudest moment.
_SILENCE, _QUIET = 1e-3, 0.05

Score = synthetic.Score


def explain(
  figure: synthetic.SyntheticMetric,
  truth: dict,
  score: Score,
  ceiling_score: Score | None,
  wave_NA: np.ndarray,
  tools: classifiers.Classifiers,
  clean_score: Score | None = None,
) -> str:
  """Returns what happened and the likely cause, two short sentences.

  Args:
    figure: that judged the soundtrack.
    truth: of the clip.
    score: of the soundtrack, not a perfect one.
    ceiling_score: of the truth through the codec, or None.
    wave_NA: the soundtrack that was judged, at spectra.RATE_HZ.
    tools: the learned instruments.
    clean_score: for a figure of another look, the score of the same clip with the clean picture.
  """
  happened = _kind(figure).happened(wave_NA.astype(np.float64), truth, tools)
  if np.abs(wave_NA).max() < _SILENCE:
    happened = f'the soundtrack is silent: {happened}'
  is_twin = figure.corruption != 'clean' and clean_score is not None
  if is_twin and score_error(figure, clean_score) < score_error(figure, score):
    return _sentences(happened, _look(figure, truth, clean_score))
  if is_twin:
    happened += '; no better with the clean picture'
  cause = (
    _codec(figure, score, ceiling_score)
    or _untold(figure, truth)
    or _close(figure, truth)
    or _covered(figure, truth, wave_NA, tools)
    or "no other cause found: the model's own fault"
  )
  return _sentences(happened, cause)


def score_error(figure: synthetic.SyntheticMetric, score: Score) -> float:
  """Returns how far a clip's score is from a perfect one: 0 for perfect, the larger the worse."""
  return _kind(figure).loss(score)


def format_score(figure: synthetic.SyntheticMetric, score: Score) -> str:
  """Returns a clip's score in words."""
  return _kind(figure).words(score)


def severity(truth: dict, look: str) -> float | None:
  """Returns how strong the look of a clip's twin is, 0.15..1; None for a clip that is not of the world.

  truth['severity'] is that of the clean picture, and the twins are drawn when they are asked for.
  """
  if 'seed' not in truth or 'index' not in truth:
    return None
  return corruptions.random_corruption(
    random_streams.RandomStreams(truth['seed'], truth['index']), look
  ).severity


def _sentences(happened: str, cause: str) -> str:
  return f'{happened[0].upper()}{happened[1:]}. {cause[0].upper()}{cause[1:]}.'


def _look(figure: synthetic.SyntheticMetric, truth: dict, clean_score: Score) -> str:
  strength = severity(truth, figure.corruption)
  known = '' if strength is None else f' has severity {strength:.2f} of 1'
  return f'the {figure.corruption} look{known}; with the clean picture: {format_score(figure, clean_score)}'


def _codec(figure: synthetic.SyntheticMetric, score: Score, ceiling_score: Score | None) -> str | None:
  if ceiling_score is None:
    return None
  if figure.measure is synthetic.onset_score:
    # Hits that the codec swallows do not excuse sounds that nobody made, nor the other way round.
    mine, codecs = ((known - matched, heard - matched) for matched, known, heard in (score, ceiling_score))
    is_alike = 2 * sum(min(pair) for pair in zip(mine, codecs)) >= sum(mine)
  else:
    is_alike = 2 * score_error(figure, ceiling_score) >= score_error(figure, score)
  if not is_alike:
    return None
  return (
    f"much of this is in the codec's round trip of the truth, too ({format_score(figure, ceiling_score)}): "
    'codec or measuring tool rather than the generator'
  )


def _untold(figure: synthetic.SyntheticMetric, truth: dict) -> str | None:
  if figure.measure is synthetic.music_score:
    return None if figure.negative_text else 'neither picture nor words tell that there is music'
  if figure.measure is synthetic.material_score and not names_material(truth):
    if truth.get('is_material_hidden'):
      return 'neither picture nor words tell the material'
    return 'the words do not name the material, only the picture shows it'
  text = (truth['annotation'] or '').lower().strip(' .')
  if text in annotations.MUSIC_PHRASES:
    return 'the words speak of nothing but music'
  if text in annotations.WIND_PHRASES and truth['scene'] != 'wind':
    return 'the words speak of nothing but wind'
  return None


def names_material(truth: dict) -> bool:
  """Returns whether the annotation tells the material, by its name or by the noise it makes."""
  material, text = truth['material'], (truth['annotation'] or '').lower()
  told = annotations.MATERIAL_PHRASES.get(material, ()) + annotations.IMPACT_SOUND_PHRASES.get(material, ())
  return any(word in text for word in (material, *told))


def _close(figure: synthetic.SyntheticMetric, truth: dict) -> str | None:
  if figure.measure not in (synthetic.onset_score, synthetic.material_score, synthetic.panning_score):
    return None
  gap_s = np.diff(sorted(event['time_s'] for event in truth['events']))
  if not len(gap_s) or gap_s.min() >= MIN_CLEAR_GAP_S:
    return None
  return f'hits follow each other within {1000 * gap_s.min():.0f} ms'


def _covered(
  figure: synthetic.SyntheticMetric, truth: dict, wave_NA: np.ndarray, tools: classifiers.Classifiers
) -> str | None:
  if figure.measure is synthetic.music_score:
    return None
  if tools.has_music(wave_NA):
    return 'music plays over it'
  # No instrument hears wind: the truth knows of it, and where it was drawn there is no quiet left.
  if not truth.get('has_wind'):
    return None
  level_J = curves.level(wave_NA, len(wave_NA) * curves.CURVE_HZ // spectra.RATE_HZ, smooth_s=0.06)
  is_never_quiet = np.quantile(level_J, 0.1) > _QUIET * level_J.max()
  return 'wind is in the true sound, and this one is never quiet' if is_never_quiet else None


def _times(time_s: np.ndarray) -> str:
  shown = ', '.join(f'{value:.2f} s' for value in time_s[:_NUM_TIMES])
  return f'({shown}{", ..." if len(time_s) > _NUM_TIMES else ""})'


def _onset_words(score: Score) -> str:
  matched, known, heard = (int(count) for count in score)
  extra = f', {heard - matched} extra' if heard > matched else ''
  return f'{matched} of {known} found{extra}'


def _onset_happened(wave_NA: np.ndarray, truth: dict, tools: classifiers.Classifiers) -> str:
  heard_s = tools.onsets(wave_NA)
  seen_s, unseen_s = (
    np.array(sorted(event['time_s'] for event in truth['events'] if bool(event['visible']) is is_seen))
    for is_seen in (True, False)
  )
  pairs = onsets.match(seen_s, heard_s)
  missed_s = np.delete(seen_s, [i for i, _ in pairs])
  extra_s = np.delete(heard_s, [j for _, j in pairs])
  extra_s = np.delete(extra_s, [j for _, j in onsets.match(unseen_s, extra_s)])
  said = []
  if len(missed_s):
    said.append(f'{len(missed_s)} of {len(seen_s)} hits missed {_times(missed_s)}')
  if len(extra_s):
    sounds = 'sound' if len(extra_s) == 1 else 'sounds'
    said.append(f'{len(extra_s)} {sounds} where nothing is hit {_times(extra_s)}')
  late = onsets.match(missed_s, extra_s, MAX_SHIFT_S)
  if late:
    shift_ms = 1000 * float(np.median([extra_s[j] - missed_s[i] for i, j in late]))
    when = 'late' if shift_ms > 0 else 'early'
    said.append(f'{len(late)} of the missed only {abs(shift_ms):.0f} ms {when}')
  return ', '.join(said) or 'all hits found'


def _envelope_happened(wave_NA: np.ndarray, truth: dict, tools: classifiers.Classifiers) -> str:
  score = synthetic.envelope_score(wave_NA, truth, tools)
  known = float(np.ptp(np.asarray(truth['envelope'], np.float64)))
  follows = 'the level cannot be compared' if score is None else f'level follows by {score[0]:.2f}'
  return f'{follows}, truth moves by {"only " if known < 0.3 else ""}{known:.2f} of full scale'


def _pitch_happened(wave_NA: np.ndarray, truth: dict, tools: classifiers.Classifiers) -> str:
  score = synthetic.pitch_score(wave_NA, truth, tools)
  known_J = np.array([hz or 0.0 for hz in truth['pitch_hz']], np.float64)
  pitch_J, clarity_J = curves.pitch(wave_NA, len(known_J))
  is_voiced_J = (known_J > 0) & (clarity_J > _CLARITY)
  true = 'true pitch {:.0f} to {:.0f} Hz'.format(*np.quantile(known_J[known_J > 0], (0, 1)))
  if is_voiced_J.sum() < curves.CURVE_HZ // 2 or score is None:
    return f'no lasting pitch is heard, {true}'
  # A few frames that jump by an octave are not what is heard.
  heard = 'heard {:.0f} to {:.0f} Hz'.format(*np.quantile(pitch_J[is_voiced_J], (0.05, 0.95)))
  return f'pitch follows by {score[0]:.2f}, {true}, {heard}'


def _material_happened(wave_NA: np.ndarray, truth: dict, tools: classifiers.Classifiers) -> str:
  heard = tools.material(wave_NA)
  return (
    f'{"no hit is heard" if heard is None else f"heard {heard}"}, '
    f'{"named" if names_material(truth) else "it is"} {truth["material"]}'
  )


def _panning_loss(score: Score) -> float:
  x_N, place_N, weight_N = score.T
  # As in figures.combine_panning: silence sits nowhere.
  if weight_N.sum() < 1e-3:
    return 1.0
  distance = float(weight_N @ np.abs(place_N - x_N) / weight_N.sum())
  return distance if distance >= _PLACE_STEP else 0.0


def _panning_words(score: Score) -> str:
  x_N, place_N, weight_N = score.T
  if weight_N.sum() < 1e-3:
    return 'nothing is heard where it is looked for'
  return f'{weight_N @ np.abs(place_N - x_N) / weight_N.sum():.2f} off on average'


def _panning_happened(wave_NA: np.ndarray, truth: dict, tools: classifiers.Classifiers) -> str:
  score = synthetic.panning_score(wave_NA, truth, tools)
  x_N, place_N, weight_N = score.T
  if weight_N.sum() < 1e-3:
    return _panning_words(score)
  is_loud_N = weight_N > 0.1 * weight_N.max()
  seen, heard = (_span(values_N[is_loud_N]) for values_N in (x_N, place_N))
  return f'{_panning_words(score)}, seen {seen}, heard {heard} (-1 left, 1 right)'


def _span(values_N: np.ndarray) -> str:
  low, high = values_N.min(), values_N.max()
  return f'at {low:.2f}' if high - low < _PLACE_STEP else f'from {low:.2f} to {high:.2f}'


def _word_words(score: Score) -> str:
  errors, known = score
  return f'{errors} {"error" if errors == 1 else "errors"} in {known}'


def _word_happened(wave_NA: np.ndarray, truth: dict, tools: classifiers.Classifiers) -> str:
  said, heard = classifiers.split_words(truth['transcript']), tools.words(wave_NA)
  return f"said '{' '.join(said)}', heard " + (f"'{' '.join(heard)}'" if heard else 'nothing')


def _lip_happened(wave_NA: np.ndarray, truth: dict, tools: classifiers.Classifiers) -> str:
  del tools
  mouth_J = np.asarray(truth['mouth'], np.float64)
  level_J = curves.level(wave_NA, len(mouth_J), smooth_s=_LIP_SMOOTH_S)
  lag_ms = 1000 * curves.lag(mouth_J, level_J)
  return f'sound agrees best {abs(lag_ms):.0f} ms {"after" if lag_ms >= 0 else "before"} the mouth'


@dataclasses.dataclass(frozen=True)
class _Kind:
  """How one measure is told: its loss, its words, and what happened in (wave_NA, truth, tools)."""

  loss: Callable[[Score], float]
  words: Callable[[Score], str]
  happened: Callable[[np.ndarray, dict, classifiers.Classifiers], str]


def _correlation_loss(score: Score) -> float:
  return 1.0 - score[0] if score[0] < 1.0 - _CORRELATION_STEP else 0.0


def _correlation_words(score: Score) -> str:
  return f'follows by {score[0]:.2f}'


_KINDS = {
  synthetic.onset_score: _Kind(lambda score: 1.0 - onsets.f1(*score), _onset_words, _onset_happened),
  synthetic.envelope_score: _Kind(_correlation_loss, _correlation_words, _envelope_happened),
  synthetic.pitch_score: _Kind(_correlation_loss, _correlation_words, _pitch_happened),
  synthetic.material_score: _Kind(
    lambda score: 1.0 - score[0], lambda score: 'right' if score[0] else 'wrong', _material_happened
  ),
  synthetic.panning_score: _Kind(_panning_loss, _panning_words, _panning_happened),
  synthetic.music_score: _Kind(
    lambda score: 1.0 - score[0],
    lambda score: 'heard' if score[0] else 'not heard',
    lambda wave_NA, truth, tools: 'no music is heard, the true sound has some',
  ),
  synthetic.word_score: _Kind(lambda score: score[0] / max(score[1], 1), _word_words, _word_happened),
  synthetic.lip_score: _Kind(
    lambda score: score[0] if score[0] > _LAG_STEP_MS else 0.0,
    lambda score: f'{score[0]:.0f} ms apart',
    _lip_happened,
  ),
}
_WITHOUT_MUSIC = _Kind(
  lambda score: score[0],
  lambda score: 'still heard' if score[0] else 'gone',
  lambda wave_NA, truth, tools: 'music is heard in spite of the negative prompt',
)


def _kind(figure: synthetic.SyntheticMetric) -> _Kind:
  if figure.measure is synthetic.music_score and figure.negative_text:
    return _WITHOUT_MUSIC
  return _KINDS[figure.measure]
