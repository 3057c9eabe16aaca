"""Training: tasks, the sharded step, the loop around it, input and checkpoints."""
