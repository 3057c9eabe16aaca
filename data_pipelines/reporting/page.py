"""The page of a data set as one HTML file; nothing is loaded from elsewhere, and all texts are escaped."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
import html
import json
import math
import pathlib
import string
from typing import Any

from data_pipelines.filters import filter as filter_lib
from data_pipelines.filters import registry
from data_pipelines.reporting import cards as cards_lib
from data_pipelines.reporting import filter_plot
from data_pipelines.reporting import players
from data_pipelines.reporting import statistics
import v2a
from v2a import file_names
from v2a.data import annotations as annotations_lib
from v2a.reports import evaluation_page
from v2a.reports import metric_text

TEMPLATE = pathlib.Path(__file__).parent / 'page.html'
_MAX_CHARACTERS = 600  # of a text of the data set
_MAX_SETTINGS_CHARACTERS = 20_000
_MAX_CAPTIONS, _MAX_EVENTS, _MAX_TAGS, _MAX_LICENCES = 6, 8, 12, 40
# What the outcomes mean, in the order of the table; those of filters come after 'accepted'.
OUTCOMES = {
  'accepted': 'is a record',
  'duplicate': 'another clip has its frames or its sound',
  'omitted': 'part of an item that is too short or too long',
  'failed': 'cannot be decoded or written',
  'missing': 'its media is not on disk',
  'malformed': 'its metadata cannot be used',
  'duplicate_id': 'an earlier clip has its id',
}


def render(
  name: str,
  manifest: Mapping[str, Any],
  found: statistics.Statistics,
  cards: Sequence[cards_lib.Card],
) -> str:
  """Returns the page.

  Args:
    name: of the data set.
    manifest: of the set, see `pipeline.build`.
    found: statistics of its clips.
    cards: clips to show.
  """
  filters = {each.name: each for each in registry.load()}
  settings = json.dumps(manifest['settings'], indent=2, ensure_ascii=False)
  return string.Template(TEMPLATE.read_text(encoding='utf-8')).substitute(
    style=evaluation_page.STYLE.read_text(encoding='utf-8'),
    title=_text(f'Data set {name}'),
    facts=''.join(f'<li>{fact}</li>' for fact in _facts(manifest)),
    outcomes=_outcomes(manifest['counts']),
    contents=_contents(manifest['splits']),
    lengths=_lengths(found.lengths),
    licences=_licences(manifest['licences']),
    filters=''.join(_filter(each, filters.get(each.name)) for each in found.filters.values()),
    clips=''.join(_card(number, card, found) for number, card in enumerate(cards, 1))
    or '<p>No clip was accepted.</p>',
    clips_lead=_text(_clips_lead(cards)),
    extremes=_extremes(found, cards),
    rejected=_rejected(found),
    failures=_annotation_failures(found),
    settings=_text(settings, _MAX_SETTINGS_CHARACTERS, is_one_line=False),
    version=_text(v2a.__version__),
  )


def _text(words: Any, max_characters: int = _MAX_CHARACTERS, is_one_line: bool = True) -> str:
  """Returns a text escaped, and cut where it is too long."""
  words = str(words)
  words = words if len(words) <= max_characters else words[:max_characters] + '…'
  return html.escape(file_names.printable(words) if is_one_line else words, quote=True)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = '') -> str:
  """Returns a table of HTML; the first cell of a row is its head."""
  heads = ''.join(f'<th scope="col">{each}</th>' for each in head)
  body = ''.join(
    f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>' for row in rows
  )
  return (
    f'<div class="scroll {kind}" role="region" aria-label="Table" tabindex="0"><table>'
    f'<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
  )


def _bytes(count: float) -> str:
  for unit in ('bytes', 'kB', 'MB', 'GB'):
    if count < 1000:
      break
    count, unit = count / 1000, {'bytes': 'kB', 'kB': 'MB', 'MB': 'GB', 'GB': 'TB'}[unit]
  return f'{filter_plot.number(count)} {unit}'


def _duration(duration_s: float) -> str:
  if duration_s < 120:
    return f'{duration_s:.1f} s'
  return f'{duration_s / 60:.1f} min' if duration_s < 7200 else f'{duration_s / 3600:,.1f} h'


def _share(count: int, total: int) -> str:
  return f'{100 * count / total:.1f} %' if total else '–'


def _facts(manifest: Mapping[str, Any]) -> list[str]:
  splits = manifest['splits'].values()
  num_records = sum(each['num_records'] for each in splits)
  num_clips = sum(count for each in manifest['counts'].values() for count in each.values())
  duration_s = sum(each['duration_s'] for each in splits)
  filters = manifest['settings']['analysing']['filters']
  return [
    f'<b>{num_records:,}</b> of {num_clips:,} clips accepted, {_duration(duration_s)}, '
    f'{_bytes(sum(each["num_bytes"] for each in splits))}',
    f'source: {_text(manifest["settings"]["source"])}',
    f'filters: {_text(", ".join(filters)) if filters else "all"}',
    f'written by v2a {_text(manifest["v2a_version"])}',
  ]


def _outcomes(counts: Mapping[str, Mapping[str, int]]) -> str:
  totals: dict[str, int] = {}
  for each in counts.values():
    for outcome, count in each.items():
      totals[outcome] = totals.get(outcome, 0) + count
  total, highest = sum(totals.values()), max([1, *totals.values()])
  splits = sorted(counts)
  rows = []
  for outcome in sorted(totals, key=_outcome_order):
    kind = 'accepted' if outcome == 'accepted' else 'rejected'
    count = totals[outcome]
    rows.append(
      [
        f'{_text(outcome)}<small>{_text(_meaning(outcome))}</small>',
        f'{count:,}',
        f'<span class="meter {kind}"><i style="width:{100 * count / highest:.2f}%"></i></span>'
        f'{_share(count, total)}',
        *(f'{counts[split].get(outcome, 0):,}' for split in splits),
      ]
    )
  names = [_text(split) if split else 'no split' for split in splits]
  return _table(['outcome', 'clips', 'share', *names], rows)


def _outcome_order(outcome: str) -> tuple[int, str]:
  names = list(OUTCOMES)
  if outcome in OUTCOMES:
    return (0 if outcome == 'accepted' else 2 + names.index(outcome)), outcome
  return 1, outcome


def _meaning(outcome: str) -> str:
  if outcome.startswith('filter:'):
    return 'misses the threshold of this filter, the first of those it misses'
  return OUTCOMES.get(outcome, '')


def _contents(splits: Mapping[str, Mapping[str, Any]]) -> str:
  rows = []
  for split, about in splits.items():
    num = about['num_records']
    with_parts = (about[f'num_with_{part}'] for part in ('video', 'audio', 'captions', 'transcript'))
    rows.append(
      [
        _text(split),
        f'{num:,}',
        _duration(about['duration_s']),
        _duration(about['duration_s'] / num) if num else '–',
        _bytes(about['num_bytes']),
        *(f'{count:,}<small>{_share(count, num)}</small>' for count in with_parts),
      ]
    )
  head = ('split', 'records', 'duration', 'mean', 'size', 'video', 'sound', 'captions', 'transcript')
  return _table(head, rows)


def _lengths(lengths: Mapping[str, Sequence[int]]) -> str:
  rows, splits = [], sorted(lengths)
  highest = max([1, *map(sum, zip(*lengths.values()))])
  edges_s = statistics.LENGTH_EDGES_S
  for index, (low_s, high_s) in enumerate(zip(edges_s, edges_s[1:])):
    counts = [lengths[split][index] for split in splits]
    if not any(counts):
      continue
    name = f'{low_s:g} s and more' if math.isinf(high_s) else f'{low_s:g} to {high_s:g} s'
    width = 100 * sum(counts) / highest
    meter = f'<span class="meter accepted"><i style="width:{width:.2f}%"></i></span>'
    rows.append([name, f'{meter}{sum(counts):,}', *(f'{count:,}' for count in counts)])
  return _table(['length', 'records', *map(_text, splits)], rows) if rows else '<p>There is no record.</p>'


def _licences(licences: Mapping[str, int]) -> str:
  ordered = sorted(licences.items(), key=lambda each: (-each[1], each[0]))
  total = sum(licences.values())
  rows = [[_text(name, 200), f'{count:,}', _share(count, total)] for name, count in ordered[:_MAX_LICENCES]]
  if rest := ordered[_MAX_LICENCES:]:
    count = sum(count for _, count in rest)
    rows.append([f'{len(rest)} others', f'{count:,}', _share(count, total)])
  return _table(['licence', 'records', 'share'], rows) if rows else '<p>There is no record.</p>'


def _limits(threshold: filter_lib.Threshold, unit: str) -> str:
  low, high = threshold.min, threshold.max
  parts = []
  if low is not None and high is not None:
    parts.append(f'{low:g} to {high:g} {unit}')
  elif low is not None or high is not None:
    parts.append(f'at least {low:g} {unit}' if low is not None else f'at most {high:g} {unit}')
  if threshold.is_required:
    parts.append('a number is required')
  return ', '.join(part.strip() for part in parts)


def _filter(found: statistics.FilterStatistics, about: filter_lib.Filter | None) -> str:
  counted, unit = found.histogram, about.unit if about else ''
  num_clips = counted.num_values + sum(found.reasons.values())
  limits = _limits(found.threshold, unit)
  missed = (
    f'<p><b class="limit">{_text(limits)}</b>: {found.num_missed:,} of '
    f'{metric_text.count(num_clips, "clip")} ({_share(found.num_missed, num_clips)}) miss it</p>'
    if limits
    else '<p>no threshold: the number is only recorded</p>'
  )
  summary = ''
  if counted.num_values:
    median, mean, least, most = map(
      filter_plot.number, (counted.median(), counted.mean, counted.min, counted.max)
    )
    spread = f'median {median}, mean {mean}, from {least} to {most}' if least != most else f'always {least}'
    summary = f'<p>{spread} {_text(unit)}</p>'
  reasons = ''.join(
    f'<li>{metric_text.count(count, "clip")} without a number: {_text(reason)}</li>'
    for reason, count in found.reasons.most_common()
  )
  return (
    f'<figure class="card" id="filter-{_text(found.name)}">'
    f'<h3>{_text(found.name)} <small>{_text(unit)}</small></h3>'
    f'<p>{_text(about.description if about else "")}</p>'
    f'{filter_plot.render(found.name, counted, found.threshold)}{missed}{summary}'
    f'{f"<ul>{reasons}</ul>" if reasons else ""}</figure>'
  )


def _clips_lead(cards: Sequence[cards_lib.Card]) -> str:
  num_extreme = sum(bool(card.notes) for card in cards)
  return (
    f'{metric_text.count(len(cards), "accepted clip")}: {num_extreme} with extreme numbers, which are named, '
    f'and {len(cards) - num_extreme} at random. At most the first {players.PREVIEW_S:g} s are played, small '
    'and compressed; click on a spectrogram to play from there.'
  )


def _card(number: int, card: cards_lib.Card, found: statistics.Statistics) -> str:
  record, player = card.record, card.player
  facts = [f'{record.duration_s:.2f} s', card.clip.split, record.licence or 'licence unknown']
  facts += [] if player.has_video else ['no video']
  facts += [] if player.has_audio else ['no sound']
  facts += [f'without black bars ({record.crop.bar_share:.0%} of the frame)'] if record.crop else []
  notes = ''.join(f'<b>{_text(note)}</b>' for note in card.notes)
  return (
    f'<figure class="card clip" id="clip-{number}">{_media(player, record.id)}'
    f'<h3>{metric_text.breakable(file_names.printable(record.id)[:_MAX_CHARACTERS])}</h3>'
    f'<p class="facts">{_text(" · ".join(facts))}</p>{f"<p class=notes>{notes}</p>" if notes else ""}'
    f'{_annotations(card)}{_measured(record.measured, found)}</figure>'
  )


def _media(player: players.Player, name: str) -> str:
  label, parts = _text(name), []
  if player.media.startswith('data:video/'):
    parts.append(
      f'<video controls playsinline preload="none" width="{player.width}" height="{player.height}" '
      f'poster="{player.poster}" src="{player.media}" aria-label="{label}"></video>'
    )
  elif player.poster:
    parts.append(f'<img class="poster" alt="frame of {label}" src="{player.poster}">')
  if player.spectrogram:
    parts.append(
      f'<div class="sound" data-duration="{player.duration_s:.3f}">'
      f'<img alt="spectrogram of {label}" src="{player.spectrogram}"><span class="head" hidden></span></div>'
    )
  if player.media.startswith('data:audio/'):
    parts.append(f'<audio controls preload="none" src="{player.media}" aria-label="{label}"></audio>')
  if player.problem:
    parts.append(f'<p class="problem">{_text(player.problem)}</p>')
  return ''.join(parts)


def _origin(origin: str, confidence: float | None) -> str:
  return f'<small>{_text(origin)}{"" if confidence is None else f", confidence {confidence:.2f}"}</small>'


def _annotations(card: cards_lib.Card) -> str:
  known, rows = card.record.annotations, []
  for caption in known.captions[:_MAX_CAPTIONS]:
    origin = _origin(caption.origin, caption.confidence)
    rows.append(f'<dt>{_text(caption.style)}</dt><dd>{_text(caption.text)}{origin}</dd>')
  if known.transcript.text:
    source = known.provenance_of('transcript')
    origin = _origin(source.origin, source.confidence)
    rows.append(f'<dt>transcript</dt><dd>{_text(known.transcript.text)}{origin}</dd>')
  if known.events:
    words = [f'{each.label} {_span(each)}' for each in known.events[:_MAX_EVENTS]]
    words += ['…'] if len(known.events) > _MAX_EVENTS else []
    rows.append(f'<dt>events</dt><dd>{_text(", ".join(words))}</dd>')
  if known.tags:
    words = [f'{name}: {value}' for name, value in known.tags[:_MAX_TAGS]]
    rows.append(f'<dt>tags</dt><dd>{_text(", ".join(words))}</dd>')
  return f'<dl>{"".join(rows)}</dl>' if rows else '<p>no annotation</p>'


def _span(event: annotations_lib.Event) -> str:
  is_instant = event.end_s - event.start_s < 0.05
  return f'{event.start_s:.1f}{"" if is_instant else f"–{event.end_s:.1f}"} s'


def _measured(measured: Mapping[str, float | None], found: statistics.Statistics) -> str:
  if not measured:
    return ''
  rows = ''.join(
    f'<dt>{_text(name)}</dt><dd>{"–" if value is None else filter_plot.number(value)}</dd>'
    for name, value in measured.items()
    if name in found.filters and (value is not None or found.filters[name].histogram.num_values)
  )
  return f'<details><summary>numbers of the filters</summary><dl>{rows}</dl></details>'


def _extremes(found: statistics.Statistics, cards: Sequence[cards_lib.Card]) -> str:
  numbers = {card.clip.id: number for number, card in enumerate(cards, 1)}
  rows = []
  for each in found.filters.values():
    for side, extremes in each.worst():
      for rank, extreme in enumerate(extremes):
        clip = extreme.clip
        name = metric_text.breakable(file_names.printable(clip.id)[:_MAX_CHARACTERS])
        if clip.is_accepted and clip.id in numbers:
          name = f'<a href="#clip-{numbers[clip.id]}">{name}</a>'
        kind = 'accepted' if clip.is_accepted else 'rejected'
        head = f'{side} {_text(each.name)}' if not rank else ''
        outcome = f'<i class="{kind}">{_text(clip.outcome)}</i>'
        value = filter_plot.number(extreme.value)
        rows.append([head, value, f'<span class="id">{name}</span>', outcome, _text(clip.split)])
  if not rows:
    return '<p>No filter has different numbers.</p>'
  return _table(['filter', 'number', 'clip', 'outcome', 'split'], rows)


def _rejected(found: statistics.Statistics) -> str:
  parts = []
  for outcome in sorted(found.rejected, key=_outcome_order):
    examples = found.rejected[outcome]
    rows = [
      [
        metric_text.breakable(file_names.printable(str(values.get('id') or '–'))[:_MAX_CHARACTERS]),
        f'<span class="reason">{_text(values.get("reason", ""))}</span>',
        _text(values.get('split') or '–'),
        _times(values) or f'<span class="reason">{_text(values.get("where", ""))}</span>',
      ]
      for values in examples
    ]
    shown = f'{len(rows)} of {examples.num_added:,}' if len(rows) < examples.num_added else f'{len(rows)}'
    parts.append(
      f'<h3>{_text(outcome)} <small>{shown}; {_text(_meaning(outcome))}</small></h3>'
      + _table(['clip', 'reason', 'split', 'part'], rows)
    )
  return ''.join(parts) or '<p>No clip was rejected.</p>'


def _times(values: Mapping[str, Any]) -> str:
  start_s, end_s = values.get('start_s'), values.get('end_s')
  return f'{start_s:.2f} to {end_s:.2f} s' if start_s is not None and end_s else ''


def _annotation_failures(found: statistics.Statistics) -> str:
  counts = dict(sorted(found.num_annotation_failures.items()))
  if not counts:
    return '<p>No annotator failed.</p>'
  totals = _table(['annotator', 'clips'], [[_text(name), f'{count:,}'] for name, count in counts.items()])
  rows = [
    [
      metric_text.breakable(file_names.printable(each['id'])[:_MAX_CHARACTERS]),
      _text(each['annotator']),
      f'<span class="reason">{_text(each["reason"])}</span>',
    ]
    for each in found.annotation_failures
  ]
  return totals + '<h3>Examples</h3>' + _table(['clip', 'annotator', 'reason'], rows)
