"""Launchers that monitor and restart processes, with real processes."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from launch import command_line
from launch import local
from launch import slurm
from launch import tpu_vm

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORDS = ['--', 'doctor']
# A substitute for v2a: process I exits with the I-th code of the attempt, which is counted in a file.
PROGRAM = """
import pathlib, sys, time
count = pathlib.Path(sys.argv[1] + sys.argv[-1])
attempt = int(count.read_text()) if count.exists() else 0
count.write_text(str(attempt + 1))
code = sys.argv[2].split(';')[attempt].split(',')[int(sys.argv[-1])]
print('attempt', attempt, flush=True)
if code == 'stay':
  time.sleep(60)
sys.exit(int(code))
"""


def group(tmp_path, codes):
  """Starts two processes."""
  words = [str(tmp_path / 'count'), codes]
  return local.ProcessGroup(local.commands(2, 1, words, [sys.executable, '-c', PROGRAM]), {})


def test_a_failed_process_ends_the_others(tmp_path, capsys):
  start_s = time.monotonic()
  assert group(tmp_path, 'stay,3').wait(grace_s=0.3) == 3
  assert time.monotonic() - start_s < 20
  assert '[0] attempt 0' in capsys.readouterr().out


def test_two_successful_processes_exit_with_0(tmp_path):
  assert group(tmp_path, '0,0').wait(grace_s=5) == 0


@pytest.mark.parametrize(
  ('codes', 'restarts', 'exit_code', 'num_attempts'),
  [('143,143;134,0;0,0', 3, 0, 3), ('143,143;143,143', 1, 143, 2), ('134,1;0,0', 3, 1, 1)],
)
def test_restarts_depend_on_the_exit_code(tmp_path, monkeypatch, codes, restarts, exit_code, num_attempts):
  lines = local.commands(2, 1, [str(tmp_path / 'count'), codes], [sys.executable, '-c', PROGRAM])
  monkeypatch.setattr(local, 'commands', lambda *arguments: lines)
  argv = ['local', '--num-processes', '2', '--max-restarts', str(restarts), '--grace-s', '10', *WORDS]
  assert command_line.main(argv) == exit_code
  assert (tmp_path / 'count0').read_text() == str(num_attempts)


def test_a_signal_is_forwarded_and_prevents_restarts(tmp_path):
  code = (
    'import sys\nfrom launch import command_line, local\n'
    'local.commands = lambda *a: [[sys.executable, "-c", "import time; print(1, flush=True); '
    'time.sleep(60)"]]\n'
    'sys.exit(command_line.main(["local", "--max-restarts", "3", "--", "doctor"]))'
  )
  process = subprocess.Popen([sys.executable, '-c', code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
  process.stdout.readline()
  process.send_signal(signal.SIGTERM)
  assert process.wait(20) == 143


GCLOUD = """#!/bin/bash
# A fake gcloud: TPUs are files. The folder $BOX has the state of the TPU and the output of workers.
echo "$*" >> "$BOX/calls"
case "$*" in
  *queued-resources\\ describe*)
    [ -e "$BOX/exists" ] || { echo "NOT_FOUND: Resource 'queuedResources/r' was not found" >&2; exit 1; }
    head -1 "$BOX/states"; [ "$(wc -l < "$BOX/states")" -gt 1 ] && sed -i 1d "$BOX/states" ;;
  *queued-resources\\ create*) touch "$BOX/exists" ;;
  *queued-resources\\ delete*) rm -f "$BOX/exists" ;;
  *docker\\ run*) echo started >> "$BOX/starts" ;;
  *docker\\ inspect*)
    head -1 "$BOX/answers"; [ "$(wc -l < "$BOX/answers")" -gt 1 ] && sed -i 1d "$BOX/answers" ;;
esac
true
"""


def test_tpu_vm_creates_starts_restarts_and_recreates(tmp_path, capsys):
  """Restarted after exit code 143; recreated after a preemption; finished with exit code 0."""
  (tmp_path / 'gcloud').write_text(GCLOUD)
  (tmp_path / 'gcloud').chmod(0o755)
  states = ['WAITING_FOR_RESOURCES', 'ACTIVE', 'ACTIVE', 'ACTIVE', 'SUSPENDED', 'PROVISIONING', 'ACTIVE']
  answers = ['new 0', 'running 0', 'exited 143', 'new 0', 'exited 0']
  (tmp_path / 'states').write_text('\n'.join(states) + '\n')
  (tmp_path / 'answers').write_text('\n'.join(answers) + '\n')
  args, v2a_argv = command_line.parse(
    [
      'tpu_vm',
      '--name',
      'r',
      '--zone',
      'z',
      '--accelerator-type',
      'v6e-256',
      '--runtime-version',
      'v',
      '--image',
      'i',
      '--kind',
      'spot',
      '--poll-s',
      '0.01',
      '--mount',
      '/disk:/runs',
      '--cache',
      '/runs/cache',
      '--',
      'train',
      '--workdir',
      '/runs/a b',
    ]
  )
  environment = os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'BOX': str(tmp_path)}
  ran = subprocess.run(
    ['bash', '-c', tpu_vm.script(args, v2a_argv)], env=environment, text=True, capture_output=True, timeout=30
  )
  calls = (tmp_path / 'calls').read_text().splitlines()
  assert ran.returncode == 0, ran.stdout + ran.stderr
  assert sum('create r' in call for call in calls) == 2 and sum('delete r' in call for call in calls) == 2
  assert (tmp_path / 'starts').read_text().count('started') == 3
  assert 'exited with 143; restart 1 of 1000' in ran.stdout and 'finished with 0' in ran.stdout
  assert all('--worker=all' in call for call in calls if 'docker' in call)
  assert any("train --workdir '/runs/a b' --coordinator auto" in call for call in calls)
  assert any('--volume /disk:/runs --env V2A_CACHE=/runs/cache i train' in call for call in calls)


@pytest.mark.parametrize('answers', ['exited 143\\nexited 1', 'exited 1\\nexited 143'])
def test_tpu_vm_does_not_restart_after_exit_code_1(tmp_path, answers):
  (tmp_path / 'gcloud').write_text(
    f'#!/bin/bash\ncase "$*" in *describe*) echo ACTIVE;; *inspect*) echo -e "{answers}";; esac\n'
  )
  (tmp_path / 'gcloud').chmod(0o755)
  args, v2a_argv = command_line.parse(
    [
      'tpu_vm',
      '--name',
      'r',
      '--zone',
      'z',
      '--accelerator-type',
      'v6e-8',
      '--runtime-version',
      'v',
      '--image',
      'i',
      '--keep',
      '--',
      'train',
    ]
  )
  environment = os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
  ran = subprocess.run(
    ['bash', '-c', tpu_vm.script(args, v2a_argv)], env=environment, text=True, capture_output=True, timeout=30
  )
  assert ran.returncode == 1 and 'the TPU is kept; delete it by' in ran.stdout


def tpu_vm_with(tmp_path, gcloud, *flags):
  """Runs the loop with a fake gcloud of the given lines of bash, whose arguments are $*."""
  (tmp_path / 'gcloud').write_text(f'#!/bin/bash\necho "$*" >> {tmp_path}/calls\n{gcloud}\n')
  (tmp_path / 'gcloud').chmod(0o755)
  args, v2a_argv = command_line.parse(
    [
      'tpu_vm',
      '--name',
      'r',
      '--zone',
      'z',
      '--accelerator-type',
      'v6e-8',
      '--runtime-version',
      'v',
      '--image',
      'i',
      '--poll-s',
      '0.01',
      *flags,
      '--',
      'train',
    ]
  )
  environment = os.environ | {'PATH': f'{tmp_path}:{os.environ["PATH"]}'}
  ran = subprocess.run(
    ['bash', '-c', tpu_vm.script(args, v2a_argv)], env=environment, text=True, capture_output=True, timeout=20
  )
  return ran, (tmp_path / 'calls').read_text().splitlines()


NO_PROJECT = 'ERROR: (gcloud.compute.tpus) The required property [project] is not currently set.'
NOT_FOUND = "ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: Resource 'r' was not found"


@pytest.mark.parametrize(
  ('describe', 'create'),
  [
    (NO_PROJECT, NO_PROJECT),
    ('ERROR: PERMISSION_DENIED: the caller has no permission', ''),
    (NOT_FOUND, 'ERROR: INVALID_ARGUMENT: accelerator type v6e-8 is unknown'),
  ],
)
def test_tpu_vm_exits_if_gcloud_rejects_the_request(tmp_path, describe, create):
  ran, calls = tpu_vm_with(
    tmp_path,
    'case "$*" in *describe*) echo "'
    + describe
    + '" >&2;; *create*) echo "'
    + create
    + '" >&2;; esac; exit 1',
  )
  assert ran.returncode == 2 and len(calls) <= 2, ran.stdout + ran.stderr
  assert (create or describe) in ran.stderr and 'gcloud rejects the request' in ran.stdout


@pytest.mark.parametrize(
  'gcloud',
  [
    'echo "ERROR: UNAVAILABLE: try again" >&2; exit 1',
    'case "$*" in *describe*) echo ACTIVE;; *inspect*) echo new 0;; *) exit 1;; esac',  # docker run fails
    'case "$*" in *describe*) echo ACTIVE;; *) exit 1;; esac',
  ],
)  # no worker answers
def test_tpu_vm_gives_up_after_consecutive_failures(tmp_path, gcloud):
  ran, _ = tpu_vm_with(tmp_path, gcloud, '--max-failures', '3')
  assert ran.returncode == 75, ran.stdout + ran.stderr
  assert 'will try again (3 of 3)' in ran.stdout and '4 times in a row; giving up' in ran.stdout


def test_tpu_vm_continues_after_temporary_failures(tmp_path):
  gcloud = (
    f'num=$(grep -c describe {tmp_path}/calls)\ncase "$*" in *describe*) '
    '[ $((num % 3)) = 0 ] && { echo INTERNAL >&2; exit 1; }; echo ACTIVE;; '
    '*inspect*) [ $num -gt 12 ] && echo exited 0 || echo running 0;; esac'
  )
  ran, _ = tpu_vm_with(tmp_path, gcloud, '--max-failures', '1')
  assert ran.returncode == 0, ran.stdout + ran.stderr
  assert ran.stdout.count('will try again (1 of 1)') == 4


SRUN = """#!/bin/bash
# A fake srun: two tasks, which exit with $CODES. Like srun, it reports the signal that ended a task.
while [[ $1 == --* ]]; do shift; done
for task in 0 1; do
  SLURM_PROCID=$task "$@"
done
exit "$SRUN_CODE"
"""


@pytest.mark.parametrize(
  ('codes', 'srun_code', 'exit_code', 'is_requeued'),
  [
    ('1 134', 137, 1, False),
    ('134 3', 137, 3, False),
    ('143 143', 143, 0, True),
    ('134 134', 134, 0, True),
    ('0 0', 0, 0, False),
  ],
)
def test_slurm_requeues_by_the_exit_codes_of_the_tasks(tmp_path, codes, srun_code, exit_code, is_requeued):
  (tmp_path / 'srun').write_text(SRUN)
  (tmp_path / 'scontrol').write_text(f'#!/bin/bash\necho "$*" > {tmp_path}/requeued\n')
  (tmp_path / 'v2a').write_text(
    '#!/bin/bash\necho "a  line of $*"\nset -- $CODES\n[ "$SLURM_PROCID" = 0 ] || shift\nexit $1\n'
  )
  for name in ('srun', 'scontrol', 'v2a'):
    (tmp_path / name).chmod(0o755)
  args, v2a_argv = command_line.parse(
    ['slurm', '--name', 'r', '--program', 'v2a', '--', 'train', '--workdir', 'a b']
  )
  environment = os.environ | {
    'PATH': f'{tmp_path}:{os.environ["PATH"]}',
    'SLURM_JOB_ID': '7',
    'CODES': codes,
    'SRUN_CODE': str(srun_code),
  }
  ran = subprocess.run(
    ['bash', '-c', slurm.script(args, v2a_argv)], env=environment, text=True, capture_output=True, timeout=30
  )
  assert ran.returncode == exit_code, ran.stdout + ran.stderr
  assert (tmp_path / 'requeued').exists() == is_requeued
  assert 'a  line of train --workdir a b --coordinator auto' in ran.stdout
