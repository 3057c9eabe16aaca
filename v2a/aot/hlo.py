"""Collectives of a compiled program and the bytes that they send, read from its HLO text.

A collective inside a loop is multiplied by the trip count: the annotated one, or the constant that the loop's
condition compares its counter with. Bytes are those that one device sends in a ring over the n members of its
group, for an array of s bytes in total:

  all-gather, reduce-scatter, all-to-all   s (n - 1) / n                       (1)
  all-reduce                               2 s (n - 1) / n                     (2)
  collective-permute                       s                                   (3)

A collective that a TPU overlaps with matmuls appears in the text once per matmul, with the same chain_id, and
counts once.

Between TPU slices the compiler replaces collectives with sends to a runtime on the hosts (megascale); these
name the collective, and are counted along `replica`, the only axis between slices.
"""

import collections
import dataclasses
import math
import re

import jax
import numpy as np

KINDS = ('all-gather', 'reduce-scatter', 'all-reduce', 'all-to-all', 'collective-permute')
_SIZES = {
  'pred': 1,
  's8': 1,
  'u8': 1,
  's16': 2,
  'u16': 2,
  'bf16': 2,
  'f16': 2,
  's32': 4,
  'u32': 4,
  'f32': 4,
  's64': 8,
  'u64': 8,
  'f64': 8,
}
_ARRAY = re.compile(r'\b(' + '|'.join(_SIZES) + r')\[([\d,]*)\]')
_COMPUTATION = re.compile(r'^(?:ENTRY )?%?([\w.\-]+) \(.*->.*\{\s*$')
_COLLECTIVE = re.compile(r'= (.*?) (' + '|'.join(KINDS) + r')(-start)?\(')
_CHAIN = re.compile(r'chain_id="(\d+)"')
_BETWEEN_SLICES = re.compile(r'= \((.*?), u32\[\], token\[\]\) send\(.*_xla_megascale_transfer_type="(\w+)"')
_CALLED = re.compile(r'(?:calls|to_apply|condition|body|called_computations)=\{?%?([\w.\-]+)')
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_CONDITION = re.compile(r' while\(.*condition=%?([\w.\-]+)')
_CONSTANT = re.compile(r'%?([\w.\-]+) = s32\[\]\S* constant\((\d+)\)')
_TRIP_LIMIT = re.compile(r'ROOT .* compare\([^,]*?%?[\w.\-]+, [^,%]*%?([\w.\-]+)\), direction=LT')
_LIST = re.compile(r'replica_groups=\{(\{[\d,{} ]*\})\}')
_IOTA = re.compile(r'replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?')
_MESH = re.compile(
  r'replica_groups=mesh\[([^\]]*)\]'
  r'(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}'
)
_MESH_AXIS = re.compile(r"'(\w+)'(?::\((\d+)\)(\d+))?")
_PAIRS = re.compile(r'source_target_pairs=\{(\{[\d,{} ]*\})\}')


@dataclasses.dataclass(frozen=True)
class Collective:
  """One collective instruction.

  Attributes:
    kind: one of KINDS.
    axes: mesh axes along which the members of a group differ.
    num_bytes: bytes that a device sends per execution (eq. 1 to 3).
    num_executions: number of executions per step.
  """

  kind: str
  axes: tuple[str, ...]
  num_bytes: float
  num_executions: int


def collectives(text: str, mesh: jax.sharding.Mesh) -> list[Collective]:
  """Returns the collectives of a program.

  Args:
    text: of the compiled program (`compiled.as_text()`).
    mesh: the mesh it was compiled for.
  """
  computations = _computations(text)
  counts = _execution_counts(computations)
  found, chains = [], set()
  for name, lines in computations.items():
    for line in lines:
      if not counts[name]:
        continue
      if match := _COLLECTIVE.search(line):
        chain = _CHAIN.search(line)
        if chain is None or chain.group(1) not in chains:
          found.append(_collective(name, line, match, mesh, counts[name]))
        if chain is not None:
          chains.add(chain.group(1))
      elif match := _BETWEEN_SLICES.search(line):
        found.append(_between_slices(match, mesh, counts[name]))
  return [each for each in found if each.axes]


def bytes_by_axes(found: list[Collective]) -> dict[str, float]:
  """Returns the bytes that a device sends per step, by mesh axes, such as 'data+fsdp'."""
  totals: dict[str, float] = collections.defaultdict(float)
  for each in found:
    totals['+'.join(each.axes)] += each.num_bytes * each.num_executions
  return dict(totals)


def _computations(text: str) -> dict[str, list[str]]:
  """Returns the lines of each computation by name; that of the entry computation is 'ENTRY'."""
  found, current = {}, None
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      current = 'ENTRY' if line.startswith('ENTRY') else match.group(1)
      found[current] = []
    elif current is not None:
      found[current].append(line)
  return found


def _execution_counts(computations: dict[str, list[str]]) -> collections.Counter:
  """Returns how often each computation runs; callees are printed before their callers."""
  counts = collections.Counter({'ENTRY': 1})
  for name in reversed(list(computations)):
    for line in computations[name]:
      trips = _trip_count(line, computations)
      for called in _CALLED.findall(line):
        counts[called] += counts[name] * trips
  return counts


def _trip_count(line: str, computations: dict[str, list[str]]) -> int:
  """Returns how often an instruction runs the computations it calls; 1 if that is unknown."""
  if annotated := _TRIPS.search(line):
    return int(annotated.group(1))
  if not (loop := _CONDITION.search(line)):
    return 1
  # Programs for TPUs have no annotation; loops of scans count from 0.
  condition = computations.get(loop.group(1), [])
  constants = {match[1]: match[2] for line in condition if (match := _CONSTANT.search(line))}
  limits = [match.group(1) for line in condition if (match := _TRIP_LIMIT.search(line))]
  return int(constants.get(limits[0], 1)) if limits else 1


def _collective(
  computation: str, line: str, match: re.Match, mesh: jax.sharding.Mesh, num_executions: int
) -> Collective:
  result, kind, is_start = match.groups()
  sizes, group = _sizes(result), _group(line, mesh.size)
  # A -start instruction returns its operands, too, except for all-reduce: the larger one is the whole array.
  num_bytes = sum(sizes) if not is_start or kind == 'all-reduce' else max(sizes, default=0)
  if kind == 'reduce-scatter':
    num_bytes *= len(group)
  if kind == 'all-reduce' and computation.startswith('all-reduce-scatter'):
    kind = 'reduce-scatter'
  return Collective(kind, _axes(group, mesh), _sent_bytes(kind, num_bytes, len(group)), num_executions)


def _between_slices(match: re.Match, mesh: jax.sharding.Mesh, num_executions: int) -> Collective:
  operand, transfer = match.groups()
  kind, num_members = transfer.lower().replace('_', '-'), mesh.shape['replica']
  own_bytes = sum(_sizes(operand))
  num_bytes = own_bytes * num_members if kind == 'all-gather' else own_bytes
  return Collective(kind, ('replica',), _sent_bytes(kind, num_bytes, num_members), num_executions)


def _sizes(arrays: str) -> list[int]:
  """Returns the bytes of each array in a type such as (f32[8,4]{1,0}, bf16[2])."""
  return [
    _SIZES[dtype] * math.prod(int(n) for n in dims.split(',') if n) for dtype, dims in _ARRAY.findall(arrays)
  ]


def _sent_bytes(kind: str, num_bytes: float, num_members: int) -> float:
  """Returns eq. 1, 2 or 3 for an array of `num_bytes` in total."""
  ring = (num_members - 1) / max(1, num_members)
  return {'all-reduce': 2 * num_bytes * ring, 'collective-permute': num_bytes}.get(kind, num_bytes * ring)


def _group(line: str, num_devices: int) -> list[int]:
  """Returns the members of one group as indices into the flat mesh; a source and target of a permutation."""
  if match := _IOTA.search(line):
    rows, columns, dims, order = match.groups()
    grid = np.arange(int(rows) * int(columns)).reshape([int(n) for n in dims.split(',')])
    if order:
      grid = grid.transpose([int(n) for n in order.split(',')])
    return grid.reshape(int(rows), int(columns))[0].tolist()
  if match := _MESH.search(line):
    return _named_group(*match.groups())
  if match := _LIST.search(line):
    return [int(n) for n in match.group(1)[1:].split('}')[0].split(',') if n]
  if match := _PAIRS.search(line):
    pairs = re.findall(r'\{(\d+),(\d+)\}', match.group(1))
    return next(([int(a), int(b)] for a, b in pairs if a != b), [])
  return list(range(num_devices))


def _named_group(sizes: str, dims: str | None, order: str | None, along: str) -> list[int]:
  """Returns the first group along axes (or parts of them, 'name':(before)size) of a mesh with XLA's names."""
  shape = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", sizes)}
  grid = np.arange(math.prod(shape.values()))
  if dims:
    grid = grid.reshape([int(n) for n in dims.split(',')])
    grid = grid.transpose([int(n) for n in order.split(',')]) if order else grid
  split_shape, index = [], []
  parts = {name: (before, size) for name, before, size in _MESH_AXIS.findall(along)}
  for name, size in shape.items():
    before, part = parts.get(name, ('', ''))
    before, part = (int(before), int(part)) if part else (1, size)
    split_shape += [before, part, size // before // part]
    index += [0, slice(None) if name in parts else 0, 0]
  return grid.reshape(split_shape)[tuple(index)].reshape(-1).tolist()


def _axes(group: list[int], mesh: jax.sharding.Mesh) -> tuple[str, ...]:
  """Returns the mesh axes along which the members of a group differ."""
  if len(group) < 2:
    return ()
  coordinates = np.unravel_index(np.array(group), mesh.devices.shape)
  return tuple(name for name, along in zip(mesh.axis_names, coordinates) if len(set(along.tolist())) > 1)
