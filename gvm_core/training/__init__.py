"""Synthetic clips and training. Nothing that mattes imports this."""
