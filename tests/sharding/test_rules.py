from flax import nnx
import jax
import jax.numpy as jnp
import pytest

from v2a import execution
from v2a.sharding import mesh as mesh_lib
from v2a.sharding import rules

P = jax.sharding.PartitionSpec
SIZES = tuple(
  dict(zip(mesh_lib.AXES, sizes))
  for sizes in ((1, 2, 2, 1, 2), (1, 8, 1, 1, 1), (1, 1, 8, 1, 1), (2, 1, 2, 2, 1))
)


@pytest.fixture(scope='module')
def mesh():
  return mesh_lib.make(SIZES[0])


@pytest.mark.parametrize(
  ('axes', 'shape', 'wanted'),
  [
    (('embed', 'mlp'), (16, 32), P('fsdp', 'tensor')),
    (('mlp', 'embed'), (32, 16), P('tensor', 'fsdp')),
    (('embed', 'heads', 'head'), (16, 4, 8), P('fsdp', 'tensor', None)),
    (('vocab', 'embed'), (256, 16), P('tensor', 'fsdp')),
    (('embed', 'mlp'), (3, 16, 32), P(None, 'fsdp', 'tensor')),  # a stack of three layers
    (('mlp',), (3, 32), P(None, 'tensor')),
    (('embed', 'mlp'), (15, 32), P(None, 'tensor')),  # 15 rows do not divide
    (('embed',), (1,), P(None)),
    ((None, 'latent'), (4, 4), P(None, None)),
    (('kernel', 'channels', 'patch'), (2, 2, 2), P(None, None, None)),
    ((), (), P()),
  ],
)
def test_partition_spec_follows_the_table(mesh, axes, shape, wanted):
  assert rules.partition_spec(axes, shape, mesh) == wanted


@pytest.mark.parametrize(
  ('axes', 'shape', 'message'),
  [
    (('embed', 'mpl'), (16, 32), "Unknown logical axis 'mpl'"),
    (('embed', 'embed'), (16, 16), "'embed' and 'embed' are both sharded over mesh axis 'fsdp'"),
    (('mlp', 'heads'), (15, 15), 'both sharded'),  # whatever the sizes, so that one device raises it, too
    (('embed',), (2, 3, 16), 'names 1 dimensions'),
    (('embed', 'mlp'), (16,), 'names 2 dimensions'),
  ],
)
def test_wrong_axes_are_errors(mesh, axes, shape, message):
  with pytest.raises(ValueError, match=message):
    rules.partition_spec(axes, shape, mesh)


def test_shardings_of_a_state_name_the_path_in_errors(mesh):
  state = nnx.State(
    {'a': {'w': nnx.Param(jnp.zeros((16, 32)), axes=('embed', 'mlp'))}, 'count': nnx.Variable(jnp.zeros(()))}
  )
  specs = rules.shardings((state, jnp.zeros(3)), mesh)
  assert jax.tree.structure(specs) == jax.tree.structure((state, jnp.zeros(3)))
  assert specs[0]['a']['w'].get_value().spec == P('fsdp', 'tensor')
  assert specs[0]['count'].get_value().spec == specs[1].spec == P()
  state['a']['w'] = nnx.Param(jnp.zeros(3), axes=('wide',))
  with pytest.raises(ValueError, match=r"a.w: Unknown logical axis 'wide'"):
    rules.shardings((state,), mesh)


@pytest.mark.parametrize('sizes', SIZES)
def test_meshes_have_the_given_sizes(sizes):
  mesh = mesh_lib.make(sizes)
  assert dict(mesh.shape) == sizes
  assert set(mesh.axis_types) == {jax.sharding.AxisType.Auto}
  assert mesh_lib.num_batch_shards(mesh) == sizes['replica'] * sizes['data'] * sizes['fsdp']
  assert mesh_lib.batch_sharding(mesh).shard_shape((16, 3)) == (16 // mesh_lib.num_batch_shards(mesh), 3)


ONES = dict.fromkeys(mesh_lib.AXES, 1)


@pytest.mark.parametrize(
  ('sizes', 'num_devices', 'num_slices', 'wanted'),
  [
    ({'data': -1, 'fsdp': 2}, 8, 1, {'data': 4, 'fsdp': 2}),
    ({'tensor': 1, 'fsdp': -1, 'data': 1}, 1, 1, {}),
    ({'replica': -1, 'data': -1}, 8, 2, {'replica': 2, 'data': 4}),
    ({'replica': 4, 'context': -1}, 8, 2, {'replica': 4, 'context': 2}),
    ({'replica': -1, 'fsdp': 8}, 8, 1, {'fsdp': 8}),
  ],
)
def test_minus_one_is_resolved(sizes, num_devices, num_slices, wanted):
  assert mesh_lib.resolve(sizes, num_devices, num_slices) == ONES | wanted


def test_a_single_device_is_a_mesh():
  assert dict(mesh_lib.single().shape) == ONES


@pytest.mark.parametrize(
  ('sizes', 'message'),
  [
    ({'data': 3}, 'does not fit 8 devices: its sizes multiply to 3; wanted 8[.]'),
    (
      {'data': -1, 'fsdp': 16},
      'A mesh of replica 1 x data -1 x fsdp 16 x context 1 x tensor 1 does not '
      'fit 8 devices: its sizes multiply to 16; wanted 8 or a divisor of it',
    ),
    ({'data': -1, 'fsdp': 3}, 'does not fit 8 devices'),
    ({'data': -1, 'fsdp': -1}, 'one at most -1'),
    ({'data': 0}, 'at least 1'),
    ({}, 'does not fit 8 devices'),
    ({'data': 8, 'model': 1}, r"got \['model'\]"),
  ],
)
def test_meshes_that_do_not_fit_are_errors(sizes, message):
  with pytest.raises(ValueError, match=message):
    mesh_lib.make(sizes)


def test_slices_are_not_split():
  with pytest.raises(ValueError, match='multiple of the 3 slices, which only it connects; got 2'):
    mesh_lib.resolve({'replica': 2, 'data': -1}, 12, 3)


def test_activations_are_constrained_on_the_mesh_in_use():
  x_BTD = jnp.zeros((4, 6, 3))
  assert rules.constrain(x_BTD, 'batch', 'time', None) is x_BTD  # no mesh: as it is
  run = jax.jit(lambda x_BTD: rules.constrain(x_BTD, 'batch', 'time', None))
  with execution.use(mesh=mesh_lib.make({'data': 4, 'context': 2})):
    assert run(x_BTD).sharding.shard_shape(x_BTD.shape) == (1, 3, 3)
  assert execution.current().mesh is None
