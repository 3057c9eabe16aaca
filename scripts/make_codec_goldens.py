"""Writes tests/pretrained/goldens: small codecs with random weights, and what published code makes of them.

  python -m scripts.make_codec_goldens

needs torch, transformers and descript-audio-codec, which the tests do not. Made with torch 2.14.1,
transformers 5.24.0 and descript-audio-codec 1.0.0.

Each folder has the files of a model as its publisher's code writes them, and expected.safetensors: a waveform
and its latents, codes and decoded waveform. specs.json has the configurations of the published models, and
hashes of their names and shapes. Run it again when a test needs other sizes.
"""

import hashlib
import json
import math
import pathlib
import re
import shutil

import dac
import numpy as np
import safetensors.torch
import torch
import transformers

FOLDER = pathlib.Path(__file__).resolve().parents[1] / 'tests' / 'pretrained' / 'goldens'
DAC = {
  'encoder_hidden_size': 3,
  'downsampling_ratios': [2, 5],
  'decoder_hidden_size': 12,
  'n_codebooks': 3,
  'codebook_size': 32,
  'codebook_dim': 4,
  'sampling_rate': 16000,
}
ENCODEC = {
  'num_filters': 3,
  'upsampling_ratios': [5, 2],
  'hidden_size': 8,
  'codebook_size': 16,
  'sampling_rate': 24000,
  'target_bandwidths': [9.6, 28.8],
}
ENCODEC_CHUNKED = {
  **ENCODEC,
  'audio_channels': 2,
  'sampling_rate': 48000,
  'target_bandwidths': [38.4],
  'norm_type': 'time_group_norm',
  'use_causal_conv': False,
  'normalize': True,
  'chunk_length_s': 0.005,
  'overlap': 0.05,
}
PUBLISHED_DAC = {
  'dac_16khz': {'downsampling_ratios': [2, 4, 5, 8], 'n_codebooks': 12, 'sampling_rate': 16000},
  'dac_24khz': {'downsampling_ratios': [2, 4, 5, 8], 'n_codebooks': 32, 'sampling_rate': 24000},
  'dac_44khz': {'downsampling_ratios': [2, 4, 8, 8], 'n_codebooks': 9, 'sampling_rate': 44100},
}
PUBLISHED_ENCODEC = {
  'encodec_24khz': {},
  'encodec_32khz': {
    'num_filters': 64,
    'sampling_rate': 32000,
    'upsampling_ratios': [8, 5, 4, 4],
    'codebook_size': 2048,
    'target_bandwidths': [2.2],
    'use_causal_conv': False,
    'use_conv_shortcut': False,
  },
  'encodec_48khz': {
    'audio_channels': 2,
    'sampling_rate': 48000,
    'target_bandwidths': [3.0, 6.0, 12.0, 24.0],
    'norm_type': 'time_group_norm',
    'use_causal_conv': False,
    'normalize': True,
    'chunk_length_s': 1.0,
    'overlap': 0.01,
  },
}


@torch.no_grad()
def randomize(model: torch.nn.Module, x: torch.Tensor) -> None:
  """Sets weights to random values, and codebooks so that the latents of a waveform use many entries."""
  generator = torch.Generator().manual_seed(0)
  for name, value in model.state_dict().items():
    noise = torch.randn(value.shape, generator=generator)
    if name.endswith(('alpha', 'norm.weight')):
      value.copy_(1 + 0.3 * noise)
    elif name.endswith(('weight_g', 'original0')):
      value.copy_(0.6 + 0.2 * noise)
    elif name.endswith('bias') or '.bias_' in name:
      value.copy_(0.03 * noise)
    elif name.endswith(('cluster_size', 'embed_avg')):
      value.copy_(noise.abs())
    elif not name.endswith(('inited', 'embed', 'codebook.weight')):
      value.copy_(0.7 * noise / np.sqrt(value[0].numel()))
  latents = model.encoder(x)
  mean, std = latents.mean(dim=(0, 2)), latents.std(dim=(0, 2))
  for k, quantizer in enumerate(getattr(model.quantizer, 'layers', [])):
    noise = torch.randn(quantizer.codebook.embed.shape, generator=generator)
    quantizer.codebook.embed.copy_(std * noise * 0.7**k + (mean if k == 0 else 0))
  residual = latents
  for quantizer in getattr(model.quantizer, 'quantizers', []):
    quantizer.in_proj.bias.copy_(quantizer.in_proj.bias - quantizer.in_proj(residual).mean(dim=(0, 2)))
    quantizer.codebook.weight.copy_(torch.randn(quantizer.codebook.weight.shape, generator=generator))
    residual = residual - quantizer(residual)[0]


def wave(num_samples: int, num_channels: int, rate_hz: int) -> torch.Tensor:
  """Returns a waveform (1, channels, samples): tones and noise, whose level grows."""
  time_N = np.arange(num_samples) / rate_hz
  noise_AN = np.random.default_rng(0).standard_normal((num_channels, num_samples))
  tone_AN = np.sin(2 * np.pi * 440 * (1 + np.arange(num_channels))[:, None] * time_N[None])
  wave_AN = (0.3 * tone_AN + 0.1 * noise_AN) * np.linspace(0.3, 1.5, num_samples)
  return torch.tensor(wave_AN, dtype=torch.float32)[None]


def write(folder: pathlib.Path, arrays: dict[str, torch.Tensor]) -> None:
  """Writes the expected arrays of a model."""
  safetensors.torch.save_file(
    {name: array.contiguous() for name, array in arrays.items()}, folder / 'expected.safetensors'
  )


@torch.no_grad()
def make_dac(folder: pathlib.Path) -> None:
  """Writes a model of transformers."""
  model = transformers.DacModel(transformers.DacConfig(**DAC)).eval()
  x = wave(400, 1, 16000)
  randomize(model, x)
  model.save_pretrained(folder)
  encoded = model.encode(x)
  write(
    folder,
    {
      'wave': x,
      'latents': model.encoder(x),
      'codes': encoded.audio_codes,
      'quantized': encoded.quantized_representation,
      'projections': encoded.projected_latents,
      'decoded': model.decode(audio_codes=encoded.audio_codes).audio_values[:, None],
      'decoded_latents': model.decoder(model.encoder(x)),
      'few_codes': model.encode(x, n_quantizers=2).audio_codes,
    },
  )


@torch.no_grad()
def make_dac_original(folder: pathlib.Path) -> None:
  """Writes a model of descript-audio-codec."""
  torch.manual_seed(0)
  model = dac.DAC(
    encoder_dim=3,
    encoder_rates=[2, 5],
    latent_dim=7,
    decoder_dim=12,
    decoder_rates=[5, 2],
    n_codebooks=2,
    codebook_size=32,
    codebook_dim=4,
    sample_rate=24000,
  ).eval()
  x = wave(400, 1, 24000)
  randomize(model, x)
  folder.mkdir()
  model.save(folder / 'weights.pth', package=False)
  z, codes, *_ = model.encode(x)
  write(
    folder,
    {
      'wave': x,
      'latents': model.encoder(x),
      'codes': codes,
      'quantized': z,
      'decoded': model.decode(model.quantizer.from_codes(codes)[0]),
    },
  )


@torch.no_grad()
def make_encodec(folder: pathlib.Path) -> None:
  """Writes a causal model, which codes a sound as a whole."""
  model = transformers.EncodecModel(transformers.EncodecConfig(**ENCODEC)).eval()
  x = wave(403, 1, 24000)
  randomize(model, x)
  model.save_pretrained(folder)
  encoded = model.encode(x, bandwidth=28.8)
  write(
    folder,
    {
      'wave': x,
      'latents': model.encoder(x),
      'codes': encoded.audio_codes[0],
      'few_codes': model.encode(x, bandwidth=9.6).audio_codes[0],
      'decoded': model.decode(encoded.audio_codes, encoded.audio_scales).audio_values,
    },
  )


@torch.no_grad()
def make_encodec_chunked(folder: pathlib.Path) -> None:
  """Writes a model that codes chunks with a scale each."""
  model = transformers.EncodecModel(transformers.EncodecConfig(**ENCODEC_CHUNKED)).eval()
  x = wave(700, 2, 48000)
  randomize(model, x[..., :240] / x[..., :240].square().mean().sqrt())
  model.save_pretrained(folder)
  encoded = model.encode(x)
  arrays = {'wave': x, 'latents': model.encoder(x[..., :240])}
  for i, (codes, scale) in enumerate(zip(encoded.audio_codes, encoded.audio_scales)):
    is_last = i == len(encoded.audio_scales) - 1
    arrays[f'codes{i}'] = codes[..., : codes.shape[-1] - (encoded.last_frame_pad_length if is_last else 0)]
    arrays[f'scale{i}'] = scale
  arrays['decoded'] = model.decode(
    encoded.audio_codes, encoded.audio_scales, last_frame_pad_length=encoded.last_frame_pad_length
  ).audio_values
  write(folder, arrays)


def spec(model: torch.nn.Module, config: dict) -> dict:
  """Returns the configuration of a published model, its size, and the hash of all names and shapes."""
  shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
  lines = ''.join(f'{name} {list(shape)}\n' for name, shape in sorted(shapes.items()))
  return {
    'config': config,
    'num_tensors': len(shapes),
    'num_values': sum(map(math.prod, shapes.values())),
    'sha256': hashlib.sha256(lines.encode()).hexdigest(),
  }


def make_specs() -> None:
  """Writes the specs of all published models."""
  found = {}
  for name, sizes in PUBLISHED_DAC.items():
    config = transformers.DacConfig(**sizes)
    with torch.device('meta'):
      found[name] = spec(transformers.DacModel(config), {'model_type': 'dac', **config.to_diff_dict()})
    kwargs = {
      'encoder_dim': config.encoder_hidden_size,
      'encoder_rates': config.downsampling_ratios,
      'latent_dim': config.hidden_size,
      'decoder_dim': config.decoder_hidden_size,
      'decoder_rates': config.upsampling_ratios,
      'n_codebooks': config.n_codebooks,
      'codebook_size': config.codebook_size,
      'codebook_dim': config.codebook_dim,
      'sample_rate': config.sampling_rate,
    }
    found[f'{name}_original'] = spec(dac.DAC(**kwargs), kwargs)
  for name, sizes in PUBLISHED_ENCODEC.items():
    config = transformers.EncodecConfig(**sizes)
    with torch.device('meta'):
      found[name] = spec(transformers.EncodecModel(config), config.to_dict())
  text = json.dumps(found, indent=1, sort_keys=True)
  # Lists of numbers on one line.
  text = re.sub(r'\[[\s\d.,]+\]', lambda match: ' '.join(match.group().split()), text)
  (FOLDER / 'specs.json').write_text(text + '\n')


def main() -> None:
  """Replaces the folder."""
  shutil.rmtree(FOLDER, ignore_errors=True)
  FOLDER.mkdir()
  make_dac(FOLDER / 'dac')
  make_dac_original(FOLDER / 'dac_original')
  make_encodec(FOLDER / 'encodec')
  make_encodec_chunked(FOLDER / 'encodec_chunked')
  make_specs()


if __name__ == '__main__':
  main()
