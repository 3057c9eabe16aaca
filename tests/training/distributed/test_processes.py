import pytest

from v2a.training.distributed import processes


@pytest.mark.parametrize(
  ('words', 'fault'),
  [
    ((None, 2, 0), 'go with --coordinator'),
    (('auto', 2, None), 'go with --coordinator'),
    (('host', 2, 0), 'must be auto or HOST:PORT'),
    (('127.0.0.1:1', None, 0), 'wants --num-processes'),
    (('127.0.0.1:1', 2, 2), 'wants --num-processes'),
    (('no-such-host.invalid:1', 2, 0), "the host 'no-such-host.invalid' does not resolve"),
  ],
)
def test_faults_are_told_before_anything_starts(words, fault):
  with pytest.raises(ValueError, match=fault):
    processes.join(*words)
