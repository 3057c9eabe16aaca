"""Reports: tables, plots, and web pages with players."""
