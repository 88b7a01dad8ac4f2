"""Measurement: one module per watched system, over shared sources, windows and serving."""
