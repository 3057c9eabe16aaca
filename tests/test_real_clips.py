"""The default model on real files of many origins, by the program itself."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.media import films
from v2a.media import probe
from v2a.media import read
from v2a.sampling import bundle

CLIPS = pathlib.Path(__file__).resolve().parents[1] / '../shared/clips'
FILES = sorted(path for path in CLIPS.glob('*') if path.suffix in ('.mp4', '.mpg', '.webm', '.mkv'))
AUDIBLE_DB = -60.0

pytestmark = [
  # Three minutes; `make test-slow`.
  pytest.mark.slow,
  pytest.mark.skipif(not FILES, reason='no ../shared/clips beside the checkout'),
  pytest.mark.skipif(not (bundle.MODELS_FOLDER / 'default').is_dir(), reason='no default model'),
]


@pytest.fixture(scope='module')
def generated(tmp_path_factory):
  """Returns exit code and output folder of `v2a generate` on all files, with few steps."""
  folder = tmp_path_factory.mktemp('generated')
  # In a separate process, since programs compiled for tests without optimization are slow on long videos.
  command = [sys.executable, '-m', 'v2a', 'generate', *map(str, FILES), '--steps', '4']
  done = subprocess.run([*command, '--output', str(folder), '--quiet'], check=False)
  return done.returncode, folder


def test_every_file_has_a_manifest(generated):
  code, folder = generated
  assert code == 0
  assert len(list(folder.glob('*.json'))) == len(FILES)


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_outputs_match_the_video(path, generated):
  folder = generated[1]
  # Two files share a stem; the second of them, in the order they were given, is numbered.
  same = [other for other in FILES if other.stem == path.stem]
  stem = path.stem if path == same[0] else f'{path.stem}-{same.index(path) + 1}'
  manifest = json.loads((folder / f'{stem}.json').read_text())
  sample = manifest['samples'][0]
  wave_NA, rate_hz = soundfile.read(folder / sample['wav'])
  info = probe.probe(path)
  assert len(wave_NA) / rate_hz == pytest.approx(info.duration_s, abs=1e-3)
  assert np.isfinite(wave_NA).all() and np.abs(wave_NA).max() < 1.0
  assert sample['rms_db'] > AUDIBLE_DB
  video = folder / sample['video']
  assert [data for data, *_ in films.packets(video)] == [data for data, *_ in films.packets(path)]
  muxed_NA = read.wave(video, rate_hz, 2)
  assert len(muxed_NA) / rate_hz == pytest.approx(info.duration_s, abs=0.03)
  assert abs(films.lag_s(muxed_NA[:, 0], wave_NA[:, 0], rate_hz)) < 1e-3
