"""Conditions: padding, null embeddings, independence of the modalities."""

import functools

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from v2a import builders
from v2a.conditioning import condition as condition_lib
from v2a.conditioning import text
from v2a.config import schema

SPEC = schema.clip_spec(schema.tiny(schema.base()))


@functools.cache
def _model():
  """Returns the state of a model with random weights, and its conditioner and velocity, compiled."""
  c = schema.tiny(schema.base())
  graphdef, state = nnx.split(nnx.eval_shape(lambda: builders.flow(c, nnx.Rngs(0))))
  rng = np.random.default_rng(1)
  # Many are zero at initialization, which would hide their effect.
  state = jax.tree.map(lambda leaf: jnp.asarray(0.2 * rng.standard_normal(leaf.shape), jnp.float32), state)
  merge = functools.partial(nnx.merge, graphdef, state)
  return (
    merge(),
    jax.jit(lambda inputs: merge().conditioner(**inputs)),
    jax.jit(lambda z_BTC, t_B, condition: merge().velocity(z_BTC, t_B, condition)),
  )


def _inputs(texts=('wood hits', ''), transcripts=('hello you', ''), has_video=(True, True)):
  text_byte_BU, text_length_B = text.to_bytes(list(texts), SPEC.num_text_bytes)
  transcript_byte_BW, transcript_length_B = text.to_bytes(list(transcripts), SPEC.num_transcript_bytes)
  rng = np.random.default_rng(0)
  shape = (len(texts), SPEC.num_sync_frames, SPEC.frame_size, SPEC.frame_size, 3)
  sync_frame_BLYX3 = rng.integers(0, 256, shape, dtype=np.uint8)
  return {
    'semantic_frame_BMYX3': sync_frame_BLYX3[:, : SPEC.num_semantic_frames],
    'sync_frame_BLYX3': sync_frame_BLYX3,
    'has_video_B': np.array(has_video),
    'text_byte_BU': text_byte_BU,
    'text_length_B': text_length_B,
    'transcript_byte_BW': transcript_byte_BW,
    'transcript_length_B': transcript_length_B,
  }


def _condition(inputs):
  return _model()[1](inputs)


def _velocity(condition):
  z_BTC = jax.random.normal(jax.random.key(0), (2, SPEC.num_latents, 4))
  return _model()[2](z_BTC, jnp.array([0.3, 0.7]), condition)


def test_bytes_beyond_the_length_change_nothing():
  inputs = _inputs()
  dirty = dict(inputs)
  for name, length in (('text_byte_BU', 'text_length_B'), ('transcript_byte_BW', 'transcript_length_B')):
    positions = np.arange(inputs[name].shape[1])[None]
    dirty[name] = np.where(positions < inputs[length][:, None], inputs[name], 77).astype(np.uint8)
  np.testing.assert_allclose(_velocity(_condition(inputs)), _velocity(_condition(dirty)), atol=1e-6)


def test_nan_in_masked_tokens_never_leaks():
  condition = _condition(_inputs())
  poisoned = condition.replace(
    text_BUD=jnp.where(condition.text_mask_BU[..., None], condition.text_BUD, jnp.nan)
  )
  np.testing.assert_array_equal(_velocity(poisoned), _velocity(condition))


def test_an_empty_text_equals_a_dropped_text():
  full = _condition(_inputs())
  keep, drop = jnp.array([True, True]), jnp.array([False, True])
  dropped = _model()[0].conditioner.drop(full, keep, drop, keep)
  empty = _condition(_inputs(texts=('', '')))
  for mine, theirs in zip(jax.tree.leaves(dropped), jax.tree.leaves(empty)):
    np.testing.assert_allclose(np.asarray(mine, np.float32), np.asarray(theirs, np.float32), atol=1e-6)


def test_frames_are_ignored_without_video():
  inputs = _inputs(has_video=(False, False))
  black = inputs | {
    'sync_frame_BLYX3': 0 * inputs['sync_frame_BLYX3'],
    'semantic_frame_BMYX3': 0 * inputs['semantic_frame_BMYX3'],
  }
  first, second = _condition(inputs), _condition(black)
  np.testing.assert_array_equal(first.sync_BLD, second.sync_BLD)
  np.testing.assert_array_equal(first.semantic_BMD, second.semantic_BMD)


def test_every_modality_changes_the_velocity():
  inputs = _inputs(texts=('wood hits', 'rain'), transcripts=('hello you', 'come'))
  base = _velocity(_condition(inputs))
  for name in ('text_byte_BU', 'transcript_byte_BW', 'sync_frame_BLYX3', 'semantic_frame_BMYX3'):
    changed = inputs | {name: (inputs[name].astype(int) + 40).astype(np.uint8)}
    assert float(jnp.abs(_velocity(_condition(changed)) - base).max()) > 1e-4, name


@functools.cache
def _videos(without):
  """Returns semantic and sync features of a model of the same weights without some parts."""
  c = schema.tiny(schema.base()).unlock()
  c.conditioning.ablate = without
  graphdef, _ = nnx.split(nnx.eval_shape(lambda: builders.flow(c, nnx.Rngs(0))))

  @jax.jit
  def run(state, inputs):
    condition = nnx.merge(graphdef, state).conditioner(**inputs)
    return condition.semantic_BMD, condition.sync_BLD

  return run(nnx.state(_model()[0]), _inputs())


def test_ablations_remove_their_features_only():
  semantic_BMD, sync_BLD = _videos(())
  same = lambda a, b: bool(jnp.array_equal(a, b))
  for part in condition_lib.ABLATIONS:
    other_BMD, other_BLD = _videos((part,))
    assert same(semantic_BMD, other_BMD) == (part != 'semantic')
    assert same(sync_BLD, other_BLD) == (part == 'semantic')
  assert not _videos(('semantic',))[0].any() and not _videos(('sync',))[1].any()
  steady_BLD = _videos(('sync_times',))[1]
  np.testing.assert_allclose(steady_BLD, jnp.mean(sync_BLD, 1, keepdims=True) + 0 * sync_BLD, atol=1e-5)


def test_an_unknown_ablation_is_an_error():
  with pytest.raises(ValueError, match=r"ablate must be some of .*; got \['sound'\]"):
    _videos(('sound',))
