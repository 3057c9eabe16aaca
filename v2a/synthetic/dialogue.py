"""The dialogue scene: a face that speaks the words of the transcript."""

import numpy as np

from v2a.synthetic import backdrop
from v2a.synthetic import face
from v2a.synthetic import mixing
from v2a.synthetic import random_streams
from v2a.synthetic import scene
from v2a.synthetic import speech

pick = random_streams.pick

NAMES = ('anna', 'tom', 'mary', 'peter')
NOUNS = ('dog', 'cat', 'bird', 'boat', 'house', 'car', 'moon', 'river', 'king', 'baby')
COLORS = ('red', 'blue', 'green', 'yellow', 'big', 'small', 'old', 'new')
ACTS = ('sees', 'loves', 'finds', 'opens', 'moves', 'watches')
MOVES = ('runs', 'stops', 'falls', 'waits', 'sings', 'comes')
ADVERBS = ('home', 'now', 'again', 'away', 'here', 'today')
OPENERS = ('hello', 'good morning', 'come here', 'look up', 'thank you', 'wait for me', 'we go home')
VOCABULARY = frozenset(
  ' '.join(NAMES + NOUNS + COLORS + ACTS + MOVES + ADVERBS + OPENERS + ('the', 'my', 'a')).split()
)
# Words per minute; few values, so that utterances are found in the cache.
PACES = (145, 150, 155, 160, 165, 170, 175)


def random_sentence(rng: np.random.Generator) -> str:
  """Samples a sentence of two to five words."""
  kind = pick(rng, ('acts', 'moves', 'moves', 'named', 'opener'))
  if kind == 'opener':
    return pick(rng, OPENERS) + pick(rng, ('', ' ' + pick(rng, NAMES)))
  noun = pick(rng, ('the ', 'my ', 'a ')) + pick(rng, NOUNS)
  if kind == 'acts':
    return f'{pick(rng, NAMES)} {pick(rng, ACTS)} {noun}'
  if kind == 'named':
    return f'{pick(rng, NAMES)} {pick(rng, MOVES)} {pick(rng, ADVERBS)}'
  article, thing = noun.split()
  return f'{article} {pick(rng, COLORS)} {thing} {pick(rng, MOVES)} {pick(rng, ADVERBS)}'


def _script(rng, spec: scene.SceneSpec) -> list[tuple[float, str, int]]:
  """Samples (start_s, sentence, words per minute) until the clip is full."""
  lines, start_s = [], float(rng.uniform(0.1, 0.5))
  pace = pick(rng, PACES)
  for _ in range(400):
    text = random_sentence(rng)
    left_s = spec.clip_s - 0.05 - start_s
    # Do not synthesize a sentence that cannot fit even when spoken fast.
    length_s = (
      np.inf if len(text) * 0.04 > left_s else speech.synthesize(text, pace, spec.sample_rate_hz)[2][-1][2]
    )
    if length_s < left_s:
      lines.append((start_s, text, pace))
      start_s += length_s + float(rng.uniform(0.25, 0.8))
    elif lines or spec.clip_s - start_s < 0.5:
      break
    else:
      start_s *= 0.8
  return lines


def dialogue(streams: random_streams.RandomStreams, spec: scene.SceneSpec) -> scene.Scene:
  """A face whose mouth moves in sync with its speech."""
  rng = streams.rng('dialogue')
  person = face.random_face(rng)
  back = backdrop.Backdrop(rng, None)
  back.freeze()
  wave_NA = spec.silence()
  words, phonemes = [], []
  lines = _script(streams.rng('script'), spec)
  for start_s, text, pace in lines:
    mono_N, text_words, text_phonemes = speech.synthesize(text, pace, spec.sample_rate_hz)
    mixing.add_panned(wave_NA, mono_N, int(round(start_s * spec.sample_rate_hz)), 0.0, np.sqrt(2))
    words += [(word, start_s + start, start_s + end) for word, start, end in text_words]
    phonemes += [(name, start_s + start, start_s + end) for name, start, end in text_phonemes]
  nods = random_streams.RandomCurve(streams.rng('nods'), -1, 1, (0.4, 1.2), spec.clip_s)
  blinks = np.cumsum(streams.rng('blinks').uniform(0.9, 3.0, size=int(spec.clip_s) + 2))

  def render(time_L, size):
    canvas = back.render(time_L, size)
    mouth_L5 = speech.mouth_shape(phonemes, time_L)
    blink_L = np.clip(1.6 - np.abs(time_L[:, None] - blinks[None, :]).min(1) / 0.06, 0, 1)
    nodding = face.shifted(person, 0.008 * nods(time_L))
    face.render(canvas, nodding, mouth_L5, blink_L)
    return canvas.pixels_3LYX

  truth = {
    'transcript': ' '.join(text for _, text, _ in lines),
    'words': [
      {'word': word, 'start_s': round(start, 4), 'end_s': round(end, 4)} for word, start, end in words
    ],
    'phonemes': [
      {'phoneme': name, 'start_s': round(start, 4), 'end_s': round(end, 4)} for name, start, end in phonemes
    ],
    'mouth': np.round(speech.mouth_shape(phonemes, spec.curve_time_S)[:, 0], 4).tolist(),
  }
  return scene.Scene(render, {'speech': wave_NA}, truth, {'action': 'dialogue', 'num_words': len(words)})
