"""v2a: soundtracks for silent footage, in JAX."""

__version__ = '0.1.0'
