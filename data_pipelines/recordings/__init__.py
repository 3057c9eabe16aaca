"""Recorded sounds with clean licences from Debian packages, as a manifest of FLAC files."""
