"""Copies of clips are found, others are not, and test clips do not leak into training."""

import dataclasses
import functools
import pathlib
import time

import av
import numpy as np
import pytest

from data_pipelines import decode
from data_pipelines import decoded
from data_pipelines.filters import duplicates
from data_pipelines.filters import fingerprints
from v2a.synthetic import clips

RATE_HZ = 16000
SCENES = ('bounce', 'keys', 'dialogue', 'pass', 'score', 'collide')


@functools.cache
def clip(index: int) -> decoded.DecodedClip:
  rendered = clips.render(5, index, (SCENES[index % len(SCENES)],), 'clean', 6.0, 8, 96, RATE_HZ)
  return decoded.DecodedClip(f'{index}', rendered.frame_LYX3, rendered.wave_NA, RATE_HZ, 0.0, 6.0)


def entry(
  found: decoded.DecodedClip, name: str, split: str | None = 'train', group: str | None = None
) -> duplicates.Entry:
  return duplicates.Entry(name, split, group or name, fingerprints.make(found))


def cut(found: decoded.DecodedClip, start_s: float) -> decoded.DecodedClip:
  """Returns a clip that begins later, with frames at times between those of the other one."""
  num = len(found.frame_MYX3)
  index_M = np.minimum((np.arange(num - 3) / 8 + start_s) * 8 + 1e-6, num - 1).astype(int)
  wave_NA = found.wave_NA[round(start_s * found.sample_rate_hz) :]
  return dataclasses.replace(found, frame_MYX3=found.frame_MYX3[index_M], wave_NA=wave_NA)


COPIES = {
  'smaller': lambda c: dataclasses.replace(c, frame_MYX3=c.frame_MYX3[:, ::2, ::2]),
  'other shape': lambda c: dataclasses.replace(c, frame_MYX3=np.repeat(c.frame_MYX3, 2, axis=2)),
  'darker and quieter': lambda c: dataclasses.replace(
    c, frame_MYX3=(c.frame_MYX3 * 0.7).astype(np.uint8), wave_NA=0.2 * c.wave_NA
  ),
  'mono': lambda c: dataclasses.replace(c, wave_NA=c.wave_NA.mean(axis=1, keepdims=True)),
  'cut': lambda c: cut(c, 0.3),
  'without sound': lambda c: dataclasses.replace(c, wave_NA=np.zeros((0, 1), 'f4')),
  'other sound': lambda c: dataclasses.replace(c, wave_NA=clip(7).wave_NA),
  'without video': lambda c: dataclasses.replace(c, frame_MYX3=np.zeros((0, 0, 0, 3), np.uint8)),
}
# Scenes of which the frames or the sound alone identify a clip.
BY_FRAMES, BY_SOUND = (0, 3, 5), (1, 2, 4)


@pytest.mark.parametrize('kind', COPIES)
def test_copies_are_found(kind):
  indices = {'without sound': BY_FRAMES, 'other sound': BY_FRAMES, 'without video': BY_SOUND}.get(
    kind, range(6)
  )
  entries = [entry(clip(index), f'original {index}', 'test') for index in indices]
  entries += [entry(COPIES[kind](clip(index)), f'copy {index}') for index in indices]
  found = duplicates.find(entries)
  assert {name: each.of for name, each in found.items()} == {f'copy {k}': f'original {k}' for k in indices}


def test_a_copy_at_a_low_bit_rate_is_found(tmp_path: pathlib.Path):
  original, path = clip(0), tmp_path / 'copy.mp4'
  with av.open(str(path), 'w') as output:
    video = output.add_stream(
      'libx264', rate=8, width=64, height=64, pix_fmt='yuv420p', options={'crf': '38'}
    )
    audio = output.add_stream('aac', rate=RATE_HZ, layout='stereo')
    audio.bit_rate = 32000
    for frame_YX3 in original.frame_MYX3:
      output.mux(video.encode(av.VideoFrame.from_ndarray(frame_YX3, 'rgb24').reformat(64, 64, 'yuv420p')))
    output.mux(video.encode(None))
    for start in range(0, len(original.wave_NA), 1024):
      block = np.ascontiguousarray(original.wave_NA[start : start + 1024].T)
      frame = av.AudioFrame.from_ndarray(block, format='fltp', layout='stereo')
      frame.sample_rate, frame.pts = RATE_HZ, start
      output.mux(audio.encode(frame))
    output.mux(audio.encode(None))
  media = decode.open_file(path)
  (copy,) = decode.decode(media, [(0.0, media.info.duration_s)], 'copy')
  others = [entry(clip(index), f'{index}', 'test') for index in range(6)]
  assert duplicates.find([*others, entry(copy, 'copy')])['copy'].of == '0'
  silent = dataclasses.replace(copy, wave_NA=copy.wave_NA[:0])
  assert duplicates.find([*others, entry(silent, 'copy')])['copy'].by == 'frames'
  blind = dataclasses.replace(copy, frame_MYX3=copy.frame_MYX3[:0])
  assert duplicates.find([*others, entry(blind, 'copy')])['copy'].by == 'sound'


def test_different_clips_are_none():
  assert duplicates.find([entry(clip(index), f'{index}') for index in range(12)]) == {}


def test_clips_without_content_are_none():
  black_MYX3, silence_NA = np.zeros((48, 96, 96, 3), np.uint8), np.zeros((96000, 1), 'f4')
  empty = dataclasses.replace(clip(0), frame_MYX3=black_MYX3, wave_NA=silence_NA)
  fingerprint = fingerprints.make(empty)
  assert not len(fingerprint.frame_hash_M) and not len(fingerprint.sound_hash_S)
  assert duplicates.find([entry(empty, 'a'), entry(empty, 'b', 'test')]) == {}


def static(index: int, sound: decoded.DecodedClip) -> decoded.DecodedClip:
  """Returns a clip of a scene in which nothing moves."""
  frame_MYX3 = np.stack([clip(index).frame_MYX3[0]] * 48)
  return dataclasses.replace(sound, frame_MYX3=frame_MYX3)


def test_a_static_scene_identifies_no_clip_that_has_sound():
  one, other = static(0, clip(1)), static(0, clip(2))
  assert duplicates.find([entry(one, 'a'), entry(other, 'b')]) == {}
  silent = dataclasses.replace(other, wave_NA=np.zeros((0, 1), 'f4'))
  assert duplicates.find([entry(one, 'a'), entry(silent, 'b')])['b'].by == 'frames'


def test_the_split_of_lower_priority_is_rejected_whatever_the_order():
  copies = [
    entry(clip(0), 'a', 'train'),
    entry(clip(0), 'z', 'test'),
    entry(clip(0), 'c', 'validation'),
    entry(clip(0), 'd', None),
  ]
  for entries in (copies, copies[::-1]):
    assert {name: each.of for name, each in duplicates.find(entries).items()} == dict.fromkeys('acd', 'z')
  # Within a split the first id remains.
  same = [entry(clip(0), name) for name in ('b', 'a')]
  assert duplicates.find(same) == {'b': duplicates.Duplicate('a', 0.0, 'frames')}


def test_clips_of_a_group_are_not_compared():
  entries = [entry(clip(0), 'a', group='video'), entry(clip(0), 'b', group='video')]
  assert duplicates.find(entries) == {}


def test_a_clip_remains_if_only_a_rejected_one_matches():
  hashes = [np.full(4, value, np.uint64) for value in (0, 0b1111111, 0b11111111111111)]
  none = np.zeros(0, np.uint32)
  chain = [
    duplicates.Entry(name, 'train', name, fingerprints.Fingerprint(hash_M, np.arange(4), none))
    for name, hash_M in zip('abc', hashes)
  ]
  assert list(duplicates.find(chain)) == ['b']
  assert list(duplicates.find(chain[1:])) == ['c']


def test_a_common_title_frame_makes_no_duplicate():
  rng = np.random.default_rng(0)
  one_M, other_M = rng.integers(0, 2**64, (2, 10), dtype=np.uint64)
  one_M[:2] = other_M[:2]
  none = np.zeros(0, np.uint32)
  entries = [
    duplicates.Entry(name, 'train', name, fingerprints.Fingerprint(hash_M, np.arange(10), none))
    for name, hash_M in (('a', one_M), ('b', other_M))
  ]
  assert duplicates.find(entries) == {}


def test_ids_must_be_unique():
  with pytest.raises(ValueError, match='unique'):
    duplicates.find([entry(clip(0), 'a'), entry(clip(1), 'a')])


def test_json_round_trip():
  fingerprint = fingerprints.make(clip(0))
  again = fingerprints.Fingerprint.from_json(fingerprint.to_json())
  for name, value in vars(fingerprint).items():
    assert np.array_equal(value, getattr(again, name)) and value.dtype == getattr(again, name).dtype


def random_entries(num: int, num_copies: int):
  """Yields unrelated clips, then copies of the first ones with a tenth of their hashes changed."""
  rng = np.random.default_rng(0)
  num_sound = fingerprints.NUM_SOUND_HASHES
  hash_NM = rng.integers(0, 2**64, (num, 12), dtype=np.uint64)
  sound_NS = rng.integers(0, 2**32, (num, num_sound), dtype=np.uint64).astype(np.uint32)
  for k in range(num):
    yield duplicates.Entry(
      f'o{k}', 'test', f'o{k}', fingerprints.Fingerprint(hash_NM[k], np.arange(12), sound_NS[k])
    )
  for k in range(num_copies):
    flip_M = np.uint64(1) << rng.integers(0, 64, 12).astype(np.uint64)
    yield duplicates.Entry(
      f'c{k}', 'train', f'c{k}', fingerprints.Fingerprint(hash_NM[k] ^ flip_M, np.arange(12), sound_NS[k])
    )


def test_time_is_linear_and_every_copy_is_found():
  start_s = time.process_time()
  found = duplicates.find(random_entries(20_000, 1000))
  assert {name: each.of for name, each in found.items()} == {f'c{k}': f'o{k}' for k in range(1000)}
  # All pairs would be 2 * 10**8.
  assert time.process_time() - start_s < 60


def test_many_copies_of_one_clip_take_linear_time():
  fingerprint = fingerprints.make(clip(0))
  entries = [duplicates.Entry(f'{k:05}', 'train', f'{k}', fingerprint) for k in range(1000)]
  found = duplicates.find(entries)
  assert len(found) == 999 and {each.of for each in found.values()} == {'00000'}


def test_a_bucket_gives_a_bounded_number_of_pairs():
  key_M, owner_M = np.full(500, 7, np.uint64), np.repeat(np.arange(250, dtype=np.uint32), 2)
  pair_N = duplicates._candidates(key_M, owner_M)
  assert len(pair_N) <= 250 * 8
  # Each clip is compared with the first one.
  assert set(pair_N[pair_N < 1 << 32].tolist()) == set(range(1, 250))
