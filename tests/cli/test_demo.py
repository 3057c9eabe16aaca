"""`v2a demo`: the bundled clips are complete, and the page and the plot are written."""

import json

from v2a.cli import demo
from v2a.cli import main
from v2a.media import probe


def test_the_clips_are_whole():
  wanted = demo.requests()
  assert 5 <= len(wanted) <= 10
  for request in wanted:
    info = probe.probe(demo.FOLDER / request['video'])
    assert (info.duration_s, info.width, info.height, info.has_audio) == (4.0, 256, 256, False)
    assert request['title'] and len(request['prompt'].encode()) <= 128
    assert all(0 <= time_s < 4 for time_s in request['event_times_s'])
  assert sum(path.stat().st_size for path in demo.FOLDER.iterdir()) <= 1.5e6


def test_page_and_plot(bundle, tmp_path, monkeypatch, capsys):
  # The model of the tests reads 16 bytes of text.
  short = [{**request, 'prompt': request['prompt'][:8], 'transcript': ''} for request in demo.requests()[1:3]]
  monkeypatch.setattr(demo, 'requests', lambda: short)
  folder = tmp_path / 'shown'
  assert main.main(['demo', '--model', str(bundle), '--num-samples', '1', '--output', str(folder)]) == 0
  out = capsys.readouterr().out
  assert str(folder / 'index.html') in out and str(folder / 'index.png') in out
  page = (folder / 'index.html').read_text(encoding='utf-8')
  assert all(request['title'] in page for request in short)
  assert (folder / 'index.png').stat().st_size > 10_000
  prompts = [json.loads(path.read_text())['prompt'] for path in folder.glob('*.json')]
  assert sorted(prompts) == sorted(request['prompt'] for request in short)


def test_missing_clips(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(demo, 'FOLDER', tmp_path)
  monkeypatch.setattr(demo.requests, '__defaults__', (tmp_path,))
  assert main.main(['demo', '--output', str(tmp_path / 'shown')]) == 2
  assert 'the demo clips are missing' in capsys.readouterr().err
