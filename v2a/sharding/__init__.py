"""Devices as a mesh, and one table of what is split over which of its axes."""
