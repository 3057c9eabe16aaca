"""Builders of TFDS data sets in ArrayRecord files; see `item_builder`.

They need the extra tfds, so nothing else imports this package. It is run as `python -m data_pipelines.tfds`.
"""
