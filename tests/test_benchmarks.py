"""Benchmarks and scripts report bad arguments in one line, with exit code 2."""

import ast
import importlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Command -> arguments, and part of the message.
BAD = {
  'benchmarks.ablations': (['--num-clips', '1', 'sampling'], 'a whole number in 2..'),
  'benchmarks.accelerator': (['--batch-size', '1', '2'], 'wanted one batch size'),
  'benchmarks.ceilings': (['--num-clips', '1'], 'a whole number of at least 2'),
  'benchmarks.codecs': (['distances', '--seed', '-1', 'x'], 'a whole number in 0..2147483647'),
  'benchmarks.costs': (['nothing'], 'nothing'),
  'benchmarks.data': (['nothing'], 'invalid choice'),
  'benchmarks.generalization': (['--only', 'nothing'], '--only must be part of a name'),
  'benchmarks.generate': (['--seconds', 'x'], 'a number in'),
  'benchmarks.metric_order': (['--clips', 'nowhere'], 'nowhere'),
  'benchmarks.real_clips': ([], 'arguments are required: command'),
  'benchmarks.rendering': (['--size', '0'], 'a whole number of at least 4'),
  'benchmarks.sampling': (['--clip-s', '0'], 'a number in'),
  'benchmarks.training': (['nothing'], 'invalid choice'),
  'scripts.behavior': (['compare', 'nowhere.npz'], 'nowhere.npz'),
  'scripts.fit_ood': (['--model', 'x'], 'one of the arguments --data --sweep is required'),
  'scripts.train_classifiers': (['--names', 'nothing'], '--names must be of'),
  'scripts.train_embedder': (['--outputs', 'x'], 'unrecognized arguments'),
  'v2a.evaluation.check_classifiers': (['--num-clips', '0'], 'a whole number in 1..'),
}
# Need torch, which is no requirement.
UNTESTED = {'benchmarks.torch_baseline', 'scripts.make_codec_goldens'}


@pytest.mark.parametrize('name', BAD)
def test_bad_arguments_are_one_line(name, capsys, monkeypatch):
  # Not into the cache of the user, nor into that of other tests.
  monkeypatch.setenv('V2A_CACHE', '')
  argv, message = BAD[name]
  assert importlib.import_module(name).main(argv) == 2
  out, err = capsys.readouterr()
  assert not out and message in err and err.count('\n') == 1
  assert err.startswith(name.rpartition('.')[2] if name.startswith('benchmarks') else '')


def test_every_command_is_tested():
  folders = ('benchmarks', 'scripts')
  found = {f'{folder}.{path.stem}' for folder in folders for path in (ROOT / folder).glob('[!_]*.py')}
  assert found == {name for name in BAD if name.split('.')[0] in folders} | UNTESTED


def test_there_is_one_argument_parser():
  found = []
  for folder in ('benchmarks', 'data_pipelines', 'scripts', 'v2a'):
    for path in (ROOT / folder).rglob('*.py'):
      calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
      if any(isinstance(call, ast.Attribute) and call.attr == 'ArgumentParser' for call in calls):
        found.append(str(path.relative_to(ROOT)))
  # It parses nothing: it knows the defaults.
  assert found == ['v2a/cli/command.py']
