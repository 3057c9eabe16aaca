"""Several processes as one training: joining, stopping together, ending what hangs."""
