"""Codec training: reconstruction of random crops of waveforms.

  L = w_log_magnitude (L_log_magnitude | L_levels) + w_channel_level L_channel_level
    + w_stft L_stft + w_mel L_mel + (w_kl L_kl | w_q L_q)
    (+ w_adv L_G + w_fm L_fm + L_D, where training is adversarial)

Terms: `codecs.loss` eq. 0-5, the commitment loss L_q (`codecs.quantizer` eq. 2), the adversarial and feature
matching losses L_G, L_D, L_fm (`codecs.discriminators`). The waveform losses (stft, mel, adversarial) use the
phases of the target; if their weights are 0, no waveform is synthesized. Discriminators are trained in the
same step, with their own optimizer and clip norm; stop-gradients separate the two sides.

Principal components of a stereo magnitude codec are measured on up to 512 crops, of records spread over the
whole set, before the first step.
Codebooks (rvq) are initialised by k-means on the latents of up to 512 crops, of records spread over the whole
set, and then updated as moving averages (`codecs.quantizer` eq. 3). They follow the raw parameters, not their
EMA, so the raw parameters are exported with them. With config.init_from.codec everything else is initialised
from that codec, with a kl or an rvq bottleneck.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import builders
from v2a import keys
from v2a import masks
from v2a import weights
from v2a.codecs import autoencoder
from v2a.codecs import discriminators
from v2a.codecs import loss
from v2a.codecs import magnitude
from v2a.codecs import quantizer
from v2a.codecs import stereo_magnitude
from v2a.config import schema
from v2a.data import record_schema
from v2a.data import records
from v2a.training import task as task_lib
from v2a.training.tasks import audio_masks

NUM_STATISTIC_RECORDS = 512
NUM_PATCHES = 4096  # at most, of which principal components are computed


@dataclasses.dataclass(frozen=True)
class _Coded:
  """The round trip of a batch.

  Attributes:
    loss: of the bottleneck and of the codec's own features, weighted.
    parts: of it, by name.
    stats: of the codebooks, or None.
    synthesize: returns the waveform, which only some losses need.
  """

  loss: jax.Array
  parts: dict[str, jax.Array]
  stats: quantizer.CodebookStatistics | None
  synthesize: Callable[[], jax.Array]


class CodecTask(task_lib.Task[autoencoder.Autoencoder]):
  """Trains the codec; see the module."""

  record_fields = ('id', 'wave_NA', 'has_audio', 'num_valid_samples')

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.spec = c, schema.clip_spec(c)
    self.use_ema = c.codec.bottleneck != 'rvq'
    self.param_groups = {}
    if c.codec.adversarial_weight:
      rate = c.codec.discriminator_learning_rate or c.training.learning_rate
      self.param_groups['discriminators'] = {
        'learning_rate': rate,
        'clip_norm': c.codec.discriminator_clip_norm,
      }
    hop = self.spec.latent_hop_samples
    num_samples = min(round(c.codec.crop_s * self.spec.sample_rate_hz), self.spec.num_samples)
    self.num_crop_steps = max(1, num_samples // hop)
    self.num_crop_samples = self.num_crop_steps * hop
    self.sequence_lengths = {'audio steps of a crop of config.codec.crop_s': self.num_crop_steps}

  def build(self, key: jax.Array) -> autoencoder.Autoencoder:
    """Returns a codec with random parameters, and with discriminators if training is adversarial."""
    rngs = nnx.Rngs(key)
    model = builders.codec(self.c, rngs)
    if self.c.codec.adversarial_weight:
      model.discriminators = discriminators.Discriminators(
        self.spec.num_channels,
        self.c.codec.discriminator_width,
        periods=self.c.codec.discriminator_periods,
        windows=self.c.codec.discriminator_windows,
        band_edges=self.c.codec.discriminator_band_edges,
        rngs=rngs,
      )
    return model

  def initialise(
    self, model: autoencoder.Autoencoder, source: records.RecordSource
  ) -> autoencoder.Autoencoder:
    """Loads the trunk from config.init_from.codec, and initialises the codebooks by k-means."""
    path = self.c.init_from.codec
    if path:
      own, arrays = weights.flatten(nnx.state(model)), dict(self._initial_codec().arrays)
      for name in ('to_latent.kernel_IO', 'to_latent.bias_O'):
        # A kl bottleneck outputs means, then log standard deviations; rvq has the means only.
        arrays[name] = arrays[name][..., : own[name].shape[-1]]
      not_loaded = {name: own[name] for name in own if name.startswith(('quantizer.', 'discriminators.'))}
      weights.assign(model, arrays | not_loaded, source=path)
    elif isinstance(model, stereo_magnitude.StereoMagnitudeAutoencoder):
      model.set_statistics(self._patches(model, source))
    if self.c.codec.bottleneck == 'rvq':
      key = keys.derive(jax.random.key(self.c.seed), 'codebooks')
      model.quantizer.init_kmeans(self._latents(model, source), key)
    return model

  def _initial_codec(self) -> weights.Export:
    """Returns the codec of config.init_from.codec, which must be of the same architecture."""
    path = self.c.init_from.codec
    try:
      export = weights.load_export(path)
    except FileNotFoundError as error:
      raise FileNotFoundError(
        f'config.init_from.codec={path}: {error} Train that codec first, or set it to an empty text to start '
        'from random weights.'
      ) from error
    got = export.config.codec.architecture if export.config.task == 'codec' else export.config.task
    if got != self.c.codec.architecture:
      raise ValueError(
        f'config.init_from.codec={path} must be a codec of config.codec.architecture='
        f'{self.c.codec.architecture}; got {got}.'
      )
    for name in ('sample_rate_hz', 'num_channels', 'hop_samples', 'patch_frames'):
      if (of_codec := export.config.clip[name]) != (own := self.c.clip[name]):
        raise ValueError(
          f'config.init_from.codec={path} must be a codec of config.clip.{name}={own}; got {of_codec}.'
        )
    return export

  def _patches(
    self, model: stereo_magnitude.StereoMagnitudeAutoencoder, source: records.RecordSource
  ) -> np.ndarray:
    """Returns patch_SI of one crop of each record of a sample."""
    patches = nnx.jit(lambda model, wave_BNA: model.patches(model.levels(wave_BNA)))
    num_patches = -(-NUM_PATCHES // min(len(source), NUM_STATISTIC_RECORDS))
    rng = np.random.default_rng(self.c.seed)
    found = []
    for batch in self._crops(source):
      patch_TI = np.asarray(patches(model, batch['wave_BNA'])[0])[batch['is_valid_BT'][0]]
      found.append(rng.permutation(patch_TI)[:num_patches])
    return np.concatenate(found)

  def _latents(self, model, source: records.RecordSource) -> jax.Array:
    """Returns latent_SC of one crop of each record of a sample."""
    trunk = nnx.jit(lambda model, wave_BNA: model.trunk(wave_BNA))
    found = [trunk(model, batch['wave_BNA'])[0][batch['is_valid_BT'][0]] for batch in self._crops(source)]
    return jnp.concatenate(found)

  def _crops(self, source: records.RecordSource) -> Iterator[dict]:
    """Yields a batch of one crop of each record of a sample."""
    for index, record in self._sample(source):
      # Not (seed, index), which also seeds row 0 of step `index` (`loader.Batches`).
      yield self.collate([record], np.random.default_rng((self.c.seed, index, 0, 1)))

  def _sample(self, source: records.RecordSource) -> Iterator[tuple[int, dict]]:
    """Yields up to 512 records with audio, and their indices; spread, since neighbours are from one video."""
    found = 0
    # All records, if the sample has no audio.
    for indices in (
      records.sample_indices(len(source), NUM_STATISTIC_RECORDS, self.c.seed),
      range(len(source)),
    ):
      for index in indices:
        record = source[index]
        if audio_masks.num_valid_samples(record) and found < NUM_STATISTIC_RECORDS:
          found += 1
          yield index, record
      if found:
        return
    raise ValueError(f'none of the {len(source)} records has audio that is not silent; training needs some.')

  def collate(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns a random crop of each waveform, at a random gain of -12..0 dB, and which of its steps count.

    Crops are within the valid part of a record if it is long enough, else they start with it. With
    config.data.augment_sound their polarity and their channels are random, too.
    """
    crops, valid_steps = [], []
    hop = self.spec.latent_hop_samples
    for record in items:
      num_valid = audio_masks.num_valid_samples(record) or len(record['wave_NA'])
      start = int(rng.integers(max(0, num_valid - self.num_crop_samples) + 1))
      gain = 10 ** (rng.uniform(-12, 0) / 20)
      wave_NA = record_schema.wave_to_float(record['wave_NA'][start : start + self.num_crop_samples])
      num_steps = max(0, min(self.num_crop_samples, audio_masks.num_valid_samples(record) - start)) // hop
      is_valid_T = np.arange(self.num_crop_steps) < num_steps
      if self.c.data.augment_sound:
        gain *= rng.choice((-1, 1))
        wave_NA = wave_NA[:, :: rng.choice((-1, 1))]
      crops.append(wave_NA * np.repeat(is_valid_T, hop)[:, None] * np.float32(gain))
      valid_steps.append(is_valid_T)
    return {'wave_BNA': np.stack(crops), 'is_valid_BT': np.stack(valid_steps)}

  def sample_random_inputs(self, batch: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Returns noise of the latents or the number of codebooks of each clip, and the weights of clips."""
    c, (B, num_samples, _) = self.c.codec, batch['wave_BNA'].shape
    if c.bottleneck == 'kl':
      size = (B, num_samples // self.spec.latent_hop_samples, c.num_latent_channels)
      return audio_masks.clip_weights(batch) | {
        'noise_BTC': jax.random.normal(keys.derive(key, 'noise'), size)
      }
    # Quantizer dropout: half of the clips use all codebooks, the others a random number of the first ones.
    count_B = jax.random.randint(keys.derive(key, 'num_books'), (B,), 1, c.num_codebooks + 1)
    has_all_B = jax.random.bernoulli(keys.derive(key, 'has_all_books'), 0.5, (B,))
    return audio_masks.clip_weights(batch) | {
      'num_codebooks_B': jnp.where(has_all_B, c.num_codebooks, count_B)
    }

  def loss(self, model: autoencoder.Autoencoder, batch: dict, step: jax.Array) -> task_lib.LossOutput:
    """Returns the loss of the module and its parts."""
    c, wave_BNA, is_valid_BT = self.c.codec, batch['wave_BNA'], batch['is_valid_BT']
    mean = lambda value_B: masks.batch_mean(value_B, batch['weight_B'])
    coded = self._code(model, batch, mean)
    total, parts = coded.loss, coded.parts
    if c.stft_weight or c.mel_weight or c.adversarial_weight:
      hop = self.spec.latent_hop_samples
      num_valid_B = hop * jnp.sum(is_valid_BT, axis=1)
      # Output from padding is silenced, as the target's is.
      output_BNA = jnp.where(jnp.repeat(is_valid_BT, hop, axis=1)[..., None], coded.synthesize(), 0.0)
      spectral = loss.spectral(wave_BNA, output_BNA, self.spec.sample_rate_hz, num_valid_B, c.magnitude_floor)
      parts |= {name: mean(value_B) for name, value_B in spectral.items()}
      total += c.stft_weight * parts['stft'] + c.mel_weight * parts['mel']
      if c.adversarial_weight:
        extra, more = self._adversarial(model, wave_BNA, output_BNA, num_valid_B, mean, step)
        total, parts = total + extra, parts | more
    return task_lib.LossOutput(total, parts | audio_masks.metrics(batch), coded.stats)

  def _code(self, model: autoencoder.Autoencoder, batch: dict, mean: Callable) -> _Coded:
    """Returns the round trip of a batch, with the losses of the bottleneck and of the codec's own features.

    Args:
      model: the codec.
      batch: see `collate`.
      mean: over clips.
    """
    wave_BNA = batch['wave_BNA']
    if isinstance(model, magnitude.MagnitudeAutoencoder):
      # Once: with context parallelism every device computes the whole spectrogram.
      spec_BAJF = model.spectrogram(wave_BNA)
      levels = model.spectral_features(spec_BAJF)
      latent_BTC, total, parts, stats = self._bottleneck(model, model.trunk_of_features(levels), batch, mean)
      output = model.decode_features(latent_BTC)
      extra, more = self._magnitude_losses(model, levels, output, batch['is_valid_BT'], mean)
      return _Coded(
        total + extra, parts | more, stats, lambda: model.to_waveform_with_phases(output, spec_BAJF)
      )
    if isinstance(model, stereo_magnitude.StereoMagnitudeAutoencoder):
      level_BAJF = model.levels(wave_BNA)
      x_BTF = model.trunk_of_levels(level_BAJF)
      latent_BTC, total, parts, stats = self._bottleneck(model, x_BTF, batch, mean)
      is_valid_BJ = jnp.repeat(batch['is_valid_BT'], self.spec.patch_frames, axis=1)
      decoded_BAJF = model.decode_levels(latent_BTC)
      parts |= {'levels': mean(loss.levels(level_BAJF, decoded_BAJF, self.spec.sample_rate_hz, is_valid_BJ))}
      total += self.c.codec.log_magnitude_weight * parts['levels']
      return _Coded(total, parts, stats, lambda: model.to_waveform(decoded_BAJF))
    latent_BTC, total, parts, stats = self._bottleneck(model, model.trunk(wave_BNA), batch, mean)
    return _Coded(total, parts, stats, lambda: model.synthesize(latent_BTC))

  def _bottleneck(self, model: autoencoder.Autoencoder, x_BTF: jax.Array, batch: dict, mean: Callable):
    """Returns the latents after the bottleneck, its loss and the parts of it, and statistics of codebooks.

    Args:
      model: the codec.
      x_BTF: input of the bottleneck.
      batch: see `collate`.
      mean: over clips.
    """
    c, is_valid_BT = self.c.codec, batch['is_valid_BT']
    if c.bottleneck == 'kl':
      mean_BTC, log_std_BTC = autoencoder.split_posterior(x_BTF)
      latent_BTC = mean_BTC + jnp.exp(log_std_BTC) * batch['noise_BTC']
      divergence = mean(loss.kl(mean_BTC, log_std_BTC, is_valid_BT))
      return latent_BTC, c.kl_weight * divergence, {'kl': divergence}, None
    latent_BTC, _, commitment, stats = model.quantizer(
      x_BTF,
      batch['num_codebooks_B'],
      masks.step_weights(is_valid_BT, batch['weight_B']),
    )
    return latent_BTC, c.commitment_weight * commitment, {'quantizer': commitment}, stats

  def _magnitude_losses(
    self,
    model: magnitude.MagnitudeAutoencoder,
    levels: magnitude.SpectralFeatures,
    output: magnitude.SpectralFeatures,
    is_valid_BT: jax.Array,
    mean: Callable,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the losses of the features of a magnitude codec, weighted and summed, and by name.

    Args:
      model: the codec.
      levels: the true features.
      output: features that it decoded.
      is_valid_BT: which steps count.
      mean: over clips.
    """
    c = self.c.codec
    is_valid_BJ = jnp.repeat(is_valid_BT, self.spec.patch_frames, axis=1)
    parts = {
      'log_magnitude': mean(
        loss.log_magnitude(
          levels.log_magnitude_BJF, output.log_magnitude_BJF, self.spec.sample_rate_hz, is_valid_BJ
        )
      )
    }
    total = c.log_magnitude_weight * parts['log_magnitude']
    if model.num_channel_level_bands:
      parts['channel_level'] = mean(
        loss.channel_level(
          levels.channel_level_BTR, output.channel_level_BTR, model.band_magnitude(levels), is_valid_BT
        )
      )
      total += c.channel_level_weight * parts['channel_level']
    return total, parts

  def update_ema(
    self, model: autoencoder.Autoencoder, stats: quantizer.CodebookStatistics, key: jax.Array
  ) -> dict[str, jax.Array]:
    """Updates the codebooks; returns their usage."""
    return model.quantizer.update_ema(stats, key)

  def _adversarial(self, model, wave_BNA, output_BNA, num_valid_B, mean, step):
    graphdef, state = nnx.split(model.discriminators)
    fixed = nnx.merge(graphdef, jax.tree.map(jax.lax.stop_gradient, state))
    num_samples = wave_BNA.shape[1]
    adversarial, matching = map(
      mean, discriminators.generator_loss(fixed(wave_BNA), fixed(output_BNA), num_samples, num_valid_B)
    )
    judged = mean(
      discriminators.discriminator_loss(
        model.discriminators(wave_BNA),
        model.discriminators(jax.lax.stop_gradient(output_BNA)),
        num_samples,
        num_valid_B,
      )
    )
    is_on = (step >= self.c.codec.adversarial_start_step).astype(jnp.float32)
    generator = self.c.codec.adversarial_weight * (
      adversarial + self.c.codec.feature_matching_weight * matching
    )
    return is_on * generator + judged, {'adversarial': adversarial, 'matching': matching, 'judged': judged}

  def finalize(self, model: autoencoder.Autoencoder, source: records.RecordSource) -> autoencoder.Autoencoder:
    """Stores mean and standard deviation of the latents of a sample of records; removes discriminators."""
    if hasattr(model, 'discriminators'):
      del model.discriminators
    if self.c.codec.bottleneck != 'kl':
      return model
    encode = nnx.jit(lambda model, wave_BNA: model.posterior(wave_BNA))
    totals = np.zeros((3, self.c.codec.num_latent_channels))
    for _, record in self._sample(source):
      is_valid_T = audio_masks.valid_steps([record], self.spec.latent_hop_samples, self.spec.num_latents)[0]
      wave_BNA = record_schema.wave_to_float(record['wave_NA'])[None, : self.spec.num_samples]
      mean_TC, log_std_TC = (np.asarray(x[0], np.float64)[is_valid_T] for x in encode(model, wave_BNA))
      totals += [
        np.full(mean_TC.shape[-1], len(mean_TC)),
        mean_TC.sum(0),
        (np.square(mean_TC) + np.exp(2 * log_std_TC)).sum(0),
      ]
    mean_C = totals[1] / totals[0]
    std_C = np.sqrt(totals[2] / totals[0] - np.square(mean_C))
    model.latent_mean_C.set_value(jnp.asarray(mean_C, jnp.float32))
    model.latent_std_C.set_value(jnp.asarray(std_C, jnp.float32))
    return model
