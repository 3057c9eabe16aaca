"""RoBERTa against a plain NumPy implementation for one text at a time, without padding."""

import jax
import numpy as np
from scipy import special

from tests.models.published import clap_weights
from tests.models.published.test_htsat import linear
from tests.models.published.test_htsat import norm
from v2a.models.published import roberta


def expected_features(weights, token_S, depth):
  """Returns feature_F of one text; the first two rows of the position table are not positions."""
  x_SF = weights['embeddings.word_embeddings.weight'][token_S]
  x_SF = x_SF + weights['embeddings.position_embeddings.weight'][2 : 2 + len(token_S)]
  x_SF = norm(weights, 'embeddings.LayerNorm', x_SF + weights['embeddings.token_type_embeddings.weight'])
  for i in range(depth):
    name = f'encoder.layer.{i}'
    parts = [linear(weights, f'{name}.attention.self.{part}', x_SF) for part in ('query', 'key', 'value')]
    q_SHE, k_SHE, v_SHE = (part.reshape(len(token_S), -1, 64) for part in parts)
    score_QSH = np.einsum('qhe,she->qsh', q_SHE, k_SHE) / 8
    attended_SF = np.einsum('qsh,she->qhe', special.softmax(score_QSH, axis=1), v_SHE).reshape(x_SF.shape)
    x_SF = x_SF + linear(weights, f'{name}.attention.output.dense', attended_SF)
    x_SF = norm(weights, f'{name}.attention.output.LayerNorm', x_SF)
    x = linear(weights, f'{name}.intermediate.dense', x_SF)
    x = linear(weights, f'{name}.output.dense', x * 0.5 * (1 + special.erf(x / np.sqrt(2))))
    x_SF = norm(weights, f'{name}.output.LayerNorm', x_SF + x)
  return np.tanh(linear(weights, 'pooler.dense', x_SF[0]))


def test_features_of_padded_texts_equal_a_plain_implementation():
  weights = clap_weights.weights(clap_weights.roberta_shapes(128, 64, 2, 20))
  # Rows 40 apart are nearly equal in reference.weights; random ones show where positions start.
  positions = 'embeddings.position_embeddings.weight'
  weights[positions] = np.random.default_rng(1).standard_normal(weights[positions].shape).astype(np.float32)
  weights['pooler.dense.weight'] *= 0.3
  # Small values, so that the epsilon of the norms matters.
  for part in ('word', 'position', 'token_type'):
    weights[f'embeddings.{part}_embeddings.weight'] *= 0.01
  texts = [[0, 5, 7, 9, 3, 2], [0, 11, 2]]
  token_BS = np.full((2, 9), roberta.PADDING, np.int32)
  for row_S, text in zip(token_BS, texts):
    row_S[: len(text)] = text
  found_BF = np.asarray(jax.jit(roberta.apply)(weights, token_BS))
  float64_weights = {name: value.astype(np.float64) for name, value in weights.items()}
  expected_BF = [expected_features(float64_weights, np.array(text), 2) for text in texts]
  assert np.abs(expected_BF).mean() < 0.8
  np.testing.assert_allclose(found_BF, expected_BF, atol=2e-5)
