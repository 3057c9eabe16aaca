"""Measures which signal metrics order systems that get worse by construction, on real clips.

  python benchmarks/metric_order.py --clips clips [--seconds 4] [--metrics av_align onset_flux_f1]

The systems return the true sound of each clip, the same shifted circularly by 100 and by 300 ms (silence
before a delayed sound would end in a step louder than any onset), the sound of the next clip, and white noise
of the clip's level. Prints the value of each system in each metric that compares a soundtrack with the true
sound or with the video, and the chance level of timing metrics: the true sound against onsets, or motion, at
circularly shifted times. Clips without audible sound are left out.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import pathlib
import sys

import numpy as np

from v2a import clip as clip_lib
from v2a import entry_point
from v2a import flags
from v2a.cli import compilation_cache
from v2a.data import folder_examples
from v2a.evaluation import evaluator
from v2a.evaluation import scoring
from v2a.metrics import metric as metric_lib
from v2a.metrics import registry
from v2a.metrics import signal_metrics

SHIFTS_S = 0.1, 0.3
SYSTEMS = ('true', *(f'+{1000 * shift_s:.0f} ms' for shift_s in SHIFTS_S), 'other clip', 'noise')
METRICS = tuple(
  name for name in registry.names(('signal',)) if isinstance(registry.get(name), signal_metrics.SignalMetric)
)


def read_references(folder: pathlib.Path, seconds: float) -> list[metric_lib.Reference]:
  """Returns the references of the clips of a folder on which `v2a evaluate` would evaluate.

  Raises:
    ValueError: there are fewer than two.
  """
  spec = clip_lib.ClipSpec(clip_s=seconds)
  found = list(folder_examples.read(folder, None, spec, report=lambda line: print(line, file=sys.stderr)))
  if len(found) < 2:
    raise ValueError(f'{folder} must hold at least 2 videos of {seconds:g} s with sound; got {len(found)}.')
  return evaluator.make_references(found, spec.sample_rate_hz)


def make_sounds(true: Sequence[metric_lib.Sound]) -> dict[str, list[metric_lib.Sound]]:
  """Returns the soundtracks of each of SYSTEMS.

  Args:
    true: the true sounds, of one sample rate, length and number of channels.
  """
  rate_hz = true[0].sample_rate_hz
  waves = [sound.wave_NA for sound in true]
  rng = np.random.default_rng(0)
  noise = [
    np.sqrt((wave_NA**2).mean()) * rng.standard_normal(wave_NA.shape).astype(np.float32) for wave_NA in waves
  ]
  shifted = [
    [np.roll(wave_NA, round(shift_s * rate_hz), axis=0) for wave_NA in waves] for shift_s in SHIFTS_S
  ]
  found = dict(zip(SYSTEMS, (waves, *shifted, [*waves[1:], waves[0]], noise)))
  return {name: [metric_lib.Sound(each, rate_hz) for each in row] for name, row in found.items()}


def order(metric: metric_lib.Metric, values: Sequence[float]) -> str:
  """Returns whether a metric orders the systems: 'yes', 'but for noise' or 'no'.

  Args:
    metric: which.
    values: of each of SYSTEMS.
  """
  sign = 1 if metric.direction == 'higher' else -1
  falls = [sign * (before - after) > 0 for before, after in zip(values, values[1:])]
  return 'yes' if all(falls) else 'but for noise' if all(falls[:-1]) else 'no'


def _value(
  name: str, sounds: Sequence[metric_lib.Sound], references: Sequence[metric_lib.Reference]
) -> float:
  """Returns the value of a metric; NaN where it is not defined for any clip."""
  metric = registry.get(name)
  metric.update(list(map(metric_lib.Sample, sounds, references)))
  value = metric.compute()
  return np.nan if value is None else value


def measure(
  names: Sequence[str], references: Sequence[metric_lib.Reference]
) -> dict[str, tuple[list[float], float | None]]:
  """Returns by metric the values of SYSTEMS, and the chance level or None."""
  sounds = make_sounds([reference.true_sound for reference in references])
  shifts = scoring.shift_references(references)
  found = {}
  for name in names:
    values = [_value(name, sounds[system], references) for system in SYSTEMS]
    chance = None
    if registry.get(name).has_shifted_floor:
      chance = float(np.mean([_value(name, sounds['true'], each) for each in shifts]))
    found[name] = values, chance
    print(f'{name}: {values}, chance {chance}', file=sys.stderr, flush=True)
  return found


def table(found: Mapping[str, tuple[Sequence[float], float | None]]) -> str:
  """Returns the Markdown table, see `measure`."""
  lines = [f'| metric | {" | ".join(SYSTEMS)} | chance | order |', '|---|' + '---|' * (len(SYSTEMS) + 2)]
  for name, (values, chance) in found.items():
    metric = registry.get(name)
    form = '.0f' if metric.unit == 'ms' else '.2f'
    cells = [format(value, form) for value in values] + ['' if chance is None else format(chance, form)]
    lines.append(f'| `{name}` | {" | ".join(cells)} | {order(metric, values)} |')
  return '\n'.join(lines)


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='metric_order.py', description=__doc__.splitlines()[0])
  parser.add_argument(
    '--clips', type=flags.local_path, required=True, metavar='DIR', help='folder of the videos'
  )
  parser.add_argument(
    '--seconds',
    type=flags.number(float, 1.0, 60.0),
    default=4.0,
    metavar='S',
    help='duration from the start of each clip (%(default)s)',
  )
  parser.add_argument(
    '--metrics', nargs='+', choices=METRICS, default=METRICS, metavar='NAME', help='which (default: all)'
  )
  args = parser.parse_args(argv)
  compilation_cache.enable()
  references = read_references(args.clips, args.seconds)
  print(f'{len(references)} clips, the first {args.seconds:g} s\n')
  print(table(measure(args.metrics, references)))
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('metric_order.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
