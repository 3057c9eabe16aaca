"""Launchers: they render job descriptions and submit them; they import nothing of v2a.

`python -m launch KIND [flags] -- train --config NAME --workdir DIR ...`; the arguments after `--` are those
of the program `v2a`. `--dry-run` prints exactly what would run.
"""
