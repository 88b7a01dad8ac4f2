"""Rollguard guards staged rollouts: a guard fires, the flag flips back, durably, and the ledger says why."""

__version__ = "0.1.0"
