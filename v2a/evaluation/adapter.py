"""A model as a system to evaluate, and the clips that it was trained on."""

from collections.abc import Callable
from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from v2a import clip as clip_lib
from v2a import weights
from v2a.data import examples
from v2a.data import records
from v2a.evaluation import evaluator
from v2a.sampling import bundle
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib
from v2a.sampling import samplers
from v2a.sampling import windows
from v2a.synthetic import record_ids


def split_generator(word: str) -> tuple[str, str | None]:
  """Returns the model and the generator of NAME or NAME:GENERATOR.

  Raises:
    ValueError: there is no such generator.
  """
  name, colon, generator = word.rpartition(':')
  if not colon or not name or pathlib.Path(word).exists():
    return word, None
  if generator not in samplers.GENERATORS:
    known = ', '.join(samplers.GENERATORS)
    raise ValueError(f'a generator must be one of {known}; got {generator!r} in {word!r}.')
  return name, generator


def make_request(model: bundle.Bundle, generator: str | None, **settings) -> request_lib.Request:
  """Returns a request for a named generator.

  Args:
    model: see v2a.sampling.bundle.load.
    generator: of generators.GENERATORS; None for the model's first.
    **settings: of request.Request; those that do not apply to this generator are left out, so that several
      generators can be compared under the same settings.

  Raises:
    ValueError: the model has no such generator, or a value has no meaning.
  """
  unknown = set(request_lib.SAMPLER_SETTINGS) - set(model.generator(generator).request_settings)
  asked = {name: value for name, value in settings.items() if name not in unknown}
  found = request_lib.Request(generator=generator, **asked)
  found.validate()
  return found


def resolve(model: bundle.Bundle, request: request_lib.Request, has_captions: bool = True) -> dict:
  """Returns the settings of a request for a video, with prompts or without; defaults resolved."""
  conditions = request_lib.Conditions(video=True, text=has_captions)
  # Where there are prompts the default negative prompt is not used, whatever they are.
  request = dataclasses.replace(request, prompt='' if has_captions else None)
  return request_lib.resolve(model, request, conditions).settings


def request_for_inputs(
  request: request_lib.Request, inputs: examples.GenerationInputs
) -> request_lib.Request:
  """Returns the request of a user who has the texts and the seed of an example."""
  return dataclasses.replace(
    request,
    num_samples=1,
    seed=inputs.seed,
    prompt=inputs.text.strip() or None,
    negative_prompt=inputs.negative_text.strip() or None,
    transcript=inputs.transcript or None,
    word_times_s=inputs.word_times_s,
  )


def adapt(model: bundle.Bundle, request: request_lib.Request) -> evaluator.System:
  """Returns a model as a system: it generates through `Pipeline.run`, as the command line does.

  Args:
    model: see v2a.sampling.bundle.load.
    request: generator, its settings and guidance.
  """

  def generate(batch: Sequence[examples.GenerationInputs]) -> np.ndarray:
    jobs = [
      (
        request_lib.FrameInput(each.semantic_frame_MYX3, each.sync_frame_LYX3, each.num_samples),
        request_for_inputs(request, each),
      )
      for each in batch
    ]
    # As many slots as the batch is large: the results depend on the number of slots by rounding.
    runner = pipeline.Pipeline(model, num_slots=len(batch))
    waves = []
    for result in runner.run(jobs, is_ranked=False, truncate_texts=True):
      if result.exception is not None:
        raise result.exception
      waves.append(result.soundtracks[0].waveform)
    return np.stack(waves)

  no_negative = ''
  try:
    request_lib.resolve(model, request, request_lib.Conditions(video=True, text=True, negative_text=True))
  except ValueError as error:
    no_negative = str(error)
  reconstruct = lambda wave_BNA: np.asarray(model.reconstruct(wave_BNA, request.generator))
  return evaluator.System(
    model.name, generate, reconstruct, model.sample_rate_hz, no_negative_prompt_reason=no_negative
  )


def clip_spec(model: bundle.Bundle, seconds: float | None) -> clip_lib.ClipSpec:
  """Returns the rates and lengths of clips that last so many seconds; None is the model's window.

  Raises:
    ValueError: they are shorter than a window.
  """
  spec = model.clip_spec
  if seconds is None:
    return spec
  found = dataclasses.replace(spec, clip_s=seconds)
  if found.duration_s < spec.duration_s:
    raise ValueError(
      f"clips must last at least a window of model '{model.name}', {float(spec.duration_s):g} s; "
      f'got {seconds:g} s.'
    )
  return found


def num_windows(model: bundle.Bundle, request: request_lib.Request, num_samples: int) -> int:
  """Returns how many windows a clip of so many samples takes."""
  overlap_s = model.generator(request.generator).config.generation.overlap_s
  return len(windows.starts(model.clip_spec, num_samples, overlap_s))


def batch_size(model: bundle.Bundle, wanted: int) -> int:
  """Returns the smallest number of soundtracks of at least `wanted` that the model's devices share evenly."""
  return -(-wanted // model.num_shards) * model.num_shards


def trained_seeds(model: bundle.Bundle) -> set[int] | None:
  """Returns the seeds of the world clips that any part was trained on; None where that is not known.

  A packed model tells them; else the records must be at hand.
  """
  seeds: set[int] = set()
  for export in model.exports.values():
    data = export.config.data
    folders = _at_hand(set(data.train))
    if not data.synthetic_seeds and folders is None:
      return None
    seeds.update(data.synthetic_seeds or record_ids.seeds(records.sample_ids(folders)))
  return seeds


def _training_folders(model: bundle.Bundle) -> list[str] | None:
  """Returns the folders of records that any part was trained on; None where they are not all at hand."""
  return _at_hand({folder for export in model.exports.values() for folder in export.config.data.train})


def _at_hand(folders: set[str]) -> list[str] | None:
  is_here = [(pathlib.Path(folder) / records.MANIFEST).is_file() for folder in folders]
  return sorted(folders) if folders and all(is_here) else None


def trained_on(
  model: bundle.Bundle,
  chosen: Sequence[examples.Example],
  seed: int | None,
  report: Callable[[str], None] = lambda line: None,
) -> list[str] | None:
  """Returns the names of the clips that any part of a model was trained on; None where that is not known.

  Of a world, the clips of a seed from which any clip was trained on. Of a folder, every training clip is
  looked at: a clip is known again by its id, by its sound and by its picture, so that neither another name
  nor another picture over the same sound hides it. A sound or a picture that does not vary in time says
  nothing, since clips that are not the same share it.

  Args:
    model: see v2a.sampling.bundle.load.
    chosen: the clips that are evaluated.
    seed: of the world that they are of; None for those of a folder.
    report: receives a line of progress at a time.
  """
  if seed is not None:
    seeds = trained_seeds(model)
    return None if seeds is None else [case.name for case in chosen if seed in seeds]
  folders = _training_folders(model)
  if folders is None:
    return None
  by_sign: dict[str, set[str]] = {}
  spec = model.clip_spec

  def signs_of(wave_NA: np.ndarray, sync_frame_LYX3: np.ndarray) -> list[str]:
    # Of the first window, since clips that are evaluated may be longer than those trained on, or shorter.
    return _signs(wave_NA[: spec.num_samples], sync_frame_LYX3[: spec.num_sync_frames])

  for case in chosen:
    signs = {case.name, *signs_of(case.wave_NA, case.frames[1])}
    if {'seed', 'index'} <= set(case.truth):
      signs.add(record_ids.make(case.truth['seed'], case.truth['index']))
    for sign in signs:
      by_sign.setdefault(sign, set()).add(case.name)
  found: set[str] = set()
  for folder in folders:
    source = records.open(folder)
    for k in range(len(source)):
      if k % 1000 == 0:
        report(f'comparing with the training clips of {folder}: {k} of {len(source)}')
      record = source[k]
      for sign in (record['id'], *signs_of(record['wave_NA'], record['sync_frame_LYX3'])):
        found |= by_sign.get(sign, set())
  return sorted(found)


def _signs(*arrays: np.ndarray) -> list[str]:
  """Returns the hashes of the sound and the picture of a clip, of those that vary in time."""
  return [weights.array_hash(array) for array in arrays if len(array) and (array != array[:1]).any()]
