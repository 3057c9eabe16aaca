"""`python -m launch local|slurm|tpu_vm|gke|queues|xpk|sweep [flags] -- ARGUMENTS OF v2a`."""

import sys

from launch import command_line

if __name__ == '__main__':
  sys.exit(command_line.main(sys.argv[1:]))
