"""Packaged models are listed by what lies in their folder."""

from v2a.cli import main
from v2a.cli import models


def make(folder, name, readme='# Name\n\nKnows bells.\nMore.\n', has_config=True, has_weights=True):
  """Makes the folder of a model."""
  place = folder / name
  place.mkdir(parents=True)
  if readme is not None:
    (place / 'README.md').write_text(readme)
  for part in ('codec', 'flow'):
    (place / part).mkdir()
    if has_config:
      (place / part / 'config.json').write_text('{}')
    if has_weights:
      (place / part / 'model.safetensors').write_bytes(bytes(750))


def test_only_whole_models_are_listed(tmp_path):
  make(tmp_path, 'small')
  make(tmp_path, 'bare', readme=None)
  make(tmp_path, 'no-config', has_config=False)
  make(tmp_path, 'no-weights', has_weights=False)
  (tmp_path / 'file').write_text('')
  found = models.packaged(tmp_path)
  assert [(model['name'], model['size_bytes'], model['summary']) for model in found] == [
    ('bare', 1500, ''),
    ('small', 1500, 'Knows bells.'),
  ]


def test_no_models(tmp_path, monkeypatch, capsys):
  assert models.packaged(tmp_path / 'absent') == []
  monkeypatch.setattr(models, 'packaged', list)
  assert main.main(['models']) == 0
  assert 'No models' in capsys.readouterr().out


def test_packing_wants_a_folder(capsys):
  assert main.main(['models', '--pack', 'runs/x']) == 2
  assert capsys.readouterr().err == 'v2a: --pack needs --output, a new folder.\n'
