"""Merging of annotations, and the application of several annotators to clips."""

import dataclasses
import pickle
import time

import numpy as np
import pytest

from data_pipelines import decoded
from data_pipelines.annotate import annotator
from data_pipelines.annotate import apply
from v2a.data import annotations as annotations_lib
from v2a.media import transcript

HUMAN_WORDS = transcript.Transcript('set blue now')
KNOWN = annotations_lib.Annotations(
  captions=(annotations_lib.Caption('a dog barks', 'short'),),
  transcript=HUMAN_WORDS,
  events=(annotations_lib.Event(0.5, 0.6, 'bark'),),
  tags=(('quality', 'good'),),
)


def make_clip(name: str = 'a', **changes) -> decoded.DecodedClip:
  clip = decoded.DecodedClip(
    name, np.zeros((4, 8, 8, 3), np.uint8), np.zeros((800, 1), np.float32), 8000, 0.0, 0.1
  )
  return dataclasses.replace(clip, **changes)


@dataclasses.dataclass(frozen=True)
class Fixed:
  """An annotator that adds given annotations, under its own origin."""

  added: annotations_lib.Annotations = annotations_lib.Annotations()
  name: str = 'fixed'
  version: str = '1'
  reads: tuple[str, ...] = ()
  failing: tuple[str, ...] = ()
  sleeping: tuple[str, ...] = ()

  def check(self):
    pass

  def annotate(self, clip, known):
    if clip.id in self.failing:
      raise annotator.AnnotationError('answers nonsense')
    if clip.id in self.sleeping:
      time.sleep(0.3)
    return self.added


def caption(text: str, by: str, style='short', confidence: float | None = 0.5) -> annotations_lib.Annotations:
  return annotations_lib.Annotations(captions=(annotations_lib.Caption(text, style, by, confidence),))


def spoken(text: str, by: str, confidence: float | None, times_s=None) -> annotations_lib.Annotations:
  source = dataclasses.replace(Fixed(), name=by.partition('@')[0], version=by.partition('@')[2])
  return annotator.transcript(source, transcript.Transcript(text, times_s), confidence)


def test_annotations_by_humans_are_never_overwritten():
  by = 'fixed@1'
  added = annotations_lib.Annotations(
    captions=(annotations_lib.Caption('a cat', 'short', by, 1.0),),
    transcript=transcript.Transcript('set red now', (0.1, 0.2, 0.3)),
    events=(annotations_lib.Event(0.5, 0.6, 'meow', by, 1.0),),
    tags=(('quality', 'bad'), ('mood', 'calm')),
    provenance=tuple(
      annotations_lib.Provenance(field, by, 1.0)
      for field in ('transcript', 'transcript.times', 'tags.quality', 'tags.mood')
    ),
  )
  merged = annotator.merge(KNOWN, added)
  assert merged.captions == KNOWN.captions + added.captions
  assert merged.events == KNOWN.events + added.events
  assert merged.transcript == HUMAN_WORDS
  assert dict(merged.tags) == {'quality': 'good', 'mood': 'calm'}
  assert merged.provenance == (annotations_lib.Provenance('tags.mood', by, 1.0),)
  assert merged.provenance_of('transcript').origin == merged.provenance_of('tags.quality').origin == 'human'


def test_a_new_version_replaces_what_the_old_one_added():
  first = annotator.merge(KNOWN, caption('hum', 'a@1'))
  second = annotator.merge(annotator.merge(first, caption('buzz', 'b@1')), caption('hiss', 'a@2'))
  assert [each.text for each in second.captions] == ['a dog barks', 'buzz', 'hiss']
  old = annotator.tags(Fixed(name='t', version='1'), [('mood', 'calm', 0.9), ('key', 'C', 0.9)])
  new = annotator.tags(Fixed(name='t', version='2'), [('mood', 'tense', 0.1)])
  merged = annotator.merge(annotator.merge(KNOWN, old), new)
  assert dict(merged.tags) == {'quality': 'good', 'mood': 'tense'}
  assert merged.provenance == (annotations_lib.Provenance('tags.mood', 't@2', 0.1),)


@pytest.mark.parametrize(
  ('first', 'second', 'text'),
  [
    (('one', 'a@1', 0.4), ('two', 'b@1', 0.6), 'two'),
    (('one', 'a@1', 0.6), ('two', 'b@1', 0.4), 'one'),
    (('one', 'a@1', 0.5), ('two', 'b@1', 0.5), 'one'),
    (('one', 'a@1', None), ('two', 'b@1', 0.1), 'two'),
    (('one', 'a@1', 0.9), ('two', 'a@2', 0.1), 'two'),
  ],
)
def test_the_more_confident_transcript_stays(first, second, text):
  known = annotator.merge(annotations_lib.Annotations(), spoken(*first))
  merged = annotator.merge(known, spoken(*second))
  chosen = first if text == 'one' else second
  assert merged.transcript.text == text
  assert merged.provenance == (annotations_lib.Provenance('transcript', chosen[1], chosen[2]),)


def test_times_are_added_to_the_words_of_humans():
  times_s = (0.1, 0.2, 0.3)
  merged = annotator.merge(KNOWN, spoken('set blue now', 'align@1', 0.8, times_s))
  assert merged.transcript == transcript.Transcript('set blue now', times_s)
  assert merged.provenance_of('transcript') == annotations_lib.Provenance('transcript', 'human')
  assert merged.provenance_of('transcript.times') == annotations_lib.Provenance(
    'transcript.times', 'align@1', 0.8
  )
  other_s = (0.2, 0.3, 0.4)
  again = annotator.merge(merged, spoken('set blue now', 'align@2', 0.1, other_s))
  assert again.transcript == transcript.Transcript('set blue now', other_s)
  timed = dataclasses.replace(KNOWN, transcript=transcript.Transcript('set blue now', times_s))
  assert annotator.merge(timed, spoken('set blue now', 'align@1', 1.0, other_s)).transcript.times_s == times_s


def test_a_field_without_its_annotator_as_the_origin_is_a_fault():
  added = annotations_lib.Annotations(
    captions=(annotations_lib.Caption('a', 'short'),),
    tags=(('mood', 'calm'),),
    events=(annotations_lib.Event(0, 1, 'b', 'x@1'),),
  )
  with pytest.raises(
    ValueError, match=r"fixed: tags.mood, captions.short, events.b must have the origin 'fixed@1'"
  ):
    apply.annotate(make_clip(), KNOWN, [Fixed(added)])
  with pytest.raises(ValueError, match=r'fixed: transcript must have the origin'):
    apply.annotate(
      make_clip(), KNOWN, [Fixed(annotations_lib.Annotations(transcript=transcript.Transcript('a')))]
    )


def test_an_annotator_gets_only_what_it_reads_and_what_those_before_it_added():
  seen = []

  class Reader(Fixed):
    def annotate(self, clip, known):
      seen.append(known)
      return annotations_lib.Annotations()

  first = Fixed(spoken('hello', 'fixed@1', 0.5))
  apply.annotate(
    make_clip(), dataclasses.replace(KNOWN, transcript=transcript.Transcript()), [first, Reader()]
  )
  apply.annotate(
    make_clip(),
    dataclasses.replace(KNOWN, transcript=transcript.Transcript()),
    [first, Reader(name='reader', reads=('transcript',))],
  )
  assert seen[0] == annotations_lib.Annotations()
  assert seen[1] == annotations_lib.Annotations(
    transcript=transcript.Transcript('hello'),
    provenance=(annotations_lib.Provenance('transcript', 'fixed@1', 0.5),),
  )


def test_an_annotator_does_not_read_what_it_added_earlier_nor_captions_of_others_where_humans_count():
  caption = lambda text, origin: annotations_lib.Caption(text, 'short', origin, 0.5)
  captions = (caption('mine', 'fixed@0'), caption('by another', 'other@1'), *KNOWN.captions)
  known = dataclasses.replace(KNOWN, captions=captions)
  assert annotator.readable(Fixed(reads=('captions',)), known).captions == captions[1:]
  assert annotator.readable(Fixed(reads=(annotator.HUMAN_CAPTIONS,)), known).captions == KNOWN.captions


@pytest.mark.parametrize('num_threads', [1, 3])
def test_a_failure_is_a_line_and_the_others_continue(num_threads: int):
  annotators = [
    Fixed(caption('first', 'fixed@1'), failing=('b',), sleeping=('a',)),
    Fixed(caption('second', 'other@1'), name='other'),
  ]
  results = list(
    apply.annotate_all([(make_clip(name), KNOWN) for name in 'abcde'], annotators, None, num_threads)
  )
  assert [each.id for each in results] == list('abcde')
  assert [len(each.annotations.captions) for each in results] == [3, 2, 3, 3, 3]
  assert [line.to_json() for each in results for line in each.failures] == [
    {'id': 'b', 'stage': 'annotate', 'annotator': 'fixed@1', 'reason': 'answers nonsense'}
  ]


def test_clips_are_read_as_results_are_taken():
  num_read = 0

  def clips():
    nonlocal num_read
    for index in range(100):
      num_read += 1
      yield make_clip(str(index)), KNOWN

  results = apply.annotate_all(clips(), [Fixed()], None, 2)
  assert next(results).id == '0' and num_read <= 4
  results.close()
  assert num_read <= 4


def test_results_can_be_pickled():
  result = apply.annotate(make_clip(), KNOWN, [Fixed(failing=('a',))])
  assert pickle.loads(pickle.dumps(result)) == result
