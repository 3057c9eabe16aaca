"""Copies of test videos with new audio, and videos with what a copy must keep."""

import fractions
import pathlib

import av
import numpy as np

from tests.media import films
from v2a.media import write

RATE_HZ = 16000


def mux(path: pathlib.Path, *args, **kwargs) -> write.Muxed:
  """Muxes a file with clicks, to out.mp4 in the same folder unless another container is better."""
  return write.mux(path, films.clicks(4.0, RATE_HZ), RATE_HZ, path.with_name('out.mp4'), *args, **kwargs)


def encode(path: pathlib.Path, codec: str, pix_fmt: str, num_frames: int = 25, **options) -> pathlib.Path:
  """Writes numbered frames with any encoder, 25 per second."""
  with av.open(str(path), 'w') as output:
    stream = output.add_stream(
      codec, rate=25, width=films.WIDTH, height=films.HEIGHT, pix_fmt=pix_fmt, options=options
    )
    for index in range(num_frames):
      frame = av.VideoFrame.from_ndarray(films.numbered_frame(index), 'rgb24').reformat(format=pix_fmt)
      frame.pts = index
      output.mux(stream.encode(frame))
    output.mux(stream.encode(None))
  return path


def decoded(path: pathlib.Path) -> list[tuple[str, bytes]]:
  """Returns (pixel format, visible pixels of the first plane) of every frame."""
  found = []
  with av.open(str(path)) as container:
    for frame in container.decode(video=0):
      plane = frame.planes[0]
      # Rows end with uninitialised padding.
      lines_YX = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
      found.append((frame.format.name, lines_YX[: frame.height, : frame.width].tobytes()))
  return found


def copy(
  path: pathlib.Path,
  out: pathlib.Path,
  change=lambda output, added: None,
  options: dict[str, str] | None = None,
) -> pathlib.Path:
  """Copies the streams of a file; `change` may set the output and its streams before the header."""
  with av.open(str(path)) as opened, av.open(str(out), 'w', container_options=options) as output:
    added = [output.add_stream_from_template(stream, opaque=True) for stream in opened.streams]
    change(output, added)
    for packet in opened.demux():
      if packet.size:
        packet.stream = added[packet.stream.index]
        output.mux(packet)
  return out


def tracks(path: pathlib.Path, subtitle: str = '', **tags: str) -> pathlib.Path:
  """Writes a video with two audio tracks, chapters and tags, and subtitles of a codec."""
  first = films.make(path.with_name('first'), 'mp4', wave_NA=films.clicks(2.0, 44100, seed=1))
  second = films.make(path.with_name('second'), 'mp4', wave_NA=films.clicks(2.0, 44100, seed=2))
  with av.open(str(first)) as one, av.open(str(second)) as two, av.open(str(path), 'w') as output:
    output.metadata.update(tags)
    edges = [(0, 1200, 'one'), (1200, 2000, 'two')]
    output.set_chapters(
      [
        {
          'id': index,
          'start': start,
          'end': end,
          'time_base': fractions.Fraction(1, 1000),
          'metadata': {'title': title},
        }
        for index, (start, end, title) in enumerate(edges)
      ]
    )
    expected = [(one, one.streams.video[0]), (one, one.streams.audio[0]), (two, two.streams.audio[0])]
    added = [output.add_stream_from_template(stream, opaque=True) for _, stream in expected]
    added[2].metadata['language'] = 'fra'
    if subtitle:
      added.append(output.add_mux_stream(subtitle))
      added[-1].time_base = fractions.Fraction(1, 1000)
    for stream, (container, template) in zip(added, expected):
      container.seek(0)
      for packet in container.demux(template):
        if packet.size:
          packet.stream = stream
          output.mux(packet)
    if subtitle:
      packet = av.Packet(b'hello')
      packet.stream, packet.pts, packet.dts, packet.duration = added[-1], 500, 500, 900
      packet.time_base = fractions.Fraction(1, 1000)
      output.mux(packet)
  return path


def contents(path: pathlib.Path) -> tuple[list[str], list[tuple[float, str]]]:
  """Returns the codecs of all streams but chapter tracks, and the chapters (start, title)."""
  with av.open(str(path)) as container:
    codecs = [stream.codec_context.name for stream in container.streams if stream.codec_context is not None]
    return codecs, [
      (float(chapter['start'] * chapter['time_base']), chapter['metadata']['title'])
      for chapter in container.chapters()
    ]
