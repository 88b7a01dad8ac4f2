"""The ledger: every transition of every rollout, append-only, numbered without gaps and chained by hashes."""

from rollguard.ledger.chain import GENESIS, Fault, canonical, parse_head
from rollguard.ledger.errors import ConflictError, LedgerError
from rollguard.ledger.ledger import Ledger

__all__ = ["GENESIS", "ConflictError", "Fault", "Ledger", "LedgerError", "canonical", "parse_head"]
