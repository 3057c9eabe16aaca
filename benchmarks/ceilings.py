"""Analysis of values above their ceiling: effects of the codec and of off-screen sounds on metrics.

  python benchmarks/ceilings.py [--model default] [--num-clips 256] [--seed 31337]
  python benchmarks/ceilings.py --codec runs/codec_16k [--codec DIR ...]

The ceiling of `v2a evaluate` is the true audio after a round trip through the codec. This prints metrics of
five kinds of audio for each clip of the synthetic set: the true audio ("truth"), the ceiling, the on-screen
sound alone (without off-screen music and wind, "alone") without and with the round trip, and the generated
audio. Rows are all clips to which the metric applies, those with off-screen music or wind in the true audio,
and the others. Values are those of the metric over all clips of a row together, as `v2a evaluate` combines
them. Onsets by spectral flux are compared with those of the true audio, including music and wind. Words are
those of the recognizers that are installed (extra `speech`).

With --codec, the columns are the true audio, and its round trip through each codec of a training folder or an
exported model; nothing is generated.
"""

from collections.abc import Mapping
from collections.abc import Sequence
import functools
import sys

import numpy as np

from v2a import entry_point
from v2a import flags
from v2a.cli import compilation_cache
from v2a.data import synthetic_examples
from v2a.evaluation import evaluator
from v2a.evaluation import round_trip
from v2a.evaluation import scoring
from v2a.evaluation import systems
from v2a.metrics import metric as metric_lib
from v2a.metrics import onsets
from v2a.metrics import registry
from v2a.metrics import signal_metrics
from v2a.metrics import spectra
from v2a.metrics import synthetic
from v2a.sampling import bundle
from v2a.sampling import request
from v2a.synthetic import clips

SOUNDS = ('truth', 'ceiling', 'alone', 'alone, codec', 'generated')
BATCH_SIZE = 8


def without_off_screen_sound(clip: clips.SyntheticClip) -> np.ndarray:
  """Returns the waveform of a clip without off-screen music and wind."""
  wave_NA = clip.wave_NA
  if synthetic.has_off_screen_music(clip.truth):
    wave_NA = wave_NA - clip.stems['music']
  return wave_NA - clip.stems['ambience'] if clip.truth['has_wind'] else wave_NA


def is_mixed(truth: dict) -> bool:
  """Returns whether a clip has off-screen music or wind."""
  return synthetic.has_off_screen_music(truth) or truth['has_wind']


_flux_metric = functools.partial(
  signal_metrics.SignalMetric,
  description='onsets by spectral flux within 100 ms of those of the true sound, over all clips together',
  direction='higher',
  measure=lambda sample: signal_metrics.onset_metrics(sample).counts,
)


def make_metrics() -> list[metric_lib.Metric]:
  """Returns the metrics of the table, in its order."""
  names = 'panning_correlation', 'onset_f1', 'material_accuracy', 'envelope_correlation'
  return [
    *map(registry.get, names),
    _flux_metric(name='onset flux recall', aggregate=lambda scores: onsets.total(scores).recall),
    _flux_metric(name='onset flux precision', aggregate=lambda scores: onsets.total(scores).precision),
    registry.get('motion_onset_iou'),
    *(each for each in registry.load(('speech',)) if not each.unavailable_reason),
  ]


def rows(
  metric: metric_lib.Metric,
  references: Sequence[metric_lib.Reference],
  samples: Mapping[str, scoring.Samples],
) -> dict[str, dict]:
  """Returns `num_clips` and the metric of each of SOUNDS, for all clips and for those with and without a mix.

  Args:
    metric: which.
    references: of the clips.
    samples: one of SOUNDS -> the sounds of the clips.
  """
  selected = scoring.select(metric, references)
  scores = {sound: each.score(metric, selected, selected) for sound, each in samples.items()}
  subsets = {'all': None, 'with music or wind': True, 'without': False}
  found = {}
  for subset, has_mix in subsets.items():
    chosen = [
      k
      for k, index in enumerate(selected)
      if has_mix is None or is_mixed(references[index].ground_truth) == has_mix
    ]
    found[subset] = {'num_clips': len(chosen)}
    for sound, row in scores.items():
      valid = [row[k] for k in chosen if row[k] is not None]
      found[subset][sound] = metric.combine(valid) if valid else None
  return found


def table(found: Mapping[str, dict[str, dict]], sounds: Sequence[str] = SOUNDS) -> str:
  """Returns the Markdown table of several metrics, see `rows`.

  Args:
    found: rows by the name of their metric.
    sounds: names of the columns.
  """
  lines = [f'| metric | clips | n | {" | ".join(sounds)} |', '|---|---|---|' + '---|' * len(sounds)]
  cell = lambda value: '-' if value is None else f'{value:.2f}'
  lines += [
    f'| `{name}` | {subset} | {row["num_clips"]} | {" | ".join(cell(row[each]) for each in sounds)} |'
    for name, subsets in found.items()
    for subset, row in subsets.items()
  ]
  return '\n'.join(lines)


def measured(model: bundle.Bundle, seed: int, num_clips: int) -> dict[str, dict[str, dict]]:
  """Returns the rows of every metric, by its name."""
  spec, rate_hz = model.clip_spec, model.sample_rate_hz
  system, batch_size = systems.adapt(model, request.Request()), systems.batch_size(model, BATCH_SIZE)
  found = evaluator.evaluate(
    system,
    list(synthetic_examples.render(seed, num_clips, spec)),
    f'{synthetic_examples.PREFIX}{seed}',
    batch_size=batch_size,
    metrics=(),
    report_progress=lambda line: print(line, file=sys.stderr, flush=True),
  )
  # The audio does not depend on frame rate and frame size.
  render = functools.partial(
    clips.render,
    corruption='clean',
    clip_s=float(spec.duration_s),
    fps=1,
    frame_size=16,
    sample_rate_hz=rate_hz,
  )
  alone = [without_off_screen_sound(render(seed, k)) for k in range(num_clips)]
  coded = evaluator.in_batches(lambda batch: system.reconstruct(np.stack(batch)), alone, batch_size, rate_hz)
  sounds = (
    dict(enumerate(reference.true_sound for reference in found.references)),
    found.codec_sounds,
    {k: metric_lib.Sound(wave_NA, rate_hz) for k, wave_NA in enumerate(alone)},
    {k: metric_lib.Sound(wave_NA, spectra.RATE_HZ) for k, wave_NA in enumerate(coded)},
    found.sounds,
  )
  samples = {name: scoring.Samples(each, found.references) for name, each in zip(SOUNDS, sounds)}
  return {metric.name: rows(metric, found.references, samples) for metric in make_metrics()}


def of_codecs(codecs: Sequence[round_trip.Codec], seed: int, num_clips: int) -> dict[str, dict[str, dict]]:
  """Returns the rows of every metric, by its name, of the true sounds and their round trips.

  Args:
    codecs: of one sample rate and number of channels; their names are those of the columns.
    seed, num_clips: of the synthetic set.
  """
  spec = codecs[0].clip_spec
  references = evaluator.make_references(
    list(synthetic_examples.render(seed, num_clips, spec)), spec.sample_rate_hz
  )
  true_sounds = {index: reference.true_sound for index, reference in enumerate(references)}
  samples = {'truth': scoring.Samples(true_sounds, references)}
  for codec in codecs:
    coded = {
      index: metric_lib.Sound(codec.reconstruct(np.asarray(sound.wave_NA, np.float32)), sound.sample_rate_hz)
      for index, sound in true_sounds.items()
    }
    samples[codec.name] = scoring.Samples(coded, references)
  return {metric.name: rows(metric, references, samples) for metric in make_metrics()}


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='ceilings.py', description=__doc__.splitlines()[0])
  which = parser.add_mutually_exclusive_group()
  flags.add_model(which)
  which.add_argument(
    '--codec',
    action='append',
    type=flags.path,
    metavar='DIR',
    help='round trips through this codec alone, nothing is generated; may be given several times',
  )
  parser.add_argument(
    '--num-clips',
    type=flags.number(int, 2),
    default=256,
    metavar='N',
    help='number of clips of the synthetic set (%(default)s)',
  )
  parser.add_argument('--seed', type=flags.seed, default=31337, help='seed of the clips (%(default)s)')
  args = parser.parse_args(argv)
  compilation_cache.enable()
  if args.codec:
    codecs = round_trip.of_runs(args.codec)
    print(f'{args.num_clips} clips of seed {args.seed}\n')
    print(table(of_codecs(codecs, args.seed, args.num_clips), ['truth', *(codec.name for codec in codecs)]))
    return 0
  model = bundle.load(args.model)
  print(f'model {model.name}, {args.num_clips} clips of seed {args.seed}\n')
  print(table(measured(model, args.seed, args.num_clips)))
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('ceilings.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
