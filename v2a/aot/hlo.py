"""What a compiled program sends between devices, read from its text.

A collective inside a loop counts as often as the loop runs: as the program tells, or up to the constant that
the loop's condition compares its counter with. Bytes are those that one device sends around a ring of the n
members of its group, for an array of s bytes in whole:

  all-gather, reduce-scatter, all-to-all   s (n - 1) / n                       (1)
  all-reduce                               2 s (n - 1) / n                     (2)
  collective-permute                       s                                   (3)

What TPUs send while they multiply stands in the text once for every product beside it, with the same
chain_id, and counts once.

Between slices of TPUs the compiler has turned collectives into sends to a runtime on the hosts (megascale);
they name what they were, and are counted along `replica`, the one axis between slices.
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
_COMPARED = re.compile(r'ROOT .* compare\([^,]*?%?[\w.\-]+, [^,%]*%?([\w.\-]+)\), direction=LT')
_LISTED = re.compile(r'replica_groups=\{(\{[\d,{} ]*\})\}')
_IOTA = re.compile(r'replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?')
_MESH = re.compile(
  r'replica_groups=mesh\[([^\]]*)\]'
  r'(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}'
)
_PART = re.compile(r"'(\w+)'(?::\((\d+)\)(\d+))?")
_PAIRS = re.compile(r'source_target_pairs=\{(\{[\d,{} ]*\})\}')


@dataclasses.dataclass(frozen=True)
class Collective:
  """One instruction.

  Attributes:
    kind: of KINDS.
    axes: of the mesh, along which its members lie.
    num_bytes: that a device sends, each time (eq. 1 to 3).
    num_executions: it runs in a step.
  """

  kind: str
  axes: tuple[str, ...]
  num_bytes: float
  num_executions: int


def collectives(text: str, mesh: jax.sharding.Mesh) -> list[Collective]:
  """Returns the collectives of a program.

  Args:
    text: of the compiled program (`compiled.as_text()`).
    mesh: that it was compiled for.
  """
  computations = _computations(text)
  times = _times(computations)
  found, chains = [], set()
  for name, lines in computations.items():
    for line in lines:
      if not times[name]:
        continue
      if match := _COLLECTIVE.search(line):
        chain = _CHAIN.search(line)
        if chain is None or chain.group(1) not in chains:
          found.append(_collective(name, line, match, mesh, times[name]))
        if chain is not None:
          chains.add(chain.group(1))
      elif match := _BETWEEN_SLICES.search(line):
        found.append(_between_slices(match, mesh, times[name]))
  return [each for each in found if each.axes]


def bytes_by_axes(found: list[Collective]) -> dict[str, float]:
  """Returns the bytes that a device sends in a step, by the axes it sends along."""
  totals: dict[str, float] = collections.defaultdict(float)
  for each in found:
    totals['+'.join(each.axes)] += each.num_bytes * each.num_executions
  return dict(totals)


def _computations(text: str) -> dict[str, list[str]]:
  found, current = {}, None
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      current = 'ENTRY' if line.startswith('ENTRY') else match.group(1)
      found[current] = []
    elif current is not None:
      found[current].append(line)
  return found


def _times(computations: dict[str, list[str]]) -> collections.Counter:
  """How often each computation runs; callees are printed before their callers."""
  times = collections.Counter({'ENTRY': 1})
  for name in reversed(list(computations)):
    for line in computations[name]:
      trips = _trips(line, computations)
      for called in _CALLED.findall(line):
        times[called] += times[name] * trips
  return times


def _trips(line: str, computations: dict[str, list[str]]) -> int:
  """How often an instruction runs what it calls; once where the program does not tell."""
  if told := _TRIPS.search(line):
    return int(told.group(1))
  if not (loop := _CONDITION.search(line)):
    return 1
  # Programs for TPUs do not tell; loops of scans count from 0.
  condition = computations.get(loop.group(1), [])
  constants = {match[1]: match[2] for line in condition if (match := _CONSTANT.search(line))}
  limits = [match.group(1) for line in condition if (match := _COMPARED.search(line))]
  return int(constants.get(limits[0], 1)) if limits else 1


def _collective(
  computation: str, line: str, match: re.Match, mesh: jax.sharding.Mesh, times: int
) -> Collective:
  result, kind, is_started = match.groups()
  sizes, group = _sizes(result), _group(line, mesh.size)
  # What is started returns its operands too, but for an all-reduce; whole is the larger half.
  whole = sum(sizes) if not is_started or kind == 'all-reduce' else max(sizes, default=0)
  if kind == 'reduce-scatter':
    whole *= len(group)
  if kind == 'all-reduce' and computation.startswith('all-reduce-scatter'):
    kind = 'reduce-scatter'
  return Collective(kind, _axes(group, mesh), _sent(kind, whole, len(group)), times)


def _between_slices(match: re.Match, mesh: jax.sharding.Mesh, times: int) -> Collective:
  operand, transfer = match.groups()
  kind, num_members = transfer.lower().replace('_', '-'), mesh.shape['replica']
  own = sum(_sizes(operand))
  whole = own * num_members if kind == 'all-gather' else own
  return Collective(kind, ('replica',), _sent(kind, whole, num_members), times)


def _sizes(arrays: str) -> list[int]:
  return [
    _SIZES[dtype] * math.prod(int(n) for n in dims.split(',') if n) for dtype, dims in _ARRAY.findall(arrays)
  ]


def _sent(kind: str, whole: float, num_members: int) -> float:
  """Eq. 1 to 3."""
  ring = (num_members - 1) / max(1, num_members)
  return {'all-reduce': 2 * whole * ring, 'collective-permute': whole}.get(kind, whole * ring)


def _group(line: str, num_devices: int) -> list[int]:
  """The members of one group, as places in the flat mesh; of a permutation, the ends of one way."""
  if match := _IOTA.search(line):
    rows, columns, dims, order = match.groups()
    grid = np.arange(int(rows) * int(columns)).reshape([int(n) for n in dims.split(',')])
    if order:
      grid = grid.transpose([int(n) for n in order.split(',')])
    return grid.reshape(int(rows), int(columns))[0].tolist()
  if match := _MESH.search(line):
    return _named_group(*match.groups())
  if match := _LISTED.search(line):
    return [int(n) for n in match.group(1)[1:].split('}')[0].split(',') if n]
  if match := _PAIRS.search(line):
    pairs = re.findall(r'\{(\d+),(\d+)\}', match.group(1))
    return next(([int(a), int(b)] for a, b in pairs if a != b), [])
  return list(range(num_devices))


def _named_group(sizes: str, dims: str | None, order: str | None, along: str) -> list[int]:
  """The first group along axes (or parts of them, 'name':(before)size) of a mesh in XLA's own names."""
  shape = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", sizes)}
  grid = np.arange(math.prod(shape.values()))
  if dims:
    grid = grid.reshape([int(n) for n in dims.split(',')])
    grid = grid.transpose([int(n) for n in order.split(',')]) if order else grid
  cut, taken = [], []
  parts = {name: (before, size) for name, before, size in _PART.findall(along)}
  for name, size in shape.items():
    before, part = parts.get(name, ('', ''))
    before, part = (int(before), int(part)) if part else (1, size)
    cut += [before, part, size // before // part]
    taken += [0, slice(None) if name in parts else 0, 0]
  return grid.reshape(cut)[tuple(taken)].reshape(-1).tolist()


def _axes(group: list[int], mesh: jax.sharding.Mesh) -> tuple[str, ...]:
  if len(group) < 2:
    return ()
  places = np.stack(np.unravel_index(np.array(group), mesh.devices.shape))
  return tuple(name for name, along in zip(mesh.axis_names, places) if len(set(along.tolist())) > 1)
