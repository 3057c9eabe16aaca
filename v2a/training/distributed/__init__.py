"""Training over several processes: joining, stopping together, a watchdog for hangs."""
