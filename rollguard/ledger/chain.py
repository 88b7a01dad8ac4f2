"""The chain: entries as rows, each with the hash of the one before, and where the chain does not hold."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rollguard.ledger.storage import LedgerError
from rollguard.state import Entry, State, Transition, fold

GENESIS = "0" * 64
"""What the first entry names as the hash before it."""


@dataclass(frozen=True)
class Fault:
    """A place where the chain does not hold.

    Args:
        seq: the entry.
        message: what is wrong with it.
    """

    seq: int
    message: str

    def __str__(self) -> str:
        return f"entry {self.seq} {self.message}"


@dataclass(frozen=True)
class Head:
    """Everything up to an entry, folded."""

    seq: int = 0
    hash: str = GENESIS
    states: Mapping[str, State] = field(default_factory=dict)

    def state(self, rollout: str) -> State:
        """Return a rollout's state; that before its first start where it has no entry."""
        return self.states.get(rollout, State(rollout))

    def after(self, entry: Entry) -> Head:
        """Return the head after one more entry."""
        state = fold(self.state(entry.rollout), entry)
        return Head(entry.seq, entry.hash, {**self.states, entry.rollout: state})


NOTHING = Head()
"""What the first entry follows."""


def entry_after(head: Head, transition: Transition, now: float) -> Entry:
    """Return a transition as the entry that follows a head.

    Args:
        head: the end of the chain.
        transition: what was decided upon it.
        now: Unix seconds.
    """
    state = head.state(transition.rollout)
    plain = {name: _storable(getattr(transition, name)) for name in ("rollout", "actor", "reason")}
    entry = Entry(
        seq=head.seq + 1,
        at=now,
        from_status=state.status,
        from_stage=state.stage,
        previous_hash=head.hash,
        hash="",
        **{**vars(transition), **plain, "evidence": _plain(transition.evidence)},
    )
    return replace(entry, hash=digest(row_of(entry)))


def row_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as the table holds it."""
    return {**vars(entry), "evidence": canonical(entry.evidence)}


def entry_of(row: Mapping[Any, Any]) -> Entry:
    """Return a row of the table as an entry; raises LedgerError where it is damaged."""
    try:
        return Entry(**{**row, "evidence": json.loads(row["evidence"])})
    except ValueError as error:
        raise LedgerError(f"entry {row['seq']} is damaged: its evidence is not JSON.") from error


def digest(row: Mapping[Any, Any]) -> str:
    """Return the hash of a row: SHA-256 over the canonical text of all that it holds but its own hash."""
    fields = {name: value for name, value in row.items() if name != "hash"}
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def canonical(data: Mapping[str, Any]) -> str:
    """Return JSON whose text depends on the data alone: sorted keys, no spaces, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def parse_head(text: str) -> tuple[int, str] | None:
    """Return number and hash of a head written as ``NUMBER:HASH``; None where it is something else."""
    match = re.fullmatch(r"([0-9]{1,15}):([0-9a-f]{64})", text)
    return (int(match[1]), match[2]) if match else None


def faults(
    rows: Iterable[Mapping[Any, Any]], expected: Mapping[int, str], after: Head = NOTHING
) -> Iterator[Fault]:
    """Yield where rows break the chain, or are not those whose hashes are expected.

    Args:
        rows: in order.
        expected: hashes that were seen earlier, by number of the entry.
        after: what the first row follows.
    """
    seq, previous = after.seq, after.hash
    for row in rows:
        if row["seq"] != seq + 1:
            yield Fault(seq + 1, f"is missing: {row['seq']} follows {seq}")
        elif row["previous_hash"] != previous:
            yield Fault(row["seq"], f"does not follow from entry {seq}: one of the two was replaced")
        if digest(row) != row["hash"]:
            yield Fault(row["seq"], "was changed: its hash is of another text")
        seq, previous = row["seq"], row["hash"]
        if expected.get(seq, previous) != previous:
            yield Fault(seq, f"is not the one that was seen with hash {expected[seq]}")
    longest = max(expected, default=0)
    if longest > seq:
        yield Fault(seq + 1, f"is missing: the ledger had {longest} entries, its tail is lost")


def _plain(value: Any) -> Any:
    """Return evidence as JSON can hold it: no value of an alert may keep a decision from being recorded."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)


def _storable(text: str) -> str:
    """Return text without what databases refuse: the character NUL, and halves of characters."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\0", "\N{REPLACEMENT CHARACTER}")
