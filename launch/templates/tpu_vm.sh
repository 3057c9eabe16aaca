#!/bin/bash
# Keeps {{name}} running: asks for the TPU, starts the container on every worker, looks after it, and makes
# the TPU anew when it was taken away. May be stopped and started at any time: it takes up what it finds.
set -u
restarts=0
failures=0  # rounds in a row in which something failed that may pass
nodes=({{nodes}})
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
{{retriable}}
say() { echo "$(date -u +%FT%TZ) {{name}}: $*"; }

# Runs gcloud; what it says of a failure is kept, and shown once.
try() {
  "$@" 2> "$errors" && return
  cat "$errors" >&2
  return 1
}

# Ends where gcloud refuses what was asked for: another attempt would be refused as well.
refuse_bad_input() {
  if grep -qE 'PERMISSION_DENIED|UNAUTHENTICATED|INVALID_ARGUMENT|NOT_FOUND|required property|argument --|nrecognized arguments|Invalid (value|choice)|not have permission|valid credentials|gcloud auth login' "$errors"; then
    say "gcloud refuses what was asked for; see above"
    exit 2
  fi
}

state() {
  # Where the project or the zone is what is not found, asking for the TPU tells.
  if gcloud compute tpus queued-resources describe {{name}} {{where}} --format='value(state.state)' 2> "$errors"; then
    return
  elif grep -q 'NOT_FOUND' "$errors"; then
    echo NONE
  else
    cat "$errors" >&2
    echo UNKNOWN
  fi
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
      failed='gcloud does not tell the state of the TPU' ;;
    NONE)
      say 'asking for the TPU'
      if ! try {{create}}; then
        refuse_bad_input
        failed='the TPU was refused'
      fi ;;
    SUSPENDED|FAILED)
      say "the TPU is $now; deleting it, to ask anew"
      try gcloud compute tpus queued-resources delete {{name}} {{where}} --force --quiet || failed='the TPU was not deleted' ;;
    ACTIVE)
      # A line a worker: "running 0", "exited CODE", or "new 0" where there is no container yet.
      if ! found=$(on_all {{inspect}}); then
        failed='a worker does not answer'
      elif grep -q '^running' <<< "$found"; then
        :  # those that left early wait for the rest, who follow by themselves
      elif ! grep -qE '^(exited|dead)' <<< "$found"; then
        start || failed='a container was not started'
      else
        code=0
        for one in $(awk '/^(exited|dead)/ { print $2 }' <<< "$found"); do
          # What forbids another start outweighs the rest.
          if [ "$one" -ne 0 ] && { [ $code -eq 0 ] || ! is_retriable "$one"; }; then code=$one; fi
        done
        if [ $code -ne 0 ] && is_retriable $code && [ $restarts -lt {{max_restarts}} ]; then
          restarts=$((restarts + 1))
          say "left with $code; restart $restarts of {{max_restarts}}"
          start || failed='a container was not started'
        else
          say "ended with $code"
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
      say "$failed, $failures times in a row; giving up. What there is of the TPU stays"
      exit 75
    fi
    say "$failed; will try again ($failures of {{max_failures}})"
  fi
  sleep {{poll_s}}
done
