"""Trains the classifiers of the metrics on the synthetic set: onsets, material, music, words.

  python -m scripts.train_classifiers --output v2a/assets/classifiers

The audio of clips of TRAIN_SEED (rendered with tiny frames) is augmented by a random gain, spectral tilt and
noise floor, like the artefacts of a codec or a model. Small networks are trained on windows of its log mel
spectrogram. The clips of v2a.data.synthetic_examples.HELDOUT_SEED and of the seed of
v2a.evaluation.check_classifiers are never used here. The same arguments on the same machine give the same
weights.
"""

import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from v2a import entry_point
from v2a import files
from v2a import flags
from v2a import termination
from v2a.metrics import classifier_networks
from v2a.metrics import classifiers
from v2a.metrics import onsets
from v2a.metrics import recognizer
from v2a.metrics import spectra
from v2a.synthetic import clips
from v2a.synthetic import modal

# Not the seed 0 of the default data set: classifiers must not favour models trained on the same clips.
TRAIN_SEED = 7_000_001
IMPACT_SCENES = ('bounce', 'collide', 'strike', 'hidden')
OTHER_SCENES = ('engine', 'rain', 'wind', 'pass', 'score', 'still', 'dialogue')
WIDTHS = {'onset': (48, 24), 'material': (32,), 'music': (40, 24), 'words': (112, 64)}
NUM_STEPS = {'onset': 1500, 'material': 600, 'music': 1200, 'words': 2000}
NUM_CLIPS = {'impacts': 400, 'windy': 500, 'others': 120, 'dialogue': 220}
BATCH_SIZE = 256
# Trained without blur and noise, which reduce the F1 of the onset network on true audio by 1 %.
BAND_SHIFT_ONLY = ('onset',)

LabeledMel = tuple[np.ndarray, dict]
Examples = tuple[np.ndarray, np.ndarray]


def render_mels(
  scenes: tuple[str, ...], num_clips: int, first: int = 0, is_windy: bool = False
) -> list[LabeledMel]:
  """Returns log mel spectrograms and ground truths of clips, rendered with tiny frames.

  Args:
    scenes: scenes to sample from.
    num_clips: number of clips to render.
    first: index of the first clip.
    is_windy: keep only clips with background wind: a fifth, in which soft hits are hardest to detect.
  """
  rng, labeled_mels = np.random.default_rng([3, first]), []
  for index in range(first, first + num_clips):
    clip = clips.render(
      TRAIN_SEED,
      index,
      scenes=scenes,
      corruption='clean',
      fps=1,
      frame_size=16,
      sample_rate_hz=spectra.RATE_HZ,
    )
    if not is_windy or clip.truth['has_wind']:
      labeled_mels.append((classifiers.log_mel(augment_waveform(rng, clip.wave_NA)), clip.truth))
  return labeled_mels


def augment_waveform(rng: np.random.Generator, wave_NA: np.ndarray) -> np.ndarray:
  """Returns the waveform with a random gain, random spectral tilt of up to 4 dB, and random noise floor."""
  spectrum_FA = np.fft.rfft(wave_NA, axis=0)
  tilt_F = np.linspace(-1.0, 1.0, len(spectrum_FA)) * rng.uniform(-4.0, 4.0)
  wave_NA = np.fft.irfft(spectrum_FA * 10.0 ** (tilt_F[:, None] / 20.0), len(wave_NA), axis=0)
  noise_NA = rng.standard_normal(wave_NA.shape, dtype=np.float32) * 10.0 ** (rng.uniform(-90.0, -48.0) / 20.0)
  return wave_NA * 10.0 ** (rng.uniform(-6.0, 4.0) / 20.0) + noise_NA


def onset_examples(labeled_mels: list[LabeledMel]) -> Examples:
  """Returns windows and whether their centre is an onset: all onsets, and a random subset of the others."""
  rng, found, labels = np.random.default_rng(4), [], []
  for mel_JR, truth in labeled_mels:
    window_BSR = classifier_networks.windows(mel_JR, classifiers.WINDOW_FRAMES['onset'])
    at_S = np.array([round(event['time_s'] * classifiers.FRAME_HZ) for event in truth['events']], int)
    distance_J = np.abs(np.arange(len(window_BSR))[:, None] - at_S).min(axis=1, initial=99)
    is_used_J = (distance_J <= 1) | ((distance_J > 2) & (rng.random(len(distance_J)) < 0.25))
    found.append(window_BSR[is_used_J])
    labels.append(distance_J[is_used_J] <= 1)
  return np.concatenate(found), np.concatenate(labels).astype(np.int32)


def material_examples(labeled_mels: list[LabeledMel], networks: classifiers.Classifiers) -> Examples:
  """Returns windows at detected onsets, and the material of the matching true event."""
  found, labels = [], []
  for mel_JR, truth in labeled_mels:
    frames = networks.onset_frames(mel_JR)
    pairs = onsets.match(
      np.array([event['time_s'] for event in truth['events']]), frames / classifiers.FRAME_HZ
    )
    found.append(classifiers.impact_windows(mel_JR, frames[[j for _, j in pairs]] if pairs else ()))
    labels += [modal.MATERIAL_NAMES.index(truth['events'][i]['material']) for i, _ in pairs]
  return np.concatenate(found), np.array(labels, np.int32)


def music_examples(labeled_mels: list[LabeledMel]) -> Examples:
  """Returns windows, and whether their clip has off-screen music."""
  rng, found, labels = np.random.default_rng(5), [], []
  for mel_JR, truth in labeled_mels:
    window_BSR = classifier_networks.windows(mel_JR, classifiers.WINDOW_FRAMES['music'])[
      rng.choice(len(mel_JR), 40)
    ]
    found.append(window_BSR)
    labels += [truth['has_music']] * len(window_BSR)
  return np.concatenate(found), np.array(labels, np.int32)


def music_threshold(params: classifier_networks.Params, labeled_mels: list[LabeledMel]) -> float:
  """Returns the threshold of the mean log odds that separates clips by music with the fewest errors."""
  network = classifiers.Network(params, {})
  size, stride = classifiers.WINDOW_FRAMES['music'], classifiers.STRIDE_FRAMES['music']
  scored = sorted(
    (float(network(classifier_networks.windows(mel_JR, size, stride))[:, 0].mean()), bool(truth['has_music']))
    for mel_JR, truth in labeled_mels
  )
  score_B, label_B = (np.array(column) for column in zip(*scored))
  # Errors of a threshold before clip k: clips with music below it, and clips without music above it.
  errors_B = np.concatenate([[0], np.cumsum(label_B)]) + np.concatenate(
    [np.cumsum(~label_B[::-1])[::-1], [0]]
  )
  cuts = np.flatnonzero(errors_B == errors_B.min())
  cut = int(np.clip(cuts[len(cuts) // 2], 1, len(score_B) - 1))
  return float(score_B[cut - 1 : cut + 1].mean())


def word_examples(labeled_mels: list[LabeledMel]) -> tuple[np.ndarray, np.ndarray, recognizer.HmmTopology]:
  """Returns windows, the HMM state of the word at the centre of each, and the topology of the HMMs."""
  topology = recognizer.estimate_topology([entry for _, truth in labeled_mels for entry in truth['words']])
  rng, stride = np.random.default_rng(6), classifiers.STRIDE_FRAMES['words']
  found, labels = [], []
  for mel_JR, truth in labeled_mels:
    window_BSR = classifier_networks.windows(mel_JR, classifiers.WINDOW_FRAMES['words'], stride)
    label_J = topology.state_labels(
      truth['words'], np.arange(len(window_BSR)) * stride / classifiers.FRAME_HZ
    )
    is_used_J = (label_J > 0) | (rng.random(len(label_J)) < 0.5)
    found.append(window_BSR[is_used_J])
    labels.append(label_J[is_used_J])
  return np.concatenate(found), np.concatenate(labels), topology


def shift_bands(key: jax.Array, window_BSR: jax.Array) -> jax.Array:
  """Returns log mels with random offsets per band, so that networks do not depend on absolute levels."""
  size, _, num_bands = window_BSR.shape
  return window_BSR + 0.35 * jax.random.normal(key, (size, 1, num_bands))


def augment(key: jax.Array, window_BSR: jax.Array) -> jax.Array:
  """Returns log mels with simulated artefacts of codecs and models, of random strength per example.

  Adds random offsets per band, noise per value, blur over neighbouring frames, and a noise floor below the
  loudest value.
  """
  bands_key, error_key, size_key, blur_key, floor_key = jax.random.split(key, 5)
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
  return shift_bands(bands_key, jnp.logaddexp(window_BSR, floor_BSR)) + error_BSR


def loss(
  params: classifier_networks.Params,
  fixed: classifier_networks.Params,
  window_BSR: jax.Array,
  label_B: jax.Array,
) -> jax.Array:
  """Returns the mean cross entropy: binary for one output, otherwise over as many classes as outputs.

  Args:
    params: weights that are trained.
    fixed: other weights of the network, such as the normalization of its input.
    window_BSR: log mels.
    label_B: classes, or 0 and 1 for one output.
  """
  logits_BO = classifier_networks.apply({**params, **fixed}, window_BSR, jnp)
  if logits_BO.shape[1] == 1:
    return optax.sigmoid_binary_cross_entropy(logits_BO[:, 0], label_B.astype(jnp.float32)).mean()
  return optax.softmax_cross_entropy_with_integer_labels(logits_BO, label_B).mean()


def fit(
  name: str, window_BSR: np.ndarray, label_B: np.ndarray, num_outputs: int, num_steps: int
) -> classifier_networks.Params:
  """Returns the trained weights of one network.

  Args:
    name: one of classifiers.NAMES.
    window_BSR: log mels.
    label_B: classes.
    num_outputs: 1 for a binary classifier, otherwise the number of classes.
    num_steps: number of steps of AdamW, with a cosine schedule.
  """
  params = classifier_networks.init_params(0, window_BSR, (*WIDTHS[name], num_outputs))
  fixed = {key: params.pop(key) for key in ('mean_R', 'std_R')}
  schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-3, num_steps // 20, num_steps, 1e-5)
  augment_mels = shift_bands if name in BAND_SHIFT_ONLY else augment
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=1e-2))

  def step(carry, inputs):
    params, state = carry
    chosen_B, key = inputs
    example_BSR = augment_mels(key, all_windows_BSR[chosen_B])
    value, gradient = jax.value_and_grad(loss)(params, fixed, example_BSR, all_labels_B[chosen_B])
    update, state = optimizer.update(gradient, state, params)
    return (optax.apply_updates(params, update), state), value

  @jax.jit
  def run(carry, inputs):
    return jax.lax.scan(step, carry, inputs)

  all_windows_BSR, all_labels_B = jnp.asarray(window_BSR), jnp.asarray(label_B)
  chosen_NB = np.random.default_rng(1).choice(len(window_BSR), (num_steps, BATCH_SIZE))
  keys_N = jax.random.split(jax.random.key(2), num_steps)
  carry, start, chunk = (params, optimizer.init(params)), time.monotonic(), max(1, num_steps // 5)
  for first in range(0, num_steps, chunk):
    carry, losses_N = run(carry, (chosen_NB[first : first + chunk], keys_N[first : first + chunk]))
    num_done = min(first + chunk, num_steps)
    left_s = (time.monotonic() - start) / num_done * (num_steps - num_done)
    print(
      f'{name}: step {num_done} of {num_steps}, loss {float(losses_N.mean()):.4f}, {left_s:.0f} s left',
      file=sys.stderr,
    )
  return {**{key: np.asarray(value) for key, value in carry[0].items()}, **fixed}


def train(output: pathlib.Path, names: tuple[str, ...], scale: float = 1.0) -> None:
  """Trains and writes classifiers.

  Args:
    output: folder for NAME.npz.
    names: some of classifiers.NAMES; material requires onset, either already in the folder or earlier in
      names.
    scale: fraction of the default numbers of clips and steps.
  """
  clips_of = {key: max(20, int(count * scale)) for key, count in NUM_CLIPS.items()}
  steps_of = {key: max(20, int(count * scale)) for key, count in NUM_STEPS.items()}
  print('rendering', file=sys.stderr)
  impacts = windy = others = []
  if set(names) - {'words'}:
    impacts, others = (
      render_mels(IMPACT_SCENES, clips_of['impacts']),
      render_mels(OTHER_SCENES, clips_of['others']),
    )
    if 'onset' in names:
      windy = render_mels(IMPACT_SCENES, clips_of['windy'], first=50_000, is_windy=True)
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
      calibration = render_mels(
        IMPACT_SCENES + OTHER_SCENES, max(10, clips_of['impacts'] // 4), first=100_000
      )
      about = {'threshold': music_threshold(params, calibration)}
    else:
      window_BSR, label_B, topology = word_examples(
        render_mels(('dialogue',), clips_of['dialogue'], first=200_000)
      )
      params = fit(name, window_BSR, label_B, topology.num_states_total, steps_of[name])
      prior_S = (np.bincount(label_B, minlength=topology.num_states_total) + 1.0) / (
        len(label_B) + topology.num_states_total
      )
      params['log_prior_S'] = recognizer.PRIOR_SCALE * np.log(prior_S)
      about = {'words': topology.words, 'num_states': topology.num_states}
    classifiers.save(output, name, params, about)


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='scripts.train_classifiers', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--output', type=flags.local_path, default=classifiers.FOLDER, help='folder to write the weights to'
  )
  parser.add_argument(
    '--names', default=','.join(classifiers.NAMES), help='classifiers to train, comma-separated'
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
  return entry_point.run('scripts.train_classifiers', lambda: _run(argv))


if __name__ == '__main__':
  termination.exit_program(main())
