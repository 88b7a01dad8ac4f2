"""The tables, what keeps them append-only, and the steps from older ones to these."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa
from sqlalchemy import event

from rollguard.ledger.errors import LedgerError

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


@event.listens_for(entries, "after_create")
def _forbid_changes(_: sa.Table, connection: sa.Connection, **__: object) -> None:
    """Have the database refuse changes to everybody, but that an archived entry is removed."""
    if connection.dialect.name == "sqlite":
        for verb, unless in (("UPDATE", ""), ("DELETE", f"WHEN OLD.seq > {_ARCHIVED} ")):
            connection.exec_driver_sql(
                f"CREATE TRIGGER entries_no_{verb.lower()} BEFORE {verb} ON entries {unless}"
                f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
            )
        return
    connection.exec_driver_sql(
        "CREATE FUNCTION entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'DELETE' THEN IF OLD.seq <= {_ARCHIVED} THEN RETURN OLD; END IF; END IF; "
        f"RAISE EXCEPTION '{_REFUSAL}'; END $$"
    )
    for name, verbs, each in (("change", "UPDATE OR DELETE", "ROW"), ("truncate", "TRUNCATE", "STATEMENT")):
        connection.exec_driver_sql(
            f"CREATE TRIGGER entries_no_{name} BEFORE {verbs} ON entries "
            f"FOR EACH {each} EXECUTE FUNCTION entries_refuse()"
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
    if connection.dialect.name == "sqlite":
        for verb in ("update", "delete"):
            connection.exec_driver_sql(f"DROP TRIGGER entries_no_{verb}")
    else:
        connection.exec_driver_sql("DROP FUNCTION entries_refuse CASCADE")
    _forbid_changes(entries, connection)


_STEPS: Sequence[Callable[[sa.Connection], None]] = (_decide_finally_once, _let_archive)
"""The first leads from version 1 to 2."""

VERSION = 1 + len(_STEPS)


def prepare(connection: sa.Connection, place: str) -> None:
    """Make the tables, or bring older ones up to date; all within the connection's transaction.

    Raises:
        LedgerError: the database holds something else, or was written by a newer release.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if version_table.name not in tables:
        if tables:
            raise LedgerError(f"{place} is a database of something else, with {', '.join(sorted(tables))}.")
        metadata.create_all(connection)
        connection.execute(version_table.insert().values(version=VERSION))
        return
    found = check_version(connection, place)
    for step in _STEPS[found - 1 :]:
        step(connection)
    if found < VERSION:
        connection.execute(version_table.update().values(version=VERSION))


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
