"""The captioner against a real HTTP server: what is sent, what is taken, and every fault."""

import base64
import dataclasses
import email.utils
import io
import json
import pickle
import re
import threading
import time

import numpy as np
from PIL import Image
import pytest
import soundfile

from data_pipelines.annotate import annotator
from data_pipelines.annotate import apply
from data_pipelines.annotate import cache
from data_pipelines.annotate import captioner
from data_pipelines.annotate import endpoint
from data_pipelines.annotate import media_parts
from data_pipelines.annotate import rate_limit
from data_pipelines.annotate import usage
from v2a.data import annotations as annotations_lib

pytest.importorskip('openai', reason="package openai missing (pip install 'v2a[data]')")
HUMAN = annotations_lib.Annotations(captions=(annotations_lib.Caption('dog barking', 'label'),))
FAST = {'first_backoff_s': 0.02, 'max_backoff_s': 0.05, 'timeout_s': 5.0, 'max_attempts': 3}


def make(url: str, settings: dict | None = None, **changes) -> captioner.Captioner:
  config = endpoint.EndpointConfig(url, 'omni', **{**FAST, **(settings or {})})
  return captioner.Captioner(endpoint.Endpoint(config), captioner.CaptionerConfig(**changes))


def valid(**changes) -> dict:
  answer = {
    'short': 'A dog barks.',
    'detailed': 'A dog barks twice.',
    'sources': ['dog', 'room'],
    'order': [],
    'mood': '',
    'music': 'slow\n piano',
    'negative': 'No speech.',
    'label': 'dog',
    'confidence': 1,
  }
  return {**answer, **changes}


def test_frames_and_sound_and_human_captions_are_sent(server, clip):
  added = make(server.url, num_frames=4).annotate(clip, HUMAN)
  (request,) = server.requests
  assert request.path == '/v1/chat/completions' and request.headers['authorization'].startswith('Bearer sk-')
  body = request.body
  assert body['model'] == 'omni' and body['temperature'] == 0.0
  assert body['response_format']['json_schema']['schema'] == captioner.SCHEMA
  *images, sound, prompt, written = body['messages'][0]['content']
  frames = [
    np.asarray(Image.open(io.BytesIO(base64.b64decode(each['image_url']['url'].partition(',')[2]))))
    for each in images
  ]
  assert [frame.shape for frame in frames] == [(36, 64, 3)] * 4
  np.testing.assert_allclose([frame.mean() / 16 for frame in frames], [2, 6, 10, 14], atol=0.2)
  wave_N, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sound['input_audio']['data'])))
  assert (sound['input_audio']['format'], rate_hz, wave_N.shape) == ('wav', 16000, (32000,))
  assert abs(np.fft.rfft(wave_N)).argmax() / 2.0 == 440 and 0.49 < wave_N.max() < 0.51
  assert prompt['text'] == captioner.PROMPT and written['text'].endswith('dog barking')
  by = annotator.origin(make(server.url, num_frames=4))
  assert {each.style for each in added.captions} == {'label', 'short', 'detailed', 'negative'}
  assert all(each.origin == by and each.confidence == 0.8 for each in added.captions)
  assert dict(added.tags) == {'sources': 'dog', 'order': 'bark; bark', 'mood': 'alert'}
  annotator.check_additions(make(server.url, num_frames=4), added)


def test_what_a_model_does_not_take_is_not_sent(server, clip):
  make(server.url, num_frames=0, temperature=None, response_format='json_object').annotate(clip, HUMAN)
  make(server.url, use_audio=False, response_format='text').annotate(clip, HUMAN)
  first, second = (request.body for request in server.requests)
  assert {part['type'] for part in first['messages'][0]['content']} == {'input_audio', 'text'}
  assert 'temperature' not in first and first['response_format'] == {'type': 'json_object'}
  assert {part['type'] for part in second['messages'][0]['content']} == {'image_url', 'text'}
  assert 'response_format' not in second


def test_a_clip_without_sound_sends_nothing(server, clip):
  silent = dataclasses.replace(clip, wave_NA=np.zeros((0, 1), np.float32))
  assert make(server.url).annotate(silent, HUMAN) == annotations_lib.Annotations()
  assert not server.requests


def test_frames_are_the_middles_of_equal_parts():
  assert media_parts.frame_indices(16, 4).tolist() == [2, 6, 10, 14]
  assert media_parts.frame_indices(2, 8).tolist() == [0, 1]
  assert media_parts.frame_indices(0, 8).tolist() == []


def test_a_valid_answer_is_taken_on_one_line():
  assert captioner.parse(json.dumps(valid())) == {**valid(music='slow piano'), 'confidence': 1.0}
  assert captioner.parse(f'```json\n{json.dumps(valid())}\n```') == captioner.parse(json.dumps(valid()))


@pytest.mark.parametrize(
  ('text', 'reason'),
  [
    ('The dog barks.', 'it is not JSON'),
    ('', 'it is not JSON'),
    (json.dumps(valid())[:-20], 'it is not JSON'),
    ('[1]', 'it must be a JSON object; it is a list'),
    (
      json.dumps({'short': 'a'}),
      'it lacks detailed, mood, music, negative, label, sources, order, confidence',
    ),
    (json.dumps(valid(extra=1)), 'it has unknown keys extra'),
    (json.dumps(valid(short=3)), 'short must be a string; it is a int'),
    (json.dumps(valid(detailed=' \n')), 'detailed must not be empty'),
    (json.dumps(valid(label='x' * 101)), 'label must have at most 100 characters; it has 101'),
    (json.dumps(valid(sources='dog')), 'sources must be a list'),
    (json.dumps(valid(order=[1])), r'order\[0\] must be a string'),
    (json.dumps(valid(confidence=1.1)), 'confidence must be a number from 0 to 1; it is 1.1'),
    (json.dumps(valid(confidence=True)), 'confidence must be a number'),
    (json.dumps(valid(confidence='high')), 'confidence must be a number'),
    (json.dumps(valid(confidence=float('nan'))), 'confidence must be a number'),
  ],
)
def test_an_invalid_answer_is_sent_back_with_the_reason(server, clip, text, reason):
  with pytest.raises(ValueError, match=reason):
    captioner.parse(text)
  server.script = [server.answer(text)]
  each = make(server.url)
  assert each.annotate(clip, HUMAN).captions
  first, second = (request.body['messages'] for request in server.requests)
  assert second[:1] == first and second[1] == {'role': 'assistant', 'content': text or '(empty)'}
  assert 'This answer is invalid: ' in second[2]['content'] and len(second) == 3
  assert re.search(reason, second[2]['content'])
  assert each.endpoint.usage.num_invalid == 1 and each.endpoint.usage.num_retries == 0


@pytest.mark.parametrize(
  ('reply', 'reason'),
  [
    ({'text': None}, 'it is not JSON'),
    ({'text': '{"short": "A dog', 'finish': 'length'}, 'it was cut off after 1024 tokens'),
  ],
)
def test_after_three_invalid_answers_the_clip_is_rejected(server, clip, tmp_path, reply, reason):
  server.default = server.answer(**reply)
  each, store = make(server.url), cache.Cache(tmp_path)
  for num in (1, 2):
    result = apply.annotate(clip, HUMAN, [each], store)
    (failure,) = result.failures
    assert f'omni gave 3 invalid answers; the last one: {reason}' in failure.to_json()['reason']
    assert result.annotations == HUMAN
    assert len(server.requests) == 3 * num and each.endpoint.usage.num_invalid == 3 * num
  server.default = server.answer(json.dumps(valid()))
  assert not apply.annotate(clip, HUMAN, [each], store).failures
  assert not apply.annotate(clip, HUMAN, [make(server.url)], store).failures
  assert len(server.requests) == 7


def faults(server) -> dict:
  return {
    '429': server.error(429, 'too many'),
    '500': server.error(500),
    '503': server.error(503, 'loading'),
    'half': server.answer(json.dumps(valid()), cut=30),
    'no json': server.raw(b'{"choices": [{"mess'),
    'text': server.raw(b'<html>proxy</html>', 'text/html'),
    'empty': server.json({}),
    'slow': server.answer(json.dumps(valid()), delay_s=4.0),
  }


FAULTS = ('429', '500', '503', 'half', 'no json', 'text', 'empty', 'slow')


@pytest.mark.parametrize('name', FAULTS)
def test_a_passing_fault_is_overcome(server, clip, name):
  server.script = [faults(server)[name]] * 2
  each = make(server.url, {'timeout_s': 1.0 if name == 'slow' else 30.0})
  assert each.annotate(clip, HUMAN).captions[0].text == 'dog barking'
  found = each.endpoint.usage
  assert (
    (found.num_requests, found.num_retries, found.num_invalid) == (3, 2, 0) == (len(server.requests), 2, 0)
  )
  assert (found.input_tokens, found.output_tokens, found.num_uncounted) == (100, 20, 0)


@pytest.mark.parametrize(
  ('name', 'reason'),
  [
    ('429', r'429 too many; gave up after 3 attempts'),
    ('500', r'500 no; gave up'),
    ('half', r'connection lost \(\w+: .*\); gave up'),
    ('no json', r'answer is not of the protocol'),
    ('text', r"answer is not of the protocol \(wanted a chat completion; got '<html>proxy</html>'\)"),
    ('slow', r'no answer within 1 s; gave up'),
  ],
)
def test_a_lasting_fault_rejects_the_clip_but_not_the_build(server, clip, name, reason):
  server.script = [faults(server)[name]] * 3
  each = make(server.url, {'timeout_s': 1.0 if name == 'slow' else 30.0})
  other = dataclasses.replace(clip, id='other', start_s=1.0)
  first, second = apply.annotate_all([(clip, HUMAN), (other, HUMAN)], [each])
  (failure,) = first.failures
  assert re.match(f'{server.url}: {reason}', failure.reason)
  assert not second.failures and second.annotations.captions


def test_an_error_of_the_request_is_not_repeated(server, clip):
  server.script = [server.error(400, 'image too large')]
  with pytest.raises(annotator.AnnotationError, match=r'400 image too large'):
    make(server.url).annotate(clip, HUMAN)
  assert len(server.requests) == 1


@pytest.mark.parametrize(
  ('make_value', 'seconds'),
  [
    (lambda: '0.5', 0.5),
    (lambda: email.utils.formatdate(time.time() + 2, usegmt=True), 1.0),
    (lambda: 'soon', 0.0),
  ],
)
def test_retry_after_is_honoured(server, clip, make_value, seconds):
  server.script = [lambda handler: server.error(429, Retry_After=make_value())(handler)]
  make(server.url).annotate(clip, HUMAN)
  first, second = server.requests
  assert seconds <= second.time_s - first.time_s < seconds + 30.0


def is_postponed(each: captioner.Captioner) -> bool:
  with each.endpoint._limit._state() as file:
    return rate_limit._read(file)[1] > time.time()


def test_retry_after_holds_for_every_process(server, clip):
  first, second = make(server.url), pickle.loads(pickle.dumps(make(server.url)))
  for each in (first, second):
    each.annotate(clip, HUMAN)  # makes its client, which takes time
  server.script = [server.error(429, Retry_After='1.5')]
  with apply.futures.ThreadPoolExecutor() as pool:
    refused = pool.submit(first.annotate, clip, HUMAN)
    deadline_s = time.monotonic() + 5.0
    while not is_postponed(first):
      assert time.monotonic() < deadline_s
      time.sleep(0.01)
    second.annotate(clip, HUMAN)
    refused.result()
  times_s = [request.time_s for request in server.requests[2:]]
  assert len(times_s) == 3 and min(times_s[1:]) - times_s[0] >= 1.4


def test_backoff_grows_to_its_limit_with_jitter(server, clip):
  settings = {'first_backoff_s': 0.1, 'max_backoff_s': 0.3, 'max_attempts': 5}
  server.script = [server.error(500)] * 4
  each = make(server.url, settings)
  each.annotate(clip, HUMAN)
  steps_s = np.diff([request.time_s for request in server.requests])
  for attempt, longest_s in enumerate([0.1, 0.2, 0.3, 0.3], 1):
    assert steps_s[attempt - 1] >= 0.5 * longest_s
    delays_s = [each.endpoint._delay_s(ValueError(), attempt) for _ in range(200)]
    assert 0.5 * longest_s <= min(delays_s) < 0.6 * longest_s
    assert 0.9 * longest_s < max(delays_s) <= longest_s


def test_requests_per_minute_hold_over_processes(server, clip):
  pair = [make(server.url, {'requests_per_minute': 300.0}) for _ in range(2)]
  pair[1] = pickle.loads(pickle.dumps(pair[1]))
  for each in pair:
    each.annotate(clip, HUMAN)  # makes its client, which takes time
  start_s = time.monotonic()
  with apply.futures.ThreadPoolExecutor(6) as pool:
    list(pool.map(lambda index: pair[index % 2].annotate(clip, HUMAN), range(6)))
  times_s = sorted(request.time_s for request in server.requests[2:])
  # Turn k is not before k intervals; a busy machine may delay what follows.
  assert all(time_s - start_s >= 0.2 * k - 0.01 for k, time_s in enumerate(times_s))


def test_concurrency_holds_over_processes(server, clip):
  server.default = server.answer(json.dumps(valid()), delay_s=0.1)
  pair = [make(server.url, {'concurrency': 2}) for _ in range(2)]
  with apply.futures.ThreadPoolExecutor(8) as pool:
    list(pool.map(lambda index: pair[index % 2].annotate(clip, HUMAN), range(8)))
  assert server.max_running == 2 and len(server.requests) == 8


def test_several_clips_are_sent_at_once(server, clip):
  barrier, answer = threading.Barrier(4, timeout=20.0), server.default

  def reply(handler):
    barrier.wait()  # raises unless four requests wait
    answer(handler)

  server.default = reply
  clips = [(dataclasses.replace(clip, start_s=float(index)), HUMAN) for index in range(4)]
  results = apply.annotate_all(clips, [make(server.url, {'max_attempts': 1})], None, num_threads=4)
  assert not any(each.failures for each in results)


@pytest.mark.parametrize(
  ('status', 'kind', 'code', 'line'),
  [
    (401, {}, None, '401 bad key; the key is that of OPENAI_API_KEY'),
    (403, {}, None, '403 bad key; the key is that of OPENAI_API_KEY'),
    (404, {}, None, '404 bad key; it lists the model omni, which may not support this request'),
    (429, {}, 'insufficient_quota', '429 bad key'),
    (
      429,
      {'Retry_After': '3600'},
      None,
      '429 bad key; wants 3600 s before the next request, more than 300 s',
    ),
  ],
)
def test_a_refusal_ends_the_work_with_one_line(server, clip, status, kind, code, line):
  server.default = server.error(status, 'bad key', code, **kind)
  with pytest.raises(annotator.ServiceError) as caught:
    list(apply.annotate_all([(clip, HUMAN)] * 3, [make(server.url)]))
  assert str(caught.value).startswith(f'{server.url}: {line}') and '\n' not in str(caught.value)
  assert len(server.requests) <= 2


def test_a_server_that_ends_ends_the_work(server, clip):
  each = make(server.url)
  each.annotate(clip, HUMAN)
  server.stop()
  with pytest.raises(annotator.ServiceError, match=r'no connection \(\[Errno 111\] Connection refused\)'):
    each.annotate(clip, HUMAN)


def test_check_sends_what_clips_send(server):
  each = make(server.url)
  each.check()
  (request,) = server.requests
  assert [part['type'] for part in request.body['messages'][0]['content']] == [
    'image_url',
    'input_audio',
    'text',
  ]
  assert request.body['max_completion_tokens'] == 16


@pytest.mark.parametrize(
  ('status', 'line'),
  [
    (401, '401 of {key}; the key is that of OPENAI_API_KEY'),
    (404, '404 of {key}; it has no model other; its models are omni'),
    (400, '400 of {key}'),
    (503, '503 of {key}'),
  ],
)
def test_check_finds_what_is_wrong_without_a_retry(server, status, line):
  key = 'sk-secret-of-the-test'
  server.default = server.error(status, f'of {key}')
  each = make(server.url)
  config = dataclasses.replace(each.endpoint.config, model='other')
  with pytest.raises(annotator.ServiceError) as caught:
    dataclasses.replace(each, endpoint=endpoint.Endpoint(config)).check()
  assert str(caught.value) == f'{server.url}: {line.format(key="***")}'
  assert len(server.requests) == 1


def test_check_passes_where_the_endpoint_is_only_busy(server):
  server.default = server.error(429)
  make(server.url).check()


def test_check_of_a_port_where_nothing_listens(server):
  server.stop()
  with pytest.raises(annotator.ServiceError, match=r'^http://[^/]+:\d+/v1: no connection'):
    make(server.url).check()


def test_check_of_a_server_that_does_not_answer(server):
  server.default = server.answer('', delay_s=0.5)
  with pytest.raises(annotator.ServiceError, match=r'no answer within 0.1 s'):
    make(server.url, {'timeout_s': 0.1}).check()


@pytest.mark.parametrize('value', [None, '', '  '])
def test_a_missing_key_is_one_line_before_any_request(server, clip, monkeypatch, value):
  if value is None:
    monkeypatch.delenv('OPENAI_API_KEY')
  else:
    monkeypatch.setenv('OPENAI_API_KEY', value)
  for work in (lambda: make(server.url).check(), lambda: make(server.url).annotate(clip, HUMAN)):
    with pytest.raises(
      annotator.ServiceError, match=r'no API key; set the environment variable OPENAI_API_KEY'
    ):
      work()
  assert not server.requests
  make(server.url, {'api_key_env': None}).check()
  assert len(server.requests) == 1


def test_the_key_is_not_pickled(server):
  each = make(server.url)
  each.check()
  assert b'sk-secret' not in pickle.dumps(each) and 'sk-secret' not in repr(each)
  pickle.loads(pickle.dumps(each)).check()
  assert len(server.requests) == 2


def test_the_version_follows_the_prompt_and_the_settings(server, monkeypatch):
  before = make(server.url).version
  assert before == make(server.url, {'concurrency': 1}).version
  assert before != make(server.url, num_frames=3).version
  assert '@' not in make(server.url).name
  monkeypatch.setattr(captioner, 'PROMPT', captioner.PROMPT + ' Be brief.')
  assert make(server.url).version != before


def test_tokens_and_money_are_counted(server, clip):
  each = make(server.url)
  server.script = [server.answer('x'), server.answer(json.dumps(valid()), usage=False)]
  each.annotate(clip, HUMAN)
  each.annotate(clip, HUMAN)
  found = each.endpoint.usage
  assert (found.num_requests, found.input_tokens, found.output_tokens) == (3, 200, 40)
  assert found.num_uncounted == 1
  prices = usage.Prices(input_usd_per_m=2.0, output_usd_per_m=10.0, audio_usd_per_minute=0.006)
  assert prices.cost_usd(found) == pytest.approx((200 * 2 + 40 * 10) / 1e6)
  assert prices.cost_usd(usage.Usage(audio_s=90.0)) == pytest.approx(0.009)
  planned = each.estimate(1000, 10.0)
  assert planned.num_requests == 1000 and planned.input_tokens > 1000 * (8 * 100 + 250)
  assert dataclasses.asdict(planned + found)['num_requests'] == 1003


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'base_url': 'localhost:8000'}, 'base_url must begin with http'),
    ({'model': ''}, 'model must be'),
    ({'concurrency': 0}, 'concurrency must be positive'),
    ({'requests_per_minute': 0.0}, 'requests_per_minute must be positive'),
    ({'timeout_s': float('nan')}, 'timeout_s must be positive'),
  ],
)
def test_settings_that_cannot_work(changes, message):
  with pytest.raises(ValueError, match=message):
    endpoint.EndpointConfig(**{'base_url': 'http://server/v1', 'model': 'omni', **changes})
  with pytest.raises(ValueError, match='needs frames or sound'):
    captioner.CaptionerConfig(num_frames=0, use_audio=False)
