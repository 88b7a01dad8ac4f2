"""Decisions: what alerts, time and people lead to, and what forbids a step."""
