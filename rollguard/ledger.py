"""The ledger: every transition of every rollout, append-only, numbered without gaps and chained by hashes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from rollguard.errors import RollguardError
from rollguard.lock import locked
from rollguard.state import Entry, State, Transition, fold

GENESIS = "0" * 64
"""What the first entry names as the hash before it."""

SCHEMA_VERSION = 1
BUSY_SECONDS = 5.0
"""How long a write waits for another process's; Alertmanager gives its receiver 10 s."""

_metadata = sa.MetaData()
_schema = sa.Table("ledger_schema", _metadata, sa.Column("version", sa.Integer, primary_key=True))
_entries = sa.Table(
    "entries",
    _metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("rollout", sa.Text, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("from_status", sa.Text, nullable=False),
    sa.Column("from_stage", sa.Text),
    sa.Column("to_status", sa.Text, nullable=False),
    sa.Column("to_stage", sa.Text),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("guard", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.UniqueConstraint("rollout", "run", "guard", "kind", name="one_decision"),
)


@event.listens_for(_entries, "after_create")
def _forbid_changes(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    """Make the table append-only where the database lets us say so to everybody."""
    if connection.dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON {table.name} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


_HINTS = {
    "full": "Free some space; nothing was changed.",
    "locked": "Another process holds it for long; nothing was changed.",
    "readonly": "Mount it writable, and let this user write to the file and its folder.",
    "unable to open": "Check that it exists, that its disk is writable, and that this user may write there.",
    "not a database": "Move it away and restore a backup.",
    "malformed": "Move it away and restore a backup.",
}


class LedgerError(RollguardError):
    """The ledger cannot be read or written; what it says is unchanged."""


class ConflictError(RollguardError):
    """The rollout's state changed meanwhile, or the decision is in the ledger already."""


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
class _Head:
    """Everything up to an entry, folded."""

    seq: int = 0
    hash: str = GENESIS
    states: Mapping[str, State] = field(default_factory=dict)

    def state(self, rollout: str) -> State:
        return self.states.get(rollout, State(rollout))

    def after(self, entry: Entry) -> _Head:
        state = fold(self.state(entry.rollout), entry)
        return _Head(entry.seq, entry.hash, {**self.states, entry.rollout: state})


class Ledger:
    """The entries in a database, and their fold; safe to use from several threads and processes."""

    def __init__(self, engine: sa.Engine, place: str, path: Path | None) -> None:
        self._engine = engine
        self._writer = engine.execution_options(rollguard_begin="BEGIN IMMEDIATE")
        self._place = place
        self._path = path
        self._inode: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._head = _Head()

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, busy_seconds: float = BUSY_SECONDS) -> Ledger:
        """Return the ledger at a URL, created where there is none.

        Args:
            url: ``sqlite:///var/ledger.db``; a missing folder is created.
            read_only: for looking at it while a server writes; a missing file is an error.
            busy_seconds: how long to wait for another process's write.
        Returns:
            The ledger, with its entries read.
        Raises:
            LedgerError: it cannot be opened, is no ledger, or was written by a newer version.
        """
        path = _path_of(url)
        engine = _engine(url, path, read_only, busy_seconds)
        ledger = cls(engine, str(path or engine.url), path)
        try:
            ledger._prepare(read_only)
        except BaseException:
            engine.dispose()
            raise
        return ledger

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    @contextmanager
    def sole(self) -> Iterator[None]:
        """Keep other control planes off this ledger while this lasts; readers may come and go.

        Raises:
            LockError: another one runs on it.
        """
        if self._path is None:
            yield
            return
        with locked(self._path.with_name(f"{self._path.name}.lock"), self._place):
            yield

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
        with self._lock, self._translated("written"):
            self._check_file()
            with self._writer.begin() as connection:
                head = self._read_on(connection)
                _check(head, expected or {})
                entries = []
                for transition in transitions:
                    entries.append(_entry(head, transition, float(now)))
                    head = head.after(entries[-1])
                if entries:
                    connection.execute(_entries.insert(), [_row(entry) for entry in entries])
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
        self._check_file()
        self._current()

    def probe(self) -> None:
        """Write, and change nothing: raise a LedgerError where an entry could not be written."""
        with self._lock, self._translated("written"):
            self._check_file()
            with self._writer.begin() as connection:
                connection.execute(_schema.update().values(version=_schema.c.version))

    def entries(self, rollout: str | None = None, after: int = 0) -> list[Entry]:
        """Return the entries after a number, in order; of one rollout, or of all."""
        query = sa.select(_entries).where(_entries.c.seq > after).order_by(_entries.c.seq)
        if rollout is not None:
            query = query.where(_entries.c.rollout == rollout)
        with self._translated("read"), self._engine.begin() as connection:
            return [_from_row(row) for row in connection.execute(query).mappings()]

    def verify(self, expected_head: tuple[int, str] | None = None) -> list[Fault]:
        """Walk the chain from the first entry to the last.

        Args:
            expected_head: a head that was exported earlier. Without it a lost tail shows only where this
                object has read the tail before it was lost.
        Returns:
            Where the chain does not hold, first break first; nothing where all is well.
        Raises:
            LedgerError: it cannot be read.
        """
        known = (self._head.seq, self._head.hash)
        expected = dict([known, expected_head] if expected_head else [known])
        query = sa.select(_entries).order_by(_entries.c.seq)
        with self._translated("read"), self._engine.begin() as connection:
            rows = connection.execution_options(yield_per=500).execute(query).mappings()
            return list(_faults(rows, expected))

    def newest(self) -> tuple[int, str]:
        """Return number and hash of the last entry that is there, even if it does not fit what was read."""
        query = sa.select(_entries.c.seq, _entries.c.hash).order_by(_entries.c.seq.desc()).limit(1)
        with self._translated("read"), self._engine.begin() as connection:
            row = connection.execute(query).first()
        return (row.seq, row.hash) if row else (0, GENESIS)

    def _prepare(self, read_only: bool) -> None:
        with self._translated("opened"):
            if not read_only:
                with self._writer.begin() as connection:
                    self._create(connection)
            with self._engine.begin() as connection:
                self._check_version(connection)
                self._head = self._read_on(connection)
        self._inode = _inode(self._path)

    def _create(self, connection: sa.Connection) -> None:
        tables = set(sa.inspect(connection).get_table_names())
        if _schema.name in tables:
            return
        if tables:
            raise LedgerError(
                f"{self._place} is a database of something else, with {', '.join(sorted(tables))}."
            )
        _metadata.create_all(connection)
        connection.execute(_schema.insert().values(version=SCHEMA_VERSION))

    def _check_version(self, connection: sa.Connection) -> None:
        if not sa.inspect(connection).has_table(_schema.name):
            raise LedgerError(f"{self._place} is no ledger.")
        version = connection.execute(sa.select(sa.func.max(_schema.c.version))).scalar_one()
        if version is None or version > SCHEMA_VERSION:
            raise LedgerError(
                f"{self._place} has schema version {version}, this release knows up to {SCHEMA_VERSION}."
                "\n  Run the release that wrote it, or a newer one."
            )

    def _current(self) -> _Head:
        with self._translated("read"), self._engine.begin() as connection:
            head = self._read_on(connection)
        if head.seq > self._head.seq:
            self._head = head
        return head

    def _read_on(self, connection: sa.Connection) -> _Head:
        """Return the last known head, with what was appended since by whomever."""
        head = self._head
        query = sa.select(_entries).where(_entries.c.seq >= head.seq).order_by(_entries.c.seq)
        rows = connection.execute(query).mappings().all()
        if head.seq and (not rows or rows[0]["hash"] != head.hash):
            raise LedgerError(f"{self._place} no longer holds entry {head.seq}, which was read from it.")
        for row in rows:
            if row["seq"] > head.seq:
                head = head.after(_from_row(row))
        return head

    def _check_file(self) -> None:
        """Refuse to write to a file that was deleted or replaced: the entry would vanish with it."""
        if _inode(self._path) != self._inode:
            raise LedgerError(
                f"{self._place} was removed or replaced while in use.\n  Restart to open it anew."
            )

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        try:
            yield
        except IntegrityError as error:
            raise ConflictError(f"{self._place} has this decision already: {error.orig}.") from error
        except SQLAlchemyError as error:
            cause = str(getattr(error, "orig", None) or error)
            hint = next((hint for words, hint in _HINTS.items() if words in cause), "")
            text = f"{self._place} cannot be {done}: {cause}."
            raise LedgerError(f"{text}\n  {hint}" if hint else text) from error


def _path_of(url: str) -> Path | None:
    """Return the file of an SQLite URL; None for another database."""
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        raise LedgerError(
            f"{url} is no database URL, expected one such as sqlite:///var/ledger.db."
        ) from error
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database == ":memory:":
        raise LedgerError(f"{url} keeps nothing, expected a file such as sqlite:///var/ledger.db.")
    return Path(parsed.database).absolute()


def _engine(url: str, path: Path | None, read_only: bool, busy_seconds: float) -> sa.Engine:
    if path is None:
        return sa.create_engine(url)
    if not read_only:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{path.parent} cannot be created: {error.strerror}.") from error
    engine = sa.create_engine(url, creator=lambda: _connect(path, read_only, busy_seconds))
    event.listen(engine, "begin", _begin)
    return engine


def _connect(path: Path, read_only: bool, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?{_read_only_mode(path) if read_only else 'mode=rwc'}",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,  # the module's own BEGIN comes too late to lock before reading
        check_same_thread=False,  # the pool hands a connection to one thread at a time
    )
    try:
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _read_only_mode(path: Path) -> str:
    """Return how to read a file; SQLite needs to be told where nobody can have a write-ahead log open."""
    nobody_writes = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return "mode=ro&immutable=1" if nobody_writes else "mode=ro"


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("rollguard_begin", "BEGIN"))


def _inode(path: Path | None) -> tuple[int, int] | None:
    try:
        found = os.stat(path) if path else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _check(head: _Head, expected: Mapping[str, State]) -> None:
    for rollout, state in expected.items():
        found = head.state(rollout)
        if found.seq != state.seq:
            raise ConflictError(
                f"{rollout} is in {found.position} since entry {found.seq}, no longer in {state.position}."
            )


def _entry(head: _Head, transition: Transition, now: float) -> Entry:
    state = head.state(transition.rollout)
    entry = Entry(
        seq=head.seq + 1,
        at=now,
        from_status=state.status,
        from_stage=state.stage,
        previous_hash=head.hash,
        hash="",
        **{**vars(transition), "evidence": _plain(transition.evidence)},
    )
    return Entry(**{**vars(entry), "hash": _digest(_row(entry))})


def _row(entry: Entry) -> dict[str, Any]:
    return {**asdict(entry), "evidence": canonical(entry.evidence)}


def _from_row(row: Mapping[Any, Any]) -> Entry:
    try:
        return Entry(**{**row, "evidence": json.loads(row["evidence"])})
    except ValueError as error:
        raise LedgerError(f"entry {row['seq']} is damaged: its evidence is not JSON.") from error


def _digest(row: Mapping[Any, Any]) -> str:
    fields = {name: value for name, value in row.items() if name != "hash"}
    return hashlib.sha256(canonical(fields).encode()).hexdigest()


def parse_head(text: str) -> tuple[int, str] | None:
    """Return number and hash of a head written as ``NUMBER:HASH``; None where it is something else."""
    match = re.fullmatch(r"([0-9]{1,15}):([0-9a-f]{64})", text)
    return (int(match[1]), match[2]) if match else None


def canonical(data: Mapping[str, Any]) -> str:
    """Return JSON whose text depends on the data alone: sorted keys, no spaces, ASCII."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: Any) -> Any:
    """Return evidence as JSON can hold it: no value of an alert may keep a decision from being recorded."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if (
        value is None
        or isinstance(value, str | bool | int)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    return str(value)


def _faults(rows: Iterable[Mapping[Any, Any]], expected: Mapping[int, str]) -> Iterator[Fault]:
    """Yield where rows break the chain, or are not those whose hashes are expected, by number."""
    seq, previous = 0, GENESIS
    for row in rows:
        if row["seq"] != seq + 1:
            yield Fault(seq + 1, f"is missing: {row['seq']} follows {seq}")
        elif row["previous_hash"] != previous:
            yield Fault(row["seq"], f"does not follow from entry {seq}: one of the two was replaced")
        if _digest(row) != row["hash"]:
            yield Fault(row["seq"], "was changed: its hash is of another text")
        seq, previous = row["seq"], row["hash"]
        if expected.get(seq, previous) != previous:
            yield Fault(seq, f"is not the one that was seen with hash {expected[seq]}")
    longest = max(expected, default=0)
    if longest > seq:
        yield Fault(seq + 1, f"is missing: the ledger had {longest} entries, its tail is lost")
