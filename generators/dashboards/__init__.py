"""Dashboards as files, and what they are told of each guard's rule."""
