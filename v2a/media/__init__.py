"""Video and sound files: what is in them, frames and waves out of them, new sound tracks into them."""
