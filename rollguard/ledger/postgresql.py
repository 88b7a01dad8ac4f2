"""A ledger in PostgreSQL: for two control planes or more at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from rollguard.ledger.schema import leases
from rollguard.ledger.storage import LedgerError, Storage

_LOCK = 7_316_905_108
"""The chain's advisory lock, by any number that others who use the database do not take."""

_KEEPALIVE = {
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
"""A server whose machine is gone says nothing, and must not be waited for."""

_HINTS = {
    "lock timeout": "Another process holds it for long; nothing was changed.",
    "statement timeout": "The server is overloaded; look whether the decision is there.",
    "No space left": "Free some space; nothing was changed.",
    "read-only": "Name the primary server, and a user that may write there.",
    "permission denied": "Let this user create tables, once, and write to them.",
    "refused": "Start the server, or name another by --state.",
}


class PostgresStorage(Storage):
    """A database of PostgreSQL.

    Writers wait for one another, as each entry holds the hash of the one before; while one holds the lock,
    the state of no rollout can change.

    Args:
        url: ``postgresql://rollguard@db/rollguard``.
        read_only: change nothing.
        busy_seconds: how long to wait for the server, and for another process's write.
    Raises:
        LedgerError: the driver is not installed.
    """

    shared = True

    def __init__(self, url: sa.URL, read_only: bool, busy_seconds: float) -> None:
        settings = {
            "lock_timeout": round(busy_seconds * 1000),
            "statement_timeout": round(busy_seconds * 2000),
            "synchronous_commit": "on",
            "default_transaction_read_only": "on" if read_only else "off",
        }
        connecting = {
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "connect_timeout": max(2, round(busy_seconds)),
            **_KEEPALIVE,
        }
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        try:
            # The server may have been restarted since a connection was last used.
            engine = sa.create_engine(url, pool_pre_ping=True, connect_args=connecting)
        except ModuleNotFoundError as error:
            raise LedgerError(
                f"{url} needs {error.name}.\n  Install it: pip install 'rollguard[postgresql]'"
            ) from error
        super().__init__(engine, str(url), _HINTS)

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Begin a transaction that holds the chain's lock."""
        with self.engine.begin() as connection:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            yield connection

    def lead(self, name: str, holder: str, seconds: float) -> bool:
        """Take or renew a lease by the server's clock, which all share."""
        now = sa.extract("epoch", sa.func.clock_timestamp())
        mine = insert(leases).values(name=name, holder=holder, until=now + seconds)
        taken = mine.on_conflict_do_update(
            index_elements=[leases.c.name],
            set_={"holder": mine.excluded.holder, "until": mine.excluded.until},
            where=sa.or_(leases.c.holder == holder, leases.c.until < now),
        ).returning(leases.c.holder)
        with self.translated("written"), self.engine.begin() as connection:
            return connection.execute(taken).first() is not None
