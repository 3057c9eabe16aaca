#!/bin/bash
# Keeps {{name}} running: requests the TPU, starts the container on every worker, monitors it, and recreates the
# TPU after a preemption. The loop may be stopped and started at any time: it continues from the current state.
set -u
restarts=0
failures=0  # consecutive rounds with a failure that may be temporary
nodes=({{nodes}})
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
{{retriable}}
say() { echo "$(date -u +%FT%TZ) {{name}}: $*"; }

# Runs gcloud, and saves and prints its error output.
try() {
  "$@" 2> "$errors" && return
  cat "$errors" >&2
  return 1
}

# Exits if gcloud rejected the request: another attempt would be rejected as well.
refuse_bad_input() {
  if grep -qE 'PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT|NOT_FOUND|required property|argument --|nrecognized arguments|Invalid (value|choice)|not have permission|valid credentials|gcloud auth login' "$errors"; then
    say "gcloud rejects the request; see above"
    exit 2
  fi
}

state() {
  # If the project or the zone is not found, the request for the TPU reports it.
  if gcloud compute tpus queued-resources describe {{name}} {{where}} --format='value(state.state)' 2> "$errors"; then
    return
  elif grep -q 'NOT_FOUND' "$errors"; then
    echo NONE
  else
    cat "$errors" >&2
    echo UNKNOWN
  fi
}

# Runs a command on every worker of every node; a process on one alone would wait for the others forever.
on_all() {
  local node failed=0 pids=()
  for node in "${nodes[@]}"; do
    gcloud compute tpus tpu-vm ssh "$node" {{where}} --worker=all --command="$1" & pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  return $failed
}

start() {
  say "starting on ${#nodes[@]} node(s)"
  on_all {{start}}
}

while :; do
  now=$(state)
  failed=
  case $now in
    UNKNOWN)
      refuse_bad_input
      failed='gcloud does not report the state of the TPU' ;;
    NONE)
      say 'requesting the TPU'
      if ! try {{create}}; then
        refuse_bad_input
        failed='the request for the TPU failed'
      fi ;;
    SUSPENDED|FAILED)
      say "the TPU is $now; deleting it, to request a new one"
      try gcloud compute tpus queued-resources delete {{name}} {{where}} --force --quiet || failed='the TPU was not deleted' ;;
    ACTIVE)
      # One line per worker: "running 0", "exited CODE", or "new 0" if there is no container yet.
      if ! found=$(on_all {{inspect}}); then
        failed='a worker does not answer'
      elif grep -q '^running' <<< "$found"; then
        :  # if some have exited, the others will exit by themselves
      elif ! grep -qE '^(exited|dead)' <<< "$found"; then
        start || failed='a container was not started'
      else
        code=0
        for worker_code in $(awk '/^(exited|dead)/ { print $2 }' <<< "$found"); do
          # A code that forbids a restart takes precedence.
          if [ "$worker_code" -ne 0 ] && { [ $code -eq 0 ] || ! is_retriable "$worker_code"; }; then
            code=$worker_code
          fi
        done
        if [ $code -ne 0 ] && is_retriable $code && [ $restarts -lt {{max_restarts}} ]; then
          restarts=$((restarts + 1))
          say "exited with $code; restart $restarts of {{max_restarts}}"
          start || failed='a container was not started'
        else
          say "finished with $code"
          {{finish}}
          exit $code
        fi
      fi ;;
  esac
  if [ -z "$failed" ]; then
    failures=0
  else
    failures=$((failures + 1))
    if [ $failures -gt {{max_failures}} ]; then
      say "$failed, $failures times in a row; giving up. The TPU is not deleted"
      exit 75
    fi
    say "$failed; will try again ($failures of {{max_failures}})"
  fi
  sleep {{poll_s}}
done
