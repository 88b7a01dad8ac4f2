"""Archives: files that take over the oldest entries, with their hashes, so that the chain can be walked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from rollguard.ledger.chain import Head, row_of
from rollguard.ledger.storage import LedgerError
from rollguard.state import Entry, State

_states = msgspec.json.Decoder(dict[str, State])


def write_archive(folder: Path, entries: Sequence[Entry]) -> Path:
    """Write entries as JSON lines into a new file, and return it once it is on disk.

    Args:
        folder: created where it is missing.
        entries: at least one, in order.
    Raises:
        LedgerError: it cannot be written, or is there already with another content.
    """
    path = folder / f"ledger-{entries[0].seq:08}-{entries[-1].seq:08}.jsonl"
    lines = "".join(f"{json.dumps(asdict(entry))}\n" for entry in entries)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write(path.with_suffix(".new"), lines)
            path.with_suffix(".new").rename(path)
            _sync(folder)
        found = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LedgerError(f"{path} cannot be written: {error.strerror}.") from error
    if found != lines:
        raise LedgerError(f"{path} is there already, and holds something else.\n  Move it away.")
    return path


def read_archive(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of an archive as rows of the table; raises LedgerError."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield _row(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} cannot be read: {error}.") from error


def encode_states(head: Head) -> str:
    """Return the states of a head as JSON."""
    return msgspec.json.encode(dict(head.states), order="sorted").decode()


def decode_states(text: str) -> dict[str, State]:
    """Return states from their JSON; raises LedgerError where it is damaged."""
    try:
        return _states.decode(text)
    except msgspec.DecodeError as error:
        raise LedgerError(f"the states kept for archived entries are damaged: {error}.") from error


def _row(path: Path, number: int, line: str) -> Mapping[str, Any]:
    try:
        return row_of(Entry(**json.loads(line)))
    except (ValueError, TypeError) as error:
        raise LedgerError(f"{path}:{number} is no entry of a ledger: {error}.") from error


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
