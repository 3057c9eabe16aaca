"""Trains the learned measuring tools on the world's truth: onsets, material, music, words.

  python -m scripts.train_classifiers --output v2a/assets/classifiers

The sounds of TRAIN_SEED are rendered with next to no picture, made a little worse at random (gain, tilt,
noise floor: what a codec or a model does to a sound), and learned by small networks on windows of log mel.
The clips of v2a.data.examples.HELDOUT_SEED, and of the seed that v2a.evaluation.check_classifiers uses, are
never rendered here. Same arguments, same machine: same weights.
"""

import argparse
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data_pipelines import command
from v2a import files
from v2a import flags
from v2a.metrics import classifier_networks
from v2a.metrics import classifiers
from v2a.metrics import onsets
from v2a.metrics import recognizer
from v2a.metrics import spectra
from v2a.synthetic import clips
from v2a.synthetic import modal

# Not the seed 0 of the default data set: a tool shall not favour a model for having learned from the same
# clips.
TRAIN_SEED = 7_000_001
IMPACT_SCENES = ('bounce', 'collide', 'strike', 'hidden')
OTHER_SCENES = ('engine', 'rain', 'wind', 'pass', 'score', 'still', 'dialogue')
WIDTHS = {'onset': (48, 24), 'material': (32,), 'music': (40, 24), 'words': (112, 64)}
NUM_STEPS = {'onset': 1500, 'material': 600, 'music': 1200, 'words': 2000}
NUM_CLIPS = {'impacts': 400, 'windy': 500, 'others': 120, 'dialogue': 220}
BATCH_SIZE = 256
# Trained on spectra as they are: blurred and noisy ones cost the onset network 1 % of F1 on the truth.
UNSPOILED = ('onset',)

Heard = tuple[np.ndarray, dict]
Examples = tuple[np.ndarray, np.ndarray]


def hear(scenes: tuple[str, ...], num_clips: int, first: int = 0, is_windy: bool = False) -> list[Heard]:
  """Returns log mels and truths of clips, rendered with a picture of a few pixels, almost for free.

  Args:
    scenes: drawn from.
    num_clips: clips rendered.
    first: index of the first.
    is_windy: keep those alone that have wind in the mix: a fifth, and the hardest to hear a soft hit in.
  """
  rng, heard = np.random.default_rng([3, first]), []
  for index in range(first, first + num_clips):
    made = clips.render(
      TRAIN_SEED,
      index,
      scenes=scenes,
      corruption='clean',
      fps=1,
      frame_size=16,
      sample_rate_hz=spectra.RATE_HZ,
    )
    if not is_windy or made.truth['has_wind']:
      heard.append((classifiers.log_mel(worsen(rng, made.wave_NA)), made.truth))
  return heard


def worsen(rng: np.random.Generator, wave_NA: np.ndarray) -> np.ndarray:
  """Returns the wave with a random gain, a random tilt of up to 4 dB, and a random noise floor."""
  spectrum_FA = np.fft.rfft(wave_NA, axis=0)
  tilt_F = np.linspace(-1.0, 1.0, len(spectrum_FA)) * rng.uniform(-4.0, 4.0)
  wave_NA = np.fft.irfft(spectrum_FA * 10.0 ** (tilt_F[:, None] / 20.0), len(wave_NA), axis=0)
  noise_NA = rng.standard_normal(wave_NA.shape, dtype=np.float32) * 10.0 ** (rng.uniform(-90.0, -48.0) / 20.0)
  return wave_NA * 10.0 ** (rng.uniform(-6.0, 4.0) / 20.0) + noise_NA


def onset_examples(heard: list[Heard]) -> Examples:
  """Returns windows and whether something hits in the middle: all that do, a random choice of the others."""
  rng, found, labels = np.random.default_rng(4), [], []
  for mel_JR, truth in heard:
    window_BSR = classifier_networks.windows(mel_JR, classifiers.WINDOW_FRAMES['onset'])
    at_S = np.array([round(event['time_s'] * classifiers.FRAME_HZ) for event in truth['events']], int)
    away_J = np.abs(np.arange(len(window_BSR))[:, None] - at_S).min(axis=1, initial=99)
    chosen_J = (away_J <= 1) | ((away_J > 2) & (rng.random(len(away_J)) < 0.25))
    found.append(window_BSR[chosen_J])
    labels.append(away_J[chosen_J] <= 1)
  return np.concatenate(found), np.concatenate(labels).astype(np.int32)


def material_examples(heard: list[Heard], tools: classifiers.Classifiers) -> Examples:
  """Returns windows at detected onsets and the material of the known event there."""
  found, labels = [], []
  for mel_JR, truth in heard:
    frames = tools.onset_frames(mel_JR)
    pairs = onsets.match(
      np.array([event['time_s'] for event in truth['events']]), frames / classifiers.FRAME_HZ
    )
    found.append(classifiers.impact_windows(mel_JR, frames[[j for _, j in pairs]] if pairs else ()))
    labels += [modal.MATERIAL_NAMES.index(truth['events'][i]['material']) for i, _ in pairs]
  return np.concatenate(found), np.array(labels, np.int32)


def music_examples(heard: list[Heard]) -> Examples:
  """Returns windows and whether the clip they come from has music that nobody plays in the picture."""
  rng, found, labels = np.random.default_rng(5), [], []
  for mel_JR, truth in heard:
    window_BSR = classifier_networks.windows(mel_JR, classifiers.WINDOW_FRAMES['music'])[
      rng.choice(len(mel_JR), 40)
    ]
    found.append(window_BSR)
    labels += [truth['has_music']] * len(window_BSR)
  return np.concatenate(found), np.array(labels, np.int32)


def music_threshold(params: classifier_networks.Params, heard: list[Heard]) -> float:
  """Returns the mean log odds that parts clips with and without music with the fewest errors."""
  network = classifiers.Network(params, {})
  size, stride = classifiers.WINDOW_FRAMES['music'], classifiers.STRIDE_FRAMES['music']
  scored = sorted(
    (float(network(classifier_networks.windows(mel_JR, size, stride))[:, 0].mean()), bool(truth['has_music']))
    for mel_JR, truth in heard
  )
  score_B, label_B = (np.array(part) for part in zip(*scored))
  # Errors of a cut before clip k: the ones with music below it, and those without from it on.
  errors_B = np.concatenate([[0], np.cumsum(label_B)]) + np.concatenate(
    [np.cumsum(~label_B[::-1])[::-1], [0]]
  )
  cuts = np.flatnonzero(errors_B == errors_B.min())
  cut = int(np.clip(cuts[len(cuts) // 2], 1, len(score_B) - 1))
  return float(score_B[cut - 1 : cut + 1].mean())


def word_examples(heard: list[Heard]) -> tuple[np.ndarray, np.ndarray, recognizer.HmmTopology]:
  """Returns windows, the state of a word in the middle of each, and the chains of states."""
  chains = recognizer.estimate_topology([entry for _, truth in heard for entry in truth['words']])
  rng, stride = np.random.default_rng(6), classifiers.STRIDE_FRAMES['words']
  found, labels = [], []
  for mel_JR, truth in heard:
    window_BSR = classifier_networks.windows(mel_JR, classifiers.WINDOW_FRAMES['words'], stride)
    label_J = chains.state_labels(truth['words'], np.arange(len(window_BSR)) * stride / classifiers.FRAME_HZ)
    chosen_J = (label_J > 0) | (rng.random(len(label_J)) < 0.5)
    found.append(window_BSR[chosen_J])
    labels.append(label_J[chosen_J])
  return np.concatenate(found), np.concatenate(labels), chains


def shade(key: jax.Array, window_BSR: jax.Array) -> jax.Array:
  """Returns log mels with bands lifted and lowered, so that a network does not lean on one level."""
  size, _, num_bands = window_BSR.shape
  return window_BSR + 0.35 * jax.random.normal(key, (size, 1, num_bands))


def spoil(key: jax.Array, window_BSR: jax.Array) -> jax.Array:
  """Returns log mels as a codec or a model might leave them, each example worse by its own measure.

  Whole bands are lifted and lowered together, single values err, neighbouring frames run into each other, and
  what lies far below the loudest drowns in a floor.
  """
  shade_key, error_key, size_key, blur_key, floor_key = jax.random.split(key, 5)
  size = len(window_BSR)
  error_BSR = jax.random.normal(error_key, window_BSR.shape)
  error_BSR = error_BSR * jax.random.uniform(size_key, (size, 1, 1), maxval=0.8)
  earlier_BSR, later_BSR = (
    jnp.concatenate([window_BSR[:, :1], window_BSR[:, :-1]], axis=1),
    jnp.concatenate([window_BSR[:, 1:], window_BSR[:, -1:]], axis=1),
  )
  blur_BSR = jax.random.uniform(blur_key, (size, 1, 1), maxval=0.3)
  window_BSR = (1 - 2 * blur_BSR) * window_BSR + blur_BSR * (earlier_BSR + later_BSR)
  floor_BSR = window_BSR.max(axis=(1, 2), keepdims=True) - jax.random.uniform(
    floor_key, (size, 1, 1), minval=3.0, maxval=9.0
  )
  return shade(shade_key, jnp.logaddexp(window_BSR, floor_BSR)) + error_BSR


def loss(
  params: classifier_networks.Params,
  fixed: classifier_networks.Params,
  window_BSR: jax.Array,
  label_B: jax.Array,
) -> jax.Array:
  """Returns the mean cross entropy: of two classes for one output, else of as many as there are outputs."""
  logits_BO = classifier_networks.apply({**params, **fixed}, window_BSR, jnp)
  if logits_BO.shape[1] == 1:
    return optax.sigmoid_binary_cross_entropy(logits_BO[:, 0], label_B.astype(jnp.float32)).mean()
  return optax.softmax_cross_entropy_with_integer_labels(logits_BO, label_B).mean()


def fit(
  name: str, window_BSR: np.ndarray, label_B: np.ndarray, num_outputs: int, num_steps: int
) -> classifier_networks.Params:
  """Returns the trained weights of one network.

  Args:
    name: one of instruments.NAMES.
    window_BSR: log mels.
    label_B: classes.
    num_outputs: 1 for yes or no, else the number of classes.
    num_steps: of Adam, with a cosine schedule.
  """
  params = classifier_networks.init_params(0, window_BSR, (*WIDTHS[name], num_outputs))
  fixed = {key: params.pop(key) for key in ('mean_R', 'std_R')}
  schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-3, num_steps // 20, num_steps, 1e-5)
  vary = shade if name in UNSPOILED else spoil
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-2))

  def step(carry, drawn):
    params, state = carry
    chosen_B, key = drawn
    example_BSR = vary(key, every_BSR[chosen_B])
    value, gradient = jax.value_and_grad(loss)(params, fixed, example_BSR, every_B[chosen_B])
    update, state = optimizer.update(gradient, state, params)
    return (optax.apply_updates(params, update), state), value

  @jax.jit
  def run(carry, drawn):
    return jax.lax.scan(step, carry, drawn)

  every_BSR, every_B = jnp.asarray(window_BSR), jnp.asarray(label_B)
  chosen_NB = np.random.default_rng(1).choice(len(window_BSR), (num_steps, BATCH_SIZE))
  keys_N = jax.random.split(jax.random.key(2), num_steps)
  carry, start, part = (params, optimizer.init(params)), time.monotonic(), max(1, num_steps // 5)
  for first in range(0, num_steps, part):
    carry, losses_N = run(carry, (chosen_NB[first : first + part], keys_N[first : first + part]))
    done = min(first + part, num_steps)
    left_s = (time.monotonic() - start) / done * (num_steps - done)
    print(
      f'{name}: step {done} of {num_steps}, loss {float(losses_N.mean()):.4f}, {left_s:.0f} s left',
      file=sys.stderr,
    )
  return {**{key: np.asarray(value) for key, value in carry[0].items()}, **fixed}


def train(output: pathlib.Path, names: tuple[str, ...], scale: float = 1.0):
  """Trains and writes the named instruments.

  Args:
    output: folder for NAME.npz.
    names: some of instruments.NAMES; material needs onset to be there or to come before it.
    scale: share of the usual clips and steps.
  """
  clips_of = {key: max(20, int(count * scale)) for key, count in NUM_CLIPS.items()}
  steps_of = {key: max(20, int(count * scale)) for key, count in NUM_STEPS.items()}
  print('rendering', file=sys.stderr)
  impacts = windy = others = []
  if set(names) - {'words'}:
    impacts, others = hear(IMPACT_SCENES, clips_of['impacts']), hear(OTHER_SCENES, clips_of['others'])
    if 'onset' in names:
      windy = hear(IMPACT_SCENES, clips_of['windy'], first=50_000, is_windy=True)
  for name in names:
    about = {}
    if name == 'onset':
      params = fit(name, *onset_examples(impacts + windy + others), 1, steps_of[name])
    elif name == 'material':
      examples = material_examples(impacts, classifiers.load_some(output, ('onset',)))
      params, about = (
        fit(name, *examples, len(modal.MATERIAL_NAMES), steps_of[name]),
        {'labels': modal.MATERIAL_NAMES},
      )
    elif name == 'music':
      params = fit(name, *music_examples(impacts + others), 1, steps_of[name])
      fresh = hear(IMPACT_SCENES + OTHER_SCENES, max(10, clips_of['impacts'] // 4), first=100_000)
      about = {'threshold': music_threshold(params, fresh)}
    else:
      window_BSR, label_B, chains = word_examples(hear(('dialogue',), clips_of['dialogue'], first=200_000))
      params = fit(name, window_BSR, label_B, chains.num_states_total, steps_of[name])
      share_S = (np.bincount(label_B, minlength=chains.num_states_total) + 1.0) / (
        len(label_B) + chains.num_states_total
      )
      params['log_prior_S'] = recognizer.PRIOR_SCALE * np.log(share_S)
      about = {'words': chains.words, 'num_states': chains.num_states}
    classifiers.save(output, name, params, about)


def _run(argv: list[str] | None) -> int:
  parser = argparse.ArgumentParser(prog='scripts.train_classifiers', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--output', type=flags.local_path, default=classifiers.FOLDER, help='folder for the weights'
  )
  parser.add_argument(
    '--names', default=','.join(classifiers.NAMES), help='which instruments, comma-separated'
  )
  args = parser.parse_args(argv)
  chosen = tuple(args.names.split(','))
  unknown = [name for name in chosen if name not in classifiers.NAMES]
  if unknown:
    parser.error(f'--names must be of {", ".join(classifiers.NAMES)}; got {", ".join(unknown)}.')
  files.check_replaceable(*(args.output / f'{name}.npz' for name in chosen))
  train(args.output, chosen)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return command.run('scripts.train_classifiers', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
