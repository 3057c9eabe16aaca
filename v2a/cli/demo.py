"""`v2a demo`: soundtracks for the bundled clips, and a page of them."""

import argparse
import dataclasses
import json
import pathlib
import time

import v2a
from v2a import file_names
from v2a import files
from v2a import flags

FOLDER = pathlib.Path(v2a.__file__).parent / 'assets' / 'demo'
OUTPUT = 'demo_out'
PAGE, PICTURE = 'index.html', 'index.png'
TITLE = 'Soundtracks for silent clips'


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags."""
  from v2a.cli import generate

  parser.add_argument(
    '--output', type=flags.local_path, default=pathlib.Path(OUTPUT), metavar='DIR', help=f'folder ({OUTPUT})'
  )
  parser.add_argument(
    '--model',
    default=generate.MODEL,
    metavar='NAME-or-DIR',
    help=f'a packaged model or a folder ({generate.MODEL})',
  )
  parser.add_argument(
    '--num-samples', type=flags.number(int, 1), default=3, metavar='N', help='soundtracks a clip (3)'
  )
  parser.add_argument('--seed', type=flags.seed, default=0, metavar='S', help='seed (0)')
  parser.add_argument(
    '--overwrite',
    action='store_true',
    help='replace the outputs of other requests, too; files that v2a did not write are never replaced',
  )
  parser.add_argument('--quiet', action='store_true', help='no progress')


def requests(folder: pathlib.Path = FOLDER) -> list[dict]:
  """Returns what is asked for: see data_pipelines/demo.py.

  Raises:
    FileNotFoundError: this installation lacks the clips.
  """
  listing = folder / 'demo.json'
  if not listing.exists():
    raise FileNotFoundError(f'the demo clips are missing from this installation: {listing}')
  return json.loads(listing.read_text())


def run(args: argparse.Namespace) -> int:
  """Draws, writes the page, and says where to look and listen."""
  from v2a.cli import generate as generate_command

  generate_command.check_output(args.output)
  wanted = requests()
  from v2a.cli import compilation_cache
  from v2a.cli import progress
  from v2a.reports import export
  from v2a.reports import gallery_page
  from v2a.reports import gallery_plot
  from v2a.reports import outputs
  from v2a.sampling import bundle
  from v2a.sampling import pipeline
  from v2a.sampling import request as request_lib

  paths = [FOLDER / request['video'] for request in wanted]
  sources = [request_lib.Input(path, 0.0, None) for path in paths]
  stems = outputs.stems(paths, args.output)
  asked_for = [
    request_lib.Request(
      num_samples=args.num_samples,
      seed=args.seed,
      prompt=asked['prompt'] or None,
      negative_prompt=asked['negative_prompt'] or None,
      transcript=asked['transcript'] or None,
    )
    for asked in wanted
  ]
  guard = outputs.OverwriteGuard(paths, args.num_samples, args.overwrite)

  def check(model: bundle.Bundle | None = None) -> None:
    files.check_replaceable(args.output / PAGE, args.output / PICTURE)
    for source, stem, request in zip(sources, stems, asked_for):
      export.check(guard, [source], [stem], request, 'replace', model)

  check()  # before the model, which takes longer to load
  compilation_cache.enable()
  start_s = time.perf_counter()
  model = bundle.load(args.model)
  check(model)
  shown = []
  for number, (source, stem, request, asked) in enumerate(zip(sources, stems, asked_for, wanted)):
    with progress.Progress(f'{number + 1}/{len(wanted)} {asked["title"]}', 'windows', args.quiet) as bar:
      for result in pipeline.Pipeline(model).run([(source, request)], progress=bar.update):
        if result.error is not None:
          raise ValueError(result.error)
        delivery = export.write_outputs(
          model, source, request, result, stem, title=asked['title'], guard=guard
        )
        times_s = tuple(asked['event_times_s'])
        shown.append(dataclasses.replace(delivery.entry, note=asked['note'], event_times_s=times_s))
  elapsed_s = time.perf_counter() - start_s
  num_drawn = sum(len(entry.samples) for entry in shown)
  lead = (
    f'{num_drawn} soundtracks for {len(shown)} silent clips, drawn by the model {model.name} '
    f'in {elapsed_s:.0f} s. '
    'Ticks mark what happens in the picture.'
  )
  gallery_page.write(args.output / PAGE, shown, TITLE, lead)
  gallery_plot.write(args.output / PICTURE, shown, TITLE, max_samples=1)
  print(f'look and listen:  {file_names.printable(str(args.output / PAGE))}')
  print(f'as one picture:   {file_names.printable(str(args.output / PICTURE))}')
  return 0
