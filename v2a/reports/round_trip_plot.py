"""Plot of a round trip: spectrograms (linear frequency) of a sound and its reconstructions, by channel."""

from collections.abc import Mapping
import pathlib

from matplotlib import cm
from matplotlib import colors
from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg
import numpy as np

from v2a import files
from v2a.metrics import spectra

FLOOR_DB, _TOP_DB = -100.0, -20.0
MAX_S = 10.0
_WINDOW_S, _COLUMNS = 0.04, 1000


def _levels(wave_N: np.ndarray, sample_rate_hz: int) -> np.ndarray:
  window = 2 * round(_WINDOW_S * sample_rate_hz / 2)
  hop = max(1, len(wave_N) // _COLUMNS)
  magnitude_JF = 2 * np.abs(spectra.stft(wave_N, window, hop))
  return 20 * np.log10(np.maximum(magnitude_JF.T, 10 ** (FLOOR_DB / 20)))


def write(path: pathlib.Path, waves: Mapping[str, np.ndarray], sample_rate_hz: int) -> None:
  """Writes the plot as PNG: a row for each sound, a column for each channel, the first MAX_S seconds.

  Args:
    path: of the file.
    waves: sounds of one length by their title.
    sample_rate_hz: of all.

  Raises:
    OSError: the file cannot be written.
  """
  num_samples = round(MAX_S * sample_rate_hz)
  num_channels = next(iter(waves.values())).shape[1]
  plot = mpl_figure.Figure(figsize=(7 * num_channels, 2.6 * len(waves)), layout='constrained')
  backend_agg.FigureCanvasAgg(plot)
  axes = plot.subplots(len(waves), num_channels, squeeze=False, sharex=True, sharey=True)
  shown = cm.ScalarMappable(colors.Normalize(FLOOR_DB, _TOP_DB), 'magma')
  for row, (title, wave_NA) in zip(axes, waves.items(), strict=True):
    for channel, axis in enumerate(row):
      wave_N = wave_NA[:num_samples, channel]
      axis.imshow(
        _levels(wave_N, sample_rate_hz),
        origin='lower',
        aspect='auto',
        extent=(0, len(wave_N) / sample_rate_hz, 0, sample_rate_hz / 2000),
        norm=shown.norm,
        cmap=shown.cmap,
      )
      side = ('left', 'right')[channel] if num_channels == 2 else 'mono'
      axis.set_title(f'{title}, {side}', fontsize=9)
    row[0].set_ylabel('kHz')
  for axis in axes[-1]:
    axis.set_xlabel('s')
  plot.colorbar(shown, ax=axes, label='dB of full scale', shrink=0.8)
  with files.atomic_write(path) as partial:
    plot.savefig(partial, dpi=100)
