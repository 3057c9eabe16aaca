"""What each launcher would run, its exit codes, and errors in its input."""

import itertools
import pathlib
import re
import shlex
import subprocess

import pytest
import yaml

from launch import accelerators
from launch import command_line
from launch import exit_codes
from launch import render
from v2a import storage
from v2a.aot import topologies

ROOT = pathlib.Path(__file__).resolve().parents[2]
V2A_ARGV = ['--', 'train', '--config', 'flow_synthetic', '--workdir', 'runs/a b']
SLURM = ['slurm', '--name', 'wide']
MOUNTED = ['--', 'train', '--config', 'flow_synthetic', '--workdir', '/runs/a b']
TPU_VM = [
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
  'eu.pkg.dev/p/v2a:tpu',
]
GKE = ['gke', '--name', 'r', '--image', 'i']


def rendered(capsys, *argv, v2a_argv=V2A_ARGV):
  """Returns what a launcher prints under --dry-run."""
  assert command_line.main([argv[0], '--dry-run', *argv[1:], *v2a_argv]) == 0
  return capsys.readouterr().out


def test_retriable_exit_codes():
  assert [
    code for code in (0, 1, 2, 3, 42, 75, 127, 130, 134, 137, 143) if exit_codes.is_retriable(code)
  ] == [
    42,
    75,
    134,
    137,
    143,
  ]
  assert exit_codes.name(143).startswith('preempted') and exit_codes.name(137) == 'killed by signal 9'
  assert exit_codes.from_returncode(-9) == 137 and exit_codes.from_returncode(3) == 3


@pytest.mark.parametrize(
  ('codes', 'combined'),
  [
    ([0, 0], 0),
    ([143, 143], 143),
    ([134, 1], 1),
    ([137, 134], 134),
    ([0, 137], 137),
    ([42, 134], 42),
    ([75, 134], 75),
    ([3, 143], 3),
    ([134, 130], 130),
  ],
)
def test_combined_exit_code(codes, combined):
  assert exit_codes.combined(codes) == combined


def test_the_table_in_the_docs_matches():
  text = (ROOT / 'docs' / 'concepts' / 'launching.md').read_text()
  table = re.search(r'\| exit code \|.*?\n\n', text, re.DOTALL).group()
  rows = re.findall(r'^\| (\d+) \|.*\| (yes|no) \|$', table, re.M)
  assert {int(code): restart == 'yes' for code, restart in rows} == {
    code: restart for code, (_, restart) in exit_codes.CODES.items()
  }


def test_retriable_codes_of_shell_and_python_are_equal():
  loop = 'for code in $(seq 0 255); do is_retriable $code && echo $code; done; true'
  check = f'{render.fill("retriable.sh", {})}\n{loop}'
  found = subprocess.run(['bash', '-c', check], capture_output=True, text=True, check=True).stdout
  assert [int(code) for code in found.split()] == exit_codes.retriable()


def test_local_renders_one_command_per_process(capsys):
  lines = rendered(capsys, 'local', '--num-processes', '2', '--devices-per-process', '4').splitlines()
  assert len(lines) == 2
  words = shlex.split(lines[1])
  assert words[:2] == ['JAX_PLATFORMS=cpu', 'JAX_NUM_CPU_DEVICES=4']
  assert words[words.index('--workdir') + 1] == 'runs/a b' and words[-2:] == ['--process-id', '1']
  (alone,) = rendered(capsys, 'local').splitlines()
  assert '--coordinator' not in alone and 'JAX' not in alone


def test_slurm_renders_a_batch_script(capsys):
  text = rendered(capsys, *SLURM, '--nodes', '4', '--partition', 'p', '--sbatch-flag=--mail-type=END')
  subprocess.run(['bash', '-n'], input=text, text=True, check=True)
  flags = re.findall(r'^#SBATCH (\S+)$', text, re.M)
  assert {
    '--nodes=4',
    '--ntasks-per-node=8',
    '--gres=gpu:8',
    '--requeue',
    '--signal=TERM@180',
    '--exclusive',
    '--partition=p',
    '--mail-type=END',
    '--open-mode=append',
  } <= set(flags)
  assert "exit $code' task python3 -m v2a train --config flow_synthetic --workdir 'runs/a b'" in text
  assert '--coordinator auto' in text and '{{' not in text
  # A flag below the first command would not be read by Slurm.
  assert text.rindex('#SBATCH') < text.index('srun')
  alone = rendered(capsys, *SLURM, '--tasks-per-node', '1', '--gpus-per-node', '0')
  assert '--gres' not in alone and '--coordinator' not in alone


def test_gke_renders_a_jobset_for_tpu(capsys):
  text = rendered(
    capsys,
    *GKE,
    '--accelerator',
    'v6e',
    '--topology',
    '4x4',
    '--num-slices',
    '2',
    '--claim',
    'runs:/runs',
    '--priority',
    'low',
    '--cache',
    '/runs/cache',
    v2a_argv=MOUNTED,
  )
  job = yaml.safe_load(text)['spec']['replicatedJobs'][0]
  spec = job['template']['spec']
  pod = spec['template']['spec']
  container = pod['containers'][0]
  assert (job['replicas'], spec['parallelism'], spec['completions']) == (2, 4, 4)
  assert container['resources']['limits'] == {'google.com/tpu': 4}
  assert container['command'][2] == (
    "exec v2a train --config flow_synthetic --workdir '/runs/a b' --coordinator auto"
  )
  (rule,) = spec['podFailurePolicy']['rules']
  assert rule['action'] == 'FailJob' and rule['onExitCodes']['operator'] == 'NotIn'
  assert rule['onExitCodes']['values'] == exit_codes.retriable()
  assert pod['terminationGracePeriodSeconds'] == 300 and pod['restartPolicy'] == 'Never'
  assert {'name': 'dshm', 'emptyDir': {'medium': 'Memory'}} in pod['volumes'] and len(pod['volumes']) == 2
  assert [mount['mountPath'] for mount in container['volumeMounts']] == ['/dev/shm', '/runs']
  assert container['env'] == [{'name': 'V2A_CACHE', 'value': '/runs/cache'}]


def test_gke_renders_a_jobset_for_gpu(capsys):
  text = rendered(
    capsys, *GKE, '--accelerator', 'h100', '--nodes', '3', '--claim', 'c:/runs', v2a_argv=MOUNTED
  )
  spec = yaml.safe_load(text)['spec']['replicatedJobs'][0]['template']['spec']
  container = spec['template']['spec']['containers'][0]
  assert spec['parallelism'] == 3 and container['resources']['limits'] == {'nvidia.com/gpu': 8}
  assert 'do getent hosts r-slice-0-0.r > /dev/null && break' in container['command'][2]
  assert container['command'][2].endswith(
    '--coordinator r-slice-0-0.r:8476 --num-processes 3 --process-id "$JOB_COMPLETION_INDEX"'
  )


def test_xpk_renders_a_command(capsys):
  words = shlex.split(
    rendered(capsys, 'xpk', '--cluster', 'c', '--name', 'r', '--tpu-type', 'v5litepod-256', '--image', 'i')
  )
  assert words[:3] == ['xpk', 'workload', 'create'] and '--restart-on-exit-codes=42,75' in words
  assert "--command=exec v2a train --config flow_synthetic --workdir 'runs/a b' --coordinator auto" in words


def test_sweep_renders_one_job_per_cell(capsys):
  text = rendered(
    capsys,
    'sweep',
    '--by',
    'slurm --name=lr --nodes 1',
    '--grid',
    'training.learning_rate=1e-4,3e-4',
    '--grid',
    'config.training.betas=0.9,0.99;0.8,0.9',
  )
  names = re.findall(r'--job-name=(\S+)', text)
  assert names == ['lr-000', 'lr-001', 'lr-002', 'lr-003']
  runs = [shlex.split(line) for line in re.findall(r"^  exit \$code' task (.*) \| {$", text, re.MULTILINE)]
  folders = [run[run.index('--workdir') + 1] for run in runs]
  assert folders == [
    f'runs/a b/learning_rate={rate},betas={betas}'
    for rate, betas in itertools.product(('1e-4', '3e-4'), ('0.9,0.99', '0.8,0.9'))
  ]
  assert '--config.training.betas=0.8,0.9' in runs[1] and '--config.training.learning_rate=3e-4' in runs[2]


INVALID_ARGUMENTS = [
  ([], 'the following arguments are required: KIND'),
  (['local'], 'the arguments of v2a must follow after --'),
  (['local', '--num-processes', '0', *V2A_ARGV], '--num-processes must be at least 1; got 0'),
  (['slurm', *V2A_ARGV], 'the following arguments are required: --name'),
  ([*SLURM, '--nodes', '0', *V2A_ARGV], '--nodes must be at least 1; got 0'),
  (
    [*GKE, '--accelerator', 'v6e', '--topology', '4by4', *V2A_ARGV],
    'a topology looks like 4x4 or 4x4x8; got',
  ),
  ([*GKE, '--accelerator', 'v6e', '--topology', '5x7', *V2A_ARGV], 'has hosts of 2x2 chips and at most 256'),
  (
    [*GKE, '--accelerator', 'v6e', '--topology', '32x32', *V2A_ARGV],
    'has hosts of 2x2 chips and at most 256',
  ),
  ([*GKE, '--accelerator', 'v6e', '--topology', '4x4x4', *V2A_ARGV], 'v6e is a torus of 2 axes'),
  (['queues', '--name', 'q', '--accelerator', 'v5p', '--topology', '4x4'], 'v5p is a torus of 3 axes'),
  (
    [*GKE, '--accelerator', 'v6e', '--topology', '4x4', *V2A_ARGV],
    '--workdir runs/a b would be lost with its',
  ),
  ([*GKE, '--accelerator', 'v6e', '--topology', '4x4', '--claim', 'c:/data', *MOUNTED], 'mounted: /data'),
  ([*TPU_VM, *MOUNTED], '--workdir /runs/a b would be lost with its container'),
  ([*TPU_VM, '--mount', '/a', *MOUNTED], '--mount must look like HOST:/folder'),
  ([*SLURM, '--image', 'i', *MOUNTED], '--workdir /runs/a b would be lost with its container'),
  ([*SLURM, '--mount', '/a:/b', *V2A_ARGV], '--mount requires --image'),
  (['local', '--', 'tain'], "invalid arguments of v2a after --: no command 'tain'. Did you mean train?"),
  ([*SLURM, '--', 'train', '--config', 'flow_wrld', '--workdir', 'a'], "No configuration 'flow_wrld'"),
  ([*SLURM, '--', 'train', '--config', 'flow_synthetic', '--worker', 'a'], '--workdir'),
  ([*SLURM, *V2A_ARGV, '--config.training.batch_sise=4'], 'Did you mean config.training.batch_size?'),
  ([*SLURM, *V2A_ARGV, '--config.training.num_steps=0'], 'config.training.num_steps must be above 0; got 0'),
  ([*SLURM, *V2A_ARGV, '--config.init_from.codec=hdfs://a/b'], 'must be a path in the file'),
  (['sweep', '--by', 'slurm --name a', '--grid', 'seed=1,-1', *V2A_ARGV], 'config.seed must be in 0..'),
  ([*GKE, '--accelerator', 'v6e', '--nodes', '2', *V2A_ARGV], 'by --topology and --num-slices, not --nodes'),
  ([*GKE, '--accelerator', 'h100', '--topology', '4x4', *V2A_ARGV], 'counted by --nodes'),
  (
    ['gke', '--name', 'A_B', '--image', 'i', '--accelerator', 'h100', '--nodes', '1', *V2A_ARGV],
    '--name must be a DNS label',
  ),
  ([*GKE, '--accelerator', 'h100', '--nodes', '1', '--claim', 'x', *V2A_ARGV], '--claim must look like'),
  (['queues', '--name', 'q', '--accelerator', 'h100', '--nodes', '1', *V2A_ARGV], 'queues does not run v2a'),
  (['sweep', '--by', 'local', '--grid', 'seed=', *V2A_ARGV], '--grid must look like'),
  (['sweep', '--by', 'local', '--grid', 'seed=1,1', *V2A_ARGV], 'twice'),
  (['sweep', '--by', 'local', '--grid', 'seed=1', '--', 'doctor'], 'a sweep needs exactly one --workdir DIR'),
]


@pytest.mark.parametrize(('argv', 'message'), INVALID_ARGUMENTS, ids=lambda value: str(value)[:50])
def test_invalid_arguments_are_one_line_and_exit_code_2(argv, message, capsys):
  assert command_line.main(list(argv)) == 2
  out, err = capsys.readouterr()
  assert not out and err.startswith('launch: ') and err.count('\n') == 1 and message in err


def test_a_value_without_a_placeholder_is_refused():
  with pytest.raises(KeyError, match='unknown values'):
    render.fill('retriable.sh', {'other': 1})


@pytest.mark.parametrize('kind', ['tpu', 'gpu'])
def test_images_copy_existing_files_and_pin_requirements(kind):
  text, copied = (ROOT / 'launch' / 'docker' / f'{kind}.Dockerfile').read_text(), set()
  for line in re.sub(r'\\\n', ' ', text).splitlines():
    if line.startswith('COPY'):
      copied.update(source for source in line.split()[1:-1])
    for install in re.findall(r'pip install [^&]*', line):
      assert '--require-hashes' in install or '--no-deps' in install or '==' in install
  for source in copied:
    for pins in ('pods', 'data') if '${PINS}' in source else ('',):
      assert (ROOT / source.replace('${PINS}', pins)).exists(), source
  for pins in ('pods', 'data'):
    packages = (ROOT / 'requirements' / f'{pins}.txt').read_text()
    for package in storage.PACKAGES.values():
      assert f'\n{package}==' in packages, f'an image of {pins} must read and write {package}'
  # All that the wheel packs.
  assert copied >= {'v2a', 'data_pipelines', 'configs', 'pyproject.toml', 'requirements/${PINS}.txt'}


def test_a_workdir_in_an_object_store_needs_no_mount(capsys):
  argv = ['--', 'train', '--config', 'flow_synthetic', '--workdir=s3://bucket/run']
  topology = ('--accelerator', 'v6e', '--topology', '4x4')
  assert '--workdir=s3://bucket/run' in rendered(capsys, *GKE, *topology, v2a_argv=argv)
  text = rendered(capsys, 'sweep', '--by', 'slurm --name=lr --nodes 1', '--grid', 'seed=1', v2a_argv=argv)
  assert '--workdir=s3://bucket/run/seed=1' in text


def test_slurm_renders_container_mounts(capsys, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  workdir = ['--', 'train', '--config', 'flow_synthetic', '--workdir', '/lustre/run']
  text = rendered(capsys, *SLURM, '--image', 'r/v2a:gpu', '--mount', '/lustre:/lustre', v2a_argv=workdir)
  subprocess.run(['bash', '-n'], input=text, text=True, check=True)
  assert '--container-mounts="$SLURM_SUBMIT_DIR:$SLURM_SUBMIT_DIR",/lustre:/lustre ' in text
  assert '--container-workdir="$SLURM_SUBMIT_DIR"' in text
  assert text.index('export NVIDIA_VISIBLE_DEVICES=all') < text.index('srun --kill')
  assert '--container-env=NVIDIA_VISIBLE_DEVICES,NVIDIA_DRIVER_CAPABILITIES' in text
  # The folder from which the job is submitted needs no extra mount.
  assert 'srun' in rendered(capsys, *SLURM, '--image', 'i')
  below = ['--', 'train', '--config', 'flow_synthetic', '--workdir', str(tmp_path / 'run')]
  assert 'srun' in rendered(capsys, *SLURM, '--image', 'i', v2a_argv=below)
  alone = rendered(capsys, *SLURM)
  assert 'NVIDIA' not in alone and '--container' not in alone


@pytest.mark.parametrize('accelerator', topologies._NUM_AXES)
@pytest.mark.parametrize('shape', ['2x2', '4x4', '5x7', '16x16', '32x32', '4x4x8', '3x4x4', '64x64x64'])
def test_topologies_match_those_of_compile(accelerator, shape):
  def is_accepted(make):
    try:
      make()
    except ValueError:
      return False
    return True

  expected = is_accepted(lambda: topologies.parse(f'{accelerator}:{shape}'))
  assert is_accepted(lambda: accelerators.num_chips(accelerator, shape)) == expected
