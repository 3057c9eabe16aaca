"""Requests to the tiny model, and their results."""

import pytest

from v2a.sampling import jobs
from v2a.sampling import pipeline
from v2a.sampling import request as request_lib


def request(num=1, **kwargs):
  return request_lib.Request(num_samples=num, seed=3, prompt='rain', **kwargs)


def run(model, inputs, request, **kwargs):
  return list(pipeline.Pipeline(model).run([(source, request) for source in inputs], **kwargs))


def generate(model, num, duration_s=2.0, **kwargs):
  return run(model, [request_lib.Input(None, 0.0, duration_s)], request(num, **kwargs))[0]


def waves(result):
  return [soundtrack.waveform for soundtrack in result.soundtracks]


def job(model, source, request):
  conditions = request_lib.conditions_of(request, source.path is not None)
  return jobs.Job(model, 0, source, request, request_lib.resolve(model, request, conditions))


each_generator = pytest.mark.parametrize('generator', ['flow', 'tokens', 'masked'])
