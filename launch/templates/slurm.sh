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
# When a task leaves, srun kills the rest and tells the signal, not the task's code: so each tells its own, and
# one that forbids another start counts.
final=$(mktemp)
{{environment}}
srun --kill-on-bad-exit=1 {{container}}bash -c '
  trap : TERM
  "$@"
  code=$?
  echo "slurm: task $SLURM_PROCID left with $code"
  exit $code' task {{command}} | {
  trap '' TERM  # of a job that is preempted; what tasks say while they save is still to be written
  while IFS= read -r line; do
    printf '%s\n' "$line"
    if [[ $line =~ ^slurm:\ task\ [0-9]+\ left\ with\ ([0-9]+)$ ]]; then
      left=${BASH_REMATCH[1]}
      [ "$left" = 0 ] || is_retriable "$left" || echo "$left" > "$final"
    fi
  done
}
code=${PIPESTATUS[0]}
[ ! -s "$final" ] || code=$(cat "$final")
rm -f "$final"
echo "slurm: attempt $((${SLURM_RESTART_COUNT:-0} + 1)) of job $SLURM_JOB_ID left with $code"
if ! is_retriable $code || [ "${SLURM_RESTART_COUNT:-0}" -ge {{max_restarts}} ]; then
  exit $code
fi
scontrol requeue "$SLURM_JOB_ID"
