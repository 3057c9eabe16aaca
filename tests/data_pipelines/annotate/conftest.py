"""A real HTTP server that speaks the protocol of OpenAI on a port of its own, with scripted faults."""

from collections.abc import Callable
import contextlib
import dataclasses
from email import message_from_bytes
import http.server
import json
import socket
import tempfile
import threading
import time

import numpy as np
import pytest

from data_pipelines import decoded

ANSWER = {
  'short': 'A dog barks twice in a room.',
  'detailed': 'A small dog barks twice, sharp and close, in a dry room.',
  'sources': ['dog'],
  'order': ['bark', 'bark'],
  'mood': 'alert',
  'music': '',
  'negative': 'No speech and no music.',
  'label': 'dog barking',
  'confidence': 0.8,
}
MODEL = 'omni'
KEY = 'sk-secret-of-the-test'
Reply = Callable[['Handler'], None]


@dataclasses.dataclass
class Request:
  """A request as the server got it; `body` is JSON, or the fields of a form."""

  path: str
  headers: dict[str, str]
  body: dict
  time_s: float


class Handler(http.server.BaseHTTPRequestHandler):
  """Answers by the next reply of the server's script, or by its default."""

  protocol_version = 'HTTP/1.1'
  is_running = False

  def setup(self):
    super().setup()
    self.server.owner.connections.append(self.connection)

  def do_GET(self):
    self.reply_json({'object': 'list', 'data': [{'id': MODEL, 'object': 'model'}]})

  def do_POST(self):
    server = self.server.owner
    content = self.rfile.read(int(self.headers['Content-Length']))
    with server.lock:
      server.requests.append(
        Request(
          self.path,
          {name.lower(): text for name, text in self.headers.items()},
          self.parse(content),
          time.monotonic(),
        )
      )
      reply = server.script.pop(0) if server.script else server.default
      server.num_running += 1
      server.max_running = max(server.max_running, server.num_running)
      self.is_running = True
    try:
      reply(self)
    except (BrokenPipeError, ConnectionResetError):
      pass
    finally:
      self.leave()

  def leave(self):
    """Counts the request as done, before its last byte: the client may send the next one at once."""
    with self.server.owner.lock:
      self.server.owner.num_running -= self.is_running
      self.is_running = False

  def parse(self, content: bytes) -> dict:
    kind = self.headers['Content-Type']
    if kind.startswith('multipart/'):
      message = message_from_bytes(b'Content-Type: ' + kind.encode() + b'\r\n\r\n' + content)
      fields = {}
      for part in message.get_payload():
        name = part.get_param('name', header='content-disposition')
        fields.setdefault(name, []).append(part.get_payload(decode=True))
      return fields
    return json.loads(content)

  def reply_json(self, value, status: int = 200, headers: dict | None = None, cut: int = 0):
    body = json.dumps(value).encode()
    self.leave()
    self.send_response(status)
    for name, text in {'Content-Type': 'application/json', **(headers or {})}.items():
      self.send_header(name, text)
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    self.wfile.write(body[: len(body) - cut])
    if cut:
      self.wfile.flush()
      self.close_connection = True

  def log_message(self, *args):
    pass


class Server:
  """A running server; `script` holds one reply a request, then `default` answers."""

  def __init__(self):
    self.lock = threading.Lock()
    self.requests: list[Request] = []
    self.script: list[Reply] = []
    self.connections: list[socket.socket] = []
    self.num_running = self.max_running = 0
    self.default: Reply = self.answer(json.dumps(ANSWER))
    self.http = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    self.http.daemon_threads = True
    self.http.owner = self
    self.url = 'http://{}:{}/v1'.format(*self.http.server_address)
    self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
    self.thread.start()

  def stop(self):
    if self.thread.is_alive():
      self.http.shutdown()
      self.http.server_close()
      self.thread.join()
      for connection in self.connections:
        with contextlib.suppress(OSError):
          connection.shutdown(socket.SHUT_RDWR)

  def answer(self, text: str | None, finish: str = 'stop', usage: bool = True, delay_s=0.0, cut=0) -> Reply:
    """A chat completion; `cut` closes the connection before the last bytes."""
    value = {
      'id': '1',
      'object': 'chat.completion',
      'created': 1,
      'model': MODEL,
      'choices': [{'index': 0, 'finish_reason': finish, 'message': {'role': 'assistant', 'content': text}}],
      'usage': {'prompt_tokens': 100, 'completion_tokens': 20, 'total_tokens': 120} if usage else None,
    }

    def reply(handler: Handler):
      time.sleep(delay_s)
      handler.reply_json(value, cut=cut)

    return reply

  def json(self, value, delay_s: float = 0.0) -> Reply:
    def reply(handler: Handler):
      time.sleep(delay_s)
      handler.reply_json(value)

    return reply

  def error(self, status: int, message: str = 'no', code: str | None = None, **headers: str) -> Reply:
    value = {'error': {'message': message, 'type': 'error', 'code': code}}
    named = {name.replace('_', '-'): text for name, text in headers.items()}
    return lambda handler: handler.reply_json(value, status, named)

  def raw(self, body: bytes, kind: str = 'application/json') -> Reply:
    def reply(handler: Handler):
      handler.send_response(200)
      handler.send_header('Content-Type', kind)
      handler.send_header('Content-Length', str(len(body)))
      handler.end_headers()
      handler.wfile.write(body)

    return reply


@pytest.fixture
def server(monkeypatch, tmp_path):
  # Limits of earlier servers on the same port do not hold for this one.
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
  monkeypatch.setenv('OPENAI_API_KEY', KEY)
  monkeypatch.setenv('NO_PROXY', '*')
  found = Server()
  yield found
  found.stop()


@pytest.fixture
def clip() -> decoded.DecodedClip:
  """Two seconds: 16 grey levels, and a tone of 440 Hz at 32 kHz in stereo, 7 s into its media."""
  frame_MYX3 = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None, None] * 16, (16, 36, 64, 3))
  wave_N = 0.5 * np.sin(2 * np.pi * 440 * np.arange(64000) / 32000).astype(np.float32)
  return decoded.DecodedClip('clip', frame_MYX3.copy(), np.stack([wave_N, wave_N], 1), 32000, 7.0, 2.0)
