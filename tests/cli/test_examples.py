"""The scripts in examples/ run, on models of the smallest size; the notebook, on the packaged one."""

import importlib.util
import pathlib

import nbclient
import nbformat
import pytest

from tests.media import films
from v2a import weights
from v2a.media import audio_file
from v2a.media import probe

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / 'examples'


def load(name):
  """Returns the module of an example."""
  spec = importlib.util.spec_from_file_location(name, EXAMPLES / f'{name}.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def test_generate(bundle, video, tmp_path, capsys):
  argv = [str(video), str(tmp_path), '--model', str(bundle), '--num-samples', '2', '--prompt', 'a knock']
  written = load('generate').main(argv)
  assert capsys.readouterr().out.count('score') == 2
  assert probe.probe(written).has_audio and (tmp_path / f'{video.stem}.wav').is_file()


def test_add_a_metric():
  values = load('add_a_metric').main(['--num-clips', '4'])
  assert values['true'] == pytest.approx(1.0)
  assert values['true'] > values['delayed by 100 ms'] > max(values['another clip'], values['noise'])


def test_compare_audio_of_two_systems(tmp_path, capsys):
  videos, true, other = (tmp_path / name for name in ('videos', 'true', 'other'))
  for folder in (videos, true, other):
    folder.mkdir()
  waves = [films.clicks(4.0, 44100, seed=index) for index in range(3)]
  for index, wave_NA in enumerate(waves):
    films.make(videos / f'{index}', 'mp4', duration_s=4.0, wave_NA=wave_NA)
    audio_file.wav(true / f'{index}.wav', wave_NA, 44100)
    audio_file.wav(other / f'{index}.wav', waves[index - 1], 44100)
  result = load('compare_systems').main([str(true), str(other), '--data', str(videos), '--num-clips', '3'])
  values = [system['signal']['onset_flux_f1']['value'] for system in result['models'].values()]
  assert values[0] > 0.9 > values[1] and 'onset_flux_f1' in capsys.readouterr().out


@pytest.mark.slow
def test_compare_models(bundle, capsys):
  argv = [str(bundle), f'{bundle}:tokens', '--num-clips', '2', '--data', 'synthetic:5']
  result = load('compare_systems').main(argv)
  assert result['num_clips'] == 2 and len(result['models']) == 2
  assert 'onset_flux_f1' in capsys.readouterr().out


@pytest.mark.slow
def test_train_on_folder(tmp_path):
  videos = tmp_path / 'videos'
  videos.mkdir()
  for index in range(8):
    wave_NA = films.clicks(4.0, 44100, seed=index)
    films.make(videos / f'{index}', 'mp4', duration_s=4.0, wave_NA=wave_NA)
  trained = load('train_on_folder').main([str(videos), str(tmp_path / 'runs'), '--tiny'])
  assert weights.load_export(trained).config.task == 'flow'


@pytest.mark.slow
def test_notebook(monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')
  monkeypatch.setenv('PYTHONPATH', str(EXAMPLES.parent))
  notebook = nbformat.read(EXAMPLES / 'tour.ipynb', as_version=4)
  nbformat.validate(notebook)
  assert not any(cell.get('outputs') for cell in notebook.cells), 'commit it without outputs'
  for cell in notebook.cells:
    cell.source = cell.source.replace('NUM_SAMPLES = 2', 'NUM_SAMPLES = 1').replace(
      'NUM_CLIPS = 4', 'NUM_CLIPS = 2'
    )
  nbclient.NotebookClient(notebook, timeout=1200, kernel_name='python3').execute()
  outputs = [output for cell in notebook.cells for output in cell.get('outputs', [])]
  plots = [output for output in outputs if 'image/png' in output.get('data', {})]
  text = ''.join(output.get('text', '') for output in outputs)
  assert len(plots) == 6 and text.count('onset F1') == 2
