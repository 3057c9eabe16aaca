"""Filters of sound and video together."""

import dataclasses

import numpy as np
import pytest

from data_pipelines import decoded
from data_pipelines.filters import registry
from data_pipelines.filters import sync
from v2a.metrics.embedders import synchformer


def clip(**changes) -> decoded.DecodedClip:
  wave_NA = np.random.default_rng(0).standard_normal((96000, 1)).astype('f4')
  found = decoded.DecodedClip('a', np.zeros((48, 8, 8, 3), np.uint8), wave_NA, 16000, 0.0, 6.0)
  return dataclasses.replace(found, **changes)


def test_without_weights_the_reason_is_recorded(tmp_path):
  (found,) = registry.load(['sync'], str(tmp_path))
  assert found.unavailable_reason == 'weights synchformer_state_dict.pth missing'
  assert found.measure(clip()).reason == found.unavailable_reason


@pytest.fixture
def loaded(tmp_path, monkeypatch):
  """The filter with Synchformer's protocol and a network that finds an offset of +0.4 and -0.2 s."""
  (tmp_path / synchformer.FILES[0].file).touch()
  logits_NO = np.zeros((2, 21))
  logits_NO[0, 12] = logits_NO[1, 9] = 1.0

  class Network(synchformer.Synchformer):
    def __init__(self):
      pass

    def embed(self, clip):
      if clip.frames.duration_s < 4.8:
        return super().embed(clip)
      assert clip.frames.fps == 25
      return {synchformer.OFFSET_LOGITS: logits_NO}

  monkeypatch.setattr(synchformer, 'load', lambda path: Network())
  sync._synchformer.cache_clear()
  yield sync.SynchformerFilter(str(tmp_path))
  sync._synchformer.cache_clear()


def test_the_number_is_desync(loaded):
  frame_LYX3 = np.zeros((150, 224, 224, 3), np.uint8)
  assert not loaded.unavailable_reason and loaded.needs_sync_frames
  assert loaded.measure(clip(sync_frame_LYX3=frame_LYX3)).value == pytest.approx(0.3)


def test_clips_that_synchformer_cannot_read_have_a_reason(loaded):
  assert 'frames at 25 Hz' in loaded.measure(clip()).reason
  assert loaded.measure(clip(wave_NA=np.zeros((0, 1), 'f4'))).reason == 'no sound'
  assert loaded.measure(clip(frame_MYX3=np.zeros((0, 0, 0, 3), np.uint8))).reason == 'no video'
  short = clip(sync_frame_LYX3=np.zeros((25, 224, 224, 3), np.uint8))
  assert 'needs 4.8 s' in loaded.measure(short).reason


def test_onsets_at_motion_match():
  frame_MYX3, wave_N = np.zeros((48, 8, 8, 3), np.uint8), np.zeros(96000, 'f4')
  rng = np.random.default_rng(1)
  for level, index in enumerate((8, 19, 33)):
    frame_MYX3[index:] = 60 * (level + 1)
    wave_N[index * 2000 : index * 2000 + 400] = rng.standard_normal(400)
  together = sync.motion_onset_iou(clip(frame_MYX3=frame_MYX3, wave_NA=wave_N[:, None]))
  apart = sync.motion_onset_iou(clip(frame_MYX3=np.roll(frame_MYX3[:44], 4, axis=0), wave_NA=wave_N[:, None]))
  assert together > apart == 0


def test_what_has_no_detector_has_a_reason():
  for found in registry.load(['voice_over', 'text_overlay', 'language']):
    assert 'no detector' in found.measure(clip()).reason == found.unavailable_reason
