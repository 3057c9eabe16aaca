"""The sounds of each package, with the licence that the package states for each file.

Nothing is from a table of licences: each reader finds the statement in the package that it reads
(the copyright file of Debian, the README or the list of the sounds' own authors), and a file without a
statement of CC0, CC-BY or MIT is left out with the reason. Files in `EXCLUDED` are left out although they are
stated to be free.
"""

from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import fnmatch
import gzip
import io
import itertools
import pathlib
import re
import xml.etree.ElementTree

import numpy as np
import soundfile

from data_pipelines.recordings import copyright_file
from data_pipelines.recordings import deb
from data_pipelines.recordings import openttd_cat
from data_pipelines.recordings import soundfont

# Package -> pattern of names -> why the statement of the package is not relied on.
EXCLUDED = {
  'sonic-pi-samples': {
    'loop_amen*': 'a known recording of 1969 whose owners did not state CC0; the uploader did',
  },
  'hydrogen-drumkits': {
    'Audiophob/*': 'the kit states CC0, but its files are uploads of others whose licences it does not state',
  },
}
_NOTICES = {'openttd-opensfx': ('copyright', 'readme.txt.gz')}
SAME_SUBTYPE = ('PCM_16', 'PCM_24', 'PCM_S8')  # that FLAC has, too


@dataclasses.dataclass(frozen=True)
class Sound:
  """A sound of a package.

  Attributes:
    name: unique in the package; a relative path without suffix.
    member: path in the package; of one that holds many sounds with `#` and the name of the sound.
    label: what it is, in words.
    licence: SPDX identifier.
    author: as stated.
    source: address of the original as stated; else that of the collection.
    related: keys; sounds that share one are of one instrument, kit, author or original.
    flac: content of a FLAC file, with the rate and channels of the original.
  """

  name: str
  member: str
  label: str
  licence: str
  author: str
  source: str
  related: tuple[str, ...]
  flac: bytes


@dataclasses.dataclass(frozen=True)
class Omission:
  """A sound that is left out.

  Attributes:
    member: see `Sound`.
    reason: why.
  """

  member: str
  reason: str


def read(package: str, path: pathlib.Path) -> Iterator[Sound | Omission]:
  """Yields the sounds of a package in its order.

  Args:
    package: a key of READERS.
    path: the `.deb`.

  Raises:
    ValueError: the package is damaged, or is not what its reader knows.
    OSError: it cannot be read.
  """
  try:
    yield from READERS[package](path)
  except soundfile.LibsndfileError as error:
    raise ValueError(f'{path}: has a sound that cannot be read ({error}).') from error
  except ValueError as error:
    message = str(error)
    raise ValueError(message if str(path) in message else f'{path}: {message}') from error


def notices(package: str, path: pathlib.Path) -> str:
  """Returns what a package says about its licences and credits."""
  names = [f'usr/share/doc/{package}/{name}' for name in _NOTICES.get(package, ('copyright',))]
  # Not all of the package is decompressed: it is closed after the last of them.
  found = itertools.islice(deb.files(path, lambda name: name in names), len(names))
  texts = [gzip.decompress(content) if name.endswith('.gz') else content for name, content in found]
  return '\n'.join(text.decode('utf-8', 'replace') for text in texts)


def encode(wave_NA: np.ndarray, sample_rate_hz: int, subtype: str = 'PCM_16') -> bytes:
  """Returns integers as the content of a FLAC file."""
  file = io.BytesIO()
  soundfile.write(file, wave_NA, sample_rate_hz, format='FLAC', subtype=subtype)
  return file.getvalue()


def _reencode(content: bytes) -> bytes:
  """Returns a sound file as FLAC without loss; FLAC as it is."""
  with soundfile.SoundFile(io.BytesIO(content)) as file:
    if file.format == 'FLAC':
      return content
    if file.subtype not in SAME_SUBTYPE + ('PCM_U8',):
      raise ValueError(f'has sound as {file.subtype}; wanted integers of at most 24 bits.')
    subtype = 'PCM_S8' if file.subtype == 'PCM_U8' else file.subtype
    wave_NA = file.read(dtype='int16' if subtype == 'PCM_16' else 'int32', always_2d=True)
    return encode(wave_NA, file.samplerate, subtype)


def _sonic_pi(path: pathlib.Path) -> Iterator[Sound | Omission]:
  """Yields the samples: each is listed as CC0 in the copyright file, or in the README of the samples."""
  prefix = 'usr/share/sonic-pi/samples/'
  content = dict(deb.files(path, lambda name: name.startswith(prefix) or name.endswith('/copyright')))
  statements = copyright_file.parse(_text(content, 'usr/share/doc/sonic-pi-samples/copyright'))
  listed = _listed_samples(content.get(f'{prefix}README.md', b'').decode('utf-8', 'replace'))
  for member in sorted(name for name in content if name.endswith('.flac')):
    stem = member.removeprefix(prefix).removesuffix('.flac')
    if reason := _exclusion('sonic-pi-samples', stem):
      yield Omission(member, reason)
      continue
    statement = copyright_file.applying(statements, f'etc/samples/{stem}.flac')
    if statement is not None and statement.patterns != ('*',):
      licence, author, source = statement.licence, statement.holders, statement.source
    elif source := listed.get(stem.replace('_', '')):
      licence, author = 'CC0', source.split('/people/')[-1].split('/')[0]
    else:
      yield Omission(member, 'neither the copyright file nor the README states its licence')
      continue
    if spdx := copyright_file.SPDX.get(licence):
      label = _sonic_pi_label(stem)
      yield Sound(stem, member, label, spdx, author, source, (f'author {author}',), content[member])
    else:
      yield Omission(member, f'licence {licence}')


def _listed_samples(readme: str) -> dict[str, str]:
  """Returns names without underscores -> address, if the README states CC0 for all samples in its folder."""
  if 'All samples in this directory' not in readme or 'Creative Commons 0' not in readme:
    return {}
  rows = re.findall(r'`:(\w+)`\s*-\s*(https?://\S+)', readme)
  return {name.replace('_', ''): address for name, address in rows}


_PREFIXES = {
  'ambi': 'ambience',
  'bd': 'bass drum',
  'elec': 'electronic',
  'guit': 'guitar',
  'misc': '',
  'perc': 'percussion',
  'sn': 'snare drum',
}


def _sonic_pi_label(stem: str) -> str:
  first, _, rest = stem.partition('_')
  return f'{_PREFIXES.get(first, first)} {rest}'.replace('_', ' ').strip()


def _fluid(path: pathlib.Path, package: str) -> Iterator[Sound | Omission]:
  """Yields the samples of a Fluid SoundFont, if the copyright file says that it is under the MIT licence."""
  content = dict(deb.files(path, lambda name: name.endswith(('.sf2', f'{package}/copyright'))))
  text = _text(content, f'usr/share/doc/{package}/copyright')
  if 'release Fluid under the MIT license' not in ' '.join(text.split()):
    raise ValueError('its copyright file does not state the MIT licence.')
  addresses = re.findall(r'https?://[^\s<>]+fluid[^\s<>]*', text)
  names: dict[str, int] = {}
  for member in sorted(name for name in content if name.endswith('.sf2')):
    for sample in soundfont.read(content[member]):
      stem = re.sub(r'[^\w#-]+', '_', sample.name).strip('_').replace('#', 'sharp') or 'sample'
      names[stem] = names.get(stem, 0) + 1
      name = stem if names[stem] == 1 else f'{stem}_{names[stem]}'
      label = sample_label(sample.name)
      yield Sound(
        name,
        f'{member}#{sample.name}',
        label,
        'MIT',
        'Frank Wen, Toby Smithe and contributors',
        addresses[0] if addresses else '',
        tuple(f'instrument {word}' for word in label_words(label)),
        encode(sample.wave_NA, sample.sample_rate_hz),
      )


# A note at the end of a name, with an octave or a number of the sample, or a number alone.
_NOTE = re.compile(r'(?:[ _]*(?<![A-Z])[A-G][#b]? ?[O\d]+|[ _][a-g]#? ?\d+|[ ][A-G][#b]?|[ -]*\d+(?:-\d+)?)$')
_GENERAL_WORDS = frozenset(
  'low high hi mid md med mdhi long short flr floor std power closed open small room up down '
  'slap drum hit pull push wave noise stop start car muted clean the soft fine electric synth solo '
  'orchestral'.split()
)
_SPELLINGS = {
  'crsh': 'crash',
  'dulci': 'dulcimer',
  'elec': 'electric',
  'electronic': 'electric',
  'electtom': 'electric tom',
  'glocken': 'glockenspiel',
  'gtr': 'guitar',
  'harmnc': 'harmonica',
  'harmon': 'harmonica',
  'heli': 'helicopter',
  'ocar': 'ocarina',
  'orch': 'orchestral',
  'orchcrash': 'orchestral crash',
  'pizz': 'pizzicato',
  'rmpwr': 'room snare',
  'shakhchi': 'shakuhachi',
  'snr': 'snare',
  'tp': 'trumpet',
}


def sample_label(name: str) -> str:
  """Returns the name of a sample in words without channel, note and number: 'slap bass' of 'Slap Bass G5'."""
  stem = re.sub(r'\(([LR])\)?$|(?<=\d)[LR]$|(?<=\d) [LR]$', '', name).rstrip()
  while True:
    shorter = _NOTE.sub('', stem).rstrip(' _-')
    if shorter == stem or len(shorter) < 2:
      break
    stem = shorter
  words = re.sub(r'[_.\s]+', ' ', stem).lower().split()
  return ' '.join(_SPELLINGS.get(word, word) for word in words)


def label_words(label: str) -> list[str]:
  """Returns the words of a label that tell instruments apart; the label itself if there are none."""
  if label.startswith('808'):
    return ['808']  # a kit
  words = re.findall(r"[a-z0-9'-]{2,}", label.replace('bass drum', 'kick'))
  return sorted({word for word in words if word not in _GENERAL_WORDS} or {label})


_OPENSFX_LICENCES = {
  'Creative Commons Attribution 3.0 Unported': 'CC-BY-3.0',
  'Creative Commons Attribution 3.0': 'CC-BY-3.0',  # descriptions are cut at 255 bytes
  'Creative Commons Zero 1.0': 'CC0-1.0',
}


def _opensfx(path: pathlib.Path) -> Iterator[Sound | Omission]:
  """Yields the sounds whose own description states CC0 or CC-BY; the collection is CC-BY-SA as a whole."""
  for member, content in deb.files(path, lambda name: name.endswith('.cat')):
    for entry in openttd_cat.read(content):
      stem = pathlib.PurePosixPath(entry.file_name).stem
      where = f'{member}#{entry.file_name}'
      title, _, about = entry.description.strip('"').partition('"')
      about, _, licence = about.partition('License: ')
      licence = licence.split('.  ')[0].split('. Original')[0].strip(' .')
      if 'Trivial empty' in about:
        yield Omission(where, 'silence')
      elif licence not in _OPENSFX_LICENCES:
        yield Omission(where, f'licence {licence or "not stated"}')
      else:
        author = ' '.join(about.strip(' .').split())
        yield Sound(
          stem,
          where,
          title.replace('Toyland: ', '').replace('Tropical: ', '').lower(),
          _OPENSFX_LICENCES[licence],
          author,
          'https://github.com/OpenTTD/OpenSFX',
          _opensfx_relations(author),
          _reencode(entry.wav),
        )


def _opensfx_relations(about: str) -> tuple[str, ...]:
  """Returns keys of the authors of the originals: sounds of one original are related."""
  originals = re.split(r'\. (?:Cut and e|E|Mixed/e|Edit)', about)[0]
  names = re.findall(r'\bby "?([^",]+?)"?(?= and |[,(]|$)', originals, re.IGNORECASE)
  return tuple(f'author {name.strip()}' for name in names) or (f'original {originals}',)


def _hydrogen(path: pathlib.Path) -> Iterator[Sound | Omission]:
  """Yields the files of kits whose copyright statement and own description both state CC0 or CC-BY."""
  prefix = 'usr/share/hydrogen/data/drumkits/'
  content = dict(deb.files(path, lambda name: name.startswith(prefix) or name.endswith('/copyright')))
  statements = copyright_file.parse(_text(content, 'usr/share/doc/hydrogen-drumkits/copyright'))
  for member in sorted(content):
    kit, _, file_name = member.removeprefix(prefix).partition('/')
    if not file_name.lower().endswith(('.flac', '.wav', '.aiff', '.ogg')):
      continue
    statement = copyright_file.applying(statements, f'drumkits/{kit.removesuffix(" v4")}.h2drumkit')
    spdx = copyright_file.SPDX.get(statement.licence) if statement else None
    about = _Drumkit(content.get(f'{prefix}{kit}/drumkit.xml', b''))
    if reason := _exclusion('hydrogen-drumkits', f'{kit}/{file_name}'):
      yield Omission(member, reason)
    elif statement is None or spdx is None:
      yield Omission(member, f'licence {statement.licence if statement else "not stated"}')
    elif not about.states(spdx):
      yield Omission(member, f'the kit states {about.licence!r}, and the copyright file {statement.licence}')
    else:
      yield Sound(
        f'{kit}/{pathlib.PurePosixPath(file_name).stem}',
        member,
        about.labels.get(file_name, 'drum kit'),
        spdx,
        statement.holders,
        statement.source,
        (f'kit {kit}',),
        _reencode(content[member]),
      )


class _Drumkit:
  """What the `drumkit.xml` of a kit says: its licence, and the names of the instruments of its files."""

  def __init__(self, content: bytes):
    self.licence, self.labels = '', {}
    if not content:
      return
    root = xml.etree.ElementTree.fromstring(re.sub(rb' xmlns="[^"]*"', b'', content))
    self.licence = (root.findtext('license') or '').strip()
    for found in root.iter('instrument'):
      name = (found.findtext('name') or '').split(' - ')[-1].strip()
      if name and not name.startswith('Sample'):
        self.labels |= {file.text or '': name.lower() for file in found.iter('filename')}

  def states(self, spdx: str) -> bool:
    """Whether the kit names the licence, and none with more conditions."""
    words = re.sub('[^a-z0]+', '-', self.licence.lower())
    if re.search(r'share|-(sa|nc|nd)\b|gpl', words):
      return False
    if spdx.startswith('CC0'):
      return 'cc0' in words or 'commons-0' in words
    return 'cc-by' in words or 'licenses-by' in words


def _exclusion(package: str, name: str) -> str | None:
  for pattern, reason in EXCLUDED.get(package, {}).items():
    if fnmatch.fnmatchcase(name, pattern):
      return reason
  return None


def _text(content: dict[str, bytes], name: str) -> str:
  if name not in content:
    raise ValueError(f'has no {name}.')
  return content[name].decode('utf-8', 'replace')


READERS: dict[str, Callable[[pathlib.Path], Iterator[Sound | Omission]]] = {
  'sonic-pi-samples': _sonic_pi,
  'fluid-soundfont-gm': lambda path: _fluid(path, 'fluid-soundfont-gm'),
  'fluid-soundfont-gs': lambda path: _fluid(path, 'fluid-soundfont-gs'),
  'openttd-opensfx': _opensfx,
  'hydrogen-drumkits': _hydrogen,
}
