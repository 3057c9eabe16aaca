"""The packaged embedder, an audio tagger trained on the ground truth of the synthetic set.

Trained by `python -m scripts.train_embedder` and packaged in `v2a/assets/embedders/`, so that distances
between sets, KL and IS are available without downloads. They are valid on clips of the synthetic set only,
and are not comparable with published values. One row of features for each clip:

  h_s = relu(relu(((window_s - mean) / std) weight_0 + bias_0) weight_1 + bias_1)                     (1)
  f   = relu([mean_s h_s, max_s h_s] weight_2 + bias_2)                   features                    (2)
  l   = f weight_3 + bias_3                                               logits of TAGS              (3)

over windows s of the log-mel spectrogram of the mono mix. As in audio tagging networks (PANNs), tags are not
exclusive, and the features are those of the layer before the logits.
"""

import dataclasses
import hashlib
import json
import pathlib
import types
from typing import Any

import numpy as np

from v2a import files
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.metrics.embedders import embedder as embedder_lib
from v2a.synthetic import modal

FILE = pathlib.Path(__file__).parents[2] / 'assets' / 'embedders' / 'synthetic.npz'
NAME = 'synthetic'
VERSION = 1
METRICS = ('fd', 'fd_inf', 'kid', 'kad', 'kl', 'is')
WINDOW_FRAMES, STRIDE_FRAMES = 32, 16
# Scenes with a tag of their own; those of impacts are tagged by their materials.
SCENES = ('engine', 'rain', 'wind', 'pass', 'keys', 'score', 'dialogue')
TAGS = (*modal.MATERIAL_NAMES, *SCENES, 'music', 'gusts', 'silence')

Params = dict[str, np.ndarray]


def tags(truth: dict) -> np.ndarray:
  """Returns tag_O: 1 for each of TAGS that applies to a clip with this ground truth, else 0."""
  materials = {event['material'] for event in truth['events']}
  is_present = [name in materials for name in modal.MATERIAL_NAMES]
  is_present += [name == truth['scene'] for name in SCENES]
  is_present += [synthetic.has_off_screen_music(truth), bool(truth['has_wind'])]
  return np.array([*is_present, not any(is_present)], np.float32)


def windows(mel_JR: np.ndarray) -> np.ndarray:
  """Returns window_SJR of a log-mel spectrogram; a short one is padded with its last frame."""
  padding = max(0, WINDOW_FRAMES - len(mel_JR))
  mel_JR = np.pad(mel_JR, ((0, padding), (0, 0)), mode='edge')
  view_SRJ = np.lib.stride_tricks.sliding_window_view(mel_JR, WINDOW_FRAMES, axis=0)[::STRIDE_FRAMES]
  return view_SRJ.swapaxes(1, 2)


def apply(params: Params, window_BSJR: Any, xp: types.ModuleType) -> tuple[Any, Any]:
  """Returns feature_BF and logits_BO of eq. 2 and 3.

  Args:
    params: weights.
    window_BSJR: windows of log-mel spectrograms.
    xp: numpy (inference) or jax.numpy (training).
  """
  size, count = window_BSJR.shape[:2]
  window_BSJR = (window_BSJR - params['mean_R'][None, None, None]) / params['std_R'][None, None, None]
  x_BSI = window_BSJR.reshape(size, count, -1)
  for i in (0, 1):
    x_BSI = xp.maximum(x_BSI @ params[f'weight_{i}_IO'] + params[f'bias_{i}_O'][None, None], 0.0)
  pooled_BI = xp.concatenate([x_BSI.mean(axis=1), x_BSI.max(axis=1)], axis=1)
  feature_BF = xp.maximum(pooled_BI @ params['weight_2_IO'] + params['bias_2_O'][None], 0.0)
  return feature_BF, feature_BF @ params['weight_3_IO'] + params['bias_3_O'][None]


@dataclasses.dataclass
class SyntheticEmbedder(embedder_lib.Embedder):
  """The packaged embedder; see the module."""

  params: Params
  digest: str
  name: str = NAME
  reads: tuple[str, ...] = ('audio',)
  metrics: tuple[str, ...] = METRICS

  def embed(self, clip: embedder_lib.Clip) -> embedder_lib.Arrays:
    """Returns one row of features and the logits of TAGS."""
    wave_NA = spectra.resample(clip.wave_NA, clip.sample_rate_hz)
    window_SJR = windows(spectra.log_mel(wave_NA.mean(axis=1)))
    feature_BF, logits_BO = apply(self.params, window_SJR[None], np)
    return {embedder_lib.EMBEDDINGS: feature_BF, embedder_lib.LOGITS: logits_BO[0]}


def load(file: pathlib.Path | str = FILE) -> SyntheticEmbedder:
  """Returns the trained embedder from a file of `save`.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: it was trained for other tags.
  """
  file = pathlib.Path(file)
  if not file.is_file():
    raise FileNotFoundError(f'no embedder at {file}; `python -m scripts.train_embedder` trains it.')
  with np.load(file) as archive:
    header = json.loads(str(archive['about']))
    params = {name: archive[name].astype(np.float32) for name in archive.files if name != 'about'}
  if tuple(header['tags']) != TAGS:
    raise ValueError(
      f'{file} was trained for the tags {", ".join(header["tags"])}; wanted {", ".join(TAGS)}.'
    )
  digest = hashlib.sha256(file.read_bytes() + f'{NAME} {VERSION}'.encode()).hexdigest()
  return SyntheticEmbedder(params, digest)


def save(file: pathlib.Path | str, params: Params) -> None:
  """Writes the weights in half precision."""
  file = pathlib.Path(file)
  file.parent.mkdir(parents=True, exist_ok=True)
  halves: dict[str, Any] = {name: np.asarray(value, np.float16) for name, value in params.items()}
  with files.atomic_write(file) as partial:
    np.savez_compressed(partial, about=json.dumps({'tags': TAGS}), **halves)
