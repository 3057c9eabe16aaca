"""The page of a data set: its counts, its filters, players that play, and that texts cannot break it."""

import base64
import dataclasses
import io
import json
import pathlib
import re
import shutil

import av
import numpy as np
import pytest
import soundfile

from data_pipelines import analysis
from data_pipelines import cut
from data_pipelines import layout as layout_lib
from data_pipelines import pipeline
from data_pipelines import plan
from data_pipelines import report
from data_pipelines.annotate import annotator
from data_pipelines.annotate import catalog
from data_pipelines.annotate import column
from data_pipelines.reporting import cards
from data_pipelines.reporting import page
from data_pipelines.reporting import players
from data_pipelines.reporting import statistics
from tests import pages
from v2a.data import media_folder
from v2a.media import audio_file
from v2a.media import transcript
from v2a.media import write

ASSETS = pathlib.Path(pipeline.__file__).parents[1] / 'v2a/assets/demo'
RATE_HZ = 16000
CAPTION = '</dd></main><script>alert(1)</script> "$title" &amp;'
NAME = 'noise <b>"x"&'


def silent(line: str) -> None:
  del line


@pytest.fixture(name='built', scope='module')
def make_built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Returns a data set of a video with noise, a copy of it, a silent video, a quiet one, and sounds."""
  videos, output = tmp_path_factory.mktemp('videos'), tmp_path_factory.mktemp('sets') / 'my set'
  noise_NA = 0.1 * np.random.default_rng(0).standard_normal((4 * RATE_HZ, 2)).astype(np.float32)
  write.mux(ASSETS / 'ball.mp4', noise_NA, RATE_HZ, videos / f'{NAME}.mp4')
  (videos / f'{NAME}.json').write_text(json.dumps({'annotation': CAPTION, 'licence': '<i>CC0</i>'}))
  shutil.copy(videos / f'{NAME}.mp4', videos / 'zz_copy.mp4')
  write.mux(ASSETS / 'keys.mp4', 1e-4 * noise_NA, RATE_HZ, videos / 'quiet.mp4')
  shutil.copy(ASSETS / 'rain.mp4', videos / 'silent.mp4')
  (videos / 'damaged.mp4').write_bytes(b'no video' * 1000)
  long_NA = 0.05 * np.random.default_rng(1).standard_normal((12 * 7000, 1)).astype(np.float32)
  audio_file.flac(videos / 'long.flac', long_NA, 7000)
  settings = pipeline.Settings(
    f'folder:{videos}',
    planning=plan.Settings(items_per_shard=3),
    analysing=analysis.Settings(cut.Cutting('whole', 1.0, 30.0), ('peak', 'loudness', 'still_share', 'sync')),
    annotating=catalog.Settings(('signal',)),
  )
  pipeline.build(settings, output, report=silent)
  return output


@pytest.fixture(name='shown', scope='module')
def make_shown(built: pathlib.Path) -> pages.Reader:
  """Returns the page of the data set."""
  return pages.read(report.write(built, report=silent))


def data_urls(source: str, kind: str) -> list[bytes]:
  return [base64.b64decode(each) for each in re.findall(rf'"data:{kind};base64,([^"]*)"', source)]


def test_all_counts_are_on_the_page(built, shown):
  assert pipeline.read_manifest(built)['counts'] == {
    'train': {'accepted': 3, 'duplicate': 1, 'failed': 1, 'filter:peak': 1}
  }
  words = shown.text
  assert '3 of 6 clips accepted' in words
  for row in (
    'accepted is a record 3 50.0 % 3',
    'filter:peak misses the threshold of this filter, the first of those it misses 1 16.7 % 1',
    '4 to 6 s 2 2',
    '10 to 15 s 1 1',
    'unknown 2 66.7 %',
    '<i>CC0</i> 1 33.3 %',
    'at least -50 dBFS : 1 of 5 clips (20.0 %) miss it',
    '1 clip without a number: no sound',
    '5 clips without a number: weights synchformer_state_dict.pth missing',
    'filter:peak 1;',
    'lowest peak -',
  ):
    assert row in words, row
  assert re.search(r' damaged\.mp4 \S*damaged\.mp4: .* train ', words)
  assert re.search(r'is below -50', words) and 'No annotator failed.' in words


def test_histograms_have_a_bar_for_accepted_and_rejected_clips_and_the_threshold(shown):
  start = shown.source.index('id="filter-peak"')
  peak = shown.source[start : shown.source.index('</figure>', start)]
  assert 'class="rejected"' in peak and 'class="accepted"' in peak and peak.count('<line ') == 1
  start = shown.source.index('id="filter-loudness"')
  assert '<line ' not in shown.source[start : shown.source.index('</figure>', start)]


def test_texts_of_the_data_set_are_escaped(shown):
  tags = [tag for tag, _ in shown.tags]
  assert tags.count('script') == 1
  words = ''.join(shown.text_parts)
  assert CAPTION in words and f'{NAME}.mp4' in words and '<i>CC0</i>' in words
  # Those of style.css, of meters and of the page; none of a file name or a licence.
  assert '<b>"x"' not in shown.source and '<i>CC0' not in shown.source


def test_nothing_is_loaded_from_elsewhere(shown):
  links = [each[name] for _, each in shown.tags for name in ('src', 'href', 'poster') if each.get(name)]
  assert links and all(link.startswith(('data:', '#')) for link in links)
  ids = {each['id'] for _, each in shown.tags if 'id' in each}
  assert {link[1:] for link in links if link.startswith('#')} <= ids
  assert "default-src 'none'" in shown.source


def test_players_have_the_frames_and_the_sound_of_their_records(built, shown):
  folder = media_folder.MediaFolder(built / 'train')
  records = {record.id: record for record in (folder[index] for index in range(len(folder)))}
  (sound,) = data_urls(shown.source, 'audio/mpeg')
  wave_NA, rate_hz = soundfile.read(io.BytesIO(sound))
  assert len(wave_NA) / rate_hz == pytest.approx(players.PREVIEW_S, abs=0.2)
  videos, names = data_urls(shown.source, 'video/mp4'), []
  for content in videos:
    with av.open(io.BytesIO(content)) as container:
      video = container.streams.video[0]
      assert video.codec_context.name == 'h264' and video.height <= 240
      frames = [frame.to_ndarray(format='rgb24') for frame in container.decode(video)]
      names.append([stream.codec_context.name for stream in container.streams.audio])
    (first,) = [
      record for record in records.values() if record.video and bool(record.audio) == bool(names[-1])
    ]
    with av.open(io.BytesIO(first.video)) as container:
      wanted = [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]
    assert len(frames) == len(wanted)
    for frame_YX3, wanted_YX3 in zip(frames, wanted):
      factor = wanted_YX3.shape[0] / frame_YX3.shape[0]
      rows = (np.arange(frame_YX3.shape[0]) * factor).astype(int)
      difference = frame_YX3.astype(float) - wanted_YX3[rows][:, rows].astype(float)
      assert np.abs(difference).mean() < 6
  assert sorted(names) == [[], ['aac']]
  # The posters of both videos, and the spectrograms of both sounds.
  assert len(data_urls(shown.source, 'image/jpeg')) == 4


def test_a_page_has_a_bounded_size(built):
  layout, manifest = layout_lib.Layout(built), pipeline.read_manifest(built)
  found = statistics.read(layout, manifest, 3)
  assert len(found.shown(2)) == 2 and len(found.shown(3)) == 3
  complete = cards.make(layout, found.shown(3))
  sizes = [len(card.player.media) for card in complete]
  limited = cards.make(layout, found.shown(3), max_media_characters=sum(sizes) - 1)
  assert [bool(card.player.media) for card in limited] == [True, True, False]
  assert 'has reached its size' in limited[-1].player.problem and limited[-1].player.spectrogram
  # Whatever the texts: names, reasons and annotations are cut.
  long = 'x' * 10**6
  caption = dataclasses.replace(complete[0].record.annotations.captions[0], text=long)
  annotations = dataclasses.replace(complete[0].record.annotations, captions=(caption,) * 100)
  record = dataclasses.replace(complete[0].record, id=long, licence=long, annotations=annotations)
  text = page.render(
    'x', manifest | {'licences': {f'{number}{long}': 1 for number in range(100)}}, found,
    [dataclasses.replace(complete[0], record=record)],
  )  # fmt: skip
  assert len(text) < 300_000 + len(complete[0].player.media)


def test_memory_and_page_do_not_grow_with_the_clips(built, tmp_path):
  """A set whose analysis says the same of 2000 clips more."""
  output = tmp_path / 'set'
  shutil.copytree(built, output)
  layout = layout_lib.Layout(output)
  path = plan.shard_path(layout.analysis, 'train', 0)
  lines = path.read_text().splitlines()
  entry = next(each for each in map(json.loads, lines[1:]) if each['outcome'] == 'measured')
  lines += [json.dumps(entry | {'id': f'{number:05d}'}) for number in range(2000)]
  path.write_text('\n'.join(lines) + '\n')
  rejected = {'outcome': 'duplicate', 'id': 'x', 'split': 'train', 'reason': 'y', 'measured': {}}
  with open(layout.rejected, 'a') as file:
    file.writelines(json.dumps(rejected) + '\n' for _ in range(2000))
  found = statistics.read(layout, pipeline.read_manifest(output), 3)
  peak = found.filters['peak']
  assert peak.histogram.num_values == 2004
  assert len(peak.lowest) == len(peak.highest) == statistics.NUM_EXTREMES
  assert len(found.rejected['duplicate']) == statistics.NUM_EXAMPLES
  assert found.rejected['duplicate'].num_added == 2001


def test_failures_of_annotators_are_listed(built, tmp_path):
  output = tmp_path / 'set'
  shutil.copytree(built, output)
  layout = layout_lib.Layout(output)
  path = layout.shard_summary('train', 0)
  failures = [
    {'id': f'{number} <b>', 'annotator': 'captioner@1', 'reason': '<i>HTTP 500'} for number in range(20)
  ]
  path.write_text(json.dumps(json.loads(path.read_text()) | {'annotation_failures': failures}))
  manifest = json.loads(layout.manifest.read_text()) | {'annotation_failures': {'captioner@1': 20}}
  layout.manifest.write_text(json.dumps(manifest))
  shown = pages.read(report.write(output, num_clips=0, report=silent))
  assert 'captioner@1 20' in shown.text
  assert shown.text.count('<i>HTTP 500') == statistics.NUM_EXAMPLES


def test_annotations_that_were_added_later_are_on_the_page(built, tmp_path):
  output = tmp_path / 'set'
  shutil.copytree(built, output)
  path = layout_lib.Layout(output).shard_summary('train', 0)
  failures = [{'id': 'x', 'annotator': f'{name}@1', 'reason': 'was busy'} for name in ('late', 'other')]
  path.write_text(json.dumps(json.loads(path.read_text()) | {'annotation_failures': failures}))

  @dataclasses.dataclass
  class Late:
    name: str = 'late'
    version: str = '2'
    reads: tuple[str, ...] = ()

    def check(self):
      pass

    def annotate(self, clip, known):
      if not clip.has_audio:
        raise annotator.AnnotationError('it is mute')
      return annotator.transcript(self, transcript.Transcript('said later'), 0.9)

  column.annotate(media_folder.MediaFolder(output / 'train'), [Late()], tmp_path / 'cache', report=silent)
  words = pages.read(report.write(output, report=silent)).text
  assert words.count('said later') == 2, 'of the two clips with sound'
  assert 'late@2 1' in words and 'it is mute' in words
  assert 'late@1' not in words and 'other@1 1' in words, 'what failed in the build and was done again'
  assert re.search(r'train 3 .* 2 66.7 % 2 66.7 % ', words), 'captions and transcripts of the column'


@pytest.mark.parametrize('damage', ['records', 'record', 'media'])
def test_what_cannot_be_read_is_reported(built, tmp_path, damage, capsys):
  output = tmp_path / 'set'
  shutil.copytree(built, output)
  layout = layout_lib.Layout(output)
  if damage == 'records':
    next(output.glob('train/*.array_record')).unlink()
  elif damage == 'record':
    for index in range(2):  # the order of the records is another one
      path = plan.shard_path(layout.analysis, 'train', index)
      header, *lines = path.read_text().splitlines()
      path.write_text('\n'.join([header, *reversed(lines)]) + '\n')
  else:
    record = media_folder.MediaFolder(output / 'train')[0]
    player = players.make(dataclasses.replace(record, video=b'x', audio=b''), 10**6)
    assert not player.media and 'cannot be decoded' in player.problem
    return
  assert report.main([str(output)]) == 2
  error = capsys.readouterr().err.splitlines()[-1]
  assert '--resume' in error and str(output) in error


def test_a_file_of_the_user_is_not_overwritten(built, tmp_path, capsys):
  path = tmp_path / 'mine.html'
  path.write_text('mine')
  assert report.main([str(built), '--output', str(path)]) == 2
  assert 'mine.html: exists and was not written by v2a' in capsys.readouterr().err
  assert path.read_text() == 'mine'
  path.unlink()
  for _ in range(2):  # its own page is
    assert report.main([str(built), '--output', str(path), '--clips', '0']) == 0
  assert f'{path}: ' in capsys.readouterr().out


def test_equal_sets_have_equal_pages(built, tmp_path):
  first, second = (report.write(built, tmp_path / name, 2, silent).read_bytes() for name in ('a', 'b'))
  assert first == second


@pytest.mark.parametrize(
  ('content', 'flags', 'message'),
  [
    (None, [], 'is no finished data set'),
    ('no JSON', [], 'is no JSON'),
    ('{"format": "v2a media records 1"}', [], "must be a manifest of format 'v2a data set 1'"),
    (None, ['--clips', '1000'], '--clips'),
  ],
)
def test_no_data_set_is_one_line(content, flags, message, tmp_path, capsys):
  if content is not None:
    (tmp_path / 'manifest.json').write_text(content)
  assert report.main([str(tmp_path), *flags]) == 2
  out, err = capsys.readouterr()
  assert not out and message in err and err.count('\n') == 1
  assert not (tmp_path / report.PAGE).exists()


def test_a_set_without_its_build_folder_is_one_line(built, tmp_path, capsys):
  output = tmp_path / 'set'
  shutil.copytree(built, output)
  shutil.rmtree(output / 'build')
  assert report.main([str(output)]) == 2
  assert 'has no build/plan/plan.json, which the report reads' in capsys.readouterr().err


@pages.needs_chromium
@pytest.mark.slow  # starts a browser
@pytest.mark.parametrize('width', [1280, 500])
def test_the_page_fits_its_window_and_a_click_on_a_spectrogram_seeks(built, width, tmp_path):
  path = report.write(built, tmp_path / 'page.html', report=silent)
  script = """<script>
    const sound = document.querySelector('.clip .sound');
    const box = sound.getBoundingClientRect();
    sound.dispatchEvent(new MouseEvent('click', {clientX: box.left + box.width / 4}));
    const media = sound.closest('.clip').querySelector('video, audio');
    document.title = JSON.stringify({
      overflow: document.documentElement.scrollWidth - innerWidth,
      share: media.currentTime / sound.dataset.duration,
      hidden: [...document.querySelectorAll('rect')].filter(bar => bar.getBoundingClientRect().height < 1),
    });
  </script>"""
  path.write_text(path.read_text().replace('</body>', f'{script}</body>'))
  found = pages.measure(path, width)
  assert found['share'] == pytest.approx(0.25, abs=0.01)
  assert found['overflow'] <= 0 and found['hidden'] == []
