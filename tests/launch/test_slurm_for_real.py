"""A controller and a node of Slurm on this machine: two tasks train together, are preempted, and resume.

Requires root, and Debian's slurmctld, slurmd, slurm-client and munge.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest

from launch import slurm
from v2a import weights

PROGRAMS = ('slurmctld', 'slurmd', 'sbatch', 'munged')
missing = [name for name in PROGRAMS if shutil.which(name) is None]
pytestmark = [
  pytest.mark.slow,
  pytest.mark.skipif(bool(missing), reason=f'Slurm is not installed: no {", ".join(missing)}'),
  pytest.mark.skipif(os.geteuid() != 0, reason='the Slurm daemons require root'),
]
MEMBER = pathlib.Path(__file__).parents[1] / 'training' / 'member.py'
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=60
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=2
"""


def free_ports(num):
  listeners = [socket.create_server(('127.0.0.1', 0)) for _ in range(num)]
  ports = [listener.getsockname()[1] for listener in listeners]
  for listener in listeners:
    listener.close()
  return ports


def wait_for(poll, description, seconds=240):
  """Returns the first true value of poll()."""
  end_s = time.monotonic() + seconds
  while not (value := poll()):
    assert time.monotonic() < end_s, f'no {description} within {seconds} s'
    time.sleep(0.5)
  return value


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch):
  """Runs a cluster on this machine; returns a function that runs a command and returns its output."""
  folder = tmp_path_factory.mktemp('slurm')
  for name in ('state', 'spool'):
    (folder / name).mkdir()
  # munged requires a folder that others cannot write to, but its socket must be accessible.
  for part in (folder, *folder.parents[:-2]):
    part.chmod(0o755)
  (folder / 'munge.key').write_bytes(os.urandom(128))
  (folder / 'munge.key').chmod(0o400)
  controller_port, node_port = free_ports(2)
  host = socket.gethostname().split('.')[0]
  (folder / 'slurm.conf').write_text(
    CONF.format(host=host, folder=folder, controller_port=controller_port, node_port=node_port)
  )
  monkeypatch.setenv('SLURM_CONF', str(folder / 'slurm.conf'))
  munge = [f'--{name}-file={folder}/munge.{name}' for name in ('key', 'pid', 'log', 'seed')]
  lines = (
    ['munged', '--foreground', '--force', f'--socket={folder}/munge.socket', *munge],
    ['slurmctld', '-D', '-i'],
    ['slurmd', '-D'],
  )
  daemons = [subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for line in lines]

  def run(*line, text=None):
    return subprocess.run(line, input=text, capture_output=True, text=True, check=True).stdout

  def is_idle():
    # This fails until the controller is up.
    states = subprocess.run(
      ['sinfo', '--noheader', '--format=%t'], capture_output=True, text=True, check=False
    )
    return 'idle' in states.stdout

  try:
    wait_for(is_idle, 'idle node', 60)
    yield run
  finally:
    for daemon in reversed(daemons):
      daemon.terminate()
      daemon.wait(30)


def test_two_tasks_are_preempted_requeued_and_resumed_to_the_end(cluster, tmp_path):
  log, workdir = tmp_path / 'job.log', tmp_path / 'run'
  parser = argparse.ArgumentParser()
  slurm.add_flags(parser)
  args = parser.parse_args(
    [
      '--name',
      'try',
      '--tasks-per-node',
      '2',
      '--gpus-per-node',
      '0',
      '--time',
      '00:20:00',
      '--log',
      str(log),
      '--program',
      f'{sys.executable} {MEMBER}',
      '--sbatch-flag=--export=ALL,JAX_PLATFORMS=cpu,JAX_NUM_CPU_DEVICES=1',
    ]
  )
  settings = {'num_steps': 60, 'checkpoint_every_steps': 20, 'pause_s': 0.5}
  script = slurm.script(args, [str(workdir), json.dumps(settings)])
  job = re.search(r'\d+', cluster('sbatch', text=script)).group()
  read = lambda: log.read_text() if log.exists() else ''
  wait_for(lambda: 'step 3/60' in read(), 'third step')
  cluster('sbatch', '--partition=urgent', '--ntasks=2', '--output=/dev/null', '--wrap=sleep 1')
  wait_for(lambda: 'Stopped by SIGTERM' in read(), 'saved state')
  stopped_at = int(re.search(r'saved at step (\d+)', read()).group(1))
  # Slurm delays a requeued job by two minutes.
  wait_for(lambda: 'PENDING' in cluster('scontrol', 'show', 'job', job), 'requeued job')
  cluster('scontrol', 'update', f'jobid={job}', 'starttime=now')
  wait_for(lambda: 'COMPLETED' in cluster('scontrol', 'show', 'job', job), 'end of the job')
  text = read()
  assert f'Resuming from step {stopped_at}' in text and 'Done: 60 steps' in text
  assert 'attempt 2 of job' in text and 'exited with 0' in text
  steps = [int(step) for step in re.findall(r'^step (\d+)/60 ', text, re.MULTILINE)]
  assert steps == list(range(1, 61)), 'a step is missing or repeated'
  assert weights.load_export(workdir / 'model').about['step'] == 60
