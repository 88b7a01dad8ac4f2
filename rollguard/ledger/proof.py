"""What proves an archive: an entry of the chain with the digests of its file and of the states it led to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rollguard.conventions import PLATFORM
from rollguard.ledger.archive import decode_states, encode_states
from rollguard.ledger.chain import NOTHING, Fault, Head, entry_of
from rollguard.ledger.storage import LedgerError
from rollguard.state import Entry, Transition

Row = Mapping[Any, Any]

CLOCKS = {"clock_from", "clock_before", "clock_until", "clock_earlier"}
"""Of a state; how a hold's time counts has changed between releases, so archived states may differ in it."""

ALWAYS = {"status", "stage", "run", "seq", "newest", "acknowledged", "paused_by", "held"}
"""Of a state; what each release kept. Younger fields count where the states have them."""


def proof_of(snapshot: Row, actor: str, path: Path, first: int) -> Transition:
    """Return what is to be entered of an archive.

    Args:
        snapshot: its row in the table of archives.
        actor: who archives.
        path: the file, on disk.
        first: number of the file's first entry.
    """
    reason = f"entries {first} to {snapshot['seq']} are in {path.name}"
    file = {"first": first, "file": path.name, "digest": file_digest(path)}
    return _transition(snapshot, actor, reason, file)


def late_proof_of(snapshot: Row) -> Transition:
    """Return what is to be entered of an archive of an older release, which entered nothing."""
    reason = f"entries up to {snapshot['seq']} were archived by an older release"
    return _transition(snapshot, "upgrade", reason, {"unproven": True})


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file; raises LedgerError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror}.") from error


def proofs(rows: Iterable[Row]) -> dict[int, Entry]:
    """Return the entries that prove archives, by the number of the last entry that each archive holds."""
    found = (entry_of(row) for row in rows if row["kind"] == "archive")
    return {entry.evidence["last"]: entry for entry in found}


def unproven(proof: Entry | None) -> bool:
    """Return whether nobody can tell if the states of an archive are those that it led to."""
    return proof is None or bool(proof.evidence.get("unproven"))


def state_faults(snapshots: Sequence[Row], known: Mapping[int, Entry], *, older: bool) -> Iterator[Fault]:
    """Yield where the states kept for archives are not those that the chain proves.

    Args:
        snapshots: rows of the table of archives, in order; the last one is what every state rests on.
        known: entries that prove archives.
        older: whether a release wrote the ledger that entered no archives.
    """
    for snapshot in snapshots:
        seq, proof = snapshot["seq"], known.get(snapshot["seq"])
        if proof is None:
            if snapshot is snapshots[-1] and not older:
                yield Fault(seq, "was archived, but no entry of the chain says so: its states may be forged")
        elif (proof.evidence["hash"], proof.evidence["states"]) != _digests(snapshot):
            yield Fault(seq, f"led to other states than are kept: entry {proof.seq} has their digest")


def file_faults(firsts: Mapping[Path, int], known: Mapping[int, Entry]) -> Iterator[Fault]:
    """Yield which files are not those that the chain names.

    Args:
        firsts: files with archived entries, and the number of the first entry of each.
        known: entries that prove archives.
    """
    by_first = {proof.evidence.get("first"): proof for proof in known.values()}
    for path, first in firsts.items():
        proof = by_first.get(first)
        if proof and file_digest(path) != proof.evidence["digest"]:
            yield Fault(first, f"begins {path}, whose digest is not that in entry {proof.seq}")


def fold_faults(rows: Iterable[Row], snapshots: Iterable[Row]) -> Iterator[Fault]:
    """Yield where archived entries, folded again, do not lead to the states that are kept for them.

    Args:
        rows: all that was archived, from the first entry on.
        snapshots: rows of the table of archives.
    """
    kept = {snapshot["seq"]: snapshot["states"] for snapshot in snapshots}
    head = NOTHING
    for row in rows:
        head = head.after(entry_of(row))
        if head.seq in kept:
            yield from _differences(head, kept[head.seq])


def _differences(head: Head, text: str) -> Iterator[Fault]:
    """Yield the fields in which kept states differ; those that their release did not know do not count."""
    decode_states(text)
    kept = msgspec.json.decode(text)
    folded = msgspec.json.decode(encode_states(head))
    for rollout in sorted(kept.keys() | folded.keys()):
        mine, theirs = folded.get(rollout, {}), kept.get(rollout, {})
        fields = (ALWAYS & mine.keys() | mine.keys() & theirs.keys()) - CLOCKS
        wrong = sorted(field for field in fields if mine[field] != theirs.get(field))
        if wrong or not mine:
            what = ", ".join(f"{field} {theirs.get(field)!r}, not {mine[field]!r}" for field in wrong[:3])
            yield Fault(head.seq, f"led {rollout} to other states than are kept: {what or 'it has no entry'}")


def _transition(snapshot: Row, actor: str, reason: str, more: Mapping[str, Any]) -> Transition:
    digest, states = _digests(snapshot)
    evidence = {"last": snapshot["seq"], "hash": digest, "states": states, **more}
    return Transition(PLATFORM, "archive", 0, "DISABLED", actor=actor, reason=reason, evidence=evidence)


def _digests(snapshot: Row) -> tuple[str, str]:
    return snapshot["hash"], hashlib.sha256(snapshot["states"].encode()).hexdigest()
