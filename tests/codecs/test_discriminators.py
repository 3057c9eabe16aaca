"""Discriminators: their losses, what they see, and that they learn."""

import math

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from v2a.codecs import discriminators

RATE_HZ = 16000


def test_losses_are_least_squares():
  ones, zeros = (
    [[jnp.ones((1, 4, 2, 3)), jnp.ones((1, 4, 2, 1))]],
    [[jnp.zeros((1, 4, 2, 3)), jnp.zeros((1, 4, 2, 1))]],
  )
  assert discriminators.discriminator_loss(ones, zeros, 16).tolist() == [0]
  assert discriminators.discriminator_loss(zeros, ones, 16).tolist() == [2]
  adversarial_B, matching_B = discriminators.generator_loss(ones, zeros, 16)
  assert adversarial_B.tolist() == [1] and matching_B.tolist() == [1]


def test_steps_beyond_the_valid_samples_do_not_count():
  rng = np.random.default_rng(0)
  real, fake = ([[jnp.asarray(rng.standard_normal((2, 8, 3, 1)))] for _ in range(2)] for _ in range(2))
  num_valid_B = jnp.array([16, 8])
  changed = [[jnp.asarray(np.where(np.arange(8)[None, :, None, None] < 4, y[0], 9.0))] for y in fake]
  before_B = discriminators.discriminator_loss(real, fake, 16, num_valid_B)
  after_B = discriminators.discriminator_loss(real, changed, 16, num_valid_B)
  assert before_B[1] == after_B[1] and before_B[0] != after_B[0]


@pytest.fixture(name='model', scope='module')
def make_model():
  return discriminators.Discriminators(2, 2, rngs=nnx.Rngs(0))


def test_every_period_and_band_has_scores(model):
  wave_BNA = 0.1 * jax.random.normal(jax.random.key(0), (1, 4000, 2))
  found = nnx.jit(lambda model, wave_BNA: model(wave_BNA))(model, wave_BNA)
  num_bands = len(discriminators.BAND_EDGES) - 1
  assert len(found) == len(discriminators.PERIODS) + num_bands * len(discriminators.WINDOWS)
  for period, activations in zip(discriminators.PERIODS, found):
    num_steps = math.ceil(math.ceil(4000 / period) / 3)
    assert activations[0].shape == (1, num_steps, period, 2)
  assert all(activations[-1].shape[-1] == 1 for activations in found)


def test_a_resolution_learns_to_tell_noise_from_tones():
  time_N = np.arange(2048) / RATE_HZ
  rng = np.random.default_rng(0)
  tones_BNA = np.sin(2 * np.pi * rng.uniform(200, 4000, (4, 1, 1)) * time_N[None, :, None]).astype(np.float32)
  noise_BNA = rng.standard_normal((4, 2048, 1)).astype(np.float32)
  model = discriminators.ResolutionDiscriminator(1, 4, 512, (0.0, 0.5, 1.0), rngs=nnx.Rngs(0))
  graph, state = nnx.split(model)
  optimizer = optax.adam(3e-3)

  @jax.jit
  def step(state, opt_state):
    def value(state):
      model = nnx.merge(graph, state)
      return jnp.mean(discriminators.discriminator_loss(model(tones_BNA), model(noise_BNA), 2048))

    loss, gradient = jax.value_and_grad(value)(state)
    updates, opt_state = optimizer.update(gradient, opt_state)
    return optax.apply_updates(state, updates), opt_state, loss

  opt_state, losses = optimizer.init(state), []
  for _ in range(30):
    state, opt_state, loss = step(state, opt_state)
    losses.append(float(loss))
  assert losses[-1] < 0.4 * losses[0]
