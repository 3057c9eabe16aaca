"""Measures reading, decoding and planning of data sets.

python benchmarks/data.py read [--config flow_1b --mfu 0.48]  # feature records to batches, MB/s: have / need
python benchmarks/data.py decode                              # 720p video to frames, compared with ffmpeg
python benchmarks/data.py open [--num-clips 1000000]          # opening a set, and its order
python benchmarks/data.py plan [--num-clips 100000]           # time of planning a manifest
"""

from collections.abc import Callable
import gc
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from data_pipelines import encode_column
from data_pipelines import plan
from data_pipelines.sources import catalog
from v2a import chips
from v2a import clip as clip_lib
from v2a import entry_point
from v2a import files
from v2a import flags
from v2a.config import files as config_files
from v2a.config import schema
from v2a.data import batch_order
from v2a.data import feature_columns
from v2a.data import loader
from v2a.data import media_folder
from v2a.data import media_records
from v2a.data import media_source
from v2a.media import read
from v2a.synthetic import clips
from v2a.training import costs
from v2a.training import tasks

NUM_RENDERED = 4  # clips of which the records of `read` are made


def read_rate(config: str, mfu: float, num_clips: int, num_batches: int) -> None:
  """Prints how fast columns become batches, and what a v5e chip needs at an MFU."""
  c = config_files.find(config).unlock()
  c.training.batch_size = min(c.training.batch_size, 16)
  with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
    _write_features(pathlib.Path(folder), schema.clip_spec(c), c.codec.num_latent_channels, num_clips)
    c.data.train = (folder,)
    task = tasks.make(c.lock())
    items = loader.source(c, task.record_fields)
    batches = loader.Batches(task, items, loader.order(c, items, 1), num_batches + 4)
    iterator = loader.iterate(batches, 0, 2, c.data.num_prefetched_batches)
    for _ in range(4):
      batch = next(iterator)
    begin_s = time.perf_counter()
    for _ in range(num_batches):
      batch = next(iterator)
    seconds = time.perf_counter() - begin_s
    stored = sum(path.stat().st_size for path in pathlib.Path(folder).glob('columns/*/*.array_record'))
  size = sum(value.nbytes for value in batch.values()) / c.training.batch_size
  have = num_batches * c.training.batch_size / seconds
  need = mfu * chips.CHIPS['v5e'].peak_flops_per_s / costs.flops_per_clip(c)
  print(
    f'{c.name}: {1e-6 * size:.2f} MB per clip ({1e-6 * stored / num_clips:.2f} MB on disk); '
    f'have {have:.0f} clips/s, {1e-6 * have * size:.0f} MB/s; a v5e chip at {mfu:.0%} MFU needs '
    f'{need:.0f} clips/s, {1e-6 * need * size:.0f} MB/s: have / need {have / need:.2f}'
  )


def _write_features(folder: pathlib.Path, spec: clip_lib.ClipSpec, num_channels: int, num_clips: int) -> None:
  """Writes records whose media cannot be decoded, and their columns: rendered frames, random latents."""
  rng = np.random.default_rng(0)
  path = folder / 'records-00000.array_record'
  writer = feature_columns.array_record_module.ArrayRecordWriter(str(path), 'group_size:1,uncompressed')
  duration_s = float(spec.duration_s)
  records = [
    media_records.MediaRecord(f'{index}', f'{index}', duration_s, audio=b'x') for index in range(num_clips)
  ]
  for record in records:
    writer.write(record.to_bytes())
  writer.close()
  entry = {'name': path.name, 'num_records': num_clips, 'num_bytes': path.stat().st_size}
  entry |= {'sha256': files.sha256(path), 'durations_s': [duration_s] * num_clips}
  counts = {'num_records': num_clips, 'num_with_audio': num_clips, 'text_bytes': {}, 'transcript_bytes': {}}
  media_folder.write_manifest(folder, [entry], {'contents': counts})
  opened = media_folder.MediaFolder(folder)
  rendered = [_rendered(spec, index) for index in range(NUM_RENDERED)]
  shape = spec.num_latents, num_channels
  frames = encode_column.FrameEncoder(spec)
  arrays = {
    media_source.ANNOTATIONS: lambda index: {},
    media_source.FRAMES: lambda index: {'sync_frame_LYX3': rendered[index % NUM_RENDERED]},
    'latents': lambda index: {
      'latent_mean_TC': rng.standard_normal(shape).astype(np.float16),
      'latent_std_TC': rng.random(shape).astype(np.float16),
      'is_silent_T': np.zeros(shape[0], bool),
    },
  }
  about = {media_source.ANNOTATIONS: encode_column.AnnotationEncoder.about, media_source.FRAMES: frames.about}
  for name, make in arrays.items():
    column = feature_columns.Writer(opened, name, about.get(name, {'digest': ''}))
    info = lambda record: media_source.ClipInfo(record.id, duration_s, True, record.annotations).to_row()
    column.write(
      0,
      [
        feature_columns.Row(record.id, make(index), info(record).values)
        for index, record in enumerate(records)
      ],
    )
    column.finish()


def _rendered(spec: clip_lib.ClipSpec, index: int) -> np.ndarray:
  """Returns frames of a rendered clip, repeated to the length of a clip."""
  frame_LYX3 = clips.render(1, index, frame_size=spec.frame_size).frame_LYX3
  return np.resize(frame_LYX3, (spec.num_sync_frames, *frame_LYX3.shape[1:]))


def decode_rate(num_rounds: int, seconds: int) -> None:
  """Prints the time from 720p H.264 at 25 fps to frames of 224 pixels, in multiples of that of ffmpeg."""
  with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
    path = pathlib.Path(folder) / 'film.mp4'
    source = f'testsrc2=size=1280x720:rate=25:duration={seconds}'
    noisy = 'noise=alls=12:allf=t'  # so that there is about as much to decode as in a recording
    _ffmpeg('-f', 'lavfi', '-i', source, '-vf', noisy, '-c:v', 'libx264', '-pix_fmt', 'yuv420p', str(path))
    scale = 'scale=224:224:flags=area'
    count = 25 * seconds
    ours = lambda: sum(
      len(chunk) for chunk in read.iterate_frames_at(path, np.arange(count), 25, 224, 0.0, 64)
    )
    theirs = lambda: _ffmpeg(
      '-i', str(path), '-vf', scale, '-f', 'rawvideo', '-pix_fmt', 'rgb24', str(path.with_suffix('.raw'))
    )
    times = {'v2a': [], 'ffmpeg': []}
    for _ in range(num_rounds):
      for name, run in (('v2a', ours), ('ffmpeg', theirs)):
        times[name].append(_seconds(run))
    size = path.stat().st_size
  ratio = statistics.median(own / other for own, other in zip(times['v2a'], times['ffmpeg']))
  print(
    f'{seconds} s of 720p ({1e-6 * size:.1f} MB) to frames of 224 pixels: v2a '
    f'{statistics.median(times["v2a"]):.2f} s, ffmpeg {statistics.median(times["ffmpeg"]):.2f} s, ratio '
    f'{ratio:.2f} (median of {num_rounds} rounds)'
  )


def _ffmpeg(*arguments: str) -> None:
  subprocess.run(['ffmpeg', '-y', '-loglevel', 'error', *arguments], check=True)


def _seconds(run: Callable[[], object]) -> float:
  begin_s = time.perf_counter()
  run()
  return time.perf_counter() - begin_s


def opening(num_clips: int) -> None:
  """Prints time and memory of opening the manifest of a set, and of the first batches of its order."""
  spec, rng = clip_lib.ClipSpec(), np.random.default_rng(0)
  with tempfile.TemporaryDirectory(prefix='v2a-') as name:
    folder = pathlib.Path(name)
    entries = [
      {
        'name': f'records-{shard:05d}.array_record',
        'num_records': 100,
        'num_bytes': 10**8,
        'sha256': f'{shard:064x}',
        'first_id': f'{shard:05d}-000',
        'last_id': f'{shard:05d}-099',
        'durations_s': rng.uniform(1, 30, 100).round(3).tolist(),
      }
      for shard in range(num_clips // 100)
    ]
    media_folder.write_manifest(folder, entries, {'contents': {}})
    size = (folder / media_folder.MANIFEST).stat().st_size
    del entries
    gc.collect()
    before = _resident_mb()
    begin_s = time.perf_counter()
    source = media_source.MediaSource(folder, spec)
    open_s = time.perf_counter() - begin_s
    order = batch_order.by_length([source.folder.durations_s], (2, 4, 8, 16, 30), (64, 32, 16, 8, 4), 0)
    rows = [record for step in range(100) for record in order.records(step, range(4))]
    order_s = time.perf_counter() - begin_s - open_s
  print(
    f'{num_clips} clips in {num_clips // 100} shards, manifest of {1e-6 * size:.1f} MB: opened in '
    f'{open_s:.2f} s; order in buckets, and {len(rows)} rows of it, in {order_s:.2f} s; resident memory grew '
    f'by {_resident_mb() - before:.0f} MB'
  )


def _resident_mb() -> float:
  """Returns the resident memory of the process (Linux)."""
  pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
  return pages * resource.getpagesize() / 2**20


def _peak_mb() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plan_rate(num_clips: int) -> None:
  """Prints the time of planning a manifest of clips that share one file."""
  with tempfile.TemporaryDirectory(prefix='v2a-') as folder:
    media = pathlib.Path(folder) / 'x.mp4'
    media.write_bytes(b'x')
    table = pathlib.Path(folder) / 'clips.jsonl'
    with table.open('w') as file:
      for index in range(num_clips):
        row = {'path': media.name, 'id': f'{index:07d}', 'start_s': 10 * index, 'end_s': 10 * index + 10}
        file.write(json.dumps(row) + '\n')
    source = catalog.open_source(f'manifest:{table}')
    seconds = _seconds(lambda: plan.make(source, pathlib.Path(folder) / 'plan', plan.Settings()))
  print(f'{num_clips} clips are planned in {seconds:.1f} s; peak memory of the process {_peak_mb():.0f} MB')


def _run(argv: list[str] | None) -> int:
  parser = flags.Parser(prog='data.py', description=__doc__.splitlines()[0])
  parser.add_argument('measurement', choices=('read', 'decode', 'open', 'plan'))
  parser.add_argument('--config', default='flow_1b', help='configuration, for read (%(default)s)')
  parser.add_argument('--mfu', type=flags.number(float, 0), default=0.48, help='of a chip (%(default)s)')
  parser.add_argument(
    '--num-clips', type=flags.count, default=0, help='for read (64), open (1000000), plan (100000)'
  )
  args = parser.parse_args(argv)
  if args.measurement == 'read':
    read_rate(args.config, args.mfu, args.num_clips or 64, num_batches=30)
  elif args.measurement == 'decode':
    decode_rate(num_rounds=5, seconds=20)
  elif args.measurement == 'open':
    opening(args.num_clips or 1_000_000)
  else:
    plan_rate(args.num_clips or 100_000)
  return 0


def main(argv: list[str] | None = None) -> int:
  """Runs the command; returns its exit code."""
  return entry_point.run('data.py', lambda: _run(argv))


if __name__ == '__main__':
  sys.exit(main())
