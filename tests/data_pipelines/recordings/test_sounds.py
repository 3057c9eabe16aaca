"""Licences and names of the sounds of packages."""

import io

import numpy as np
import pytest
import soundfile

from data_pipelines.recordings import copyright_file
from data_pipelines.recordings import openttd_cat
from data_pipelines.recordings import sounds
from data_pipelines.recordings import splits
from tests.data_pipelines.recordings import packing


def read(name, path):
  """Returns sounds and omissions of a package by the last part of their path in it."""
  found = list(sounds.read(name, path))
  key = lambda item: item.member.rsplit('/', 1)[-1]
  return (
    {key(item): item for item in found if isinstance(item, sounds.Sound)},
    {key(item): item.reason for item in found if isinstance(item, sounds.Omission)},
  )


def test_the_last_statement_that_matches_applies():
  statements = copyright_file.parse(packing.COPYRIGHT)
  apply = lambda path: copyright_file.applying(statements, path)
  assert apply('etc/samples/sn_b.flac').licence == 'CC0'
  assert apply('etc/samples/sn_bb.flac').licence == 'MIT'
  statement = apply('etc/samples/bd_a.flac')
  assert statement.holders == 'EKVelika <e@example.org>'
  assert statement.source == 'http://freesound.org/people/EKVelika/sounds/1/'
  assert apply('etc/samples/loop_x.flac').source == 'http://freesound.org/people/Garzul/sounds/213524/'
  assert apply('etc/samples/loop_x.flac').holders == 'Garzul'


def test_sonic_pi(tmp_path):
  found, omitted = read('sonic-pi-samples', packing.sonic_pi(tmp_path))
  assert sorted(found) == ['bd_a.flac', 'glitch_bass1.flac', 'sn_b.flac', 'sn_c.flac']
  assert {sound.licence for sound in found.values()} == {'CC0-1.0'}
  assert (found['bd_a.flac'].label, found['sn_b.flac'].author) == ('bass drum a', 'EKVelika <e@example.org>')
  assert found['glitch_bass1.flac'].source.endswith('/sounds/415549/')
  assert found['glitch_bass1.flac'].author == 'hullum'
  assert omitted['loop_x.flac'] == 'licence CC-BY-SA-3.0'
  assert 'neither' in omitted['not_listed.flac'] and '1969' in omitted['loop_amen.flac']


def test_a_readme_that_states_no_licence(tmp_path, monkeypatch):
  monkeypatch.setattr(packing, 'README', packing.README.replace('All samples', 'Some samples'))
  _, omitted = read('sonic-pi-samples', packing.sonic_pi(tmp_path))
  assert 'neither' in omitted['glitch_bass1.flac']


def test_fluid(tmp_path):
  found, _ = read('fluid-soundfont-gs', packing.fluid(tmp_path))
  (sound,) = found.values()
  assert (sound.name, sound.label, sound.licence) == ('Piano_C4', 'piano', 'MIT')
  wave_NA, rate_hz = soundfile.read(io.BytesIO(sound.flac), dtype='int16')
  assert rate_hz == 32000
  np.testing.assert_array_equal(wave_NA, np.stack([np.arange(900), -np.arange(900)], axis=1))
  with pytest.raises(ValueError, match='fluid-soundfont-gs.*does not state the MIT licence'):
    read('fluid-soundfont-gs', packing.fluid(tmp_path, licence='All rights reserved.'))


def test_opensfx(tmp_path):
  attribution = 'License: Creative Commons Attribution 3.0 Unported.'
  wav = packing.sound(1, kind='WAV')
  content = packing.cat(
    [
      (
        f'"Ship horn". Original "a.aif" by Leon Milo. Edited by Wuzzy. {attribution}',
        'src/wav/osfx_06.wav',
        wav,
      ),
      (
        f'"Wind". Original "b" by "Anton" and "c" by "cfork". Edited by "Wuzzy". {attribution}',
        'x/osfx_52.wav',
        wav,
      ),
      ('"Cow". By Anton. License: Creative Commons Zero 1.0.', 'x/osfx_37.wav', wav),
      (f'"{"Horse " * 30}". By Janis Lukss. {attribution}', 'x/osfx_38.wav', wav),
      ('"Heli". License: Creative Commons Attribution-ShareAlike 3.0 Unported.', 'x/osfx_24.wav', wav),
      ('"Unused". Trivial empty sound file. License: Creative Commons Zero 1.0.', 'x/osfx_34.wav', wav),
      ('"Other". By a. License: free.', 'x/osfx_35.wav', wav),
    ]
  )
  path = packing.deb(tmp_path, 'openttd-opensfx', {'usr/share/games/opensfx.cat': content})
  found, omitted = read('openttd-opensfx', path)
  licences = {name: sound.licence for name, sound in found.items()}
  assert licences == dict.fromkeys(('osfx_06.wav', 'osfx_52.wav', 'osfx_38.wav'), 'CC-BY-3.0') | {
    'osfx_37.wav': 'CC0-1.0'
  }
  assert found['osfx_06.wav'].related == ('author Leon Milo',)
  assert found['osfx_52.wav'].related == ('author Anton', 'author cfork')
  assert found['osfx_37.wav'].related == ('author Anton',)
  assert 'ShareAlike' in omitted['osfx_24.wav'] and omitted['osfx_34.wav'] == 'silence'
  assert omitted['osfx_35.wav'] == 'licence free'
  read_NA, _ = soundfile.read(io.BytesIO(found['osfx_06.wav'].flac), dtype='int16')
  np.testing.assert_array_equal(read_NA, soundfile.read(io.BytesIO(wav), dtype='int16')[0])


@pytest.mark.parametrize(
  'damage', [lambda content: content[4:], lambda content: content[:-40], lambda content: b'']
)
def test_damaged_sound_set(damage):
  content = packing.cat([('"a"', 'a.wav', packing.sound(1, kind='WAV'))])
  with pytest.raises(ValueError):
    list(openttd_cat.read(damage(content)))


def test_hydrogen(tmp_path):
  def kit(licence):
    return f'<drumkit_info xmlns="http://x"><license>{licence}</license></drumkit_info>'.encode()

  prefix = 'usr/share/hydrogen/data/drumkits/'
  names = {
    'free': 'CC-BY',
    'gpl': 'GPL',
    'contrary': 'GPL',
    'share': 'cc-by-sa',
    'Audiophob': 'Creative Commons 0',
  }
  files = {f'{prefix}{name}/drumkit.xml': kit(licence) for name, licence in names.items()}
  files |= {f'{prefix}{name}/1.wav': packing.sound(3, kind='WAV') for name in names}
  stated = {
    'free': 'CC-BY-3.0',
    'gpl': 'GPL-2',
    'contrary': 'CC-BY-3.0',
    'share': 'CC-BY-3.0',
    'Audiophob': 'CC0',
  }
  paragraphs = [
    f'Files: drumkits/{name}.h2drumkit\nCopyright: A\nLicense: {licence}\n'
    for name, licence in stated.items()
  ]
  files['usr/share/doc/hydrogen-drumkits/copyright'] = '\n'.join(paragraphs).encode()
  path = packing.deb(tmp_path, 'hydrogen-drumkits', files)
  found = list(sounds.read('hydrogen-drumkits', path))
  assert [item.name for item in found if isinstance(item, sounds.Sound)] == ['free/1']
  assert len(found) == 5


@pytest.mark.parametrize(
  'name, label',
  [
    ('Slap Bass G5', 'slap bass'),
    ('Alto C#6', 'alto'),
    ('tromboneEb6', 'trombone'),
    ('Koto F# 6(R)', 'koto'),
    ('Strings E3L', 'strings'),
    ('Std Kick 7', 'std kick'),
    ('Ride2', 'ride'),
    ('B3 D#3', 'b3'),
    ('tp_c6', 'trumpet'),
    ('PalmMuted Guitar Bb', 'palmmuted guitar'),
    ('saw-880', 'saw'),
    ('Finger Bass EO', 'finger bass'),
  ],
)
def test_labels_of_samples(name, label):
  assert sounds.sample_label(name) == label


def test_related_sounds_are_one_group():
  found = splits.groups([('a', 'b'), ('c',), ('d', 'c'), ('b', 'e'), ('f',), ('e', 'd'), ('f',)])
  assert found == ['a', 'a', 'a', 'a', 'f', 'a', 'f']


def test_shares_of_splits():
  counts = dict.fromkeys(splits.SHARES, 0)
  for index in range(4000):
    counts[splits.split_of(f'group {index}')] += 1
  for name, share in splits.SHARES.items():
    assert abs(counts[name] / 4000 - share) < 0.015
