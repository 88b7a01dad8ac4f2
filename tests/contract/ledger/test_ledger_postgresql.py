"""The ledger on a real PostgreSQL: one chain, whoever writes; and one leader, whoever dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rollguard.ledger import ConflictError, Ledger, LedgerError, schema
from rollguard.ledger.archive import encode_states
from rollguard.ledger.chain import NOTHING, Head
from rollguard.state import Transition
from tests.servers import PostgresServer

NOW = 1_700_000_000.0
START = Transition("model", "start", 1, "ROLLING_OUT", "canary", actor="ann", reason="v2")
PROMOTE = Transition("model", "promote", 1, "ENABLED", None, actor="ann")
FALL = Transition("model", "rollback", 1, "ROLLBACK", None, guard="Errors", reason="Errors")
NOTE = Transition("model", "would_rollback", 1, "ROLLING_OUT", "canary", guard="Errors", reason="Errors")

Open = Callable[..., Ledger]


@pytest.fixture
def open_ledger(request: pytest.FixtureRequest) -> Iterator[Open]:
    opened: list[Ledger] = []

    def open_(url: str | None = None, **options: Any) -> Ledger:
        opened.append(Ledger.open(url or request.getfixturevalue("postgres_url"), **options))
        return opened[-1]

    yield open_
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: Open) -> Ledger:
    return open_ledger()


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(statement)


def test_a_reopened_ledger_has_the_same_states_and_head(open_ledger: Open) -> None:
    first = open_ledger()
    first.append([START, NOTE, FALL], NOW + 0.1)
    second = open_ledger()
    assert (second.states(), second.head()) == (first.states(), first.head())
    assert second.verify(first.head()) == []


def test_entries_read_as_they_were_returned(ledger: Ledger) -> None:
    odd = {"alert": {"rollout": "modèle \ud800 \0"}, "values": [1, 0.1 + 0.2, None, True]}
    written = ledger.append([START, replace(FALL, evidence=odd)], NOW + 0.123456789)
    assert ledger.entries() == written


def test_words_that_no_database_takes_do_not_keep_a_person_from_acting(ledger: Ledger) -> None:
    (entry,) = ledger.append([replace(START, actor="a\0nn", reason="half \ud800")], NOW)
    assert (entry.actor, entry.reason) == ("a\N{REPLACEMENT CHARACTER}nn", "half ?")
    assert ledger.verify() == []


def test_a_guard_ends_a_run_once(ledger: Ledger) -> None:
    ledger.append([START, NOTE], NOW)
    with pytest.raises(ConflictError, match="has this decision already"):
        ledger.append([NOTE], NOW + 1)


def test_a_decision_upon_an_old_state_is_refused_whoever_changed_it(open_ledger: Open) -> None:
    first, second = open_ledger(), open_ledger()
    first.append([START], NOW)
    seen = second.states()
    first.append([FALL], NOW + 1)
    with pytest.raises(ConflictError, match="is in rollback by entry 2, no longer in canary"):
        second.append([PROMOTE], NOW + 2, seen)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET reason = 'x'",
        "DELETE FROM entries",
        "TRUNCATE entries",
        """UPDATE archives SET states = '{"model":{"rollout":"model","status":"ENABLED"}}'""",
        "DELETE FROM archives",
        "TRUNCATE archives",
        "DELETE FROM leases",
        "UPDATE leases SET name = 'x'",
        "TRUNCATE leases",
        "UPDATE ledger_schema SET version = 1",
        "DELETE FROM ledger_schema",
    ],
)
def test_the_database_refuses_changes(
    ledger: Ledger, postgres_url: str, statement: str, tmp_path: Path
) -> None:
    ledger.append([START], NOW)
    ledger.append([NOTE], NOW + 1)
    ledger.archive(NOW + 1, tmp_path, NOW + 100, "ann")
    assert ledger.lead("advance", "me", 60.0)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        execute(postgres_url, statement)


def test_whoever_changes_an_entry_all_the_same_is_found_out(ledger: Ledger, postgres_url: str) -> None:
    ledger.append([START, FALL], NOW)
    execute(postgres_url, "ALTER TABLE entries DISABLE TRIGGER ALL")
    execute(postgres_url, "UPDATE entries SET reason = 'nothing happened' WHERE seq = 2")
    assert [str(fault) for fault in ledger.verify()] == ["entry 2 was changed: its hash is of another text"]


def test_forged_states_of_an_archive_are_found(
    open_ledger: Open, ledger: Ledger, postgres_url: str, tmp_path: Path
) -> None:
    ledger.append([START, FALL], NOW)
    ledger.append([replace(START, rollout="other")], NOW + 1)
    path = ledger.archive(NOW + 1, tmp_path, NOW + 100, "ann")
    assert path is not None
    execute(postgres_url, "ALTER TABLE archives DISABLE TRIGGER ALL")
    execute(postgres_url, "UPDATE archives SET states = replace(states, 'ROLLBACK', 'ENABLED')")
    said = "entry 2 led to other states than are kept: entry 4 has their digest"
    assert [str(fault) for fault in open_ledger(read_only=True).verify()] == [said]
    refolded = "entry 2 led model to other states than are kept: status 'ENABLED', not 'ROLLBACK'"
    assert [str(fault) for fault in ledger.verify(None, [path])] == [said, refolded]


def test_tables_of_the_release_before_are_guarded_and_its_archive_entered(
    open_ledger: Open, ledger: Ledger, postgres_url: str
) -> None:
    first, second, _ = ledger.append([START, FALL, replace(START, rollout="other")], NOW)
    kept = encode_states(reduce(Head.after, [first, second], NOTHING))
    names = [f"{table}_no_{verb.lower()}" for table, verb in schema._REFUSED]
    names += [f"{table}_no_truncate" for table in ("entries", "archives", "leases", "ledger_schema")]
    for name in names:
        execute(postgres_url, f"DROP FUNCTION {name} CASCADE")
    execute(postgres_url, "UPDATE ledger_schema SET version = 3")
    execute(postgres_url, f"INSERT INTO archives VALUES (2, '{second.hash}', '{kept}')")
    execute(postgres_url, "DELETE FROM entries WHERE seq <= 2")
    upgraded = open_ledger()
    assert upgraded.verify() == []
    assert "entries up to 2" in upgraded.unproven()[0]
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        execute(postgres_url, "UPDATE archives SET states = '{}'")


def test_a_reader_sees_what_a_writer_committed_and_cannot_write(open_ledger: Open) -> None:
    writer = open_ledger()
    reader = open_ledger(read_only=True)
    writer.append([START], NOW)
    assert reader.states() == writer.states()
    with pytest.raises(LedgerError, match=r"cannot be written: .*read-only transaction"):
        reader.append([FALL], NOW)


def test_a_database_of_something_else_is_refused(open_ledger: Open, postgres_url: str) -> None:
    execute(postgres_url, "CREATE TABLE invoices (id int)")
    with pytest.raises(LedgerError, match="is a database of something else, with invoices"):
        open_ledger()


def test_no_error_shows_the_password(open_ledger: Open) -> None:
    with pytest.raises(LedgerError) as found:
        open_ledger("postgresql://ann:verysecret@127.0.0.1:1/ledger")
    assert "verysecret" not in str(found.value)
    assert "postgresql+psycopg://ann:***@127.0.0.1:1/ledger cannot be opened" in str(found.value)


_WRITER = """
import sys
from rollguard.ledger import Ledger
from rollguard.state import Transition
ledger = Ledger.open(sys.argv[1], busy_seconds=60.0)
for number in range(int(sys.argv[3])):
    (entry,) = ledger.append([Transition(sys.argv[2], "promote", 1, "ROLLING_OUT", f"s{number}")], 1.0)
    print(entry.seq, flush=True)
"""


def writer(url: str, rollout: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, url, rollout, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_append_to_one_chain(postgres_url: str, open_ledger: Open) -> None:
    processes = [writer(postgres_url, rollout, 50) for rollout in ("one", "two", "three")]
    numbers = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 151))
    assert open_ledger().verify() == []


def test_old_entries_are_archived_and_the_others_cannot_be_removed(
    open_ledger: Open, postgres_url: str, tmp_path: Path
) -> None:
    ledger, other = open_ledger(), open_ledger()
    ledger.append([START, NOTE], NOW)
    ledger.append([FALL], NOW + 1)
    head, states = other.head(), other.states()
    path = ledger.archive(NOW + 1, tmp_path, NOW + 100, "ann")
    assert path is not None
    assert other.states()["model"] == states["model"]
    assert open_ledger().verify(head, [path]) == []
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        execute(postgres_url, "DELETE FROM entries")


# Ends of the server


def test_a_server_that_was_restarted_is_used_again(
    postgres_server: PostgresServer, open_ledger: Open
) -> None:
    ledger = open_ledger(postgres_server.url())
    ledger.append([START], NOW)
    postgres_server.kill()
    with pytest.raises(LedgerError, match=r"cannot be written: .*refused[^\n]*\n.*\n?.*Start the server"):
        ledger.append([FALL], NOW)
    postgres_server.start()
    ledger.append([FALL], NOW, ledger.states())
    assert ledger.states()["model"].status == "ROLLBACK"
    assert ledger.verify() == []


# Leading


def test_one_of_two_leads(open_ledger: Open) -> None:
    first, second = open_ledger(), open_ledger()
    assert first.lead("advance", "first", 60.0)
    assert not second.lead("advance", "second", 60.0)
    assert first.lead("advance", "first", 60.0)


def test_leading_one_thing_is_not_leading_another(open_ledger: Open) -> None:
    first, second = open_ledger(), open_ledger()
    assert first.lead("advance", "first", 60.0)
    assert second.lead("notices", "second", 60.0)


def test_the_other_leads_once_the_lease_has_ended(open_ledger: Open) -> None:
    first, second = open_ledger(), open_ledger()
    assert first.lead("advance", "first", 0.0)
    assert second.lead("advance", "second", 60.0)
    assert not first.lead("advance", "first", 60.0)


def test_nobody_leads_where_the_server_is_gone(postgres_server: PostgresServer, open_ledger: Open) -> None:
    ledger = open_ledger(postgres_server.url())
    postgres_server.kill()
    with pytest.raises(LedgerError):
        ledger.lead("advance", str(os.getpid()), 60.0)
