"""Annotations: sentences that describe the sound, from templates and synonyms; ASCII, at most 128 bytes."""

import numpy as np

from v2a.synthetic import random_streams

pick = random_streams.pick

MAX_BYTES = 128
MATERIAL_PHRASES = {
  'wood': ('a wooden block', 'wood', 'a piece of wood', 'something wooden', 'a wooden ball', 'hollow wood'),
  'metal': ('a metal ball', 'metal', 'a piece of metal', 'something made of metal', 'steel', 'ringing metal'),
  'glass': (
    'a glass ball',
    'glass',
    'a glass marble',
    'something made of glass',
    'clear glass',
    'thin glass',
  ),
  'rubber': ('a rubber ball', 'rubber', 'a piece of rubber', 'something made of rubber', 'soft rubber'),
  'ceramic': (
    'a ceramic cup',
    'ceramic',
    'a porcelain bowl',
    'something ceramic',
    'porcelain',
    'a ceramic tile',
  ),
}
PLAIN = {'wood': 'wood', 'metal': 'metal', 'glass': 'glass'}
ACTIONS = {
  'bounce': (
    (
      'bounces on the floor',
      'falls and bounces',
      'drops and bounces',
      'hits the ground',
      'bounces',
      'is dropped on the floor',
    ),
    ('bouncing', 'falling and bouncing', 'hitting the floor', 'dropping'),
  ),
  'collide': (
    ('hits the walls', 'knocks against others', 'collides', 'bangs into the wall', 'clatters'),
    ('colliding', 'knocking together', 'hitting each other', 'clattering', 'bumping'),
  ),
  'strike': (
    ('is struck', 'is hit with a stick', 'is tapped', 'is beaten', 'is struck by a hammer'),
    ('being struck', 'being hit', 'struck with a stick', 'being tapped'),
  ),
}
ANYTHING = ('an object', 'something', 'a ball', 'a small thing', 'objects')
IMPACT_SOUND_PHRASES = {
  'wood': ('dull knocks', 'woody knocks', 'clacks'),
  'metal': ('bright clangs', 'ringing clangs', 'chimes'),
  'glass': ('clear clinks', 'glassy clinks', 'tinkling'),
  'rubber': ('soft thuds', 'dull thuds', 'low thumps'),
  'ceramic': ('short clinks', 'dry ticks', 'china clinks'),
}
MUSIC_PHRASES = (
  'soft music in the background',
  'music',
  'quiet chords',
  'background music',
  'gentle music plays',
  'a melody in the background',
  'music is playing',
)
WIND_PHRASES = ('wind', 'wind in the background', 'a breeze', 'wind blows outside', 'soft wind')
JOINTS = (' with ', ', ', ' and ', '; ')
SCORES = {
  'calm': ('calm slow chords', 'peaceful slow music', 'a quiet calm score', 'soft gentle chords, slow'),
  'sad': (
    'sad slow music in a minor key',
    'a melancholy score',
    'slow sad piano and strings',
    'mournful music',
  ),
  'happy': (
    'happy lively music',
    'a cheerful fast score',
    'joyful music in a major key',
    'upbeat happy music',
  ),
  'tense': ('tense fast music', 'a nervous minor arpeggio', 'a suspenseful fast score', 'anxious music'),
  'bright': (
    'bright sparkling notes',
    'a bright arpeggio in major',
    'light bright music',
    'sunny plucked music',
  ),
  'dark': ('dark slow chords', 'a dark gloomy score', 'slow heavy minor chords', 'ominous dark music'),
}
STILL = (
  'silence',
  'nothing is heard',
  'a still picture, no sound',
  'quiet',
  'no sound at all',
  'a silent still',
)
SPEECH = (
  'a person speaks',
  'a man is talking',
  'speech',
  'someone says a few words',
  'a voice speaks clearly',
  'a face talking to the camera',
  'dialogue',
  'a short sentence is spoken',
)
KEYS = (
  'piano notes',
  'a piano plays {pace} notes',
  'someone plays the piano',
  'keys of a piano are pressed',
  'a {pace} piano melody',
  'single piano notes, {pace}',
)
ENGINES = (
  ('an engine', 'a motor', 'a machine', 'a humming engine', 'an engine with a wheel'),
  ('runs', 'turns', 'hums', 'is running', 'drones'),
)
FLYERS = {
  'bee': ('a bee', 'a buzzing bee', 'an insect'),
  'drone': ('a drone', 'a humming drone', 'a small aircraft'),
}


def _pace(rate_hz: float, rng) -> str:
  if rate_hz > 2.2:
    return pick(rng, ('quickly', 'many times', 'fast', 'rapidly'))
  if rate_hz < 1.2:
    return pick(rng, ('slowly', 'a few times', 'now and then', 'at a slow pace'))
  return pick(rng, ('again and again', 'several times', 'repeatedly', ''))


def _loudness(loudness: float, rng) -> str:
  if loudness > 0.62:
    return pick(rng, ('loud', 'strong', 'hard'))
  if loudness < 0.4:
    return pick(rng, ('soft', 'quiet', 'light'))
  return ''


def _impact(rng, facts: dict, is_hidden: bool) -> str:
  finite, gerund = ACTIONS[facts['action']]
  materials = facts['materials'] or []
  if not facts['count']:
    thing = pick(rng, MATERIAL_PHRASES[materials[0]]) if materials else 'a thing'
    return f'{thing} moves without a sound'
  named = [pick(rng, MATERIAL_PHRASES[name]) for name in materials]
  if not is_hidden and rng.random() < 0.3:
    named = [pick(rng, ANYTHING)]
  things = ' and '.join(named[:2])
  if is_hidden and materials[0] not in things:
    things = f'{things} of {materials[0]}' if materials[0] != 'metal' else 'metal'
  pace, loud = _pace(facts['rate_hz'], rng), _loudness(facts['loudness'], rng)
  roll = rng.random()
  if roll < 0.15:
    word = materials[0] if len(materials) == 1 else things
    return pick(rng, (f'{word} hits', f'{word} impacts', f'{word} sounds', f'{word}'))
  if roll < 0.35:
    return f'{loud} hits of {things}'.strip() + (f', {pace}' if pace and rng.random() < 0.5 else '')
  if roll < 0.5 and not is_hidden and len(materials) == 1:
    return f'{pick(rng, IMPACT_SOUND_PHRASES[materials[0]])} of {things}'
  if roll < 0.65:
    return f'the sound of {things} {pick(rng, gerund)} {pace}'.strip()
  verb = pick(rng, finite)
  if len(named) > 1 or things == 'objects':
    return f'{things} {pick(rng, gerund)}' + (f', {loud}' if loud else '')
  return f'{things} {verb} {pace}'.strip() + (f', {loud}' if loud and rng.random() < 0.5 else '')


def _trend(rng, trend: float, up, down) -> str:
  if trend > 0.3:
    return pick(rng, up)
  return pick(rng, down) if trend < -0.3 else ''


def _machine(rng, facts: dict) -> str:
  action, speed = facts['action'], facts['speed']
  if action == 'engine':
    things, verbs = ENGINES
    pace = 'fast' if speed > 0.6 else 'slowly' if speed < 0.4 else ''
    tail = _trend(
      rng,
      facts['trend'],
      ('and speeds up', 'getting faster', 'revving up'),
      ('and slows down', 'getting slower', 'winding down'),
    )
    return ' '.join(f'{pick(rng, things)} {pick(rng, verbs)} {pace} {tail}'.split())
  if action == 'rain':
    kind = (
      ('heavy rain', 'a downpour', 'hard rain') if speed > 0.55 else ('light rain', 'a drizzle', 'soft rain')
    )
    tail = _trend(rng, facts['trend'], ('growing stronger', 'getting heavier'), ('fading', 'getting lighter'))
    verb = pick(rng, ('falls', 'is falling', 'on the ground', 'pours', ''))
    return ' '.join(f'{pick(rng, kind + ("rain",))} {verb} {tail}'.split())
  if action == 'wind':
    kind = (
      ('strong wind', 'a gale', 'howling wind')
      if speed > 0.6
      else ('a light wind', 'a breeze', 'gentle wind')
    )
    tail = _trend(rng, facts['trend'], ('picking up', 'growing'), ('dying down', 'calming'))
    return ' '.join(
      f'{pick(rng, kind + ("wind",))} {pick(rng, ("blows", "in the grass", ""))} {tail}'.split()
    )
  way = _trend(
    rng, facts['trend'], ('to the right', 'from left to right'), ('to the left', 'from right to left')
  )
  verb = pick(rng, ('flies past', 'buzzes around', 'hovers', 'flies by', 'passes'))
  return ' '.join(f'{pick(rng, FLYERS[facts["thing"]])} {verb} {way}'.split())


def _score(rng, facts: dict) -> str:
  text = pick(rng, SCORES[facts['mood']])
  tempo = facts['tempo_bpm']
  if rng.random() < 0.3:
    text += f', {round(tempo)} bpm'
  elif rng.random() < 0.3:
    text += ', fast tempo' if tempo > 110 else ', slow tempo' if tempo < 90 else ', medium tempo'
  return text


def describe(rng: np.random.Generator, facts: dict, is_hidden: bool) -> str:
  """Returns a sentence that describes the sound of a scene; facts: see scene.Scene."""
  action = facts['action']
  if action in ACTIONS:
    text = _impact(rng, facts, is_hidden)
  elif action == 'still':
    text = pick(rng, STILL)
  elif action == 'dialogue':
    text = pick(rng, SPEECH)
  elif action == 'keys':
    pace = 'fast' if facts['tempo_bpm'] > 115 else 'slow' if facts['tempo_bpm'] < 90 else 'steady'
    text = pick(rng, KEYS).format(pace=pace)
  elif action == 'score':
    text = _score(rng, facts)
  else:
    text = _machine(rng, facts)
  if facts.get('cut'):
    if facts['from_black']:
      text = pick(rng, (f'silence, then {text}', f'first nothing, then {text}', text))
    else:
      text = pick(rng, (f'{text}, then silence', f'{text} until the cut', text))
  return text


def annotate(
  rng: np.random.Generator, facts: dict, has_music: bool, has_wind: bool, is_hidden: bool
) -> tuple[str, bool]:
  """Returns (annotation, whether it mentions the off-screen music).

  Args:
    rng: random generator of the annotation.
    facts: properties of the scene, see scene.Scene.
    has_music, has_wind: which off-screen sounds are present.
    is_hidden: whether the annotation must name the material, because it is not visible.
  """
  text = describe(rng, facts, is_hidden)
  names_music, names_wind = has_music and rng.random() < 0.4, has_wind and rng.random() < 0.5
  music, wind = pick(rng, MUSIC_PHRASES), pick(rng, WIND_PHRASES)
  only, joint, flip = rng.random() < 0.2, pick(rng, JOINTS), rng.random()
  if only and not is_hidden and (has_music or has_wind):
    text, names_music = (music, True) if has_music else (wind, False)
  else:
    extras = ([music] if names_music else []) + ([wind] if names_wind else [])
    parts = extras + [text] if flip < 0.2 else [text] + extras
    text = parts[0] + ''.join(joint + part for part in parts[1:])
  if flip > 0.75:
    text = text[0].upper() + text[1:] + '.'
  if len(text) > MAX_BYTES:
    text = text[:MAX_BYTES].rsplit(' ', 1)[0]
  return text, names_music
