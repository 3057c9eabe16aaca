"""Out-of-distribution detection of input video."""
