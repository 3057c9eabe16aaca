"""Annotators of clips: captions, transcripts and tags, cached on disk, with origin and confidence."""
