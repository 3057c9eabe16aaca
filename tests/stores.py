"""Servers on this machine that speak the protocols of object stores: moto for S3, an emulator for Google."""

from collections.abc import Generator
import contextlib
import importlib
import logging
import socket
import uuid

import pytest

from v2a import storage

HOST = '127.0.0.1'
REASON = 'make test-stores installs what this test needs'


@contextlib.contextmanager
def serve_s3() -> Generator[str]:
  """Runs a server that speaks S3, and gives its address."""
  server = pytest.importorskip('moto.server', reason=REASON)
  pytest.importorskip('s3fs', reason=REASON)
  logging.getLogger('werkzeug').setLevel(logging.ERROR)  # a line for each request
  running = server.ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
  running.start()
  yield 'http://{}:{}'.format(*running.get_host_and_port())
  running.stop()


@contextlib.contextmanager
def serve_gs() -> Generator[str]:
  """Runs a server that speaks the JSON protocol of Google Cloud Storage, and gives its address."""
  server = pytest.importorskip('gcp_storage_emulator.server', reason=REASON)
  pytest.importorskip('gcsfs', reason=REASON)
  _add_generations(server)
  with socket.socket() as free:
    free.bind((HOST, 0))
    port = free.getsockname()[1]
  running = server.create_server(HOST, port, in_memory=True, default_bucket='default')
  running.start()
  yield f'http://{HOST}:{port}'
  running.stop()


def _add_generations(server) -> None:
  """Lets the emulator say which generation of an object it sends, as the real store does.

  TensorStore needs it where an object is replaced while it reads.
  """
  objects = importlib.import_module('gcp_storage_emulator.handlers.objects')
  download = objects.download

  def download_with_generation(request, response, store, *args, **kwargs):
    download(request, response, store, *args, **kwargs)
    if response.status < 300:
      found = store.get_file_obj(request.params['bucket_name'], request.params['object_id'])
      response['x-goog-generation'] = found['generation']

  objects.download = download_with_generation  # called by another handler, too
  for _, handlers in server.HANDLERS:
    for method, handler in handlers.items():
      handlers[method] = download_with_generation if handler is download else handler


def connect(scheme: str, address: str, monkeypatch) -> storage.Path:
  """Lets this process, and those that it starts, use a server; returns a new bucket."""
  name = f'bucket-{uuid.uuid4().hex[:8]}'
  variables = {
    's3': {
      'AWS_ENDPOINT_URL': address,
      'AWS_ACCESS_KEY_ID': 'key',
      'AWS_SECRET_ACCESS_KEY': 'secret',
      'AWS_DEFAULT_REGION': 'us-east-1',
    },
    # The client of arrays in checkpoints (TensorStore) has a variable of its own.
    'gs': {
      'STORAGE_EMULATOR_HOST': address,
      'TENSORSTORE_GCS_HTTP_URL': address,
      'GOOGLE_CLOUD_PROJECT': 'project',
    },
  }
  for variable, value in variables[scheme].items():
    monkeypatch.setenv(variable, value)
  bucket = storage.parse(f'{scheme}://{name}')
  store = storage._file_system(scheme)
  store.clear_instance_cache()
  storage._file_system(scheme).mkdir(name)
  return bucket
