"""Trains the token decoder and its conditioner (`tasks.conditioning`) on the codes of records.

A causal decoder predicts each token from those before it, in the order of config.tokens.pattern, with token
dropout on its input in some clips (`masking.sample_dropped_steps`). Otherwise masked tokens are predicted
from the others. Both losses: `autoregressive.loss` eq. 1, in nats per token.
"""

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import builders
from v2a import execution
from v2a import keys
from v2a.autoregressive import loss
from v2a.autoregressive import masking
from v2a.autoregressive import patterns
from v2a.data import records
from v2a.training import task as task_lib
from v2a.training.tasks import audio_masks
from v2a.training.tasks import conditioning


class TokensTask(task_lib.Task[builders.TokensModel]):
  """Trains the token model; see the module."""

  codec_bottleneck = 'rvq'
  record_fields = (*conditioning.RECORD_FIELDS, 'codes_TK')

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.conditioning = c, conditioning.Conditioning(c)
    # Steps of a causal model are padded, see `_logits`.
    self.sequence_lengths = (
      {} if c.tokens.is_causal else {'audio steps of a clip': self.conditioning.spec.num_latents}
    )

  def build(self, key: jax.Array) -> builders.TokensModel:
    """Returns a token model with random parameters."""
    return builders.tokens(self.c, nnx.Rngs(key))

  def initialise(self, model: builders.TokensModel, source: records.RecordSource) -> builders.TokensModel:
    """Loads the sync encoder."""
    del source
    return self.conditioning.initialise(model)

  def collate(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns the inputs of conditions, each clip's codes, and which steps count."""
    inputs, code_BTK = self.conditioning.collate(items, rng), np.stack([self._codes(item) for item in items])
    is_valid_BT = self.conditioning.valid_steps(items, code_BTK.shape[1])
    return inputs | {'code_BTK': code_BTK, 'is_valid_BT': is_valid_BT}

  def _codes(self, record: dict) -> np.ndarray:
    """Returns the codes of a record. Raises ValueError if there are none, or they are of another codec."""
    codes_TK, c = record['codes_TK'], self.c.codec
    if not codes_TK.size:
      raise ValueError(
        f'record {record["id"]!r} has no codes; encode the records by data_pipelines.encode, '
        'with a codec of the rvq bottleneck.'
      )
    if codes_TK.shape[1] != c.num_codebooks or codes_TK.max() >= c.codebook_size:
      raise ValueError(
        f'record {record["id"]!r} has codes of {codes_TK.shape[1]} codebooks up to {codes_TK.max()}; wanted '
        f'config.codec.num_codebooks={c.num_codebooks} of codebook_size={c.codebook_size}.'
      )
    return codes_TK.astype(np.int32)

  def sample_random_inputs(self, batch: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Returns masks of conditions, the weights of clips, and which tokens are masked or dropped."""
    tokens = self.c.tokens
    keep_masks = self.conditioning.sample_random_inputs(batch, keys.derive(key, 'conditions'))
    inputs = keep_masks | audio_masks.clip_weights(batch)
    mask_key = keys.derive(key, 'masks')
    num_clips, num_steps, num_codebooks = batch['code_BTK'].shape
    if not tokens.is_causal:
      inputs['is_masked_BTK'] = masking.sample_mask(mask_key, self._counted(batch))
    elif tokens.token_dropout_probability:
      num_steps += max(patterns.codebook_delays(tokens.pattern, num_codebooks))
      inputs['is_dropped_BS'] = masking.sample_dropped_steps(
        mask_key, num_clips, num_steps, tokens.token_dropout_probability
      )
    return inputs

  def _counted(self, batch: dict) -> jax.Array:
    """Returns counted_BTK: which tokens count in the loss."""
    return jnp.broadcast_to(batch['is_valid_BT'][..., None], batch['code_BTK'].shape)

  def loss(self, model: builders.TokensModel, batch: dict, step: jax.Array) -> task_lib.LossOutput:
    """Returns the cross entropy, with that of each codebook as metrics."""
    del step
    value, metrics = self._loss(model, batch)
    return task_lib.LossOutput(value, metrics | audio_masks.metrics(batch))

  def _loss(self, model: builders.TokensModel, batch: dict) -> tuple[jax.Array, dict]:
    condition = self.conditioning.encode(model, batch)
    decoder, code_BTK = model.decoder, batch['code_BTK']
    if decoder.is_causal:
      code_BSK = patterns.build(code_BTK, model.delays, decoder.padding_token)
      counted_BSK = patterns.build(self._counted(batch), model.delays, False)
      input_BSK = code_BSK
      if 'is_dropped_BS' in batch:
        input_BSK = jnp.where(batch['is_dropped_BS'][..., None], decoder.mask_token, code_BSK)
      logit_BSKV = _logits(decoder, input_BSK, condition)
      return loss.cross_entropy(logit_BSKV, code_BSK, counted_BSK, batch['weight_B'])
    predict = lambda code_BTK: decoder(code_BTK, condition)
    return loss.masked_cross_entropy(
      predict, code_BTK, batch['is_masked_BTK'], mask_token=decoder.mask_token, weight_B=batch['weight_B']
    )


def _logits(decoder, code_BSK: jax.Array, condition) -> jax.Array:
  """Returns logit_BSKV of a causal decoder, padded to a number of steps that the mesh's `context` divides.

  The delay pattern adds steps to the latents of a clip: 384 become 391, which `context` may not divide.
  Padding comes after all other steps, and no other step attends to it.
  """
  num_steps = code_BSK.shape[1]
  num_padding = -num_steps % execution.current().mesh_size('context')
  padded_BSK = jnp.pad(code_BSK, ((0, 0), (0, num_padding), (0, 0)), constant_values=decoder.padding_token)
  return decoder(padded_BSK, condition)[:, :num_steps]
