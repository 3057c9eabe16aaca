"""Lengths and times are exact whatever the latent rate: nothing drifts over five minutes."""

from fractions import Fraction
import math
import types

from flax import nnx
import numpy as np
import pytest

from v2a import builders
from v2a import clip
from v2a.config import schema
from v2a.sampling import windows

LONG_S = 300
# Latent rates of 31.25, 43.07 and 48 Hz, and that of the packaged models.
SPECS = (
  clip.ClipSpec(clip_s=8.0, sample_rate_hz=8000, hop_samples=256, patch_frames=1),
  clip.ClipSpec(clip_s=8.0, sample_rate_hz=44100, hop_samples=512, patch_frames=2),
  clip.ClipSpec(clip_s=8.0, sample_rate_hz=48000, hop_samples=500, patch_frames=2, sync_fps=24),
  clip.ClipSpec(),
)
each_spec = pytest.mark.parametrize('spec', SPECS, ids=lambda spec: f'{spec.latent_rate_hz:.2f} Hz')


@each_spec
def test_clip_lengths_are_rounded_up_to_whole_latents(spec):
  exact = Fraction(spec.clip_s) * spec.sample_rate_hz / spec.latent_hop_samples
  assert spec.num_latents == math.ceil(exact)
  assert spec.num_samples == spec.num_latents * spec.latent_hop_samples
  assert spec.duration_s == Fraction(spec.num_samples, spec.sample_rate_hz)
  again = clip.ClipSpec(**vars(spec) | {'clip_s': float(spec.duration_s)})
  assert again.num_latents == spec.num_latents, 'the exact length has the same number of latents'
  counts = (spec.num_sync_frames, spec.sync_fps), (spec.num_semantic_frames, spec.semantic_fps)
  for num_frames, fps in counts:
    assert Fraction(num_frames - 1, fps) < spec.duration_s <= Fraction(num_frames, fps)


def test_345_latents_of_1024_samples_last_8_011_s():
  spec = SPECS[1]
  assert (spec.num_latents, spec.num_samples) == (345, 353280)
  assert f'{float(spec.duration_s):.3f}' == '8.011' and spec.num_sync_frames == 201


@each_spec
def test_window_times_of_frames_and_audio_agree(spec):
  num_samples = LONG_S * spec.sample_rate_hz
  starts = windows.starts(spec, num_samples, 1.0)
  assert starts[0] == 0 and (starts[-1] + spec.num_latents) * spec.latent_hop_samples >= num_samples
  assert all(spec.time_s(later - first) <= spec.duration_s - 1 for first, later in zip(starts, starts[1:]))
  shown_M = spec.semantic_of_sync_M
  for first in starts:
    begin_s = Fraction(first * spec.latent_hop_samples, spec.sample_rate_hz)
    assert spec.time_s(first) == begin_s and begin_s * spec.sample_rate_hz % 1 == 0
    for tick_L, fps in (
      (spec.sync_ticks(first), spec.sync_fps),
      (spec.semantic_ticks(first), spec.semantic_fps),
    ):
      times = [Fraction(int(tick), spec.ticks_hz) for tick in tick_L]
      assert times == [begin_s + Fraction(k, fps) for k in range(len(times))]
    # A semantic frame is the sync frame on screen at its time.
    offsets = [
      Fraction(m, spec.semantic_fps) - Fraction(int(k), spec.sync_fps) for m, k in enumerate(shown_M)
    ]
    assert all(0 <= each < Fraction(1, spec.sync_fps) for each in offsets)


@each_spec
def test_a_long_clip_is_decoded_to_its_samples(spec):
  hop, num_samples = spec.latent_hop_samples, LONG_S * spec.sample_rate_hz

  def decode(encoded_BTF, prefix_BNA=None):
    position_N = np.add.outer(encoded_BTF[0, :, 0] * hop, np.arange(hop)).ravel() / num_samples
    return np.repeat(position_N[None, :, None], spec.num_channels, axis=2).astype(np.float32)

  model = types.SimpleNamespace(clip_spec=spec, decode=decode)
  position_TF = np.arange(-(-num_samples // hop), dtype=np.float64)[:, None]
  wave_NA = windows.decode(model, position_TF, num_samples)
  wanted_N = np.arange(num_samples) / num_samples
  # One sample in 300 s is 7e-8 of the clip, the step of float32 about as much.
  assert len(wave_NA) == num_samples and np.abs(wave_NA[:, 0] - wanted_N).max() < 1.5e-7


@each_spec
def test_latent_times_of_networks_are_exact(spec):
  c = schema.tiny(schema.base()).unlock()
  rates = 'sample_rate_hz', 'hop_samples', 'patch_frames', 'sync_fps'
  c.clip.update({name: getattr(spec, name) for name in rates})
  num_latents = spec.latents_in(LONG_S)
  wanted = [float(spec.time_s(index) + spec.time_s(1) / 2) for index in range(num_latents)]
  for make, network in ((builders.flow, 'transformer'), (builders.tokens, 'decoder')):
    model = nnx.eval_shape(lambda make=make: make(c, nnx.Rngs(0)))
    np.testing.assert_allclose(getattr(model, network).latent_times(num_latents)[0], wanted, rtol=1e-6)


@each_spec
def test_sync_segments_have_the_latents_of_their_time(spec):
  edges = builders.segment_edges(spec, 0.5, builders.latent_rate(spec))
  centres = [spec.time_s(index) + spec.time_s(1) / 2 for index in range(edges[-1] + 1)]
  num_segments = len(edges) - 1
  assert num_segments == spec.duration_s // Fraction(1, 2) and edges[0] == 0
  assert centres[edges[-1]] >= Fraction(num_segments, 2), 'the last segment is whole'
  for index, (first, last) in enumerate(zip(edges, edges[1:])):
    assert all(Fraction(index, 2) <= centre < Fraction(index + 1, 2) for centre in centres[first:last])
