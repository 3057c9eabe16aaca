"""The device mesh, and one table of what is sharded over which of its axes."""
