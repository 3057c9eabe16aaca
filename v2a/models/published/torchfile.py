"""Reader and writer of tensors in files of torch.save, without torch; also a reader of safetensors files.

Two formats: the zip archive (torch 1.6 and later) and the stream of pickles before it. Both hold a pickle
of arbitrary objects, in which a tensor is a call of torch's rebuilding functions on a numbered storage.
Only those calls are executed: every other class becomes an inert placeholder, so that a file can run no
code, and checkpoints that also hold optimizers and samplers can be read. Storages are read lazily.
"""

from collections.abc import Callable
from collections.abc import Mapping
import dataclasses
import io
import pathlib
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from v2a import files

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
  'DoubleStorage': np.dtype('<f8'),
  'FloatStorage': np.dtype('<f4'),
  'HalfStorage': np.dtype('<f2'),
  'BFloat16Storage': np.dtype(ml_dtypes.bfloat16),
  'LongStorage': np.dtype('<i8'),
  'IntStorage': np.dtype('<i4'),
  'ShortStorage': np.dtype('<i2'),
  'CharStorage': np.dtype('i1'),
  'ByteStorage': np.dtype('u1'),
  'BoolStorage': np.dtype('?'),
}


@dataclasses.dataclass(frozen=True)
class _Storage:
  dtype: np.dtype
  read: Callable[[], bytes]


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A tensor in a file, read when `array` is called.

  Attributes:
    shape: its shape.
    dtype: as stored.
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  _read: Callable[[], np.ndarray]

  def array(self) -> np.ndarray:
    """Returns the values, read from the file."""
    return self._read()


class _Inert:
  """A placeholder for objects of other classes: it accepts any call and does nothing."""

  def __new__(cls, *args, **kwargs):
    del args, kwargs
    return super().__new__(cls)

  def __init__(self, *args, **kwargs):
    pass

  def __call__(self, *args, **kwargs):
    return self

  def __setstate__(self, state):
    pass

  def __setitem__(self, key, value):
    pass

  def append(self, value):
    """Ignores the value."""

  def extend(self, values):
    """Ignores the values."""


class _Ordered(dict):
  """A placeholder for OrderedDict that drops attributes such as the `_metadata` of torch."""

  def __setstate__(self, state):
    pass


def _rebuild(storage: _Storage, offset: int, size, stride, *rest) -> Tensor:
  del rest
  size, stride = tuple(size), tuple(stride)

  def read() -> np.ndarray:
    flat_N = np.frombuffer(storage.read(), storage.dtype)
    steps = [step * storage.dtype.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(flat_N[offset:], size, steps).copy()

  return Tensor(size, storage.dtype, read)


class _Unpickler(pickle.Unpickler):
  def __init__(self, file, storages: Callable[[tuple], _Storage]):
    super().__init__(file, encoding='utf-8')
    self._storages = storages

  def find_class(self, module: str, name: str):
    if module == 'torch._utils' and name in ('_rebuild_tensor', '_rebuild_tensor_v2'):
      return _rebuild
    if module == 'torch._utils' and name == '_rebuild_parameter':
      return lambda tensor, *rest: tensor
    if module.split('.')[0] == 'torch' and name in _DTYPES:
      return _DTYPES[name]
    if (module, name) == ('collections', 'OrderedDict'):
      return _Ordered
    if (module, name) == ('torch', 'Size'):
      return tuple
    return _Inert

  def persistent_load(self, pid):
    return self._storages(pid)


def load(path: pathlib.Path | str) -> dict[str, Tensor]:
  """Returns the tensors of a file by name; keys of nested dictionaries are joined by dots.

  Args:
    path: written by torch.save, or a .safetensors file.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: it has another format, or is damaged.
  """
  return dict(_flat(_read(pathlib.Path(path)), ''))


def load_values(path: pathlib.Path | str) -> dict:
  """Returns what else is in a file: nested dictionaries of numbers, texts, None and lists of these.

  Tensors, objects of classes and dictionaries without any values are left out.

  Args:
    path: written by torch.save.

  Raises:
    FileNotFoundError: the file does not exist.
    ValueError: it has another format, or is damaged.
  """
  return _values(_read(pathlib.Path(path)))


def _values(content) -> dict:
  found = {}
  for name, value in content.items() if isinstance(content, dict) else ():
    value = _values(value) if isinstance(value, dict) else value
    if value != {} and _is_plain(value):
      found[name] = value
  return found


def _is_plain(value) -> bool:
  if isinstance(value, list | tuple):
    return all(map(_is_plain, value))
  return value is None or isinstance(value, bool | int | float | str | dict)


def _read(path: pathlib.Path):
  """Returns the content of a file."""
  if not path.is_file():
    raise FileNotFoundError(f'{path} does not exist.')
  try:
    if path.suffix == '.safetensors':
      return _safetensors(path)
    return _zip(path) if zipfile.is_zipfile(path) else _stream(path)
  except (pickle.UnpicklingError, safetensors.SafetensorError, zipfile.BadZipFile, EOFError) as error:
    raise ValueError(f'{path} holds no readable weights: {error}.') from error
  except (KeyError, IndexError, AttributeError, TypeError, struct.error) as error:
    raise ValueError(f'{path} is damaged, or not a file of torch.save: {error!r}.') from error


def _flat(content, prefix: str):
  if isinstance(content, Tensor):
    yield prefix.removesuffix('.'), content
  elif isinstance(content, dict):
    for key, value in content.items():
      yield from _flat(value, f'{prefix}{key}.')


def _zip(path: pathlib.Path):
  with zipfile.ZipFile(path) as archive:
    names = archive.namelist()
    head = next((name for name in names if name.endswith('/data.pkl')), None)
    if head is None:
      raise pickle.UnpicklingError('an archive without data.pkl')
    folder = head.removesuffix('data.pkl')
    order = f'{folder}byteorder'
    if order in names and archive.read(order) != b'little':
      raise pickle.UnpicklingError('big-endian numbers')
    pickled = archive.read(head)

  def storage(pid: tuple) -> _Storage:
    _, dtype, key, *_ = pid

    def read() -> bytes:
      with zipfile.ZipFile(path) as archive:
        return archive.read(f'{folder}data/{key}')

    return _Storage(dtype, read)

  return _Unpickler(io.BytesIO(pickled), storage).load()


def _stream(path: pathlib.Path):
  positions: dict[str, tuple[int, int]] = {}

  def storage(pid: tuple) -> _Storage:
    _, dtype, key, _, _, view = pid
    if view is not None:
      raise pickle.UnpicklingError('a view of a storage, the format of torch before 0.4')

    def read() -> bytes:
      start, num = positions[key]
      with path.open('rb') as file:
        file.seek(start)
        return file.read(num * dtype.itemsize)

    sizes[key] = dtype.itemsize
    return _Storage(dtype, read)

  sizes: dict[str, int] = {}
  with path.open('rb') as file:
    if pickle.Unpickler.load(_Unpickler(file, storage)) != _MAGIC:
      raise pickle.UnpicklingError('not a file of torch.save')
    for _ in range(2):  # the version of the format, and of the machine that wrote it
      _Unpickler(file, storage).load()
    content = _Unpickler(file, storage).load()
    for key in _Unpickler(file, storage).load():
      num = struct.unpack('<q', file.read(8))[0]
      positions[key] = (file.tell(), num)
      file.seek(num * sizes[key], io.SEEK_CUR)
    if file.tell() > path.stat().st_size:
      raise pickle.UnpicklingError('truncated')
  return content


def _safetensors(path: pathlib.Path) -> dict[str, Tensor]:
  def lazy(name: str, shape, dtype) -> Tensor:
    def read() -> np.ndarray:
      with safetensors.safe_open(path, framework='numpy') as handle:
        return handle.get_tensor(name)

    return Tensor(tuple(shape), dtype, read)

  kinds = {'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'BF16': ml_dtypes.bfloat16, 'I64': '<i8', 'I32': '<i4'}
  with safetensors.safe_open(path, framework='numpy') as handle:
    parts = {name: handle.get_slice(name) for name in handle.keys()}
    return {
      name: lazy(name, part.get_shape(), np.dtype(kinds.get(part.get_dtype(), 'u1')))
      for name, part in parts.items()
    }


def save(path: pathlib.Path | str, content: Mapping) -> None:
  """Writes a file that torch.load reads, with `weights_only`, too.

  Args:
    path: of the file; replaced if it exists.
    content: nested dictionaries of float32 arrays, numbers, texts, None and lists.

  Raises:
    TypeError: it holds a value of another type.
  """
  storages: list[np.ndarray] = []
  pickled = b'\x80\x02' + _pickled(content, storages) + b'.'
  with files.atomic_write(pathlib.Path(path)) as partial, zipfile.ZipFile(partial, 'w') as archive:
    archive.writestr('archive/data.pkl', pickled)
    archive.writestr('archive/byteorder', 'little')
    for i, array in enumerate(storages):
      archive.writestr(f'archive/data/{i}', array.astype('<f4').tobytes())
    archive.writestr('archive/version', '3\n')


def _pickled(value, storages: list[np.ndarray]) -> bytes:
  """Returns the instructions that build a value, in protocol 2; appends the arrays in it to `storages`.

  The module pickle cannot write references to the functions of torch where torch is not installed.
  """
  if isinstance(value, np.ndarray):
    return _pickled_tensor(value, storages)
  if isinstance(value, Mapping):
    pairs = b''.join(_pickled(part, storages) for pair in value.items() for part in pair)
    return b'}(' + pairs + b'u'
  if isinstance(value, list | tuple):
    parts = b''.join(_pickled(each, storages) for each in value)
    return b'](' + parts + b'e' if isinstance(value, list) else b'(' + parts + b't'
  if value is None or isinstance(value, bool | int | float | str):
    # Without the head, which states the protocol, and the stop.
    return pickle.dumps(value, protocol=2)[2:-1]
  raise TypeError(f'{type(value).__name__} cannot be written to a file of torch.save.')


def _pickled_tensor(array: np.ndarray, storages: list[np.ndarray]) -> bytes:
  if array.dtype != np.float32:
    raise TypeError(f'only float32 arrays are written; got {array.dtype}.')
  strides = tuple(int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim))
  plain = lambda *values: b''.join(_pickled(value, storages) for value in values)
  number_of_storage = plain(str(len(storages)), 'cpu', array.size)
  storages.append(array)
  storage = b'(' + plain('storage') + b'ctorch\nFloatStorage\n' + number_of_storage + b'tQ'
  hooks = b'ccollections\nOrderedDict\n)R'
  arguments = storage + plain(0, array.shape, strides, False) + hooks
  return b'ctorch._utils\n_rebuild_tensor_v2\n(' + arguments + b'tR'
