#!/bin/bash
#SBATCH --job-name={{name}}
#SBATCH --nodes={{nodes}}
#SBATCH --ntasks-per-node={{tasks_per_node}}
#SBATCH --time={{time}}
#SBATCH --signal=TERM@{{term_before_s}}
#SBATCH --requeue
#SBATCH --dependency=singleton
#SBATCH --open-mode=append
#SBATCH --output={{log}}
{{more}}

{{retriable}}
# --signal reaches the tasks, which save and leave with 143, not this shell. A preempted job is queued again by
# Slurm itself; one that stopped of its own accord, here, if its exit code allows.
srun --kill-on-bad-exit=1 {{container}}{{command}}
code=$?
echo "slurm: attempt $((${SLURM_RESTART_COUNT:-0} + 1)) of job $SLURM_JOB_ID left with $code"
if ! is_retriable $code || [ "${SLURM_RESTART_COUNT:-0}" -ge {{max_restarts}} ]; then
  exit $code
fi
scontrol requeue "$SLURM_JOB_ID"
