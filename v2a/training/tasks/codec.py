"""Trains the codec: random crops of waves through the trunk and back.

  L = w_level L_level + w_balance L_balance + w_stft L_stft + w_mel L_mel + (w_kl L_kl | w_q L_q)
    (+ w_adv L_G + w_fm L_fm + L_D, where training is adversarial)

Terms: `codecs.loss` eq. 0-4, `codecs.quantizer` eq. 2, `codecs.discriminators`. The losses on waves
(stft, mel, adversarial) hear the output with the phases of the target; where their weights are 0 no
wave is made. Discriminators are
trained in the same step: stop-gradients keep the two sides apart, so that one optimizer serves both.

Codebooks (rvq) start from the latents of up to 512 crops, of records spread over the whole set, and then
follow what they code (`codecs.quantizer` eq. 3). With config.init_from.codec all else starts from that codec,
be its bottleneck kl or rvq.
"""

from collections.abc import Iterator

from flax import nnx
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from v2a import assembly
from v2a import config
from v2a import keys
from v2a import records
from v2a import weights
from v2a.codecs import discriminators
from v2a.codecs import loss
from v2a.codecs import quantizer

NUM_STATISTIC_RECORDS = 512


class CodecTask:
  """See the module."""

  def __init__(self, c: ml_collections.ConfigDict):
    self.c, self.spec = c, config.clip_spec(c)
    hop = self.spec.latent_hop_samples
    num_samples = min(round(c.codec.crop_s * self.spec.sample_rate_hz), self.spec.num_samples)
    self.num_crop_samples = max(1, num_samples // hop) * hop

  def build(self, key: jax.Array) -> nnx.Module:
    """Returns a fresh codec; with discriminators inside where training is adversarial."""
    rngs = nnx.Rngs(key)
    model = assembly.codec(self.c, rngs)
    if self.c.codec.adversarial_weight:
      model.discriminators = discriminators.Discriminators(
          self.spec.num_channels, self.c.codec.discriminator_width, rngs=rngs)
    return model

  def initialise(self, model: nnx.Module, source) -> nnx.Module:
    """Gives the trunk the weights of config.init_from.codec, and the codebooks a start from the data."""
    path = self.c.init_from.codec
    if path:
      own, arrays = weights.flatten(nnx.state(model)), dict(weights.load_export(path).arrays)
      for name in ('to_latent.kernel_IO', 'to_latent.bias_O'):
        # A kl bottleneck tells means and then deviations; rvq wants the means.
        arrays[name] = arrays[name][..., :own[name].shape[-1]]
      kept = {name: own[name] for name in own if name.startswith(('quantizer.', 'discriminators.'))}
      weights.assign(model, arrays | kept, source=path)
    if self.c.codec.bottleneck == 'rvq':
      key = keys.derive(jax.random.key(self.c.seed), 'codebooks')
      model.quantizer.start(self._latents(model, source), key)
    return model

  def _latents(self, model, source) -> jax.Array:
    """Returns latent_SC of one crop of each record of a sample."""
    trunk = nnx.jit(lambda model, wave_BNA: model.trunk(model.levels(model.spectrogram(wave_BNA))))
    found = []
    for index, record in self._sample(source):
      # More words, since (seed, index) is the generator of row 0 of that step (training.input.Batches).
      batch = self.prepare([record], np.random.default_rng((self.c.seed, index, 0, 1)))
      found.append(trunk(model, batch['wave_BNA'])[0])
    return jnp.concatenate(found)

  def _sample(self, source) -> Iterator[tuple[int, dict]]:
    """Yields up to 512 records with sound, and their indices; spread, as neighbours come from one video."""
    found = 0
    for index in records.sample(len(source), NUM_STATISTIC_RECORDS, self.c.seed):
      record = source[index]
      if record['has_audio']:
        found += 1
        yield index, record
    if not found:
      raise ValueError(f'none of the {min(len(source), NUM_STATISTIC_RECORDS)} sampled records has sound.')

  def prepare(self, items: list[dict], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns a random crop of each wave, at a random gain of -12..0 dB."""
    crops = []
    for record in items:
      wave_NA = record['wave_NA']
      start = int(rng.integers(len(wave_NA) - self.num_crop_samples + 1))
      gain = 10 ** (rng.uniform(-12, 0) / 20)
      crops.append(records.wave_to_float(wave_NA[start:start + self.num_crop_samples]) * np.float32(gain))
    return {'wave_BNA': np.stack(crops)}

  def draw(self, batch: dict, key: jax.Array) -> dict[str, jax.Array]:
    """Returns noise of the latents, or the number of books that code a clip."""
    c, (B, num_samples, _) = self.c.codec, batch['wave_BNA'].shape
    if c.bottleneck == 'kl':
      size = (B, num_samples // self.spec.latent_hop_samples, c.num_latent_channels)
      return {'noise_BTC': jax.random.normal(keys.derive(key, 'noise'), size)}
    # Half of the clips use all books, the others a random number of the first ones.
    count_B = jax.random.randint(keys.derive(key, 'num_books'), (B,), 1, c.num_codebooks + 1)
    has_all_B = jax.random.bernoulli(keys.derive(key, 'has_all_books'), 0.5, (B,))
    return {'num_books_B': jnp.where(has_all_B, c.num_codebooks, count_B)}

  def loss(self, model: nnx.Module, batch: dict, step: jax.Array):
    """Returns the loss of the module and its parts."""
    c, wave_BNA = self.c.codec, batch['wave_BNA']
    spec_BAJF = model.spectrogram(wave_BNA)
    levels = model.levels(spec_BAJF)
    if c.bottleneck == 'kl':
      mean_BTC, log_std_BTC = model.posterior(levels)
      latent_BTC = mean_BTC + jnp.exp(log_std_BTC) * batch['noise_BTC']
      parts = {'kl': loss.kl(mean_BTC, log_std_BTC)}
      total = c.kl_weight * parts['kl']
    else:
      latent_BTC, _, quantizer_loss, seen = model.quantizer(model.trunk(levels), batch['num_books_B'])
      parts = {'quantizer': quantizer_loss, 'seen': seen}
      total = c.quantizer_weight * parts['quantizer']
    output = model.synthesize(latent_BTC)
    parts['level'] = loss.level(levels.level_BJF, output.level_BJF, self.spec.sample_rate_hz)
    total += c.level_weight * parts['level']
    if model.num_bands:
      parts['balance'] = loss.balance(levels.balance_BTR, output.balance_BTR, model.loudness(levels))
      total += c.balance_weight * parts['balance']
    if c.stft_weight or c.mel_weight or c.adversarial_weight:
      output_BNA = model.sound_with_phases_of(output, spec_BAJF)
      parts |= loss.spectral(wave_BNA, output_BNA, self.spec.sample_rate_hz)
      total += c.stft_weight * parts['stft'] + c.mel_weight * parts['mel']
    if c.adversarial_weight:
      extra, more = self._adversarial(model, wave_BNA, output_BNA, step)
      total, parts = total + extra, parts | more
    return total, parts

  def absorb(self, model: nnx.Module, seen: quantizer.Seen, key: jax.Array) -> dict[str, jax.Array]:
    """Moves the codebooks; returns their usage."""
    return model.quantizer.absorb(seen, key)

  def _adversarial(self, model, wave_BNA, output_BNA, step):
    graphdef, state = nnx.split(model.discriminators)
    fixed = nnx.merge(graphdef, jax.tree.map(jax.lax.stop_gradient, state))
    adversarial, matching = discriminators.generator_loss(fixed(wave_BNA), fixed(output_BNA))
    judged = discriminators.discriminator_loss(
        model.discriminators(wave_BNA), model.discriminators(jax.lax.stop_gradient(output_BNA)))
    is_on = (step >= self.c.codec.adversarial_start_step).astype(jnp.float32)
    generator = self.c.codec.adversarial_weight * (adversarial + self.c.codec.matching_weight * matching)
    return is_on * generator + judged, {'adversarial': adversarial, 'matching': matching, 'judged': judged}

  def finish(self, model: nnx.Module, source) -> nnx.Module:
    """Stores mean and standard deviation of the latents of a sample of records; drops discriminators."""
    if hasattr(model, 'discriminators'):
      del model.discriminators
    if self.c.codec.bottleneck != 'kl':
      return model
    encode = nnx.jit(lambda model, wave_BNA: model.posterior(model.levels(model.spectrogram(wave_BNA))))
    totals = np.zeros((3, self.c.codec.num_latent_channels))
    for _, record in self._sample(source):
      wave_BNA = records.wave_to_float(record['wave_NA'])[None, :self.spec.num_samples]
      mean_BTC, log_std_BTC = (np.asarray(x, np.float64) for x in encode(model, wave_BNA))
      totals += [np.ones(mean_BTC.shape[-1]) * mean_BTC.shape[1], mean_BTC.sum((0, 1)),
                 (np.square(mean_BTC) + np.exp(2 * log_std_BTC)).sum((0, 1))]
    mean_C = totals[1] / totals[0]
    std_C = np.sqrt(totals[2] / totals[0] - np.square(mean_C))
    model.latent_mean_C.set_value(jnp.asarray(mean_C, jnp.float32))
    model.latent_std_C.set_value(jnp.asarray(std_C, jnp.float32))
    return model
