"""Checks of codec and records before training starts, of faults that nothing would report later."""

from typing import Literal

import ml_collections

from v2a import weights
from v2a.config import schema
from v2a.data import records

# Rates and sizes that a codec must share with the configuration.
_RATES = ('sample_rate_hz', 'num_channels', 'hop_samples', 'patch_frames')
_SIZES = {'kl': ('num_latent_channels',), 'rvq': ('num_codebooks', 'codebook_size')}
_ENCODED = {'kl': 'latent_mean_TC', 'rvq': 'codes_TK'}
_GENERATORS = ('flow', 'tokens')


def check_codec(
  c: ml_collections.ConfigDict, bottleneck: Literal['kl', 'rvq'], items: records.RecordSource
) -> tuple[str | None, list[str]]:
  """Checks that config.init_from.codec encoded the records' latents or codes, and fits the configuration.

  Args:
    c: the whole configuration.
    bottleneck: of the codec whose latents (kl) or codes (rvq) the task reads.
    items: records, see `records.open`.

  Returns:
    The codec's digest (None if no codec is named), and lines to log.

  Raises:
    FileNotFoundError: there is no such codec.
    ValueError: no codec is named, but the task needs one; or it is not that of the records, or does not fit
      the configuration.
  """
  kind, notes = {'kl': 'latents', 'rvq': 'codes'}[bottleneck], []
  digests = {
    folder.path: folder.codecs[bottleneck]['digest']
    for folder in items.folders
    if bottleneck in folder.codecs
  }
  if not c.init_from.codec:
    if c.task in _GENERATORS:
      raise ValueError(
        f'config.init_from.codec must name the codec that encoded the {kind} of the records, a '
        "training folder or an exported model; got ''."
      )
    if len(set(digests.values())) > 1:
      raise ValueError(
        f'config.data.train={c.data.train} holds {kind} of {len(set(digests.values()))} codecs; '
        'expected one codec.'
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
    if folder.path not in digests:
      notes.append(
        f'{folder.path} does not record which codec encoded its {kind}; not checked that it was '
        f'{c.init_from.codec}.'
      )
    elif digests[folder.path] != digest:
      codec_path = folder.codecs[bottleneck]['path']
      raise ValueError(
        f'{folder.path} holds {kind} of another codec than config.init_from.codec={c.init_from.codec}: '
        f'they were encoded by {codec_path} with digest {digests[folder.path][:12]}; got {digest[:12]}.'
      )
  return digest, notes


def _check_fit(c: ml_collections.ConfigDict, bottleneck: str, export: weights.Export) -> None:
  where = f'config.init_from.codec={c.init_from.codec}'
  if export.config.task != 'codec':
    raise ValueError(f'{where} must be a codec; got a model of task {export.config.task!r}.')
  if export.config.codec.bottleneck != bottleneck:
    raise ValueError(
      f'{where} must have the {bottleneck} bottleneck for config.task={c.task!r}; got '
      f'{export.config.codec.bottleneck!r}.'
    )
  for section, keys in (('clip', _RATES), ('codec', _SIZES[bottleneck])):
    for key in keys:
      got, wanted = export.config[section][key], c[section][key]
      if got != wanted:
        raise ValueError(f'{where} has {section}.{key}={got}; config.{section}.{key} is {wanted}.')


def check_contents(c: ml_collections.ConfigDict, items: records.RecordSource) -> list[str]:
  """Returns lines to log: how many records have no audio, and how many texts are truncated.

  Args:
    c: the whole configuration.
    items: records.

  Raises:
    ValueError: no record has audio.
  """
  found, spec = records.contents(items), schema.clip_spec(c)
  if not found.num_with_audio:
    raise ValueError(
      f'None of the {len(items)} records of config.data.train={c.data.train} has audio; '
      'training needs records with audio.'
    )
  notes, num_silent = [], found.num_records - found.num_with_audio
  if num_silent:
    notes.append(f'{num_silent} of {found.num_records} records have no audio; the loss excludes them.')
  if c.task in _GENERATORS:  # other tasks read no texts
    notes += found.truncation_notes(spec.num_text_bytes, spec.num_transcript_bytes)
  if notes and found.num_records < len(items):
    notes.append(f'Counted in a sample of the {len(items)} records: their manifests have no counts.')
  return notes
