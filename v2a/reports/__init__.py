"""The gallery: results as a web page with players, and as one picture."""
