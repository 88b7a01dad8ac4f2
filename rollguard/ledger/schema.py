"""The tables, what keeps them append-only, and the steps from older ones to these."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from rollguard.ledger.storage import LedgerError

metadata = sa.MetaData()
version_table = sa.Table("ledger_schema", metadata, sa.Column("version", sa.Integer, primary_key=True))
entries = sa.Table(
    "entries",
    metadata,
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
)
_final = sa.text("kind IN ('rollback', 'would_rollback')")
sa.Index(
    "one_decision",
    *(entries.c[name] for name in ("rollout", "run", "guard", "kind")),
    unique=True,
    sqlite_where=_final,
    postgresql_where=_final,
)
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)

archives = sa.Table(
    "archives",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("states", sa.Text, nullable=False),
)
"""Up to which entries were archived, and the states that they had led to."""

_REFUSAL = "the ledger is append-only"
_ARCHIVED = "(SELECT coalesce(max(seq), 0) FROM archives)"
_REFUSED = {
    ("entries", "UPDATE"): "true",
    ("entries", "DELETE"): f"OLD.seq > {_ARCHIVED}",
    ("archives", "UPDATE"): "true",
    ("archives", "DELETE"): "true",
    ("leases", "UPDATE"): "NEW.name <> OLD.name",
    ("leases", "DELETE"): "true",
    ("ledger_schema", "UPDATE"): "NEW.version < OLD.version",
    ("ledger_schema", "DELETE"): "true",
}
"""What the database refuses to everybody, against accidents: by table and verb, of which rows."""


def _guard_tables(connection: sa.Connection) -> None:
    """Have the database refuse changes to what is only ever added to."""
    guard = _guard_sqlite if connection.dialect.name == "sqlite" else _guard_postgresql
    for (table, verb), rows in _REFUSED.items():
        guard(connection, table, verb, rows)
    if connection.dialect.name == "sqlite":  # whose INSERT OR REPLACE deletes without a DELETE
        _guard_sqlite(connection, "entries", "INSERT", "NEW.seq IN (SELECT seq FROM entries)")
        _guard_sqlite(connection, "archives", "INSERT", "NEW.seq IN (SELECT seq FROM archives)")


def _guard_sqlite(connection: sa.Connection, table: str, verb: str, rows: str) -> None:
    connection.exec_driver_sql(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} WHEN {rows} "
        f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
    )


def _guard_postgresql(connection: sa.Connection, table: str, verb: str, rows: str) -> None:
    name, kept = f"{table}_no_{verb.lower()}", "OLD" if verb == "DELETE" else "NEW"
    connection.exec_driver_sql(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {rows} THEN RAISE EXCEPTION '{_REFUSAL}'; END IF; RETURN {kept}; END $$"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER {name} BEFORE {verb} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"
    )
    if verb == "DELETE":
        connection.exec_driver_sql(
            f"CREATE FUNCTION {table}_no_truncate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"RAISE EXCEPTION '{_REFUSAL}'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_no_truncate()"
        )


def _decide_finally_once(connection: sa.Connection) -> None:
    """To version 2: only what ends a run must be unique, as a guard may hold twice; leases."""
    for trigger in ("entries_no_update", "entries_no_delete"):
        connection.exec_driver_sql(f"DROP TRIGGER {trigger}")
    connection.exec_driver_sql("ALTER TABLE entries RENAME TO entries_1")
    metadata.create_all(connection, [entries, leases])
    former = sa.table("entries_1", *(sa.column(column.name) for column in entries.c))
    connection.execute(entries.insert().from_select(former.c.keys(), sa.select(former)))
    connection.exec_driver_sql("DROP TABLE entries_1")


def _let_archive(connection: sa.Connection) -> None:
    """To version 3: what is archived may be removed."""
    metadata.create_all(connection, [archives])


def _guard_every_table(connection: sa.Connection) -> None:
    """To version 4: not only entries are kept from changes."""
    if connection.dialect.name == "sqlite":
        for verb in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS entries_no_{verb}")
    else:
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS entries_refuse CASCADE")
    _guard_tables(connection)


_STEPS: Sequence[Callable[[sa.Connection], None]] = (_decide_finally_once, _let_archive, _guard_every_table)
"""The first leads from version 1 to 2."""

VERSION = 1 + len(_STEPS)
PROVEN_VERSION = 4
"""From it on each archive has an entry in the chain."""


def prepare(connection: sa.Connection, place: str) -> int:
    """Make the tables, or bring older ones up to date; all within the connection's transaction.

    Returns:
        The version that was found; of new tables today's.
    Raises:
        LedgerError: the database holds something else, or was written by a newer release.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if version_table.name not in tables:
        if tables:
            raise LedgerError(f"{place} is a database of something else, with {', '.join(sorted(tables))}.")
        metadata.create_all(connection)
        _guard_tables(connection)
        connection.execute(version_table.insert().values(version=VERSION))
        return VERSION
    found = check_version(connection, place)
    for step in _STEPS[found - 1 :]:
        step(connection)
    if found < VERSION:
        connection.execute(version_table.update().values(version=VERSION))
    return found


def check_version(connection: sa.Connection, place: str) -> int:
    """Return the version of the tables.

    Raises:
        LedgerError: there are none, or a newer release wrote them.
    """
    if not sa.inspect(connection).has_table(version_table.name):
        raise LedgerError(f"{place} is no ledger.")
    version: int | None = connection.execute(sa.select(sa.func.max(version_table.c.version))).scalar_one()
    if version is None or version > VERSION:
        raise LedgerError(
            f"{place} has schema version {version}, this release knows up to {VERSION}."
            "\n  Run the release that wrote it, or a newer one."
        )
    return version
