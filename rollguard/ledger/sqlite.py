"""A ledger in a file of SQLite: for one control plane, whose lock is beside the file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

from rollguard.ledger.storage import LedgerError, Storage
from rollguard.lock import locked

_HINTS = {
    "full": "Free some space; nothing was changed.",
    "locked": "Another process holds it for long; nothing was changed.",
    "readonly": "Mount it writable, and let this user write to the file and its folder.",
    "unable to open": "Check that it exists, that its disk is writable, and that this user may write there.",
    "not a database": "Move it away and restore a backup.",
    "malformed": "Move it away and restore a backup.",
}


class SqliteStorage(Storage):
    """A file, with a write-ahead log that is on disk before a commit returns.

    Args:
        url: ``sqlite:///var/ledger.db``; a missing folder is created.
        read_only: a missing file is an error.
        busy_seconds: how long to wait for another process's write.
    Raises:
        LedgerError: the URL names no file, or its folder cannot be created.
    """

    def __init__(self, url: sa.URL, read_only: bool, busy_seconds: float) -> None:
        if not url.database or url.database == ":memory:":
            raise LedgerError(f"{url} keeps nothing, expected a file such as sqlite:///var/ledger.db.")
        self._path = path = Path(url.database).absolute()
        if not read_only:
            _make_folder(path.parent)
        engine = sa.create_engine(url, creator=lambda: _connect(path, read_only, busy_seconds))
        event.listen(engine, "begin", _begin)
        super().__init__(engine, str(path), _HINTS)
        self._writer = engine.execution_options(rollguard_begin="BEGIN IMMEDIATE")

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """Begin a transaction that holds the write lock from its beginning."""
        return self._writer.begin()

    def lead(self, name: str, holder: str, seconds: float) -> bool:
        """Return True: nobody else is there."""
        return True

    def sole(self) -> AbstractContextManager[None]:
        """Hold the lock beside the file while this lasts; raises LockError where another one does."""
        lock = self._path.with_name(f"{self._path.name}.lock")
        return locked(lock, self.place, "control plane", "give this one a ledger of its own by --state")

    def identity(self) -> tuple[int, int] | None:
        """Return which file it is; None where it is gone."""
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return (found.st_dev, found.st_ino)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(f"{folder} cannot be created: {error.strerror}.") from error


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
