"""Renders the bundled demo clips: silent videos of the synthetic set, and the requests for them.

  python -m data_pipelines.demo --output v2a/assets/demo

Writes NAME.mp4 (H.264, no audio) and demo.json, a list of requests in the order of the page: video, title,
note, prompt, negative_prompt, transcript, event_times_s (of visible events). A clip may have several
requests. Existing files are not overwritten. The seed is used for nothing else.
"""

import json
import pathlib

import numpy as np

from v2a import entry_point
from v2a import files
from v2a import flags
from v2a import termination
from v2a.media import frame_encoder
from v2a.synthetic import clips

SEED = 9077
FRAME_SIZE = 256
FPS = 25
LISTING = 'demo.json'
# Name of the clip -> scene and index.
CLIPS = {
  'ball': ('bounce', 3),
  'body': ('hidden', 5),
  'engine': ('engine', 1),
  'rain': ('rain', 5),
  'keys': ('keys', 1),
  'face': ('dialogue', 3),
}
REQUESTS = (
  {'clip': 'ball', 'title': 'A glass ball', 'note': 'No prompt: the frames show the material.'},
  {
    'clip': 'keys',
    'title': 'A piano',
    'note': 'The keys show the notes.',
    'prompt': 'a fast piano melody',
  },
  {
    'clip': 'face',
    'title': 'A face',
    'note': 'The transcript gives the words, the mouth their times.',
    'prompt': 'a person speaks',
  },
  {
    'clip': 'engine',
    'title': 'An engine',
    'note': 'The speed of the wheel is the pitch.',
    'prompt': 'An engine drones revving up.',
  },
  {
    'clip': 'body',
    'title': 'A grey object, in metal',
    'note': 'The material is not visible; the prompt names it.',
    'prompt': 'Metal drops and bounces repeatedly.',
  },
  {
    'clip': 'body',
    'title': 'The same object, in wood',
    'note': 'The same video and seed, another prompt.',
    'prompt': 'Wood drops and bounces repeatedly.',
  },
  {
    'clip': 'rain',
    'title': 'Rain',
    'note': 'The density of the drops is the level.',
    'prompt': 'a downpour pours getting lighter',
    'negative_prompt': 'music',
  },
)


def _encode(path: pathlib.Path, frame_LYX3: np.ndarray) -> None:
  """Writes frames as H.264; the final name never holds a partial file."""
  options = {'crf': '20', 'preset': 'veryslow', 'threads': '1'}
  muxer_options = {'movflags': 'faststart'}
  with files.atomic_write(path) as partial:
    frame_encoder.write(partial, frame_LYX3, FPS, options, muxer_options)


def write(output: pathlib.Path) -> None:
  """Renders all clips and the list of requests into a folder. Raises FileExistsError if one exists."""
  files.check_new(output / LISTING, *(output / f'{name}.mp4' for name in CLIPS))
  output.mkdir(parents=True, exist_ok=True)
  truths = {}
  for name, (scene, index) in CLIPS.items():
    rendered = clips.render(SEED, index, scenes=(scene,), corruption='clean', fps=FPS, frame_size=FRAME_SIZE)
    _encode(output / f'{name}.mp4', rendered.frame_LYX3)
    truths[name] = rendered.truth
  requests = []
  for request in REQUESTS:
    truth = truths[request['clip']]
    times_s = sorted({round(event['time_s'], 3) for event in truth['events']})
    requests.append(
      {
        'video': f'{request["clip"]}.mp4',
        'title': request['title'],
        'note': request['note'],
        'prompt': request.get('prompt', ''),
        'negative_prompt': request.get('negative_prompt', ''),
        'transcript': truth['transcript'],
        'event_times_s': times_s,
      }
    )
  files.write_text(output / LISTING, json.dumps(requests, indent=1) + '\n')


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='python -m data_pipelines.demo', description=__doc__.split('\n')[0])
  parser.add_argument(
    '--output', type=flags.local_path, required=True, metavar='DIR', help='folder of the clips'
  )
  write(parser.parse_args(argv).output)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command and returns its exit code."""
  return entry_point.run('data_pipelines.demo', lambda: _run(argv))


if __name__ == '__main__':
  termination.exit_program(main())
