"""Rollouts played whole on synthetic traffic: pure, many at once; nothing is read or written."""
