"""Launchers: they render what a cluster wants and hand it over; they import nothing of v2a.

`python -m launch KIND [flags] -- train --config NAME --workdir DIR ...`; the words after `--` are those of
the program `v2a`. `--dry-run` prints exactly what would run.
"""
