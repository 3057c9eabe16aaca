"""Trains the audio embedder of the synthetic set.

  python -m scripts.train_embedder --output v2a/assets/embedders/synthetic.npz

The network of v2a.metrics.embedders.synthetic learns to predict tags from the audio of clips of TRAIN_SEED
(all scenes, rendered with tiny frames) at a random gain. There is no other augmentation: an embedder that
measures how far generated audio is from real audio must not become invariant to the artefacts of models. The
same arguments on the same machine give the same weights.
"""

from collections.abc import Callable
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
from v2a.metrics import spectra
from v2a.metrics.embedders import synthetic
from v2a.synthetic import clips

# Differs from the seed of the classifiers and from those of all data sets.
TRAIN_SEED = 8_000_001
NUM_CLIPS, NUM_STEPS, BATCH_SIZE = 1200, 1200, 64
WIDTHS = (96, 64, 64)
GAIN_DB = 6.0
# One decibel, in the natural logarithm of spectra.log_mel.
_DB = np.log(10.0) / 20.0


def render_examples(
  num_clips: int, report: Callable[[str], object] | None = None
) -> tuple[np.ndarray, np.ndarray]:
  """Returns window_BSJR and tag_BO of clips, rendered with tiny frames."""
  found, labels, start = [], [], time.monotonic()
  for index in range(num_clips):
    clip = clips.render(
      TRAIN_SEED, index, corruption='clean', fps=1, frame_size=16, sample_rate_hz=spectra.RATE_HZ
    )
    found.append(synthetic.windows(spectra.log_mel(clip.wave_NA.mean(axis=1))).astype(np.float16))
    labels.append(synthetic.tags(clip.truth))
    if report and (index + 1) % 100 == 0:
      left_s = (time.monotonic() - start) / (index + 1) * (num_clips - index - 1)
      report(f'rendering: {index + 1} of {num_clips}, {left_s:.0f} s left')
  return np.stack(found), np.stack(labels)


def initialise(window_BSJR: np.ndarray, seed: int = 0) -> synthetic.Params:
  """Returns He-normal weights, zero biases, and mean and standard deviation of the mel bands."""
  rng = np.random.default_rng(seed)
  level_NR = window_BSJR[:, ::4].astype(np.float32).reshape(-1, window_BSJR.shape[-1])
  params = {'mean_R': level_NR.mean(axis=0), 'std_R': level_NR.std(axis=0) + 0.1}
  inputs = (synthetic.WINDOW_FRAMES * window_BSJR.shape[-1], WIDTHS[0], 2 * WIDTHS[1], WIDTHS[2])
  for i, (num_inputs, width) in enumerate(zip(inputs, (*WIDTHS, len(synthetic.TAGS)))):
    weight_IO = np.sqrt(2.0 / num_inputs) * rng.standard_normal((num_inputs, width))
    params[f'weight_{i}_IO'], params[f'bias_{i}_O'] = (
      weight_IO.astype(np.float32),
      np.zeros(width, np.float32),
    )
  return params


def loss(
  params: synthetic.Params, fixed: synthetic.Params, window_BSJR: jax.Array, tag_BO: jax.Array
) -> jax.Array:
  """Returns the mean binary cross entropy of the tags.

  Args:
    params: weights that are trained.
    fixed: mean and standard deviation of the mel bands.
    window_BSJR: log mels of the windows of each clip.
    tag_BO: 0 or 1 for each tag.
  """
  _, logits_BO = synthetic.apply({**params, **fixed}, window_BSJR, jnp)
  return optax.sigmoid_binary_cross_entropy(logits_BO, tag_BO).mean()


def fit(
  window_BSJR: np.ndarray, tag_BO: np.ndarray, num_steps: int, report: Callable[[str], object] | None = None
) -> synthetic.Params:
  """Returns the weights after training by AdamW with a cosine schedule, each clip at a random gain.

  Args:
    window_BSJR: log mels of the windows of each clip.
    tag_BO: 0 or 1 for each tag.
    num_steps: number of steps.
    report: called with progress messages, or None.
  """
  params = initialise(window_BSJR)
  fixed = {name: params.pop(name) for name in ('mean_R', 'std_R')}
  schedule = optax.warmup_cosine_decay_schedule(0.0, 2e-3, num_steps // 20, num_steps, 1e-5)
  optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=3e-2))
  rng, state = np.random.default_rng(1), optimizer.init(params)

  @jax.jit
  def step(params, state, window_BSJR, gain_B, tag_BO):
    window_BSJR = window_BSJR.astype(jnp.float32) + gain_B[:, None, None, None]
    value, gradient = jax.value_and_grad(loss)(params, fixed, window_BSJR, tag_BO)
    update, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, update), state, value

  losses = []
  for k in range(num_steps):
    chosen_B = rng.choice(len(window_BSJR), min(BATCH_SIZE, len(window_BSJR)), replace=False)
    gain_B = (_DB * rng.uniform(-GAIN_DB, GAIN_DB, len(chosen_B))).astype(np.float32)
    params, state, value = step(params, state, window_BSJR[chosen_B], gain_B, tag_BO[chosen_B])
    losses.append(value)
    if report and (k + 1) % max(1, num_steps // 6) == 0:
      report(f'step {k + 1} of {num_steps}, loss {float(np.mean(losses[-50:])):.4f}')
  return normalize_variance(
    {**{name: np.asarray(value) for name, value in params.items()}, **fixed}, window_BSJR
  )


def normalize_variance(params: synthetic.Params, window_BSJR: np.ndarray) -> synthetic.Params:
  """Returns weights with the same logits, whose features have a total variance of 1 over these clips.

  The Frechet distance is then in units of that variance; otherwise its scale would depend on the training
  run.
  """
  parts = np.array_split(window_BSJR, max(1, len(window_BSJR) // BATCH_SIZE))
  features_BF = np.concatenate([synthetic.apply(params, part.astype(np.float32), np)[0] for part in parts])
  scale = np.float32(np.sqrt(features_BF.var(axis=0).sum()))
  changed = {name: params[name] / scale for name in ('weight_2_IO', 'bias_2_O')}
  return {**params, **changed, 'weight_3_IO': params['weight_3_IO'] * scale}


def train(output: pathlib.Path, scale: float = 1.0, report: Callable[[str], object] | None = None) -> None:
  """Trains and writes the embedder.

  Args:
    output: the .npz file.
    scale: fraction of the default numbers of clips and steps.
    report: called with progress messages, or None.
  """
  examples = render_examples(max(20, int(NUM_CLIPS * scale)), report)
  synthetic.save(output, fit(*examples, max(20, int(NUM_STEPS * scale)), report))


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='scripts.train_embedder', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--output', type=flags.local_path, default=synthetic.FILE, help='file to write the weights to'
  )
  args = parser.parse_args(argv)
  files.check_replaceable(args.output)
  train(args.output, report=lambda line: print(line, file=sys.stderr, flush=True))
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('scripts.train_embedder', lambda: _run(argv))


if __name__ == '__main__':
  termination.exit_program(main())
