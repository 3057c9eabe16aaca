"""RoBERTa text encoder (Liu et al. 2019, arXiv 1907.11692), the text encoder of LAION-CLAP.

With the weight names and the pooler of Hugging Face's RobertaModel: a linear layer and a tanh on the first
token give the features of the text. Positions start at FIRST_POSITION; the rows of the table before it
belong to padding.
"""

import jax
import jax.numpy as jnp

from v2a.models.published import layers

START, PADDING, END = 0, 1, 2
FIRST_POSITION = PADDING + 1
_HEAD_FEATURES = 64


def apply(weights: layers.Weights, token_BS: jax.Array, prefix: str = '') -> jax.Array:
  """Returns feature_BF, from -1 to 1.

  Args:
    weights: of RoBERTa, of any depth and width.
    token_BS: START, the tokens of the text, END, then PADDING, which is masked in attention.
    prefix: of the names of the weights.
  """
  name = f'{prefix}embeddings'
  is_text_BS = token_BS != PADDING
  position_BS = jnp.where(is_text_BS, jnp.cumsum(is_text_BS, axis=1) - 1 + FIRST_POSITION, PADDING)
  x_BSF = weights[f'{name}.word_embeddings.weight'][token_BS]
  x_BSF = x_BSF + weights[f'{name}.position_embeddings.weight'][position_BS]
  x_BSF = layers.add_bias(x_BSF, weights[f'{name}.token_type_embeddings.weight'][0], -1)
  x_BSF = layers.layer_norm(weights, f'{name}.LayerNorm', x_BSF)
  bias_BHQS = jnp.where(is_text_BS, 0.0, -jnp.inf)[:, None, None]
  for i in range(layers.count_layers(weights, prefix + 'encoder.layer.{}.output.dense.weight')):
    x_BSF = _block(weights, f'{prefix}encoder.layer.{i}', x_BSF, bias_BHQS)
  return jnp.tanh(layers.linear(weights, f'{prefix}pooler.dense', x_BSF[:, 0]))


def _block(weights: layers.Weights, name: str, x_BSF: jax.Array, bias_BHQS: jax.Array) -> jax.Array:
  """Returns a post-norm transformer block."""
  q_BSF, k_BSF, v_BSF = (
    layers.linear(weights, f'{name}.attention.self.{part}', x_BSF) for part in ('query', 'key', 'value')
  )
  attended_BSF = layers.attention(q_BSF, k_BSF, v_BSF, x_BSF.shape[2] // _HEAD_FEATURES, bias_BHQS)
  x_BSF = x_BSF + layers.linear(weights, f'{name}.attention.output.dense', attended_BSF)
  x_BSF = layers.layer_norm(weights, f'{name}.attention.output.LayerNorm', x_BSF)
  hidden_BSF = layers.linear(weights, f'{name}.intermediate.dense', x_BSF)
  hidden_BSF = jax.nn.gelu(hidden_BSF, approximate=False)
  x_BSF = x_BSF + layers.linear(weights, f'{name}.output.dense', hidden_BSF)
  return layers.layer_norm(weights, f'{name}.output.LayerNorm', x_BSF)
