"""The page of a data set: statistics of its analysis, a sample of its clips, HTML."""
