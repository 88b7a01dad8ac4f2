"""Dashboards of the watched systems, one module each."""
