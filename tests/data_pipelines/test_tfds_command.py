"""The command that builds data sets of TFDS, where TFDS is not installed; the folder tfds tests the rest."""

import importlib.util

import pytest

from data_pipelines.tfds import __main__ as command


@pytest.mark.skipif(bool(importlib.util.find_spec('tensorflow_datasets')), reason='TFDS is installed')
def test_without_tfds_the_message_names_the_extra(tmp_path, capsys):
  assert command.main(['vggsound', '--manual-dir', str(tmp_path), '--data-dir', str(tmp_path)]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert "pip install 'v2a[tfds]'" in line
