"""SQL as a source, on real databases: SQLite and PostgreSQL."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec
import pytest
import sqlalchemy

from rollguard.exporters.sources.interface import Result
from rollguard.exporters.sources.sql import DatabaseError, Query, SqlSource
from tests.servers import PostgresServer

ALL = Query("scores", "SELECT symbol, score FROM scores ORDER BY symbol")
NEW = Query("new", "SELECT id, symbol FROM scores WHERE id > :after ORDER BY id", cursor="id")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with one table of two rows."""
    found = f"sqlite:///{tmp_path}/a b#c.db"
    if request.param == "postgresql":
        found = request.getfixturevalue("postgres_url")
    write(found, "CREATE TABLE scores (id INTEGER PRIMARY KEY, symbol TEXT, score REAL)")
    write(found, "INSERT INTO scores VALUES (1, 'AAPL', 0.5), (2, 'MSFT', 0.25)")
    return found


def write(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def ask(source: SqlSource) -> tuple[Result, ...]:
    found = source.read().records
    assert found is not None
    return found


def rows(result: Result) -> list[tuple[object, ...]]:
    assert result.error == ""
    return [tuple(row.values()) for row in result.rows]


def test_every_look_brings_what_is_there_then(url: str) -> None:
    source = SqlSource(url, [ALL])
    assert rows(ask(source)[0]) == [("AAPL", 0.5), ("MSFT", 0.25)]
    assert source.up
    write(url, "DELETE FROM scores WHERE id = 1")
    (result,) = ask(source)
    assert rows(result) == [("MSFT", 0.25)]
    assert 0 < result.seconds < 10


def test_with_a_cursor_each_row_comes_once_across_restarts(url: str) -> None:
    source = SqlSource(url, [NEW], max_rows=1)
    first = source.read()
    assert first.records is not None
    assert rows(first.records[0]) == [(1, "AAPL")]
    assert not first.at_end
    source = SqlSource(url, [NEW])
    source.resume(msgspec.Raw(msgspec.json.encode(first.position)))
    second = source.read()
    assert second.records is not None
    assert rows(second.records[0]) == [(2, "MSFT")]
    assert second.at_end
    assert rows(ask(source)[0]) == []


def test_nothing_can_be_written(url: str) -> None:
    source = SqlSource(url, [Query("drop", "DELETE FROM scores"), ALL])
    dropped, found = ask(source)
    assert "read-only" in dropped.error.replace("readonly", "read-only")
    assert len(found.rows) == 2
    assert not source.up


def test_a_column_that_is_missing_spoils_its_own_query_alone_and_is_said_once(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = SqlSource(url, [Query("ratings", "SELECT rating FROM scores"), ALL])
    for _ in range(2):
        ratings, found = ask(source)
        assert "rating" in ratings.error
        assert len(found.rows) == 2
    assert caplog.text.count("query ratings") == 1
    assert not source.up
    write(url, "ALTER TABLE scores ADD COLUMN rating TEXT")
    assert [result.error for result in ask(source)] == ["", ""]
    assert source.up


def test_a_query_that_fails_half_way_is_said_and_brings_nothing(url: str) -> None:
    text = "SELECT 1 / (id - 2) AS x FROM scores ORDER BY id"
    if url.startswith("sqlite"):  # which makes its rows one by one
        text = "SELECT json(CASE id WHEN 2 THEN '?' ELSE '1' END) AS x FROM scores"
    broken, found = ask(SqlSource(url, [Query("broken", text), ALL]))
    assert broken.error
    assert not broken.rows
    assert len(found.rows) == 2


def test_a_statement_that_brings_no_rows_is_said(url: str) -> None:
    nothing, found = ask(SqlSource(url, [Query("nothing", "ROLLBACK"), ALL]))
    assert nothing.error
    assert len(found.rows) == 2


def test_too_many_rows_are_an_error_not_a_half(url: str) -> None:
    source = SqlSource(url, [ALL], max_rows=1)
    (result,) = ask(source)
    assert (result.rows, result.error) == ([], "it brings more than 1 rows; narrow it")


def test_a_query_that_hangs_is_ended_and_the_next_look_works(url: str) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000000000)"
    source = SqlSource(url, [Query("slow", f"{numbers} SELECT count(*) FROM n"), ALL], timeout_seconds=0.2)
    start = time.monotonic()
    slow, found = ask(source)
    assert slow.error
    assert time.monotonic() - start < 10
    assert found.error == ""


def test_a_database_that_is_not_there_yet_is_asked_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/later.db"
    source = SqlSource(url, [ALL])
    (result,) = ask(source)
    assert "unable to open" in result.error
    assert not (tmp_path / "later.db").exists()
    write(url, "CREATE TABLE scores (symbol TEXT, score REAL)")
    assert rows(ask(source)[0]) == []


def test_a_server_that_was_restarted_is_asked_again(postgres_server: PostgresServer) -> None:
    write(postgres_server.url(), "CREATE TABLE scores (symbol TEXT, score REAL)")
    source = SqlSource(postgres_server.url(), [ALL, ALL])
    assert [result.error for result in ask(source)] == ["", ""]
    postgres_server.kill()
    assert all(result.error for result in ask(source))
    assert not source.up
    postgres_server.start()
    assert [result.error for result in ask(source)] == ["", ""]
    assert source.up


def test_a_server_that_hangs_is_given_up_after_the_time_out(postgres_server: PostgresServer) -> None:
    sleep = Query("sleep", "SELECT pg_sleep(60) AS nothing")
    source = SqlSource(postgres_server.url(), [sleep], timeout_seconds=1)
    found: list[Result] = []
    asking = threading.Thread(target=lambda: found.extend(ask(source)), daemon=True)
    asking.start()
    with postgres_server.connect() as connection:
        asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        while connection.execute(asleep).fetchone() is None:  # ends within the second of the time-out
            assert asking.is_alive()
        postgres_server.freeze()
        asking.join(15)
        assert [bool(result.error) for result in found] == [True]
        assert ask(source)[0].error  # nor does it answer who connects
        postgres_server.thaw()
    source = SqlSource(postgres_server.url(), [Query("one", "SELECT 1 AS one")])
    assert rows(ask(source)[0]) == [(1,)]


def test_a_password_is_not_shown() -> None:
    assert str(SqlSource("postgresql+psycopg://me:secret@db/x", [])) == "postgresql+psycopg://me:***@db/x"


@pytest.mark.parametrize("url", ["", "scans.db", "nothing://here", "mysql+pymysql://here/x"])
def test_what_is_no_database_is_refused_at_once(url: str) -> None:
    with pytest.raises(DatabaseError, match="postgresql"):
        SqlSource(url, [])
