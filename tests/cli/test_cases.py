"""Faulty and unusual files of other programs, all in one batch: each succeeds or is refused in one line."""

import contextlib
import json
import pathlib

import av
import pytest

from tests.cli import inputs

FILES = pathlib.Path(__file__).resolve().parents[2] / '../shared/cases'

# File -> (suffix of the output, seconds of video, number of frames).
DONE = {
  'anim.avif': ('.mp4', 1.2, None),
  'anim.webp': ('.mp4', 1.2, None),
  'avchd.MTS': ('.mp4', 3.0, 75),
  'corrupt_mid.ts': ('.mp4', 4.0, None),
  'dovi5.mp4': ('.mp4', 4.0, 100),
  'dovi84.mov': ('.mp4', 4.0, 100),
  'elst_endtrim.mp4': ('.mp4', 2.5, 63),
  'elst_two.mp4': ('.mp4', 2.8, 70),
  'flv_wrongdur.flv': ('.mkv', 4.0, 100),
  'fps1.mp4': ('.mp4', 6.0, 6),
  'hevc_hvc1.mp4': ('.mp4', 4.0, 100),
  'old.wmv': ('.mkv', 4.0, 100),
  'plain.h264': ('.mp4', 4.0, 100),
  'prores4444a.mov': ('.mov', 1.6, 40),
  'sar_container.mkv': ('.mp4', 4.0, 100),
  'sar_container.mp4': ('.mp4', 4.0, 100),
  'silent.mp4': ('.mp4', 4.0, 100),
  'sphere.mp4': ('.mp4', 4.0, 100),
  'timecode.mov': ('.mp4', 4.0, 100),
  'tracks.mkv': ('.mkv', 4.0, 100),
  'tracks.mp4': ('.mp4', 4.0, 100),
  'treble.mp4': ('.mp4', 4.0, 100),
  'ts_discont_back.ts': ('.mp4', 8.0, 200),
  'utvideo.avi': ('.mkv', 1.0, 10),
  'vp8alpha.webm': ('.webm', 2.0, 50),
  'vp9alpha.webm': ('.webm', 2.0, 50),
}
STILLS = ('alpha.png', 'grid.avif', 'photo.heic', 'still.avif', 'still.png', 'seq/50%d.png', 'seq/501.png')

pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(not FILES.is_dir(), reason='no ../shared/cases beside the checkout'),
]


def decoded_length(path: pathlib.Path) -> tuple[float, int]:
  """Returns the seconds and frames of a video that FFmpeg decodes; damaged packets give no frame."""
  frames = []
  with av.open(str(path)) as container:
    for packet in container.demux(video=0):
      with contextlib.suppress(av.error.FFmpegError):
        frames += packet.decode()
    length_s = frames[-1].time + float((frames[-1].duration or 0) * frames[-1].time_base) - frames[0].time
  return length_s, len(frames)


def test_all_at_once(run_generate, tmp_path):
  """Stills without a duration are refused in one line each; all videos get soundtracks and lose nothing."""
  code, out, err = run_generate(*(FILES / name for name in (*DONE, *STILLS)), '--json', *inputs.QUICK)
  manifests = [json.loads(line) for line in out.splitlines()]
  assert code == 1 and [pathlib.Path(each['input']['path']).name for each in manifests] == list(DONE)
  faults = [line for line in err if 'wanted its duration in seconds' in line]
  assert len(faults) == len(STILLS) and all(any(name in line for line in faults) for name in STILLS)
  for manifest, (name, (suffix, length_s, num_frames)) in zip(manifests, DONE.items()):
    video = tmp_path / 'out' / manifest['samples'][0]['video']
    got_s, got_frames = decoded_length(video)
    assert (name, video.suffix) == (name, suffix) and manifest['not_copied'] == []
    assert (name, got_s) == (name, pytest.approx(length_s, abs=0.05))
    assert num_frames in (None, got_frames), name


def test_stills(run_generate, tmp_path):
  code, out, err = run_generate(
    *(FILES / name for name in STILLS), '--json', '--duration', '2.5', *inputs.QUICK
  )
  # A warning says that transparency became white.
  assert code == 0 and all(line.endswith('transparency of the image (replaced by white).') for line in err)
  assert len(out.splitlines()) == len(STILLS)
  for line in out.splitlines():
    manifest = json.loads(line)
    video = tmp_path / 'out' / manifest['samples'][0]['video']
    assert decoded_length(video)[0] == pytest.approx(2.5, abs=0.01)
    assert manifest['input']['is_image']
