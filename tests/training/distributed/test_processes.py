import pytest

from v2a.training.distributed import processes


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ((None, 2, 0), 'go with --coordinator'),
    (('auto', 2, None), 'go with --coordinator'),
    (('host', 2, 0), 'must be auto or HOST:PORT'),
    (('127.0.0.1:1', None, 0), 'requires --num-processes'),
    (('127.0.0.1:1', 2, 2), 'requires --num-processes'),
    (('no-such-host.invalid:1', 2, 0), "the host 'no-such-host.invalid' does not resolve"),
  ],
)
def test_invalid_arguments_are_refused(arguments, message):
  with pytest.raises(ValueError, match=message):
    processes.join(*arguments)
