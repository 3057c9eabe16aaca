"""PANNs Cnn14 reads the published weights of both sample rates; its values are tested with the embedder."""

import jax
import numpy as np
import pytest

from tests.models.published import reference
from tests.models.published import specs
from v2a.models.published import layers
from v2a.models.published import panns


@pytest.mark.parametrize(('name', 'window', 'num'), [('16k', 512, 81_033_231), ('32k', 1024, 81_837_071)])
def test_all_published_weights_are_read(name, window, num):
  shapes = specs.shapes(f'panns_cnn14_{name}')
  inputs = (jax.ShapeDtypeStruct((1, 32, window), np.float32),)
  read = layers.check_shapes(panns.apply, reference.structs(shapes), inputs, 'spec')
  assert set(shapes) - read == {key for key in shapes if key.endswith('num_batches_tracked')}
  assert reference.num_parameters({key: shapes[key] for key in read if 'running' not in key}) == num
