"""MMDiT: masks, effects of every input, independence of clips."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a.conditioning import condition as condition_lib
from v2a.models import condition_projection
from v2a.models import mmdit

SIZES = {
  'num_latent_channels': 4,
  'latent_rate_hz': 25.0,
  'semantic_rate_hz': 8.0,
  'sync_rate_hz': 25.0,
  'condition_width': 8,
  'width': 16,
  'num_heads': 2,
  'num_joint_layers': 1,
  'num_audio_layers': 1,
  'mlp_ratio': 2.0,
  'conv_size': 3,
}


@functools.cache
def _model():
  # Gates and the last layer are zero at initialization, so all weights are replaced by random ones.
  graphdef, state = nnx.split(nnx.eval_shape(lambda: mmdit.MMDiT(**SIZES, rngs=nnx.Rngs(0))))
  rng = np.random.default_rng(1)
  state = jax.tree.map(lambda leaf: jnp.asarray(0.25 * rng.standard_normal(leaf.shape), jnp.float32), state)

  @jax.jit
  def velocity(z_BTC, t_B, condition):
    return nnx.merge(graphdef, state)(z_BTC, t_B, condition)

  return velocity


def _inputs():
  keys = iter(jax.random.split(jax.random.key(2), 5))
  normal = lambda *shape: jax.random.normal(next(keys), shape)
  return {
    'z_BTC': normal(2, 50, 4),
    't_B': jnp.array([0.2, 0.9]),
    'semantic_BMD': normal(2, 16, 8),
    'sync_BLD': normal(2, 50, 8),
    'text_BUD': normal(2, 6, 8),
    'text_mask_BU': jnp.arange(6)[None] < jnp.array([[6], [2]]),
    'transcript_BWD': normal(2, 5, 8),
    'transcript_mask_BW': jnp.arange(5)[None] < jnp.array([[1], [4]]),
  }


def _velocity(inputs):
  condition = dict(inputs)
  return np.asarray(
    _model()(condition.pop('z_BTC'), condition.pop('t_B'), condition_lib.Condition(**condition))
  )


@pytest.mark.parametrize(
  ('tokens', 'mask'), [('text_BUD', 'text_mask_BU'), ('transcript_BWD', 'transcript_mask_BW')]
)
def test_masked_tokens_are_never_read(tokens, mask):
  inputs = _inputs()
  wanted = _velocity(inputs)
  assert np.isfinite(wanted).all()
  poisoned = jnp.where(inputs[mask][..., None], inputs[tokens], jnp.nan)
  np.testing.assert_array_equal(_velocity(inputs | {tokens: poisoned}), wanted)
  changed = _velocity(inputs | {tokens: inputs[tokens].at[:, 0].add(1.0)})
  assert (np.abs(changed - wanted).max(axis=(1, 2)) > 1e-3).all()


def test_padding_changes_nothing():
  inputs = {name: value[1:] for name, value in _inputs().items()}
  short = inputs | {'text_BUD': inputs['text_BUD'][:, :2], 'text_mask_BU': inputs['text_mask_BU'][:, :2]}
  assert inputs['text_mask_BU'].sum() == 2
  np.testing.assert_allclose(_velocity(short), _velocity(inputs), atol=1e-5)


def test_sync_features_act_at_their_time():
  inputs = _inputs()
  changed = _velocity(inputs | {'sync_BLD': inputs['sync_BLD'].at[:, 30].add(3.0)})
  difference_BT = np.abs(changed - _velocity(inputs)).mean(axis=-1)
  assert (difference_BT.argmax(axis=1) >= 28).all() and (difference_BT.argmax(axis=1) <= 32).all()
  assert (difference_BT[:, 30] > 5 * np.median(difference_BT, axis=1)).all()


def test_every_input_changes_the_velocity():
  inputs = _inputs()
  wanted = _velocity(inputs)
  for name in ('z_BTC', 't_B', 'semantic_BMD', 'sync_BLD', 'text_BUD', 'transcript_BWD'):
    assert np.abs(_velocity(inputs | {name: inputs[name] * 0.5}) - wanted).max() > 1e-3, name


def test_clips_of_a_batch_are_independent():
  inputs = _inputs()
  alone = _velocity({name: value[1:] for name, value in inputs.items()})
  np.testing.assert_allclose(alone[0], _velocity(inputs)[1], atol=1e-5)


def test_other_lengths_than_in_training_run():
  inputs = _inputs()
  longer = inputs | {
    'z_BTC': jnp.ones((2, 75, 4)),
    'semantic_BMD': jnp.ones((2, 24, 8)),
    'sync_BLD': jnp.ones((2, 75, 8)),
  }
  assert _velocity(longer).shape == (2, 75, 4)


def test_transcript_is_spread_over_the_clip():
  mask_BW = jnp.arange(4)[None] < jnp.array([[1], [4]])
  times_BW = condition_projection.spread_times(mask_BW, 2.0)
  np.testing.assert_allclose(times_BW[0, 0], 1.0)
  np.testing.assert_allclose(times_BW[1], [0.25, 0.75, 1.25, 1.75])
