"""Conditions: padding that never leaks, nulls that stand in, independence of the modalities."""

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import assembly
from v2a import config
from v2a.conditioning import text


def _model():
  c = config.tiny(config.base())
  return c, config.clip_spec(c), assembly.flow(c, nnx.Rngs(0))


def _inputs(spec, texts=('wood hits', ''), transcripts=('hello you', ''), has_video=(True, True)):
  text_BU, text_length_B = text.to_bytes(list(texts), spec.num_text_bytes)
  transcript_BW, transcript_length_B = text.to_bytes(list(transcripts), spec.num_transcript_bytes)
  rng = np.random.default_rng(0)
  shape = (len(texts), spec.num_sync_frames, spec.frame_size, spec.frame_size, 3)
  sync_frame_BLYX3 = rng.integers(0, 256, shape, dtype=np.uint8)
  return {'semantic_frame_BMYX3': sync_frame_BLYX3[:, :spec.num_semantic_frames],
          'sync_frame_BLYX3': sync_frame_BLYX3, 'has_video_B': np.array(has_video), 'text_BU': text_BU,
          'text_length_B': text_length_B, 'transcript_BW': transcript_BW,
          'transcript_length_B': transcript_length_B}


def _velocity(model, spec, inputs):
  z_BTC = jax.random.normal(jax.random.key(0), (2, spec.num_latents, model.transformer.final.bias_O.shape[0]))
  return model.velocity(z_BTC, jnp.array([0.3, 0.7]), model.conditioner(**inputs))


def _awake(model):
  """Random values where training starts at zero, so that every path carries a signal."""
  graphdef, state = nnx.split(model)
  leaves, tree = jax.tree.flatten(state)
  keys = jax.random.split(jax.random.key(1), len(leaves))
  leaves = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys)]
  return nnx.merge(graphdef, jax.tree.unflatten(tree, leaves))


def test_bytes_beyond_the_length_change_nothing():
  _, spec, model = _model()
  model = _awake(model)
  inputs = _inputs(spec)
  dirty = dict(inputs)
  for name, length in (('text_BU', 'text_length_B'), ('transcript_BW', 'transcript_length_B')):
    positions = np.arange(inputs[name].shape[1])[None]
    dirty[name] = np.where(positions < inputs[length][:, None], inputs[name], 77).astype(np.uint8)
  np.testing.assert_allclose(_velocity(model, spec, inputs), _velocity(model, spec, dirty), atol=1e-6)


def test_nan_in_masked_tokens_never_leaks():
  _, spec, model = _model()
  model = _awake(model)
  condition = model.conditioner(**_inputs(spec))
  poisoned = condition.replace(
      text_BUD=jnp.where(condition.text_mask_BU[..., None], condition.text_BUD, jnp.nan))
  z_BTC = jnp.ones((2, spec.num_latents, 4))
  assert bool(jnp.isfinite(model.velocity(z_BTC, jnp.array([0.1, 0.9]), poisoned)).all())


def test_an_empty_text_is_the_dropped_text():
  _, spec, model = _model()
  model = _awake(model)
  full = model.conditioner(**_inputs(spec))
  keep, drop = jnp.array([True, True]), jnp.array([False, True])
  dropped = model.conditioner.drop(full, keep, drop, keep)
  empty = model.conditioner(**_inputs(spec, texts=('', '')))
  for mine, theirs in zip(jax.tree.leaves(dropped), jax.tree.leaves(empty)):
    np.testing.assert_allclose(np.asarray(mine, np.float32), np.asarray(theirs, np.float32), atol=1e-6)


def test_without_video_the_pictures_do_not_matter():
  _, spec, model = _model()
  inputs = _inputs(spec, has_video=(False, False))
  black = inputs | {'sync_frame_BLYX3': 0 * inputs['sync_frame_BLYX3'],
                    'semantic_frame_BMYX3': 0 * inputs['semantic_frame_BMYX3']}
  first, second = model.conditioner(**inputs), model.conditioner(**black)
  np.testing.assert_array_equal(first.sync_BLD, second.sync_BLD)
  np.testing.assert_array_equal(first.semantic_BMD, second.semantic_BMD)


def test_every_modality_reaches_the_velocity():
  _, spec, model = _model()
  model = _awake(model)
  inputs = _inputs(spec, texts=('wood hits', 'rain'), transcripts=('hello you', 'come'))
  base = _velocity(model, spec, inputs)
  for name in ('text_BU', 'transcript_BW', 'sync_frame_BLYX3', 'semantic_frame_BMYX3'):
    changed = inputs | {name: (inputs[name].astype(int) + 40).astype(np.uint8)}
    assert float(jnp.abs(_velocity(model, spec, changed) - base).max()) > 1e-4, name


def test_texts_are_cut_at_whole_lengths():
  byte_BU, length_B = text.to_bytes(['abc', ' x ' * 50, ''], 8)
  assert length_B.tolist() == [3, 8, 0]
  assert byte_BU[0].tolist() == [97, 98, 99, 0, 0, 0, 0, 0]
