"""Scenes without sound: static scenes, and cuts to or from black."""

import numpy as np

from v2a.synthetic import backdrop
from v2a.synthetic import bodies
from v2a.synthetic import continuous
from v2a.synthetic import face
from v2a.synthetic import impacts
from v2a.synthetic import mixing
from v2a.synthetic import modal
from v2a.synthetic import music
from v2a.synthetic import random_streams
from v2a.synthetic import scene as scene_lib

INNER = {
  'bounce': impacts.bounce,
  'strike': impacts.strike,
  'engine': continuous.engine,
  'rain': continuous.rain,
  'pass': continuous.fly_past,
  'keys': music.keys,
}


def still(streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec) -> scene_lib.Scene:
  """A static scene."""
  rng = streams.rng('still')
  floor = rng.uniform(0.6, 0.9)
  back = backdrop.Backdrop(rng, floor)
  back.freeze()
  objects = [
    (
      bodies.random_body(rng, random_streams.pick(rng, modal.MATERIAL_NAMES), rng.random() < 0.15),
      rng.uniform(0.1, 0.9),
    )
    for _ in range(int(rng.integers(0, 4)))
  ]
  portrait = face.random_face(rng) if rng.random() < 0.25 else None

  def render(time_L, size):
    canvas = back.render(time_L[:1], size)
    if portrait is not None:
      face.render(canvas, portrait, np.zeros((1, 5)), np.zeros(1))
    else:
      for body, x in objects:
        y = floor - body.radius * (1 if body.shape == 'disc' else 0.92)
        bodies.render_shadow(canvas, body, x, floor, floor)
        bodies.render(canvas, body, x, y, 0.0)
    return np.repeat(canvas.pixels_3LYX, len(time_L), axis=1)

  return scene_lib.Scene(render, {'effects': spec.silence()}, {}, {'action': 'still'})


def cut(streams: random_streams.RandomStreams, spec: scene_lib.SceneSpec) -> scene_lib.Scene:
  """A scene that is cut to black and back, and is silent while it is black."""
  rng = streams.rng('cut')
  inner_name = random_streams.pick(rng, tuple(INNER))
  is_lit = rng.random() < 0.6
  edges, lit = [0.0], [is_lit]
  while edges[-1] < spec.clip_s:
    edges.append(edges[-1] + rng.uniform(1.2, 2.8))
    lit.append(not lit[-1])
  edges, lit = np.array(edges), np.array(lit)
  scene = INNER[inner_name](streams, spec)

  def is_lit_at(time):
    return lit[np.searchsorted(edges, time + 1e-9, side='right') - 1]

  gate_NA = spec.silence()
  for start_s, end_s, is_on in zip(edges[:-1], edges[1:], lit[:-1]):
    if is_on:
      section_NA = np.ones_like(gate_NA)
      mixing.fade(
        section_NA,
        int(round(start_s * spec.sample_rate_hz)),
        int(round(end_s * spec.sample_rate_hz)),
        int(0.004 * spec.sample_rate_hz),
      )
      gate_NA += section_NA
  stems = {name: wave_NA * gate_NA for name, wave_NA in scene.stems.items()}
  truth = dict(scene.truth)
  for name in ('events', 'notes'):
    truth[name] = [entry for entry in truth.get(name, []) if is_lit_at(entry['time_s'])]
  lit_S = is_lit_at(spec.curve_time_S)
  for name in ('envelope',):
    if truth.get(name):
      truth[name] = [value if is_on else 0.0 for value, is_on in zip(truth[name], lit_S)]

  def render(time_L, size):
    return scene.render(time_L, size) * is_lit_at(time_L).astype(np.float32)[None, :, None, None]

  facts = dict(scene.facts, inner=inner_name, from_black=not is_lit)
  if 'materials' in facts:
    facts.update(impacts.facts_of(truth['events'], spec.clip_s))
    truth['material'] = impacts.common_material(truth['events'])
  facts['cut'] = True
  return scene_lib.Scene(render, stems, truth, facts)
