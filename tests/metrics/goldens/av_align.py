"""Writes av_align.npz beside this file: what OpenCV and librosa compute of a synthetic video and sound.

  python -m tests.metrics.goldens.av_align

Needs opencv-python-headless and librosa, which the project does not; made with 5.0.0.93 and 0.11.0. Run it
again when the video or the sound changes.
"""

import pathlib

import numpy as np

FILE = pathlib.Path(__file__).with_suffix('.npz')
FPS, RATE_HZ = 25.0, 44100
# Odd, so that a level of the pyramid is not exactly half of the one below.
HEIGHT, WIDTH, NUM_FRAMES = 81, 130, 12
NUM_FLOWS, STRIDE = 4, 5


def frames() -> np.ndarray:
  """Returns frame_LYX3: a texture that moves back and forth, and a square that crosses it."""
  y_YX, x_YX = np.mgrid[:HEIGHT, :WIDTH].astype(float)
  found = np.zeros((NUM_FRAMES, HEIGHT, WIDTH, 3), np.uint8)
  for number, frame_YX3 in enumerate(found):
    dx, dy = 3.0 * np.sin(0.9 * number), 1.5 * np.cos(0.7 * number)
    for channel in range(3):
      wave_YX = np.sin((x_YX + dx) / (3.0 + channel) + (y_YX + dy) / 7.0)
      wave_YX = wave_YX + np.sin((x_YX + dx) / 11.0 - (y_YX + dy) / (4.0 + channel))
      frame_YX3[..., channel] = np.round(127.5 + 50 * wave_YX)
    frame_YX3[20:45, 8 * number : 8 * number + 25] = 30 + 15 * number
  return found


def sound() -> np.ndarray:
  """Returns wave_NA: tones and clicks of rising rate, in two different channels, and silence at the end."""
  time_N = np.arange(3 * RATE_HZ) / RATE_HZ
  wave_NA = np.zeros((len(time_N), 2))
  for k, start_s in enumerate([0.02, 0.31, 0.74, 1.1, 1.18, 1.5, 1.71, 1.75, 2.2]):
    after_N = time_N - start_s
    tone_N = np.sin(2 * np.pi * 180 * 1.4**k * after_N) * np.exp(-np.maximum(after_N, 0) / 0.05)
    wave_NA[:, k % 2] += np.where(after_N >= 0, tone_N, 0) / (1 + k % 3)
  wave_NA[:, 0] += 0.05 * np.sin(2 * np.pi * 330 * time_N) * (time_N < 2.5)
  return wave_NA.astype(np.float32)


def noisy_sound() -> np.ndarray:
  """Returns wave_NA: noise whose level wavers, with many onsets near the threshold of the detector."""
  rng = np.random.default_rng(0)
  level_N = np.repeat(10.0 ** rng.uniform(-1.3, -0.7, 200), RATE_HZ // 50)
  return (level_N[:, None] * rng.uniform(-1, 1, (len(level_N), 2))).astype(np.float32)


def main() -> None:
  """Writes the file."""
  import cv2
  import librosa

  grey_LYX = [cv2.cvtColor(frame_YX3, cv2.COLOR_RGB2GRAY) for frame_YX3 in frames()]
  flow_LYX2 = np.stack(
    [
      cv2.calcOpticalFlowFarneback(previous_YX, next_YX, None, 0.5, 3, 15, 3, 5, 1.2, 0)
      for previous_YX, next_YX in zip(grey_LYX, grey_LYX[1:])
    ]
  )
  sounds = {}
  for name, wave_NA in (('', sound()), ('noisy_', noisy_sound())):
    wave_N = librosa.resample(wave_NA.mean(axis=1), orig_sr=RATE_HZ, target_sr=22050)
    strength_J = librosa.onset.onset_strength(y=wave_N, sr=22050)
    onset_J = librosa.onset.onset_detect(onset_envelope=strength_J, sr=22050)
    sounds |= {f'{name}strength_J': strength_J, f'{name}onset_s': librosa.frames_to_time(onset_J, sr=22050)}
  np.savez_compressed(
    FILE,
    flow_LYX2=flow_LYX2[:NUM_FLOWS, ::STRIDE, ::STRIDE],
    mean_magnitude_L=[cv2.mean(cv2.magnitude(each[..., 0], each[..., 1]))[0] for each in flow_LYX2],
    **sounds,
  )


if __name__ == '__main__':
  main()
