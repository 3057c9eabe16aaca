"""N processes of v2a on this machine, connected over loopback by jax.distributed.

If a process fails, the others exit, too (by themselves, or killed after `--grace-s`), and all are restarted
while the exit code allows and restarts are left.
"""

import argparse
from collections.abc import Callable
from collections.abc import Sequence
import functools
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

from launch import exit_codes


def add_flags(parser: argparse.ArgumentParser) -> None:
  """Adds the flags of `launch local`."""
  parser.add_argument('--num-processes', type=int, default=1, metavar='N')
  parser.add_argument(
    '--devices-per-process',
    type=int,
    metavar='N',
    help='number of simulated CPU devices per process; by default JAX detects devices',
  )
  parser.add_argument('--port', type=int, default=0, help='port of the coordinator; 0 for a free one')
  parser.add_argument('--max-restarts', type=int, default=0, metavar='N')
  parser.add_argument(
    '--grace-s',
    type=float,
    default=60.0,
    metavar='S',
    help='time for processes to exit after another has exited',
  )


def _free_port() -> int:
  with socket.socket() as listener:
    listener.bind(('127.0.0.1', 0))
    return listener.getsockname()[1]


def commands(
  num_processes: int, port: int, v2a_argv: Sequence[str], program: Sequence[str]
) -> list[list[str]]:
  """Returns the command line of each process.

  Args:
    num_processes: number of processes; one alone is not connected to a coordinator.
    port: TCP port of the coordinator, which is process 0.
    v2a_argv: sub-command of v2a and its flags.
    program: command line that runs v2a.
  """
  if num_processes == 1:
    return [[*program, *v2a_argv]]
  distributed = ['--coordinator', f'127.0.0.1:{port}', '--num-processes', str(num_processes)]
  return [[*program, *v2a_argv, *distributed, '--process-id', str(index)] for index in range(num_processes)]


def environment(devices_per_process: int | None) -> dict[str, str]:
  """Returns the environment variables to override."""
  if devices_per_process is None:
    return {}
  return {'JAX_PLATFORMS': 'cpu', 'JAX_NUM_CPU_DEVICES': str(devices_per_process)}


class ProcessGroup:
  """The processes of one attempt.

  Attributes:
    processes: the processes in the order of their ids.
  """

  def __init__(
    self,
    lines: Sequence[Sequence[str]],
    variables: dict[str, str],
    show: Callable[[str], object] | None = None,
  ):
    """Starts a process for each command.

    Args:
      lines: the command of each process.
      variables: environment variables to override.
      show: called with each line of output; None prints it.
    """
    self._show = show or functools.partial(print, end='', flush=True)
    self.processes = [
      subprocess.Popen(
        line,
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        start_new_session=True,
      )
      for line in lines
    ]
    self._readers = [
      threading.Thread(target=self._read, args=(index,), daemon=True) for index in range(len(lines))
    ]
    for reader in self._readers:
      reader.start()

  def _read(self, index: int) -> None:
    stream = self.processes[index].stdout
    assert stream is not None  # a pipe
    for line in stream:
      self._show(f'[{index}] {line}' if len(self.processes) > 1 else line)

  def send(self, number: int) -> None:
    """Sends a signal to all processes that are running."""
    for process in self.processes:
      if process.poll() is None:
        process.send_signal(number)

  def wait(self, grace_s: float) -> int:
    """Returns the combined exit code, at most `grace_s` after the first nonzero exit."""
    deadline_s = None
    while None in (returncodes := [process.poll() for process in self.processes]):
      if deadline_s is None and any(returncodes):
        deadline_s = time.monotonic() + grace_s
      if deadline_s is not None and time.monotonic() > deadline_s:
        self.send(signal.SIGKILL)
      time.sleep(0.05)
    for reader in self._readers:
      reader.join()
    return exit_codes.combined([exit_codes.from_returncode(process.returncode) for process in self.processes])


def launch(args: argparse.Namespace, v2a_argv: Sequence[str]) -> int:
  """Runs the processes until they finish; see `launch.command_line`.

  Raises:
    ValueError: --num-processes is below 1.
  """
  if args.num_processes < 1:
    raise ValueError(f'--num-processes must be at least 1; got {args.num_processes}')
  variables = environment(args.devices_per_process)
  program = [sys.executable, '-m', 'v2a']
  if args.is_dry_run:
    prefix = ' '.join(f'{key}={value}' for key, value in variables.items())
    for line in commands(args.num_processes, args.port or _free_port(), v2a_argv, program):
      print(f'{prefix} {shlex.join(line)}'.strip())
    return 0
  received = []
  for attempt in range(args.max_restarts + 1):
    group = ProcessGroup(
      commands(args.num_processes, args.port or _free_port(), v2a_argv, program), variables
    )

    def forward(number, frame, group=group):
      received.append(number)
      group.send(number)

    previous = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
      code = group.wait(args.grace_s)
    finally:
      for number, handler in previous.items():
        signal.signal(number, handler)
    if received or not exit_codes.is_retriable(code) or attempt == args.max_restarts:
      break
    print(
      f'launch: exited with {code} ({exit_codes.name(code)}); restart {attempt + 1} of {args.max_restarts}',
      file=sys.stderr,
      flush=True,
    )
  return code
