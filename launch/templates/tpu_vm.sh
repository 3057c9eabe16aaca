#!/bin/bash
# Keeps {{name}} running: asks for the TPU, starts the container on every worker, looks after it, and makes
# the TPU anew when it was taken away. May be stopped and started at any time: it takes up what it finds.
set -u
restarts=0
nodes=({{nodes}})
{{retriable}}
state() {
  gcloud compute tpus queued-resources describe {{name}} {{where}} --format='value(state.state)' 2>/dev/null || echo NONE
}

# Runs a command on every worker of every node; a script run on one alone would wait for the others for ever.
on_all() {
  local node failed=0 pids=()
  for node in "${nodes[@]}"; do
    gcloud compute tpus tpu-vm ssh "$node" {{where}} --worker=all --command="$1" & pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return $failed
}

say() { echo "$(date -u +%FT%TZ) {{name}}: $*"; }

start() {
  say "starting on ${#nodes[@]} node(s)"
  on_all {{start}}
}

while :; do
  now=$(state)
  case $now in
    NONE)
      say 'asking for the TPU'
      {{create}} || say 'was refused; will ask again' ;;
    SUSPENDED|FAILED)
      say "the TPU is $now; deleting it, to ask anew"
      gcloud compute tpus queued-resources delete {{name}} {{where}} --force --quiet ;;
    ACTIVE)
      # A line a worker: "running 0", "exited CODE", or "new 0" where there is no container yet.
      if ! found=$(on_all {{inspect}}); then
        say 'a worker does not answer'
      elif grep -q '^running' <<< "$found"; then
        :  # those that left early wait for the rest, who follow by themselves
      elif ! grep -qE '^(exited|dead)' <<< "$found"; then
        start
      else
        code=0
        for one in $(awk '/^(exited|dead)/ { print $2 }' <<< "$found"); do
          # What forbids another start outweighs the rest.
          if [ "$one" -ne 0 ] && { [ $code -eq 0 ] || ! is_retriable "$one"; }; then code=$one; fi
        done
        if [ $code -ne 0 ] && is_retriable $code && [ $restarts -lt {{max_restarts}} ]; then
          restarts=$((restarts + 1))
          say "left with $code; restart $restarts of {{max_restarts}}"
          start
        else
          say "ended with $code"
          {{finish}}
          exit $code
        fi
      fi ;;
  esac
  sleep {{poll_s}}
done
