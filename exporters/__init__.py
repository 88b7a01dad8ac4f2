"""Measurement: one folder per watched system, over a shared runtime, measures, sources and exposition."""
