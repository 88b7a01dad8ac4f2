"""Metrics as the text that Prometheus reads, and counters that start at zero."""
