"""Records what this checkout computes, and compares another state of it with the record.

  python scripts/behavior.py record before.npz
  python scripts/behavior.py compare before.npz

For changes of names and structure, which must change no result. On one machine only: another CPU rounds
otherwise. Recorded are velocities and logits of the packaged generators on fixed inputs, log-mel spectrograms
of their soundtracks (demo clips with and without their texts, a prompt alone, several windows), metrics of 16
clips of the synthetic set, and the losses of five steps of each tiny training.
"""

from collections.abc import Iterator
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import soundfile
from tensorboard.backend.event_processing import event_file_loader

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests import test_packaged_model as packaged  # noqa: E402 (not a package that is installed)
from v2a import entry_point  # noqa: E402
from v2a import flags  # noqa: E402
from v2a import termination  # noqa: E402

GENERATORS = ('flow', 'tokens', 'masked')
TRAININGS = (
  'codec_synthetic',
  'codec_synthetic_rvq',
  'sync_synthetic',
  'flow_synthetic',
  'tokens_synthetic',
  'tokens_masked_synthetic',
)
NUM_STEPS = 5
NUM_CLIPS = 16
FFT_SIZE, HOP, NUM_BANDS = 1024, 256, 64
# What may differ, by the first part of a name: relative for networks and losses, dB for spectrograms.
RELATIVE = {'network': 1e-5, 'loss': 1e-5, 'metric': 1e-4}
SPECTROGRAM_DB = 0.1


def run_v2a(*words: str) -> str:
  """Runs `v2a` with the given words, and returns what it prints to stdout.

  Raises:
    subprocess.CalledProcessError: it failed.
  """
  return subprocess.run(
    [sys.executable, '-m', 'v2a', *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
  ).stdout


def log_mel_db(path: pathlib.Path) -> np.ndarray:
  """Returns levels of the frames of each channel in triangular mel bands, at least -60 dB."""
  wave_NA, sample_rate_hz = soundfile.read(path, always_2d=True)
  windows = np.lib.stride_tricks.sliding_window_view(wave_NA, FFT_SIZE, axis=0)[::HOP]
  frames = windows * np.hanning(FFT_SIZE)
  power = np.abs(np.fft.rfft(frames)) ** 2
  mel = lambda hz: 2595 * np.log10(1 + hz / 700)
  position = mel(np.fft.rfftfreq(FFT_SIZE, 1 / sample_rate_hz)) / mel(sample_rate_hz / 2) * (NUM_BANDS + 1)
  weights = np.maximum(0, 1 - np.abs(position[:, None] - np.arange(1, NUM_BANDS + 1)))
  return np.maximum(10 * np.log10(power @ weights + 1e-12), -60)


def demo_requests(folder: pathlib.Path) -> Iterator[list[str]]:
  """Yields the arguments of the requests of demo.json that have any text."""
  for entry in json.loads((folder / 'demo.json').read_text()):
    texts = {name: entry[name] for name in ('prompt', 'negative_prompt', 'transcript') if entry[name]}
    flags_of_texts = [[f'--{name.replace("_", "-")}', text] for name, text in texts.items()]
    if texts:
      yield [str(folder / entry['video']), *itertools.chain(*flags_of_texts)]


def soundtracks(folder: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
  """Generates, and yields a name and the spectrogram for each soundtrack."""
  demo = ROOT / 'v2a/assets/demo'
  for generator in GENERATORS:
    requests = {
      'demo': [str(demo)],
      **{f'request{index}': words for index, words in enumerate(demo_requests(demo))},
      'prompt': ['--prompt', 'heavy rain', '--duration', '3'],
      'windows': ['--prompt', 'an engine', '--duration', '10', '--negative-prompt', 'music'],
    }
    for name, words in requests.items():
      output = folder / generator / name
      run_v2a('generate', *words, '--generator', generator, '--seed', '3', '--output', str(output))
      for path in sorted(output.glob('*.wav')):
        yield f'spectrogram/{generator}/{name}/{path.stem}', log_mel_db(path)


def metrics() -> Iterator[tuple[str, np.ndarray]]:
  """Evaluates, and yields a name and the value, floor and ceiling of each metric."""
  result = json.loads(
    run_v2a('evaluate', '--data', 'synthetic:72942', '--num-clips', str(NUM_CLIPS), '--json')
  )
  for group in ('synthetic', 'signal', 'speech', 'distribution'):
    for name, entry in result[group].items():
      values = [entry.get(key) for key in ('value', 'floor', 'ceiling')]
      yield f'metric/{name}', np.array([np.nan if value is None else value for value in values])


def logged_losses(workdir: pathlib.Path) -> Iterator[tuple[int, float]]:
  """Yields step and loss from the TensorBoard files of a training."""
  for path in workdir.rglob('events.out.tfevents.*'):
    for event in event_file_loader.EventFileLoader(str(path)).Load():
      for value in event.summary.value:
        if value.tag == 'loss':
          yield event.step, value.tensor.float_val[0] if value.HasField('tensor') else value.simple_value


def losses(folder: pathlib.Path) -> Iterator[tuple[str, np.ndarray]]:
  """Trains, and yields a name and the losses of the steps of each training."""
  for name in TRAININGS:
    run_v2a(
      'train',
      '--config',
      name,
      '--tiny',
      '--workdir',
      str(folder / name),
      f'--config.training.num_steps={NUM_STEPS}',
      '--config.training.log_every_steps=1',
    )
    yield f'loss/{name}', np.array([loss for _, loss in sorted(logged_losses(folder / name))])


def measure() -> dict[str, np.ndarray]:
  """Returns all that is recorded, by name."""
  found = {f'network/{name}': packaged.network_outputs(name) for name in GENERATORS}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for key, value in itertools.chain(losses(folder), soundtracks(folder), metrics()):
      print(key, value.shape, file=sys.stderr, flush=True)
      found[key] = value
  return found


def difference(name: str, old: np.ndarray, new: np.ndarray) -> tuple[float, float]:
  """Returns by how much an entry differs, and by how much it may."""
  if old.shape != new.shape or (np.isnan(old) != np.isnan(new)).any():
    return np.inf, 0.0
  distance = np.nanmax(np.abs(old - new), initial=0.0)
  kind = name.split('/')[0]
  if kind == 'spectrogram':
    return distance, SPECTROGRAM_DB
  return distance / max(np.nanmax(np.abs(old), initial=0.0), 1e-9), RELATIVE[kind]


def compare(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> bool:
  """Prints a line for each entry, and returns whether all are the same within their bounds."""
  is_same = set(old) == set(new)
  for name in sorted(set(old) ^ set(new)):
    print(f'{name}: only {"before" if name in old else "now"}')
  for name in sorted(set(old) & set(new)):
    found, allowed = difference(name, old[name], new[name])
    is_same &= bool(found <= allowed)
    print(f'{name}: {found:.2g} of {allowed:g}{"" if found <= allowed else "  DIFFERS"}')
  return is_same


def _run(argv: list[str] | None) -> int:
  """Records or compares; 1 where something differs."""
  parser = flags.Parser(prog='behavior.py', description=__doc__.splitlines()[0])
  parser.add_argument('action', choices=('record', 'compare'))
  parser.add_argument('file', type=flags.local_path)
  args = parser.parse_args(argv)
  if args.action == 'record':
    np.savez_compressed(args.file, **{name.replace('/', '|'): value for name, value in measure().items()})
    return 0
  with np.load(args.file) as stored:
    old = {name.replace('|', '/'): stored[name] for name in stored.files}
  return int(not compare(old, measure()))


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('behavior.py', lambda: _run(argv))


if __name__ == '__main__':
  termination.exit_program(main())
