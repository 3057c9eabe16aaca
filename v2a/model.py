"""A whole model, ready to draw: codec, flow model and sync model with their compiled functions.

A packaged model is a folder (bundle) of codec/, flow/ and sync/, each with weights and configuration.
"""

from collections.abc import Callable
import functools
import pathlib

from flax import nnx
import jax
import jax.numpy as jnp
import numpy as np

from v2a import assembly
from v2a import clip
from v2a import config
from v2a import configfile
from v2a import weights
from v2a.conditioning import bundle
from v2a.diffusion import guidance
from v2a.diffusion import samplers
from v2a.sharding import mesh as mesh_lib

MODELS_FOLDER = pathlib.Path(__file__).resolve().parent / 'assets' / 'models'
LANES_PER_DEVICE = 8
MAKERS = {'codec': assembly.codec, 'flow': assembly.flow, 'sync': assembly.sync}


class Model:
  """A codec, a flow model and (for ranking) a sync model, ready to draw.

  Attributes:
    name: of the model.
    config: of the flow model.
    clip_spec: rates and the length of one window.
  """

  def __init__(self, name: str, exports: dict[str, weights.Export], devices=None):
    """Args: name; exports by part (see MAKERS); devices that lanes are spread over, None for all."""
    self.name, self.config = name, exports['flow'].config
    self.mesh = mesh_lib.make({'data': -1, 'fsdp': 1, 'tensor': 1}, devices)
    self.clip_spec: clip.ClipSpec = config.clip_spec(self.config)
    self.sample_rate_hz = self.clip_spec.sample_rate_hz
    # A product of another size rounds otherwise, and phases carry rounding far. So that sample i never
    # depends on its company, a device always has as many lanes: one on a CPU, which gains nothing from more.
    is_cpu = self.mesh.devices.flat[0].platform == 'cpu'
    self.num_lanes = self.mesh.size * (1 if is_cpu else LANES_PER_DEVICE)
    self.exports = exports
    self._graphs, self.states = {}, {}
    for part, export in exports.items():
      # Shapes alone: drawing initial weights that are replaced at once would take seconds.
      make = functools.partial(MAKERS[part], export.config)
      self._graphs[part], state = nnx.split(nnx.eval_shape(lambda make=make: make(nnx.Rngs(0))))
      # Lanes of the flow model are spread; codec and sync model work on one clip at a time, on one device.
      place = mesh_lib.replicated(self.mesh) if part == 'flow' else self.mesh.devices.flat[0]
      arrays = weights.unflatten(dict(export.arrays), state, f'{name}/{part}')
      self.states[part] = jax.device_put(arrays, place)

  def merge(self, part: str, state) -> nnx.Module:
    """Returns a part as a module, from its (traced) state."""
    return nnx.merge(self._graphs[part], state)

  @functools.cached_property
  def decode(self) -> Callable:
    """(latent_BTC, known_BNA or None) -> wave_BNA, compiled."""
    run = jax.jit(
        lambda state, latent_BTC, known_BNA: self.merge('codec', state).decode(latent_BTC, known_BNA))
    return lambda latent_BTC, known_BNA=None: run(self.states['codec'], latent_BTC, known_BNA)

  @functools.cached_property
  def reconstruct(self) -> Callable:
    """wave_BNA -> wave_BNA: the round trip through the codec, compiled."""

    def run(state, wave_BNA):
      codec = self.merge('codec', state)
      return codec.decode(codec.encode(wave_BNA)[0])

    compiled = jax.jit(run)
    return lambda wave_BNA: compiled(self.states['codec'], wave_BNA)

  @functools.cached_property
  def agreement(self) -> Callable:
    """(sync_frame_BLYX3, latent_BTC) -> agreement of picture and sound, B, compiled."""
    run = jax.jit(lambda state, frames, latents: self.merge('sync', state).agreement(frames, latents))
    return lambda sync_frame_BLYX3, latent_BTC: run(self.states['sync'], sync_frame_BLYX3, latent_BTC)

  @functools.cached_property
  def sample(self) -> Callable:
    """See `_sample`; compiled once for each set of guidance branches, solver and steps."""
    lanes = jax.sharding.PartitionSpec(self.mesh.axis_names)
    whole = jax.sharding.PartitionSpec()

    @functools.partial(jax.jit, static_argnames=('branches', 'solver', 'steps', 'warp'))
    def run(state, inputs, weights_G, **settings):
      draw = functools.partial(_sample, self, **settings)
      spread_draw = jax.shard_map(
          draw, mesh=self.mesh, in_specs=(whole, lanes, whole), out_specs=lanes, check_vma=False)
      return spread_draw(state, inputs, weights_G)

    def spread(inputs, weights_G, **settings):
      return run(self.states['flow'], inputs, weights_G, **settings)

    return spread


def load(name_or_dir: str | pathlib.Path, devices=None) -> Model:
  """Returns a packaged model by name, or one from a folder.

  A folder is either a bundle (codec/, flow/, sync/) or a flow training folder, whose config.init_from
  names codec and sync. Lanes are spread over `devices`, None for all.

  Raises:
    FileNotFoundError: there is no such model.
    ValueError: the folder holds something else, or weights that are not finite.
  """
  path = pathlib.Path(name_or_dir)
  if not path.exists() and (MODELS_FOLDER / str(name_or_dir)).is_dir() and len(path.parts) == 1:
    path = MODELS_FOLDER / str(name_or_dir)
  if not path.is_dir():
    known = sorted(child.name for child in MODELS_FOLDER.glob('*') if child.is_dir())
    raise FileNotFoundError(
        f'no model {str(name_or_dir)!r}: wanted a folder or one of {", ".join(known) or "(none packaged)"}.')
  if (path / 'flow').is_dir():
    folders = {part: path / part for part in MAKERS if (path / part).is_dir()}
  else:
    trained = weights.load_export(path).config
    folders = {'flow': path, 'codec': trained.init_from.codec, 'sync': trained.init_from.sync}
    folders = {part: folder for part, folder in folders.items() if folder}
  if 'codec' not in folders:
    raise ValueError(f'{path} names no codec: wanted a bundle with codec/ and flow/, or a flow model whose '
                     'config.init_from.codec is set.')
  exports = {part: weights.load_export(folder) for part, folder in folders.items()}
  for part, export in exports.items():
    if export.config.task != part:
      raise ValueError(f'{folders[part]} must hold a {part} model; got one of task {export.config.task!r}.')
    for key, array in export.arrays.items():
      if not np.isfinite(array).all():
        raise ValueError(f'{folders[part]}: weights {key} hold NaN or infinity.')
  return Model(path.resolve().name, exports, devices)


def save(model: Model, path: str | pathlib.Path) -> None:
  """Writes a model as a bundle of float16 weights that `load` reads.

  Raises:
    FileExistsError: the folder is there already.
  """
  path = pathlib.Path(path)
  if path.exists():
    raise FileExistsError(f'{path} exists already; a bundle is written to a new folder.')
  partial = path.with_name(f'.{path.name}.partial')
  for part, export in model.exports.items():
    c = configfile.loads(configfile.dumps(export.config)).unlock()
    c.init_from.update(dict.fromkeys(c.init_from, ''))  # a bundle is whole; paths of a machine mean nothing
    weights.export(export.arrays, partial / part, c.lock(), 'float16', export.about)
  partial.rename(path)


def _sample(model: Model, state, inputs: dict, weights_G, *, branches: tuple[tuple[str, ...], ...],
            solver: str, steps: int, warp: float) -> jax.Array:
  """Draws one window in every lane.

  Args:
    model: whose flow model `state` is.
    state: of the flow model.
    inputs: frames, bytes of the texts and the negative prompt, noise, and known latents with a mask.
    weights_G: weight of each guidance branch.
    branches: modalities that each branch drops.
    solver, steps, warp: see diffusion.samplers.

  Returns:
    latents BTC.
  """
  flow = model.merge('flow', state)
  inputs = dict(inputs)
  noise_BTC, known_BTC, is_known_BT = (inputs.pop(key) for key in ('noise_BTC', 'known_BTC', 'is_known_BT'))
  negative = inputs.pop('negative_BU'), inputs.pop('negative_length_B')
  full = flow.conditioner(**inputs)
  everything_B = jnp.ones_like(inputs['has_video_B'])
  conditions = []
  for dropped in branches:
    keep = [everything_B if name not in dropped else ~everything_B for name in guidance.MODALITIES]
    condition = flow.conditioner.drop(full, *keep)
    if 'text' in dropped:
      text_BUD, text_mask_BU = flow.conditioner.encode_text(*negative)
      condition = condition.replace(text_BUD=text_BUD, text_mask_BU=text_mask_BU)
    conditions.append(condition)
  condition = bundle.concatenate(conditions)
  guided = guidance.guided(lambda z_BTC, t_B: flow.velocity(z_BTC, t_B, condition), weights_G)

  def predict(z_BTC, t_B):
    v_BTC = guided(z_BTC, t_B).astype(jnp.float32)
    return jnp.where(is_known_BT[..., None], noise_BTC - known_BTC, v_BTC)

  return samplers.sample(predict, noise_BTC, solver=solver, num_steps=steps, warp=warp)
