"""Flags: a rollout's state as flagd definitions, and their evaluation."""
