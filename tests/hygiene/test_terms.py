"""Names and texts use the terms of the field, and none of an earlier private vocabulary."""

from collections.abc import Iterator
import io
import pathlib
import re
import tokenize

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Paths that are checked; others still have terms of the list. Add a path once it is clean, never remove one.
CLEAN = (
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'README.md',
  'benchmarks',
  'configs',
  'data_pipelines',
  'docs/concepts',
  'docs/evaluation.md',
  'docs/howto',
  'docs/index.md',
  'docs/reference',
  'docs/results',
  'examples',
  'launch',
  'scripts',
  'tests/aot',
  'tests/autoregressive',
  'tests/cli',
  'tests/codecs',
  'tests/conditioning',
  'tests/config',
  'tests/conftest.py',
  'tests/data',
  'tests/data_pipelines',
  'tests/diffusion',
  'tests/evaluation',
  'tests/hygiene/test_docs.py',
  'tests/hygiene/test_layers.py',
  'tests/hygiene/test_names.py',
  'tests/launch',
  'tests/media',
  'tests/metrics',
  'tests/models',
  'tests/ood',
  'tests/pages.py',
  'tests/reports',
  'tests/sampling',
  'tests/sharding',
  'tests/synthetic',
  'tests/test_benchmarks.py',
  'tests/test_ceilings.py',
  'tests/test_clip.py',
  'tests/test_degradations.py',
  'tests/test_end_to_end.py',
  'tests/test_execution.py',
  'tests/test_file_names.py',
  'tests/test_files.py',
  'tests/test_flags.py',
  'tests/test_flops.py',
  'tests/test_guidance.py',
  'tests/test_input_errors.py',
  'tests/test_masks.py',
  'tests/test_mel.py',
  'tests/test_packaged_model.py',
  'tests/test_real_clips.py',
  'tests/test_real_measures.py',
  'tests/test_termination.py',
  'tests/test_training_howto.py',
  'tests/test_weights.py',
  'tests/training',
  'v2a/__init__.py',
  'v2a/__main__.py',
  'v2a/aot',
  'v2a/assets/README.md',
  'v2a/autoregressive',
  'v2a/builders.py',
  'v2a/chips.py',
  'v2a/cli',
  'v2a/clip.py',
  'v2a/codecs',
  'v2a/conditioning',
  'v2a/config',
  'v2a/data',
  'v2a/degradations.py',
  'v2a/diffusion',
  'v2a/entry_point.py',
  'v2a/evaluation',
  'v2a/execution.py',
  'v2a/file_names.py',
  'v2a/files.py',
  'v2a/flags.py',
  'v2a/flops.py',
  'v2a/guidance.py',
  'v2a/keys.py',
  'v2a/manifests.py',
  'v2a/masks.py',
  'v2a/media',
  'v2a/mel.py',
  'v2a/metrics',
  'v2a/models',
  'v2a/ood',
  'v2a/reports',
  'v2a/sampling',
  'v2a/shapes.py',
  'v2a/sharding',
  'v2a/synthetic',
  'v2a/training',
  'v2a/weights.py',
  'v2a/workarounds.py',
)
SUFFIXES = ('.py', '.md', '.sh', '.yaml', '.yml', '.toml', '.Dockerfile')

# Part of an identifier (between underscores or capitals, in lower case) -> what to write instead.
IDENTIFIERS = {
  **dict.fromkeys(('draw', 'draws', 'drawn', 'drawing', 'drew'), 'sample, generate, render, plot or stream'),
  **dict.fromkeys(('figure', 'figures'), 'metric or plot'),
  **dict.fromkeys(('look', 'looks'), 'corruption'),
  **dict.fromkeys(('wear', 'wears', 'worn', 'worsen'), 'augment'),
  **dict.fromkeys(('twin', 'twins'), 'paired variant, or baseline'),
  **dict.fromkeys(('case', 'cases'), 'example or clip'),
  **dict.fromkeys(('picture', 'pictures'), 'frame, video or image'),
  **dict.fromkeys(('place', 'places'), 'position, layout, sharding or spec'),
  **dict.fromkeys(('told', 'said'), 'predicted, given, or output'),
  **dict.fromkeys(('asked', 'wish', 'wishes'), 'request or settings'),
  **dict.fromkeys(('made', 'kept'), 'what it is: rendered, created, selected, ...'),
  **dict.fromkeys(('heard', 'hear'), 'audio, output or detected'),
  **dict.fromkeys(('contestant', 'contestants'), 'system'),
  **dict.fromkeys(('gauge', 'gauging'), 'OOD detector or score'),
  **dict.fromkeys(('instrument', 'instruments'), 'classifier'),
}
# Regular expression of a phrase in comments, docstrings, messages and documentation -> what to write instead.
PHRASES = {
  r'draw(s|n|ing)?|drew': 'sample, generate, render or plot',
  r'figures?': 'metric, number or plot',
  r'looks?(?! (like|up)\b)': 'corruption, or: reads, checks',
  r'(re)?worn|wears?|worsens?': 'augmented, augments',
  r'told': 'given, predicted or printed',
  r'twins?': 'paired variant, or baseline',
  r'(?<!groups of )(?<!group of )pictures?': 'frame, video or image',
  r'the (procedural )?world|world\'s': 'the synthetic set',
  r'at hand|to hand': 'available',
  r'whoever|nobody|somebody': 'the user, the caller, or the passive voice',
  r'which of them': 'which',
  r'says? (a|no|its own) word|a word (about|on|more)|by its own word|worth a word': 'prints or states',
  r'(goes|go|went) on': 'continues',
  r'of (its|their) own accord': 'by itself',
  r'asks? for|asked for': 'requests, requires',
  r'(?<!must )lies? (at|in|on|beside|below|above|before|behind|beyond|between|under|within)': 'is',
  r'stands? (at|in|on|beside|before|behind|between|under|where)': 'is',
  r'for ever': 'forever',
  r'anew|once more': 'again',
  r'as (it|they) (is|are) wanted|it says so': 'what it is',
}
# Data, and names of others: random streams and truth keys of synthetic clips, spoken sentences, classes of
# libraries, HTML elements, file names.
NOT_DIALECT = (
  re.compile(r"""(['"])look( times)?\1"""),
  re.compile(r'`look`|scene, look, severity'),
  re.compile(r'look up|a still picture, no sound'),
  re.compile(r'matplotlib\.figure|</?figure|figcaption|ImageDraw'),
  re.compile(r'gauge\.npz'),
  re.compile(r"""^(['"])draw\1$"""),
  re.compile('`picture`'),
)
# Lines on which matplotlib names its figures.
MATPLOTLIB = re.compile('matplotlib|mpl_figure|pyplot|backend_agg')
FILES = sorted(
  path
  for top in CLEAN
  for path in ([ROOT / top] if (ROOT / top).is_file() else (ROOT / top).rglob('*'))
  if path.suffix in SUFFIXES
)
_PHRASE = {
  re.compile(rf'(?<![\w.])(?:{phrase})(?!\w)', re.IGNORECASE): term for phrase, term in PHRASES.items()
}


def without_data(text: str) -> str:
  """Returns a text without words that are data or names of others."""
  for pattern in NOT_DIALECT:
    text = pattern.sub('', text)
  return text


def parts(identifier: str) -> list[str]:
  """Returns the words of an identifier: snake_case, CamelCase or both."""
  return [word.lower() for word in re.findall(r'[A-Z]?[a-z]+|[A-Z]+(?![a-z])', identifier)]


def phrases(text: str) -> Iterator[str]:
  """Yields a line for each listed phrase in a text."""
  for pattern, term in _PHRASE.items():
    for match in pattern.finditer(without_data(text)):
      yield f'"{match.group()}"; write: {term}'


def is_foreign(token: tokenize.TokenInfo) -> bool:
  """Whether an identifier is a name of a library, a parameter path of packaged weights, or a keyword."""
  before = token.line[: token.start[1]]
  is_of_matplotlib = 'figure' in token.string.lower() and MATPLOTLIB.search(token.line)
  is_parameter_path = token.string == 'picture' and before.endswith('self.')
  is_keyword = token.string == 'case' and re.match(r'\s*case [^=]*:', token.line) and not before.strip()
  return bool(token.string == 'ImageDraw' or is_of_matplotlib or is_parameter_path or is_keyword)


def texts(source: str) -> Iterator[tuple[int, str, bool]]:
  """Yields (line number, text, whether it is an identifier) of identifiers, comments and strings."""
  strings = (tokenize.STRING, getattr(tokenize, 'FSTRING_MIDDLE', tokenize.STRING))
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    if token.type == tokenize.NAME:
      if not is_foreign(token):
        yield token.start[0], token.string, True
    elif token.type == tokenize.COMMENT or token.type in strings:
      yield token.start[0], token.string, False


def dialect(source: str, is_python: bool) -> list[str]:
  """Returns a line for each listed term in a source, with the term to use."""
  if not is_python:
    lines = enumerate(source.splitlines(), 1)
    return [f'{number}: {found}' for number, line in lines for found in phrases(line)]
  found = []
  for number, text, is_identifier in texts(source):
    if not is_identifier:
      found += [f'{number}: {each}' for each in phrases(text)]
    else:
      words = [word for word in parts(text) if word in IDENTIFIERS]
      found += [f'{number}: {text}: write instead of "{word}": {IDENTIFIERS[word]}' for word in words]
  return found


@pytest.mark.parametrize('path', FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_terms_are_those_of_the_field(path):
  found = dialect(path.read_text(), path.suffix == '.py')
  assert not found, f'{path.relative_to(ROOT)}:\n' + '\n'.join(found)


def test_paths_exist():
  assert all((ROOT / path).exists() for path in CLEAN) and list(CLEAN) == sorted(set(CLEAN))


@pytest.mark.parametrize(
  ('source', 'is_python', 'number'),
  [
    ('def draw_soundtracks(): pass', True, 1),
    ('figure_of_case = 1', True, 2),
    ('class WornClips: pass', True, 1),
    ('# It is drawn anew.', True, 2),
    ('"""Returns the twins of the world\'s clips."""', True, 2),
    ("raise ValueError(f'{name} lies beside {other}')", True, 1),
    ('The figures are kept at hand.', False, 2),
    ("rng = streams.rng('look times')", True, 0),
    ('from matplotlib.figure import Figure', True, 0),
    ('from PIL import ImageDraw', True, 0),
    ("key = keys.derive(key, 'draw')", True, 0),
    ("raise ValueError('cannot draw')", True, 1),
    ('self.picture = encode(picture)', True, 1),
    ('match kind:\n  case 1:\n    case = 2', True, 1),
    ('"""Uses matplotlib.figure; withdrawn, worldwide, a topology looks like 4x4."""', True, 0),
    ('samples = sample(key)  # one per clip', True, 0),
  ],
)
def test_dialect_is_found(source, is_python, number):
  assert len(dialect(source, is_python)) == number
