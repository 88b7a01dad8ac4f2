"""What the ledger raises."""

from __future__ import annotations

from rollguard.errors import RollguardError


class LedgerError(RollguardError):
    """The ledger cannot be read or written; what it says is unchanged."""


class ConflictError(RollguardError):
    """The rollout's state changed meanwhile, or the decision is in the ledger already."""
