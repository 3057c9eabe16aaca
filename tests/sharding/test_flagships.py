"""Shardings of all parameters of the large configurations. After an intended change:

python tests/sharding/test_flagships.py
"""

import json
import math
import pathlib

from flax import nnx
import jax
import numpy as np
import pytest

from v2a import builders
from v2a import weights
from v2a.config import files
from v2a.config import schema
from v2a.sharding import mesh as mesh_lib
from v2a.training import optimizer as optimizer_lib
from v2a.training import state as state_lib
from v2a.training import tasks

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
SIZES = {'data': 2, 'fsdp': 2, 'tensor': 2}
# Name -> billions of parameters.
FLAGSHIPS = {'flow_0.15b': 0.16, 'flow_0.6b': 0.66, 'flow_1b': 1.06, 'flow_3b': 2.99, 'tokens_1b': 1.07}


def abstract_state(name):
  c = files.find(name)
  return state_lib.abstract(tasks.make(c), optimizer_lib.make(c.training), mesh_lib.make(SIZES))


def specs(state):
  """Returns path -> [shape, spec] of every trained parameter."""
  return {
    name: [list(leaf.shape), str(tuple(leaf.sharding.spec))]
    for name, leaf in weights.flatten(state.params).items()
  }


@pytest.mark.parametrize('name', FLAGSHIPS)
def test_shardings_of_parameters_are_unchanged(name):
  state = abstract_state(name)
  wanted, found = json.loads((GOLDENS / f'{name}.json').read_text()), specs(state)
  changed = [path for path in {*wanted, *found} if wanted.get(path) != found.get(path)]
  assert not changed, f'{len(changed)} differ, for instance {changed[0]}; {__doc__}'
  billions = state_lib.num_parameters(state.params) / 1e9
  assert round(billions, 2) == FLAGSHIPS[name]
  # EMA and both moments are sharded as the parameters; nothing large is replicated.
  shardings = [leaf.sharding for leaf in jax.tree.leaves(state.params)]
  assert [leaf.sharding for leaf in jax.tree.leaves(state.ema)] == shardings
  large = [leaf for leaf in jax.tree.leaves(state) if leaf.size * leaf.dtype.itemsize > 4 << 20]
  assert large and not [leaf for leaf in large if leaf.sharding.is_fully_replicated]
  moments = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
  assert len(moments) == 2 * len(shardings)
  held = sum(
    leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(state)
  )
  assert held < 1.1 * 16 * billions * 1e9 / (SIZES['fsdp'] * SIZES['tensor'])


@pytest.mark.parametrize('name', FLAGSHIPS)
def test_sizes_fit_the_chips(name):
  c = files.find(name)
  part = c.tokens if c.task == 'tokens' else c.flow
  assert part.width // part.num_heads == 128 and not part.width % 128
  assert not int(part.width * part.mlp_ratio) % 128 and not c.conditioning.width % 128


@pytest.mark.parametrize('name', FLAGSHIPS)
def test_prompts_of_512_bytes_are_read_whole(name):
  assert schema.clip_spec(files.find(name)).num_text_bytes >= 512


# Bottleneck -> the configuration of its codec.
CODECS = {'kl': 'codec_48k', 'rvq': 'codec_48k_rvq'}


def shapes(make, c):
  """Returns name -> shape of a model's variables."""
  state = nnx.state(nnx.eval_shape(lambda: make(c, nnx.Rngs(0))))
  return {name: leaf.shape for name, leaf in weights.flatten(state).items()}


@pytest.mark.parametrize('name', FLAGSHIPS)
def test_codec_and_sync_configs_fit_the_generator(name):
  c, sync = files.find(name), files.find('sync_48k')
  codec = files.find(CODECS[c.codec.bottleneck])
  if name == 'flow_0.15b':
    sync = files.override(sync, [f'--config.conditioning.width={c.conditioning.width}'])
  assert not c.init_from.codec, 'the codec is chosen on the command line'
  specs = {schema.clip_spec(each) for each in (c, codec, sync)}
  assert len(specs) == 1, 'records, latent rate and length are the same'
  # Latents or codes of the codecs are those of the generator and the sync model.
  read = ('num_codebooks', 'codebook_size') if c.task == 'tokens' else ('num_latent_channels',)
  assert [c.codec[key] for key in read] == [codec.codec[key] for key in read]
  assert sync.codec.num_latent_channels == files.find('codec_48k').codec.num_latent_channels
  # The sync encoder takes the weights of the sync model.
  trained, own = shapes(builders.sync, sync), shapes(getattr(builders, c.task), c)
  video = {key.removeprefix('video.'): shape for key, shape in trained.items() if key.startswith('video.')}
  prefix = 'conditioner.sync.'
  assert video == {key.removeprefix(prefix): shape for key, shape in own.items() if key.startswith(prefix)}


def test_the_rvq_codec_has_the_trunk_of_the_kl_codec():
  trunk, codes = (shapes(builders.codec, files.find(name)) for name in CODECS.values())
  quantizer = {key for key in codes if key.startswith('quantizer.')}
  different = {key for key in codes.keys() - quantizer if codes[key] != trunk.get(key)}
  assert quantizer and different == {'to_latent.kernel_IO', 'to_latent.bias_O'}
  c = files.find('sync_48k')
  edges = builders.segment_edges(schema.clip_spec(c), c.sync.segment_s, 48)
  assert np.unique(np.diff(edges)).tolist() == [16] and edges[-1] == 384


if __name__ == '__main__':
  jax.config.update('jax_num_cpu_devices', 8)
  GOLDENS.mkdir(exist_ok=True)
  for flagship in FLAGSHIPS:
    lines = ',\n'.join(
      f'{json.dumps(path)}: {json.dumps(spec)}'
      for path, spec in sorted(specs(abstract_state(flagship)).items())
    )
    (GOLDENS / f'{flagship}.json').write_text(f'{{\n{lines}\n}}\n')
