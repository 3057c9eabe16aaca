"""The documentation names commands and settings that exist; the site has a page for each package."""

import importlib
import pathlib
import re
import shlex

import pytest

from v2a.cli import data
from v2a.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [ROOT / 'README.md', ROOT / 'launch' / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
PLACEHOLDER = re.compile(r'[A-Z]+$|\.\.\.$')  # NAME, N, ...
# Of a package that is no subject of the reference: the command line has --help, assets are no code.
UNDOCUMENTED = {'assets', 'cli'}
# Parts of the programs: arguments, exit codes, texts of errors.
PROGRAM_MODULES = {
  'arguments',
  'entry_point',
  'file_names',
  'flags',
  'input_errors',
  'manifests',
  'termination',
}


def commands(text: str) -> list[list[str]]:
  """Returns the words of the commands in the code blocks of a page that have no placeholders."""
  blocks = '\n'.join(re.findall(r'^```sh\n(.*?)^```', text, re.DOTALL | re.MULTILINE))
  lines = [shlex.split(line, comments=True) for line in blocks.replace('\\\n', ' ').splitlines()]
  return [words for words in lines if words and not any(PLACEHOLDER.match(word) for word in words)]


def checkable(words: list[str]) -> list[str] | None:
  """Returns the arguments of `v2a` in a command that runs it, by itself or by a launcher; else None."""
  if words[0] == 'v2a':
    return words[1:]
  if words[:3] == ['python', '-m', 'launch'] and '--' in words:
    return words[words.index('--') + 1 :]
  return None


def check_data_command(name: str, *argv: str) -> None:
  """Parses the flags of a command of data sets, and of a build also its settings; nothing is read."""
  module = importlib.import_module(data.COMMANDS[name][0])
  args = module.parse([*(['--verify', '--output'] if name == 'verify' else []), *argv])
  if name == 'build':
    module.settings_of(args)


@pytest.mark.parametrize('page', PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_accepted(page, capsys):
  for words in commands(page.read_text()):
    arguments = checkable(words)
    if words[:2] == ['v2a', 'data']:
      check_data_command(*words[2:])
    elif arguments is not None:
      assert main.check(arguments) == 0, f'{shlex.join(words)}: {capsys.readouterr().err}'


def test_commands_are_found():
  lines = 'v2a train --config x \\\n    --workdir y  # why', 'python -m launch local -- train --config x'
  text = '```sh\n' + '\n'.join(lines) + '\n```\n'
  found = [checkable(words) for words in commands(text)]
  assert found == [['train', '--config', 'x', '--workdir', 'y'], ['train', '--config', 'x']]


def test_the_readme_trains_as_the_howto():
  howto = commands((ROOT / 'docs' / 'howto' / 'train.md').read_text())
  readme = commands((ROOT / 'README.md').read_text())
  training = [words for words in readme if 'data/mine' in ' '.join(words)]
  assert len(training) == 5 and all(words in howto for words in training)


def test_every_package_has_a_page():
  pages = {path.stem for path in (ROOT / 'docs' / 'reference').glob('*.md')}
  packages = {path.parent.name for path in (ROOT / 'v2a').glob('*/__init__.py')}
  assert packages - UNDOCUMENTED <= pages


def test_every_module_has_an_entry():
  page = (ROOT / 'docs' / 'reference' / 'modules.md').read_text()
  documented = set(re.findall(r'^::: v2a\.(\w+)$', page, re.MULTILINE))
  modules = {path.stem for path in (ROOT / 'v2a').glob('*.py') if not path.stem.startswith('__')}
  assert documented == modules - PROGRAM_MODULES


def test_every_page_is_in_the_navigation():
  navigation = (ROOT / 'mkdocs.yml').read_text().partition('\nnav:\n')[2]
  named = set(re.findall(r'[\w/.]+\.md', navigation))
  assert named == {str(path.relative_to(ROOT / 'docs')) for path in (ROOT / 'docs').rglob('*.md')}
