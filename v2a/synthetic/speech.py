"""Speech synthesis by espeak-ng: one fixed voice, with times of words and phonemes, and mouth shapes.

The library and its data come from the package espeakng-loader. Its state is global, so it is guarded by a
lock.
"""

import _ctypes
from collections.abc import Generator
from collections.abc import Sequence
import contextlib
import ctypes
import functools
import threading

import espeakng_loader
import numpy as np
import scipy.signal

NATIVE_HZ = 22050
VOICE = b'en-us'
LEVEL = 0.45
_RETRIEVAL, _PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 1, 1, 2, 0x8000
_LIST_END, _WORD, _END, _PHONEME = 0, 1, 5, 7
_POSITION_CHARACTER, _CHARS_UTF8, _RATE = 1, 1, 1
_lock = threading.Lock()


class _Event(ctypes.Structure):
  _fields_ = [
    ('type', ctypes.c_int),
    ('unique_identifier', ctypes.c_uint),
    ('text_position', ctypes.c_int),
    ('length', ctypes.c_int),
    ('audio_position', ctypes.c_int),
    ('sample', ctypes.c_int),
    ('user_data', ctypes.c_void_p),
    ('string', ctypes.c_char * 8),
  ]


_Callback = ctypes.CFUNCTYPE(
  ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_chunks: list[np.ndarray] = []
_events: list[tuple] = []


def _receive(samples, count, events):
  if samples and count > 0:
    _chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
  number = 0
  while events[number].type != _LIST_END:
    entry = events[number]
    _events.append((entry.type, entry.text_position, entry.length, entry.sample, bytes(entry.string)))
    number += 1
  return 0


_callback = _Callback(_receive)


@contextlib.contextmanager
def _library() -> Generator[ctypes.CDLL]:
  """Loads the library for one utterance, and unloads it.

  Its output depends slightly on all earlier utterances (flutter, pitch phase, rounding of lengths), and no
  call resets this state; only reloading does. Reloading takes 25 ms, and makes a clip depend only on (seed,
  index).
  """
  library = ctypes.CDLL(espeakng_loader.get_library_path())
  try:
    options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
    rate_hz = library.espeak_Initialize(_RETRIEVAL, 0, espeakng_loader.get_data_path().encode(), options)
    if rate_hz != NATIVE_HZ:
      raise RuntimeError(f'espeak_Initialize must give {NATIVE_HZ} Hz; got {rate_hz}.')
    library.espeak_SetSynthCallback(_callback)
    status = library.espeak_SetVoiceByName(VOICE)
    if status:
      raise RuntimeError(f'espeak-ng must have the voice {VOICE.decode()}; got status {status}.')
    yield library
    library.espeak_Terminate()
  finally:
    _ctypes.dlclose(library._handle)


@functools.lru_cache(maxsize=4096)
def synthesize(
  text: str, words_per_minute: int, sample_rate_hz: int
) -> tuple[np.ndarray, tuple[tuple[str, float, float], ...], tuple[tuple[str, float, float], ...]]:
  """Synthesizes a text.

  Args:
    text: ASCII words.
    words_per_minute: speed, 80..300.
    sample_rate_hz: samples per second of the result.

  Returns:
    mono_N (float32, read only, starts with the first phoneme), words as (word, start_s, end_s), and phonemes
    as (IPA, start_s, end_s); tuples, because they are cached.

  Raises:
    RuntimeError: the speech synthesizer failed.
  """
  with _lock, _library() as library:
    _chunks.clear()
    _events.clear()
    library.espeak_SetParameter(_RATE, words_per_minute, 0)
    data = text.encode()
    status = library.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
    if status:
      raise RuntimeError(f'espeak_Synth failed with status {status} on {text!r}.')
    library.espeak_Synchronize()
    native_N = np.concatenate(_chunks).astype(np.float32) / 32768
    events = list(_events)
  total_s = len(native_N) / NATIVE_HZ
  marks = [
    (sample / NATIVE_HZ, string.decode('utf-8', 'ignore'))
    for kind, _, _, sample, string in events
    if kind == _PHONEME
  ]
  phonemes = tuple(
    (name, start, end) for (start, name), (end, _) in zip(marks, marks[1:] + [(total_s, '')]) if name
  )
  starts = [
    (sample / NATIVE_HZ, text[position - 1 : position - 1 + length])
    for kind, position, length, sample, _ in events
    if kind == _WORD
  ]
  last_s = phonemes[-1][2] if phonemes else total_s
  words = tuple((word, start, end) for (start, word), (end, _) in zip(starts, starts[1:] + [(last_s, '')]))
  divisor = int(np.gcd(NATIVE_HZ, sample_rate_hz))
  mono_N = scipy.signal.resample_poly(native_N, sample_rate_hz // divisor, NATIVE_HZ // divisor).astype(
    np.float32
  )
  mono_N *= LEVEL / np.abs(mono_N).max()
  mono_N.setflags(write=False)
  return mono_N, words, phonemes


REST = (0.0, 0.35, 0.0, 0.0, 1.0)
# Phoneme class -> opening, width, rounding, teeth, closed lips.
SHAPES = {
  'pbm': (0.0, 0.35, 0.1, 0.0, 1.0),
  'fv': (0.14, 0.5, 0.0, 1.0, 0.0),
  'szʃʒθð': (0.18, 0.75, 0.1, 0.9, 0.0),
  'tdnlɾ': (0.28, 0.6, 0.0, 0.5, 0.0),
  'kɡgŋhx': (0.38, 0.5, 0.0, 0.1, 0.0),
  'ɹrw': (0.18, 0.1, 1.0, 0.0, 0.0),
  'jiɪ': (0.34, 1.0, 0.0, 0.5, 0.0),
  'eɛ': (0.6, 0.85, 0.0, 0.25, 0.0),
  'æa': (0.95, 0.75, 0.0, 0.2, 0.0),
  'ɑɐʌ': (1.0, 0.45, 0.0, 0.0, 0.0),
  'ɔoɒ': (0.72, 0.2, 0.75, 0.0, 0.0),
  'uʊ': (0.3, 0.0, 1.0, 0.0, 0.0),
  'əɜɚᵻ': (0.5, 0.5, 0.1, 0.0, 0.0),
}
_SHAPE_OF = {letter: shape for letters, shape in SHAPES.items() for letter in letters}
_MARKS = 'ˈˌː\u0329\u0361'


def shapes_of(phoneme: str) -> list[tuple]:
  """Returns the mouth shapes of an IPA phoneme: two for a diphthong or affricate, REST for a pause."""
  shapes = [_SHAPE_OF[letter] for letter in phoneme if letter not in _MARKS and letter in _SHAPE_OF]
  return shapes[:2] or [REST]


def mouth_shape(phonemes: Sequence[tuple[str, float, float]], time_S: np.ndarray) -> np.ndarray:
  """Returns mouth_S5 (opening, width, rounding, teeth, closed lips, each 0..1) at times in seconds.

  Args:
    phonemes: (IPA, start_s, end_s) in order.
    time_S: any times; shapes ease into each other over 60 ms.
  """
  times, shapes = [-1.0], [REST]
  last_s = -1.0
  for name, start_s, end_s in phonemes:
    if start_s - last_s > 0.12:
      times += [last_s + 0.06, start_s - 0.06]
      shapes += [REST, REST]
    parts = shapes_of(name)
    for number, shape in enumerate(parts):
      length_s = (end_s - start_s) / len(parts)
      times.append(start_s + (number + 0.5) * length_s)
      shapes.append(shape)
    last_s = end_s
  times += [last_s + 0.06, last_s + 60.0]
  shapes += [REST, REST]
  time_K, shape_K5 = np.array(times), np.array(shapes)
  return np.stack([np.interp(time_S, time_K, shape_K5[:, column]) for column in range(5)], axis=1)
