"""The ledger itself: what may be asked of it, and what may be added."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import reduce
from itertools import chain, takewhile
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from rollguard.ledger import proof, schema
from rollguard.ledger.archive import decode_states, encode_states, read_archive, write_archive
from rollguard.ledger.chain import GENESIS, NOTHING, Fault, Head, entry_after, entry_of, faults, row_of
from rollguard.ledger.postgresql import PostgresStorage
from rollguard.ledger.sqlite import SqliteStorage
from rollguard.ledger.storage import ConflictError, LedgerError, Storage
from rollguard.state import Entry, State, Transition

BUSY_SECONDS = 5.0
"""How long a write waits for another process's; Alertmanager gives its receiver 10 s."""

_STORAGES = {"sqlite": SqliteStorage, "postgresql": PostgresStorage}


class Ledger:
    """The entries in a database, and their fold; safe to use from several threads and processes."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._head = NOTHING

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_seconds: float = BUSY_SECONDS) -> Ledger:
        """Return the ledger at a URL, created where there is none, and brought up to date.

        Args:
            url: ``sqlite:///var/ledger.db`` or ``postgresql://rollguard@db/rollguard``.
            read_only: for looking at it while a server writes; a missing one is an error.
            busy_seconds: how long to wait for another process's write.
        Returns:
            The ledger, with its entries read.
        Raises:
            LedgerError: it cannot be opened, is no ledger, or was written by a newer version.
        """
        storage = _storage(url, read_only, busy_seconds)
        ledger = cls(storage)
        try:
            ledger._prepare(read_only)
        except BaseException:
            storage.engine.dispose()
            raise
        return ledger

    def close(self) -> None:
        """Close its connections."""
        self._storage.engine.dispose()

    @property
    def shared(self) -> bool:
        """Whether several control planes may run on it at once."""
        return self._storage.shared

    def sole(self) -> AbstractContextManager[None]:
        """Keep other control planes off this ledger while this lasts, unless its database is for several.

        Readers may come and go.

        Raises:
            LockError: another one runs on it.
        """
        return self._storage.sole()

    def lead(self, name: str, holder: str, seconds: float) -> bool:
        """Return whether this control plane is the one that does something, of all that share the ledger.

        Whoever leads must ask again before the lease ends; the others may ask at any time. A leader that was
        suspended may believe for a moment to be one still: what it appends is refused by ``expected``.

        Args:
            name: what is to be done by one alone.
            holder: who asks; another name for each process.
            seconds: how long it may act without asking again.
        Raises:
            LedgerError: the storage failed, so that nobody may lead.
        """
        return self._storage.lead(name, holder, seconds)

    def append(
        self,
        transitions: Sequence[Transition],
        now: float,
        expected: Mapping[str, State] | None = None,
    ) -> list[Entry]:
        """Write transitions in one transaction, all or none, and return once they are on disk.

        Args:
            transitions: in the order in which they take place.
            now: Unix seconds.
            expected: the states that were decided upon, by rollout.
        Returns:
            The new entries.
        Raises:
            ConflictError: a rollout has left its expected state, or a guard's decision is there already.
            LedgerError: the storage failed; readers see what they saw before.
        """
        with self._lock, self._storage.translated("written"):
            self._storage.check()
            with self._storage.writing() as connection:
                head = self._read_on(connection)
                _check(head, expected or {})
                entries = []
                for transition in transitions:
                    entries.append(entry_after(head, transition, float(now)))
                    head = head.after(entries[-1])
                if entries:
                    connection.execute(schema.entries.insert(), [row_of(entry) for entry in entries])
            self._head = head
        return entries

    def states(self) -> dict[str, State]:
        """Return the state of every rollout that has entries, as of now, other processes' included."""
        return dict(self._current().states)

    def head(self) -> tuple[int, str]:
        """Return number and hash of the last entry; 0 and the genesis hash where there is none."""
        head = self._current()
        return head.seq, head.hash

    def check(self) -> None:
        """Raise a LedgerError where it cannot be read, or where what is written would vanish."""
        self._storage.check()
        self._current()

    def probe(self) -> None:
        """Write, and change nothing: raise a LedgerError where an entry could not be written."""
        with self._lock, self._storage.translated("written"):
            self._storage.check()
            with self._storage.writing() as connection:
                connection.execute(
                    schema.version_table.update().values(version=schema.version_table.c.version)
                )

    def entries(self, rollout: str | None = None, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Return the entries after a number, in order, at most so many; of one rollout, or of all."""
        query = sa.select(schema.entries).where(schema.entries.c.seq > after).order_by(schema.entries.c.seq)
        if rollout is not None:
            query = query.where(schema.entries.c.rollout == rollout)
        query = query.limit(limit)
        with self._storage.translated("read"), self._storage.reading() as connection:
            return [entry_of(row) for row in connection.execute(query).mappings()]

    def verify(
        self, expected_head: tuple[int, str] | None = None, archived: Iterable[Path] = ()
    ) -> list[Fault]:
        """Walk the chain from the first entry to the last, and hold archives against what it says of them.

        Args:
            expected_head: a head that was exported earlier. Without it a lost tail shows only where this
                object has read the tail before it was lost.
            archived: files with the entries that were archived, in order; without them the walk begins
                after those. With them the entries are folded again, and the states that are kept compared.
        Returns:
            Where the chain does not hold, first break first; nothing where all is well.
        Raises:
            LedgerError: it cannot be read.
        """
        seen = (self._head.seq, self._head.hash)
        expected = dict([seen, expected_head] if expected_head else [seen])
        query = sa.select(schema.entries).order_by(schema.entries.c.seq)
        files = {path: list(read_archive(path)) for path in archived}
        rows_before = [row for rows in files.values() for row in rows]
        with self._storage.translated("read"), self._storage.reading() as connection:
            kept = _snapshots(connection)
            base = Head(kept[-1]["seq"], kept[-1]["hash"]) if kept else NOTHING
            rows = connection.execution_options(yield_per=500).execute(query).mappings()
            if rows_before:
                found = list(faults(chain(rows_before, rows), {base.seq: base.hash, **expected}))
            else:
                found = list(faults(rows, expected, base))
                hidden = (seq for seq in expected if 0 < seq < base.seq)
                found += [Fault(seq, "was archived: name its archive") for seq in hidden]
            known = proof.proofs([*rows_before, *_archive_entries(connection)]) if not found else {}
            older = schema.check_version(connection, self._storage.place) < schema.PROVEN_VERSION
        if found:
            return found
        found += proof.state_faults(kept, known, older=older)
        found += proof.file_faults({path: rows[0]["seq"] for path, rows in files.items() if rows}, known)
        return found + list(proof.fold_faults(rows_before, kept))

    def unproven(self, archived: Iterable[Path] = ()) -> list[str]:
        """Return in words what `verify` cannot know; with the archives it is known.

        Raises:
            LedgerError: it cannot be read.
        """
        with self._storage.translated("read"), self._storage.reading() as connection:
            kept = _snapshots(connection)
            known = proof.proofs(_archive_entries(connection)) if kept else {}
        if list(archived) or not kept or not proof.unproven(known.get(kept[-1]["seq"])):
            return []
        seq = kept[-1]["seq"]
        return [
            f"the states that entries up to {seq} led to were kept by an older release, without a digest:"
            " name all archives by --archive, and the entries are folded again"
        ]

    def undefined(self) -> list[str]:
        """Return in words which runs go on whose definition is not noted, so that their files are needed."""
        return [
            f"run {state.run} of {name} notes no definition: without its rollout file nothing could be served"
            for name, state in self.states().items()
            if state.running and not state.definition
        ]

    def archive(self, before: float, folder: Path, now: float, actor: str) -> Path | None:
        """Move the oldest entries into a new file, and remove them once that is on disk.

        Args:
            before: Unix seconds; entries up to the first that is not older are moved, never the last one.
            folder: where the file is to be.
            now: Unix seconds.
            actor: who archives; the chain gets an entry of it, with the digests of file and states.
        Returns:
            The file; None where nothing is so old.
        Raises:
            LedgerError: the file or the ledger cannot be written, or the chain does not hold.
        """
        found = self.verify()
        if found:
            raise LedgerError(f"{self._storage.place} is not archived, as {found[0]}.")
        newest = self._current().seq
        old = [entry for entry in takewhile(lambda it: it.at < before, self.entries()) if entry.seq < newest]
        if not old:
            return None
        path, last = write_archive(folder, old), old[-1].seq
        with self._lock, self._storage.translated("written"), self._storage.writing() as connection:
            base = _base(connection)
            if base.seq + 1 != old[0].seq:
                raise ConflictError(f"{self._storage.place} was archived by another process meanwhile.")
            kept = reduce(Head.after, old, base)
            head = self._read_on(connection)
            row = {"seq": last, "hash": kept.hash, "states": encode_states(kept)}
            entry = entry_after(head, proof.proof_of(row, actor, path, old[0].seq), now)
            connection.execute(schema.entries.insert(), row_of(entry))
            connection.execute(schema.archives.insert(), row)
            connection.execute(schema.entries.delete().where(schema.entries.c.seq <= last))
        return path

    def newest(self) -> tuple[int, str]:
        """Return number and hash of the last entry that is there, even if it does not fit what was read."""
        columns = schema.entries.c
        query = sa.select(columns.seq, columns.hash).order_by(columns.seq.desc()).limit(1)
        with self._storage.translated("read"), self._storage.reading() as connection:
            row = connection.execute(query).first()
        return (row.seq, row.hash) if row else (0, GENESIS)

    def _prepare(self, read_only: bool) -> None:
        storage = self._storage
        with storage.translated("opened"):
            if not read_only:
                with storage.writing() as connection:
                    if schema.prepare(connection, storage.place) < schema.PROVEN_VERSION:
                        self._prove_late(connection)
            with storage.reading() as connection:
                schema.check_version(connection, storage.place)
                self._head = _base(connection)
                self._head = self._read_on(connection)
        storage.opened()

    def _prove_late(self, connection: sa.Connection) -> None:
        """Enter the digest of the states that an older release kept: from now on nobody changes them."""
        kept = _snapshots(connection)
        if kept and kept[-1]["seq"] not in proof.proofs(_archive_entries(connection)):
            self._head = _base(connection)
            entry = entry_after(self._read_on(connection), proof.late_proof_of(kept[-1]), time.time())
            connection.execute(schema.entries.insert(), row_of(entry))

    def _current(self) -> Head:
        with self._storage.translated("read"), self._storage.reading() as connection:
            head = self._read_on(connection)
        if head.seq > self._head.seq:
            self._head = head
        return head

    def _read_on(self, connection: sa.Connection) -> Head:
        """Return the last known head, with what was appended since by whomever."""
        head = self._head
        query = (
            sa.select(schema.entries).where(schema.entries.c.seq >= head.seq).order_by(schema.entries.c.seq)
        )
        rows = connection.execute(query).mappings().all()
        if head.seq and not _continues(head, rows):
            place = self._storage.place
            raise LedgerError(f"{place} no longer holds entry {head.seq}, which was read from it.")
        for row in rows:
            if row["seq"] > head.seq:
                head = head.after(entry_of(row))
        return head


def _base(connection: sa.Connection) -> Head:
    """Return what the first entry that is left follows."""
    kept = _snapshots(connection)
    return Head(kept[-1]["seq"], kept[-1]["hash"], decode_states(kept[-1]["states"])) if kept else NOTHING


def _snapshots(connection: sa.Connection) -> Sequence[Mapping[Any, Any]]:
    """Return up to which entries the ledger was archived, and the states that each time were kept."""
    if not sa.inspect(connection).has_table(schema.archives.name):
        return []  # an older ledger, that is only read
    query = sa.select(schema.archives).order_by(schema.archives.c.seq)
    return connection.execute(query).mappings().all()


def _archive_entries(connection: sa.Connection) -> Sequence[Mapping[Any, Any]]:
    query = sa.select(schema.entries).where(schema.entries.c.kind == "archive")
    return connection.execute(query).mappings().all()


def _continues(head: Head, rows: Sequence[Mapping[Any, Any]]) -> bool:
    """Return whether rows begin with the entry of a head, or follow it where that is archived."""
    if not rows:
        return False
    first = rows[0]
    return bool(
        first["hash"] == head.hash if first["seq"] == head.seq else first["previous_hash"] == head.hash
    )


def _storage(url: str, read_only: bool, busy_seconds: float) -> Storage:
    try:
        parsed = sa.make_url(url)
    except (ArgumentError, ValueError) as error:
        raise LedgerError(
            f"{url} is no database URL, expected one such as sqlite:///var/ledger.db."
        ) from error
    name = parsed.get_backend_name()
    if name not in _STORAGES:
        raise LedgerError(f"{parsed} is of {name}, expected {' or '.join(_STORAGES)}.")
    return _STORAGES[name](parsed, read_only, busy_seconds)


def _check(head: Head, expected: Mapping[str, State]) -> None:
    for rollout, state in expected.items():
        found = head.state(rollout)
        if found.newest != state.newest:
            raise ConflictError(
                f"{rollout} is in {found.position} by entry {found.newest}, no longer in {state.position}."
            )
