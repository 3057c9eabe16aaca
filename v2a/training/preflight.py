"""What is checked of codec and records before a training starts: else its end would show it, or nothing."""

from typing import Literal

import ml_collections

from v2a import weights
from v2a.config import schema
from v2a.data import records

# Rates that a codec shares with the clips of the model that makes its latents.
_RATES = ('sample_rate_hz', 'num_channels', 'hop_samples', 'patch_frames')
_SIZES = {'kl': ('num_latent_channels',), 'rvq': ('num_codebooks', 'codebook_size')}
_ENCODED = {'kl': 'latent_mean_TC', 'rvq': 'codes_TK'}
_DEMANDING = ('flow', 'tokens')


def check_codec(
  c: ml_collections.ConfigDict, bottleneck: Literal['kl', 'rvq'], items: records.RecordSource
) -> tuple[str | None, list[str]]:
  """Checks that config.init_from.codec has made the records' latents or codes, and fits the configuration.

  Args:
    c: the whole configuration.
    bottleneck: of the codec whose latents (kl) or codes (rvq) the task reads.
    items: records, see `records.open`.

  Returns:
    The codec's digest (None where none is named), and lines to log.

  Raises:
    FileNotFoundError: there is no such codec.
    ValueError: none is named where one is needed, or it is another than records or configuration want.
  """
  kind, notes = {'kl': 'latents', 'rvq': 'codes'}[bottleneck], []
  made = {
    folder.path: folder.codecs[bottleneck]['digest']
    for folder in items.folders
    if bottleneck in folder.codecs
  }
  if not c.init_from.codec:
    if c.task in _DEMANDING:
      raise ValueError(
        f'config.init_from.codec must name the codec that made the {kind} of the records, a '
        "training folder or an exported model; got ''."
      )
    if len(set(made.values())) > 1:
      raise ValueError(
        f'config.data.train={c.data.train} holds {kind} of {len(set(made.values()))} codecs; '
        'wanted those of one.'
      )
    return None, notes
  export = weights.load_export(c.init_from.codec)
  _check_fit(c, bottleneck, export)
  digest = weights.codec_digest(export)
  for folder in items.folders:
    if not len(folder):
      continue
    encoded = folder[0][_ENCODED[bottleneck]]
    if not encoded.size:
      raise ValueError(
        f'{folder.path} has no {kind}; encode the records by data_pipelines.encode with '
        f'--codec {c.init_from.codec}.'
      )
    if folder.path not in made:
      notes.append(
        f'{folder.path} does not tell which codec made its {kind}; that it was '
        f'{c.init_from.codec} is not checked.'
      )
    elif made[folder.path] != digest:
      maker = folder.codecs[bottleneck]['path']
      raise ValueError(
        f'{folder.path} holds {kind} of another codec than config.init_from.codec={c.init_from.codec}: '
        f'they were made by {maker}, whose digest is {made[folder.path][:12]}; got one of {digest[:12]}.'
      )
  return digest, notes


def _check_fit(c: ml_collections.ConfigDict, bottleneck: str, export: weights.Export) -> None:
  where = f'config.init_from.codec={c.init_from.codec}'
  if export.config.task != 'codec':
    raise ValueError(f'{where} must be a codec; got a model of task {export.config.task!r}.')
  if export.config.codec.bottleneck != bottleneck:
    raise ValueError(
      f'{where} must have the {bottleneck} bottleneck where config.task is {c.task!r}; got '
      f'{export.config.codec.bottleneck!r}.'
    )
  for section, keys in (('clip', _RATES), ('codec', _SIZES[bottleneck])):
    for key in keys:
      got, wanted = export.config[section][key], c[section][key]
      if got != wanted:
        raise ValueError(f'{where} has {section}.{key}={got}; config.{section}.{key} is {wanted}.')


def check_contents(c: ml_collections.ConfigDict, items: records.RecordSource) -> list[str]:
  """Returns lines to log: how many records have no sound, how many texts are longer than the model reads.

  Args:
    c: the whole configuration.
    items: records.

  Raises:
    ValueError: no record has sound.
  """
  found, spec = records.contents(items), schema.clip_spec(c)
  if not found.num_with_audio:
    raise ValueError(
      f'None of the {len(items)} records of config.data.train={c.data.train} has sound; '
      'wanted some to train on.'
    )
  notes, num_silent = [], found.num_records - found.num_with_audio
  if num_silent:
    notes.append(f'{num_silent} of {found.num_records} records have no sound; they take no part in the loss.')
  if c.task in _DEMANDING:  # the others read no texts
    notes += found.truncation_notes(spec.num_text_bytes, spec.num_transcript_bytes)
  if notes and found.num_records < len(items):
    notes.append(f'These numbers are of a sample of the {len(items)} records, whose manifests do not tell.')
  return notes
