"""The ledger: every transition of every rollout, append-only, numbered without gaps and chained by hashes."""

from rollguard.ledger.chain import GENESIS, Fault, canonical, parse_head
from rollguard.ledger.ledger import Ledger
from rollguard.ledger.storage import ConflictError, LedgerError

__all__ = ["GENESIS", "ConflictError", "Fault", "Ledger", "LedgerError", "canonical", "parse_head"]
