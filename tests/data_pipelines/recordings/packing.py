"""Small Debian packages, SoundFonts and sound sets of tests."""

import io
import pathlib
import struct
import tarfile

import numpy as np
import soundfile


def tar(files: dict[str, bytes], compression: str) -> bytes:
  """Returns a tar archive, compressed by 'xz', 'gz' or ''."""
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode=f'w:{compression}') as archive:
    for name, content in files.items():
      info = tarfile.TarInfo(f'./{name}')
      info.size = len(content)
      archive.addfile(info, io.BytesIO(content))
  return file.getvalue()


def deb(
  path: pathlib.Path, name: str, files: dict[str, bytes], version: str = '1-1', compression: str = 'xz'
) -> pathlib.Path:
  """Writes a package of files, as an `ar` archive of three members."""
  control = f'Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: a\nDescription: b\n c: d\n'
  members = {
    'debian-binary': b'2.0\n',
    f'control.tar.{compression}': tar({'control': control.encode()}, compression),
    f'data.tar.{compression}': tar(files, compression),
  }
  parts = [b'!<arch>\n']
  for member, content in members.items():
    parts.append(f'{member:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n'.encode())
    parts.append(content + b'\n' * (len(content) % 2))
  path.mkdir(parents=True, exist_ok=True)
  file = path / f'{name}_{version}_all.deb'
  file.write_bytes(b''.join(parts))
  return file


def chunk(name: bytes, body: bytes) -> bytes:
  """Returns a chunk of a RIFF file."""
  return name + struct.pack('<I', len(body)) + body + bytes(len(body) % 2)


def soundfont(samples: list[tuple[str, np.ndarray, int, int, int]]) -> bytes:
  """Returns a SoundFont 2 of samples (name, int16, rate, index of the other channel, type)."""
  pcm, headers, start = [], b'', 0
  for name, wave_N, rate_hz, link, kind in samples:
    end = start + len(wave_N)
    headers += struct.pack('<20sIIIIIBbHH', name.encode(), start, end, start, end, rate_hz, 60, 0, link, kind)
    pcm += [wave_N.astype('<i2'), np.full(46, 9, '<i2')]  # 46 samples of silence are usual; here not zeros
    start = end + 46
  headers += struct.pack('<20sIIIIIBbHH', b'EOS', *[0] * 9)
  lists = [
    b'INFO' + chunk(b'ICMT', b'MIT'),
    b'sdta' + chunk(b'smpl', np.concatenate(pcm).tobytes()),
    b'pdta' + chunk(b'phdr', b'') + chunk(b'shdr', headers),
  ]
  return chunk(b'RIFF', b'sfbk' + b''.join(chunk(b'LIST', body) for body in lists))


def cat(entries: list[tuple[str, str, bytes]]) -> bytes:
  """Returns a sound set of OpenTTD of (description, name of the file, WAV)."""
  index, body = b'', b''
  for description, file_name, wav in entries:
    texts = [text.encode()[:254] + b'\0' for text in (description, file_name)]
    offset = (8 * len(entries) + len(body)) | 1 << 31
    index += struct.pack('<II', offset, len(wav))
    body += bytes([len(texts[0])]) + texts[0] + wav + b'\0' + bytes([len(texts[1])]) + texts[1]
  return index + body


def sound(seed: int, seconds: float = 0.1, kind: str = 'FLAC', rate_hz: int = 22050) -> bytes:
  """Returns a mono sound file of noise, 16 bits."""
  wave_N = np.random.default_rng(seed).integers(-9000, 9000, round(seconds * rate_hz), np.int16)
  file = io.BytesIO()
  soundfile.write(file, wave_N, rate_hz, format=kind, subtype='PCM_16')
  return file.getvalue()


COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2016 Samuel Aaron
License: MIT

Files: etc/samples/bd_a.flac etc/samples/sn_?.flac
Copyright: 2013, 2014 EKVelika <e@example.org>
Source: <http://freesound.org/people/EKVelika/sounds/1/>
License: CC0

Files: etc/samples/loop_x.flac
Copyright: 2014 Garzul
http://freesound.org/people/Garzul/sounds/213524/
License: CC-BY-SA-3.0

License: CC0
 Statement of Purpose
"""
README = """# Samples
All samples in this directory are from http://freesound.org and have
been placed in the public domain via the Creative Commons 0 License:
* `:glitch_bass_1` - https://freesound.org/people/hullum/sounds/415549/
"""


def sonic_pi(folder: pathlib.Path, **kwargs) -> pathlib.Path:
  """Writes a package like sonic-pi-samples."""
  prefix = 'usr/share/sonic-pi/samples/'
  names = ('bd_a', 'sn_b', 'loop_x', 'loop_amen', 'glitch_bass1', 'not_listed')
  files = {f'{prefix}{name}.flac': sound(index) for index, name in enumerate(names)}
  files |= {
    'usr/share/doc/sonic-pi-samples/copyright': COPYRIGHT.encode(),
    f'{prefix}README.md': README.encode(),
    f'{prefix}sn_c.flac': files[f'{prefix}bd_a.flac'],
  }
  return deb(folder, 'sonic-pi-samples', files, **kwargs)


def fluid(
  folder: pathlib.Path, licence: str = 'I hereby release Fluid under the\n MIT license'
) -> pathlib.Path:
  """Writes a package like fluid-soundfont-gs."""
  ramp_N = np.arange(1000)
  content = soundfont([('Piano C4(L)', ramp_N, 32000, 0, 4), ('Piano C4(R)', -ramp_N[:900], 32000, 0, 2)])
  files = {
    'usr/share/sounds/sf2/F.sf2': content,
    'usr/share/doc/fluid-soundfont-gs/copyright': licence.encode(),
  }
  return deb(folder, 'fluid-soundfont-gs', files)
