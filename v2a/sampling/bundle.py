"""A whole model: codecs, generators and sync model with their compiled functions.

A packaged model is a folder (bundle) of parts, each with weights and configuration: one or more generators
(flow/, tokens/, masked/), the codec of each (codec/ for latents, codec_rvq/ for codes) and, for ranking,
sync/.
The folder of a generator may also hold its out-of-distribution detector (v2a.ood.detector).
"""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import functools
import hashlib
import json
import pathlib
from typing import Any

from flax import nnx
import jax
import ml_collections
import numpy as np

from v2a import arguments
from v2a import builders
from v2a import clip
from v2a import execution
from v2a import file_names
from v2a import storage
from v2a import weights
from v2a.config import files as files_lib
from v2a.config import schema
from v2a.ood import detector
from v2a.sampling import samplers
from v2a.sharding import mesh as mesh_lib
from v2a.sharding import rules

MODELS_FOLDER = pathlib.Path(__file__).resolve().parents[1] / 'assets' / 'models'
SLOTS_PER_DEVICE = 8
PART_BUILDERS = {
  'codec': builders.codec,
  'codec_rvq': builders.codec,
  'flow': builders.flow,
  'tokens': builders.tokens,
  'masked': builders.tokens,
  'sync': builders.sync,
}

# Sections of a configuration that decide what is generated; the others say how it was trained.
_DECISIVE = ('task', 'clip', 'codec', 'conditioning', 'flow', 'tokens', 'generation')


class Bundle:
  """Generators, their codecs, and (for ranking) a sync model.

  Attributes:
    name: of the model.
    exports: by part (see PART_BUILDERS).
    generator_names: names of its generators; the first is the default.
    config: of the first generator.
    clip_spec: rates and the length of one window.
    mesh: that the weights of a generator and the batch slots are sharded over.
    num_slots: batch slots for the best throughput of the devices.
  """

  def __init__(
    self,
    name: str,
    exports: Mapping[str, weights.Export],
    devices: Sequence[jax.Device] | None = None,
    generator: str | None = None,
    mesh_sizes: Mapping[str, int] | None = None,
  ):
    """Builds the mesh; networks are built when first used.

    Args:
      name: of the model.
      exports: by part.
      devices: that it works on; None for all.
      generator: the default; None for the first of samplers.GENERATORS.
      mesh_sizes: see `sharding.mesh`; None replicates the weights, and gives every device batch slots.

    Raises:
      ValueError: there is no such generator, or no such mesh of the devices and the audio steps of a window.
    """
    self.name, self.exports = name, exports
    self.generator_names = tuple(part for part in samplers.GENERATORS if part in exports)
    if generator is not None:
      self._check(generator)
      self.generator_names = (generator, *(part for part in self.generator_names if part != generator))
    self.config = exports[self.generator_names[0]].config
    self.clip_spec: clip.ClipSpec = schema.clip_spec(self.config)
    self.sample_rate_hz = self.clip_spec.sample_rate_hz
    self.mesh_sizes = {'data': -1} if mesh_sizes is None else dict(mesh_sizes)
    self.mesh = mesh_lib.make(self.mesh_sizes, devices)
    mesh_lib.check_context(self.clip_spec.num_latents, self.mesh)
    # Matmul results depend on the batch size, and the phases of the codec amplify rounding. So that sample
    # i never depends on other samples, the number of slots is fixed: one on a CPU, which gains nothing from
    # more.
    is_cpu = self.mesh.devices.flat[0].platform == 'cpu'
    self.num_slots = self.num_shards * (1 if is_cpu else SLOTS_PER_DEVICE)
    self._parts, self._generators, self._detectors, self._features, self._digests = {}, {}, {}, {}, {}

  @property
  def num_shards(self) -> int:
    """Number of batch shards; the number of batch slots must be a multiple of it."""
    return mesh_lib.num_batch_shards(self.mesh)

  def generator(self, name: str | None = None) -> samplers.Sampler:
    """Returns a generator; None for the first.

    Raises:
      ValueError: this model has no such generator, or not with the clips of the others.
    """
    name = name or self.generator_names[0]
    self._check(name)
    if name not in self._generators:
      found = samplers.GENERATORS[name](self.exports[name].config)
      if found.codec not in self.exports:
        raise ValueError(f'the model {self.name} lacks {found.codec}/, the codec of its generator {name!r}.')
      if found.spec != self.clip_spec:
        raise ValueError(
          f'generators of one model must have one clip; {name!r} of {self.name} has '
          f'{found.spec}, {self.generator_names[0]!r} has {self.clip_spec}.'
        )
      self._check_codec(name, found.codec)
      self._generators[name] = found
    return self._generators[name]

  def _check_codec(self, name: str, codec: str) -> None:
    """Raises ValueError where a generator was trained with another codec; older exports do not say."""
    wanted = self.exports[name].about.get('codec_digest')
    if wanted and wanted != (got := weights.codec_digest(self.exports[codec])):
      raise ValueError(
        f'the generator {name!r} of {self.name} was trained with another codec than that in '
        f'{self.exports[codec].folder}: wanted the digest {wanted[:12]}, got {got[:12]}.'
      )

  def _check(self, generator: str) -> None:
    if generator not in self.generator_names:
      raise ValueError(
        f'the model {self.name} has no generator {generator!r}; it has {", ".join(self.generator_names)}.'
      )

  def preload(self) -> None:
    """Reads the parts of the first generator, so that their errors come now; others are read when needed."""
    for part in (self.generator_names[0], self.generator().codec, 'sync'):
      if part in self.exports:
        self._part(part)

  def _part(self, part: str):
    """Returns graph and state of a part, which is built on first use."""
    if part not in self._parts:
      export = self.exports[part]
      # Shapes alone: initial weights, which are replaced at once, would take seconds.
      graph, state = nnx.split(nnx.eval_shape(lambda: PART_BUILDERS[part](export.config, nnx.Rngs(0))))
      # The slots of a generator are sharded; codecs and sync model work on one clip at a time, on one device.
      is_generator = part in samplers.GENERATORS
      sharding = rules.shardings(state, self.mesh) if is_generator else self.mesh.devices.flat[0]
      arrays = weights.unflatten(dict(export.arrays), state, f'{self.name}/{part}')
      self._parts[part] = graph, jax.device_put(arrays, sharding)
    return self._parts[part]

  def replace_weights(self, part: str, arrays: Mapping) -> None:
    """Gives a part other weights, by flat name; compiled functions stay. ValueError where they do not fit."""
    graph, state = self._part(part)
    sharding = jax.tree.map(lambda leaf: leaf.sharding, state)
    new = weights.unflatten(arrays, state, f'{self.name}/{part}')
    self._parts[part] = graph, jax.device_put(new, sharding)

  def merge(self, part: str, state: Any) -> Any:
    """Returns a part as a module, whose class depends on the part, from its (traced) state."""
    return nnx.merge(self._part(part)[0], state)

  def _compiled(self, part: str, run: Callable) -> Callable:
    """Returns (*arrays) -> run(module of the part, *arrays), compiled."""
    compiled = jax.jit(lambda state, *arrays: run(self.merge(part, state), *arrays))
    return lambda *arrays: compiled(self._part(part)[1], *arrays)

  @functools.cached_property
  def decode(self) -> Callable:
    """(latent_BTC or codes_BTK, prefix_BNA or None) -> wave_BNA, compiled; whole numbers are codes."""
    of_latents = self._compiled('codec', lambda codec, *arrays: codec.decode(*arrays))
    of_codes = self._compiled('codec_rvq', lambda codec, *arrays: codec.decode_tokens(*arrays))

    def run(encoded_BTF, prefix_BNA=None):
      is_codes = np.issubdtype(encoded_BTF.dtype, np.integer)
      return (of_codes if is_codes else of_latents)(encoded_BTF, prefix_BNA)

    return run

  @functools.cached_property
  def encode(self) -> Callable:
    """wave_BNA -> latent_BTC, the means of the KL codec, compiled."""
    return self._compiled('codec', lambda codec, wave_BNA: codec.encode(wave_BNA)[0])

  @functools.cached_property
  def encode_tokens(self) -> Callable:
    """wave_BNA -> codes_BTK, compiled."""
    return self._compiled('codec_rvq', lambda codec, wave_BNA: codec.encode_tokens(wave_BNA))

  def reconstruct(self, wave_BNA: np.ndarray, generator: str | None = None) -> jax.Array:
    """Returns wave_BNA after the round trip through the codec of a generator, None for the first."""
    encode = {'codec': self.encode, 'codec_rvq': self.encode_tokens}[self.generator(generator).codec]
    return self.decode(encode(wave_BNA))

  def ood_detector(self, generator: str | None = None) -> detector.Detector | None:
    """Returns the out-of-distribution detector of a generator (None: the first), or None."""
    name = self.generator(generator).name
    if name not in self._detectors:
      folder = self.exports[name].folder
      self._detectors[name] = None
      if folder is not None and storage.is_file(folder / detector.FILE):
        with storage.local_file(folder / detector.FILE) as path:
          self._detectors[name] = detector.load(path)
    return self._detectors[name]

  def digest(self, generator: str | None = None) -> str:
    """Returns the SHA-256 of what decides the soundtracks of a generator, None for the first.

    That is weights and settings of the generator and its codec as they were read: no names, no training data.
    """
    chosen = self.generator(generator)
    if chosen.name not in self._digests:
      digest = hashlib.sha256()
      for part in sorted((chosen.name, chosen.codec)):
        export = self.exports[part]
        sections = {name: export.config[name] for name in _DECISIVE if name in export.config}
        digest.update(json.dumps([part, _plain(sections)], sort_keys=True).encode())
        for name, array in sorted(export.arrays.items()):
          digest.update(f'{name} {weights.array_hash(np.asarray(array))} '.encode())
      self._digests[chosen.name] = digest.hexdigest()
    return self._digests[chosen.name]

  def ood_features(
    self,
    semantic_frame_BMYX3: np.ndarray | jax.Array,
    sync_frame_BLYX3: np.ndarray | jax.Array,
    generator: str | None = None,
  ) -> jax.Array:
    """Returns feature_BF of windows by a generator (v2a.ood.detector eq. 1).

    Args:
      semantic_frame_BMYX3, sync_frame_BLYX3: uint8 frames of one window per row.
      generator: name of the generator whose video encoders are used; None for the first.
    """
    name = self.generator(generator).name
    if name not in self._features:

      def features(network, *frames):
        return detector.extract_features(*network.conditioner.encode_video(*frames), frames[1])

      self._features[name] = self._compiled(name, features)
    return self._features[name](semantic_frame_BMYX3, sync_frame_BLYX3)

  @functools.cached_property
  def similarity(self) -> Callable:
    """(sync_frame_BLYX3, latent_BTC) -> audio-video similarity, B, compiled."""
    return self._compiled('sync', lambda sync, frames, latents: sync.similarity(frames, latents))

  @functools.cached_property
  def sample(self) -> Callable:
    """(inputs, weights_G, *, generator, branches, settings) -> encoded_BTF: one window in every batch slot.

    inputs: see samplers.conditions, and `sample` of the generator; weights_G, branches: of guidance;
    settings: of `sample`, in pairs. Compiled once for each set of generator, branches and settings.
    """
    slots, whole = jax.sharding.PartitionSpec(mesh_lib.BATCH_AXES), jax.sharding.PartitionSpec()
    has_copies = all(self.mesh.shape[name] == 1 for name in ('fsdp', 'context', 'tensor'))
    # Where each device has all weights, it samples its slots alone.
    shared = mesh_lib.make({}, list(self.mesh.devices.flat)[:1]) if has_copies else self.mesh

    @functools.partial(jax.jit, static_argnames=('generator', 'branches', 'settings'))
    def run(state, inputs, weights_G, *, generator, branches, settings):
      def sample_slots(state, inputs, weights_G):
        network = self.merge(generator, state)
        with execution.use(mesh=shared):
          condition = samplers.conditions(network, inputs, branches)
          return self.generator(generator).sample(network, condition, inputs, weights_G, **dict(settings))

      if has_copies:
        sample_slots = jax.shard_map(
          sample_slots, mesh=self.mesh, in_specs=(whole, slots, whole), out_specs=slots, check_vma=False
        )
      return sample_slots(state, inputs, weights_G)

    def sample(inputs, weights_G, *, generator, **fixed):
      if not has_copies:
        inputs = jax.device_put(inputs, mesh_lib.batch_sharding(self.mesh))
        weights_G = jax.device_put(weights_G, mesh_lib.replicated(self.mesh))
      return run(self._part(generator)[1], inputs, weights_G, generator=generator, **fixed)

    return sample


def _plain(value):
  return {name: _plain(each) for name, each in value.items()} if hasattr(value, 'items') else value


class Exports(Mapping):
  """The exports of folders by part, each read and checked on first use."""

  def __init__(self, folders: Mapping[str, str | storage.Path]):
    self._folders, self._read = folders, {}

  def __iter__(self) -> Iterator[str]:
    return iter(self._folders)

  def __len__(self) -> int:
    return len(self._folders)

  def __getitem__(self, part: str) -> weights.Export:
    if part not in self._read:
      export = weights.load_export(self._folders[part])
      if part_name(export.config) != part:
        raise ValueError(
          f'{self._folders[part]} must hold a {part} model; got one of task '
          f'{export.config.task!r}{_kind(export.config)}.'
        )
      for key, array in export.arrays.items():
        if not np.isfinite(array).all():
          raise ValueError(f'{self._folders[part]}: weights {key} hold NaN or infinity.')
      self._read[part] = export
    return self._read[part]


def part_name(c: ml_collections.ConfigDict) -> str:
  """Returns the part that a trained model is."""
  if c.task == 'codec':
    return 'codec' if c.codec.bottleneck == 'kl' else 'codec_rvq'
  if c.task == 'tokens':
    return 'tokens' if c.tokens.is_causal else 'masked'
  return c.task


def _kind(c) -> str:
  """Returns what tells parts of one task apart, for errors."""
  return {
    'codec': f' with the {c.codec.bottleneck} bottleneck',
    'tokens': f' with is_causal={c.tokens.is_causal}',
  }.get(c.task, '')


def load(
  name_or_dir: str | storage.Path,
  devices: Sequence[jax.Device] | None = None,
  generator: str | None = None,
  mesh_sizes: Mapping[str, int] | None = None,
) -> Bundle:
  """Returns a packaged model by name, or one from a folder.

  A folder is either a bundle (see the module) or a training folder of a generator, whose config.init_from
  names codec and sync. For ranking, an RVQ codec also needs the KL codec whose trunk it was initialized from.

  Args:
    name_or_dir: see above; a folder may be in an object store.
    devices: that it works on; None for all.
    generator: the default; None for the model's first.
    mesh_sizes: how weights and batch slots are sharded over the devices, see Bundle.

  Raises:
    TypeError: `name_or_dir` is no path.
    FileNotFoundError: there is no such model.
    ValueError: the folder holds something else or not that generator, or weights that are not finite.
  """
  arguments.check('name_or_dir', name_or_dir, pathlib.Path)
  path = storage.parse(name_or_dir, 'a model')
  if not storage.exists(path) and (MODELS_FOLDER / str(name_or_dir)).is_dir() and len(path.parts) == 1:
    path = MODELS_FOLDER / str(name_or_dir)
  model_name, _, suffix = str(name_or_dir).rpartition(':')
  if model_name and suffix in samplers.GENERATORS and not storage.exists(path):
    raise FileNotFoundError(
      f'no model {str(name_or_dir)!r}: a generator is given apart from the model {model_name!r}, by '
      f'generator={suffix!r} or --generator {suffix}.'
    )
  if not storage.is_folder(path):
    known = sorted(child.name for child in MODELS_FOLDER.glob('*') if child.is_dir())
    packaged = f'a packaged model ({", ".join(known)})' if known else 'a packaged model (there is none)'
    raise FileNotFoundError(
      f'there is no model {str(name_or_dir)!r}; wanted {packaged} or the folder of a model.'
    )
  if any(storage.is_folder(path / part) for part in samplers.GENERATORS):
    folders = {part: path / part for part in PART_BUILDERS if storage.is_folder(path / part)}
  else:
    folders = _of_training(path)
  name = file_names.printable(storage.absolute(path).name)
  model = Bundle(name, Exports(folders), devices, generator, mesh_sizes)
  model.preload()
  return model


def is_codec(path: str | storage.Path) -> bool:
  """Whether a folder is the training folder or the exported model of a codec."""
  try:
    return part_name(files_lib.load(weights.locate(path) / weights.CONFIG)) in ('codec', 'codec_rvq')
  except FileNotFoundError:
    return False


def _of_training(path: storage.Path) -> dict[str, str | storage.Path]:
  """Returns the folders of the parts of a model, from the training folder of its generator."""
  trained = weights.load_export(path).config
  part = part_name(trained)
  if part not in samplers.GENERATORS:
    raise ValueError(f'{path} holds a {part} model; wanted a bundle, or a training folder of a generator.')
  codec = samplers.GENERATORS[part].codec
  if not trained.init_from.codec:
    raise ValueError(
      f'{path} names no codec: wanted a bundle with {codec}/ and {part}/, or a {part} model '
      'whose config.init_from.codec is set.'
    )
  folders = {part: path, codec: trained.init_from.codec, 'sync': trained.init_from.sync}
  if codec == 'codec_rvq':
    folders['codec'] = weights.load_export(trained.init_from.codec).config.init_from.codec
  return {part: folder for part, folder in folders.items() if folder}


def join(models: list[Bundle]) -> Bundle:
  """Returns one model with the parts of several, named as the first.

  Raises:
    ValueError: two of them have different models of one part.
  """
  parts: dict[str, weights.Export] = {}
  for model in models:
    for part, export in model.exports.items():
      mine = parts.setdefault(part, export).arrays
      if mine.keys() != export.arrays.keys() or any(
        not np.array_equal(mine[name], export.arrays[name]) for name in mine
      ):
        raise ValueError(f'{model.name} has another {part}/ than {models[0].name}; a bundle has one.')
  return Bundle(models[0].name, parts, list(models[0].mesh.devices.flat), None, models[0].mesh_sizes)
