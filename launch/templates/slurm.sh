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
# --signal reaches the tasks, which save and exit with 143, not this shell. Slurm itself requeues a preempted job;
# a job that exited by itself is requeued here, if its exit code allows.
# When a task exits, srun kills the others and reports the signal, not the code of the task. So each task prints its
# own code, and a code that forbids a restart takes precedence.
final=$(mktemp)
{{environment}}
srun --kill-on-bad-exit=1 {{container}}bash -c '
  trap : TERM
  "$@"
  code=$?
  echo "slurm: task $SLURM_PROCID exited with $code"
  exit $code' task {{command}} | {
  trap '' TERM  # if the job is preempted, the output of tasks during saving must still be written
  while IFS= read -r line; do
    printf '%s\n' "$line"
    if [[ $line =~ ^slurm:\ task\ [0-9]+\ exited\ with\ ([0-9]+)$ ]]; then
      task_code=${BASH_REMATCH[1]}
      [ "$task_code" = 0 ] || is_retriable "$task_code" || echo "$task_code" > "$final"
    fi
  done
}
code=${PIPESTATUS[0]}
[ ! -s "$final" ] || code=$(cat "$final")
rm -f "$final"
echo "slurm: attempt $((${SLURM_RESTART_COUNT:-0} + 1)) of job $SLURM_JOB_ID exited with $code"
if ! is_retriable $code || [ "${SLURM_RESTART_COUNT:-0}" -ge {{max_restarts}} ]; then
  exit $code
fi
scontrol requeue "$SLURM_JOB_ID"
