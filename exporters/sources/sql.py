"""SQL queries as a source: asked every so often, read only, one at a time, none longer than is allowed."""

from __future__ import annotations

import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import msgspec
import sqlalchemy
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from rollguard.errors import RollguardError, without_login
from rollguard.exporters.sources.interface import Reading, Result

logger = logging.getLogger(__name__)

MAX_ROWS = 100_000
_GRACE_SECONDS = 1.0
"""After the server's own time-out, before the connection is broken off: the server may hang itself."""


class DatabaseError(RollguardError):
    """The address is none of a database, or its driver is missing."""


@dataclass(frozen=True)
class Query:
    """A query that is asked again and again.

    Args:
        name: as the result has it.
        text: SQL; `:name` stands for a parameter.
        parameters: value by name.
        cursor: a column whose value only grows, such as a serial number: the text selects what is greater
            than `:after`, in its order; each row comes once, across restarts. Empty: all rows come each time.
        after: what `:after` is at first.
    """

    name: str
    text: str
    parameters: Mapping[str, Any] | None = None
    cursor: str = ""
    after: int | str = 0


class SqlPosition(msgspec.Struct, frozen=True):
    """The last value of each query's cursor.

    Args:
        after: by the query's name.
    """

    after: dict[str, int | str]


class SqlSource:
    """Asks queries in turn; see `rollguard.exporters.sources.interface.Source`.

    A query that fails gives a result that says why; whoever takes it in decides what is no longer known.

    Args:
        url: SQLAlchemy's, such as sqlite:///scans.db or postgresql+psycopg://reader@db/forecasts.
        queries: with names of their own.
        name: what the database holds.
        poll_seconds: between two times.
        timeout_seconds: for each query, and for connecting.
        max_rows: of a query; more are an error, or with a cursor come with the next look.
    Raises:
        DatabaseError: the URL is none, or its driver is not installed.
    """

    unit = ""

    def __init__(
        self,
        url: str,
        queries: Sequence[Query],
        name: str = "database",
        *,
        poll_seconds: float = 30.0,
        timeout_seconds: float = 10.0,
        max_rows: int = MAX_ROWS,
    ) -> None:
        self.name = name
        self.poll_seconds = poll_seconds
        self.up = False
        self._queries = tuple(queries)
        self._timeout_seconds = timeout_seconds
        self._max_rows = max_rows
        self._engine = _engine(url, timeout_seconds)
        self._after: dict[str, int | str] = {}
        self._errors: dict[str, str] = {}
        self.resume(msgspec.Raw(b"null"))

    def __str__(self) -> str:
        return without_login(self._engine.url.render_as_string(hide_password=True))

    def resume(self, position: msgspec.Raw) -> SqlPosition | None:
        """Go on after the cursors of a checkpoint."""
        found = msgspec.json.decode(position, type=SqlPosition | None)
        known = found.after if found else {}
        self._after = {one.name: known.get(one.name, one.after) for one in self._queries if one.cursor}
        return found

    def read(self) -> Reading[tuple[Result, ...]]:
        """Return the result of every query."""
        results = tuple(self._results())
        for result in results:
            self._report(result)
        self.up = not any(result.error for result in results)
        more = any(
            query.cursor and len(result.rows) == self._max_rows for query, result in self._pairs(results)
        )
        position = SqlPosition(dict(self._after)) if self._after else None
        return Reading(results, position, at_end=not more)

    def rest(self) -> None:
        """Return nothing: rows are whole."""

    def saved(self, position: msgspec.Struct) -> None:
        """Do nothing: a table keeps what was read."""

    def lag(self) -> float:
        """Return 0: what a query has not yet shown is not known."""
        return 0.0

    def close(self) -> None:
        """Do nothing: each look has a connection of its own."""

    def _pairs(self, results: tuple[Result, ...]) -> Iterator[tuple[Query, Result]]:
        return zip(self._queries, results, strict=True)

    def _results(self) -> Iterator[Result]:
        start = time.monotonic()
        asked = 0
        try:
            with self._engine.connect() as connection:
                for query in self._queries:
                    yield self._ask(connection, query)
                    asked += 1
        except SQLAlchemyError as error:
            for query in self._queries[asked:]:
                yield Result(query.name, [], time.monotonic() - start, _told(error))

    def _ask(self, connection: Connection, query: Query) -> Result:
        start = time.monotonic()
        try:
            with self._no_longer_than_allowed(connection), connection.begin():
                rows = self._rows(connection, query)
        except SQLAlchemyError as error:
            if connection.invalidated or connection.closed:
                raise
            return Result(query.name, [], time.monotonic() - start, _told(error))
        except _UnusableError as error:
            return Result(query.name, [], time.monotonic() - start, str(error))
        return Result(query.name, rows, time.monotonic() - start)

    def _rows(self, connection: Connection, query: Query) -> list[dict[str, Any]]:
        parameters = dict(query.parameters or {})
        if query.cursor:
            parameters["after"] = self._after[query.name]
        found = connection.execute(sqlalchemy.text(query.text), parameters)
        names, most = tuple(found.keys()), self._max_rows + (not query.cursor)
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchmany(most)]
        if len(rows) > self._max_rows:
            raise _UnusableError(f"it brings more than {self._max_rows} rows; narrow it")
        if query.cursor and rows:
            last = rows[-1].get(query.cursor)
            if not isinstance(last, int | str):
                raise _UnusableError(f"its cursor {query.cursor} is {last!r}, expected a number or a text")
            self._after[query.name] = last
        return rows

    @contextmanager
    def _no_longer_than_allowed(self, connection: Connection) -> Iterator[None]:
        driver = connection.connection.driver_connection
        timer = threading.Timer(self._timeout_seconds + _GRACE_SECONDS, _break_off, [driver])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _report(self, result: Result) -> None:
        if result.error and result.error != self._errors.get(result.query):
            logger.error("%s: query %s: %s", self, result.query, result.error)
        self._errors[result.query] = result.error


class _UnusableError(Exception):
    """What a query brings cannot be used."""


def _engine(text: str, timeout_seconds: float) -> Engine:
    try:
        url = sqlalchemy.make_url(text)
        if url.get_backend_name() == "sqlite":
            return sqlalchemy.create_engine(url, creator=_sqlite(url, timeout_seconds), poolclass=NullPool)
        return sqlalchemy.create_engine(
            url, connect_args=_arguments(url, timeout_seconds), poolclass=NullPool
        )
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise DatabaseError(
            "the database's URL is none\n  Write sqlite:///scans.db, postgresql+psycopg://user@host/name."
        ) from error
    except ImportError as error:
        raise DatabaseError(
            f"{error.name} is not installed, which the database needs\n  For PostgreSQL: pip install "
            "'rollguard[postgresql]', and a URL that begins with postgresql+psycopg://."
        ) from error


def _arguments(url: URL, timeout_seconds: float) -> dict[str, Any]:
    if url.get_backend_name() != "postgresql":
        return {}
    milliseconds = round(timeout_seconds * 1000)
    return {
        "connect_timeout": max(2, round(timeout_seconds)),
        "options": f"-c statement_timeout={milliseconds} -c default_transaction_read_only=on",
    }


def _sqlite(url: URL, timeout_seconds: float) -> Callable[[], sqlite3.Connection]:
    path = f"file:{quote(url.database or '')}?mode=ro"
    return partial(sqlite3.connect, path, uri=True, timeout=timeout_seconds, check_same_thread=False)


def _break_off(driver: Any) -> None:
    """End what a connection is busy with, from another thread."""
    if isinstance(driver, sqlite3.Connection):
        with suppress(sqlite3.Error):
            driver.interrupt()
        return
    with suppress(Exception), socket.socket(fileno=os.dup(driver.fileno())) as connection:  # it may be closed
        connection.shutdown(socket.SHUT_RDWR)


def _told(error: SQLAlchemyError) -> str:
    """The first line of what the driver said, without the query and its parameters."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.partition("\n")[0] or type(error).__name__
