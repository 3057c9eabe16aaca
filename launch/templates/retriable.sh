# Whether a run that exited with $1 may be restarted: the same table as launch/exit_codes.py.
is_retriable() { [ "$1" -eq 42 ] || [ "$1" -eq 75 ] || { [ "$1" -ge 128 ] && [ "$1" -ne 130 ]; }; }
