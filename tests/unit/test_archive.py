"""Archives: the oldest entries go into files, and nobody loses anything, nor the chain."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rollguard.ledger import ConflictError, Ledger, LedgerError
from rollguard.state import Transition

NOW = 1_700_000_000.0
START = Transition("model", "start", 1, "ROLLING_OUT", "canary", actor="ann", reason="v2")
NOTE = Transition("model", "would_rollback", 1, "ROLLING_OUT", "canary", guard="Errors", reason="Errors")
FALL = Transition("model", "rollback", 1, "ROLLBACK", None, guard="Errors", reason="Errors")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    found = Ledger.open(url)
    found.append([START], NOW)
    found.append([replace(NOTE, evidence={"value": 0.1, "text": "é"})], NOW + 1)
    found.append([replace(START, rollout="other")], NOW + 2)
    found.append([FALL], NOW + 3)
    yield found
    found.close()


def reopened(url: str) -> Ledger:
    ledger = Ledger.open(url)
    ledger.close()  # its connections; it opens others
    return ledger


def test_old_entries_go_into_a_file_and_the_others_stay(ledger: Ledger, folder: Path) -> None:
    before = ledger.entries()
    path = ledger.archive(NOW + 2, folder)
    assert path == folder / "ledger-00000001-00000002.jsonl"
    assert [json.loads(line)["hash"] for line in path.read_text().splitlines()] == [
        entry.hash for entry in before[:2]
    ]
    assert ledger.entries() == before[2:]


def test_states_and_head_are_what_they_were(ledger: Ledger, folder: Path, url: str) -> None:
    states, head = ledger.states(), ledger.head()
    ledger.archive(NOW + 3, folder)
    assert (ledger.states(), ledger.head()) == (states, head)
    assert (reopened(url).states(), reopened(url).head()) == (states, head)


def test_a_running_control_plane_goes_on(ledger: Ledger, folder: Path, url: str) -> None:
    reopened(url).archive(NOW + 3, folder)
    (entry,) = ledger.append([replace(START, run=2)], NOW + 4, ledger.states())
    assert entry.seq == 5
    assert ledger.verify(ledger.head()) == []


def test_the_last_entry_stays(ledger: Ledger, folder: Path) -> None:
    ledger.archive(NOW + 100, folder)
    assert [entry.seq for entry in ledger.entries()] == [4]


def test_where_nothing_is_so_old_nothing_is_written(ledger: Ledger, folder: Path) -> None:
    assert ledger.archive(NOW, folder) is None
    assert not folder.exists()


def test_several_archives_follow_one_another(ledger: Ledger, folder: Path, url: str) -> None:
    paths = [ledger.archive(NOW + 1, folder), ledger.archive(NOW + 3, folder)]
    found = [path for path in paths if path]
    assert [path.name for path in found] == [
        "ledger-00000001-00000001.jsonl",
        "ledger-00000002-00000003.jsonl",
    ]
    assert reopened(url).verify(ledger.head(), found) == []


def test_without_its_archives_the_walk_begins_after_them(ledger: Ledger, folder: Path) -> None:
    ledger.archive(NOW + 2, folder)
    assert ledger.verify(ledger.head()) == []


def test_a_head_that_is_archived_needs_its_archive(ledger: Ledger, folder: Path) -> None:
    first = ledger.entries()[0]
    path = ledger.archive(NOW + 2, folder)
    assert path is not None
    assert [str(fault) for fault in ledger.verify((1, first.hash))] == [
        "entry 1 was archived: name its archive"
    ]
    assert ledger.verify((1, first.hash), [path]) == []


def test_a_changed_line_of_an_archive_is_found(ledger: Ledger, folder: Path) -> None:
    path = ledger.archive(NOW + 2, folder)
    assert path is not None
    path.write_text(path.read_text().replace("v2", "v3"))
    assert [fault.seq for fault in ledger.verify(None, [path])] == [1]


def test_an_archive_that_lost_its_last_line_is_found(ledger: Ledger, folder: Path) -> None:
    path = ledger.archive(NOW + 3, folder)
    assert path is not None
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert str(ledger.verify(None, [path])[0]) == "entry 3 is missing: 4 follows 2"


@pytest.mark.parametrize("text", ["{}", "not JSON", "[1]"])
def test_a_file_that_is_no_archive_is_an_error(ledger: Ledger, tmp_path: Path, text: str) -> None:
    (tmp_path / "odd").write_text(text)
    with pytest.raises(LedgerError, match="odd:1 is no entry of a ledger"):
        ledger.verify(None, [tmp_path / "odd"])


def test_a_broken_chain_is_not_archived(ledger: Ledger, folder: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    connection.execute("DROP TRIGGER entries_no_update")
    connection.execute("UPDATE entries SET reason = 'x' WHERE seq = 1")
    connection.close()
    with pytest.raises(LedgerError, match="is not archived, as entry 1 was changed"):
        ledger.archive(NOW + 2, folder)
    assert not folder.exists()


def test_a_file_that_was_written_before_a_kill_is_taken_up(ledger: Ledger, folder: Path) -> None:
    class KilledError(Exception):
        pass

    def die() -> None:
        raise KilledError

    ledger._storage.writing, usual = die, ledger._storage.writing  # type: ignore[method-assign,assignment]
    with pytest.raises(KilledError):
        ledger.archive(NOW + 2, folder)
    ledger._storage.writing = usual  # type: ignore[method-assign]
    assert len(ledger.entries()) == 4
    path = ledger.archive(NOW + 2, folder)
    assert path is not None
    assert ledger.verify(ledger.head(), [path]) == []


def test_a_file_that_holds_something_else_is_left_alone(ledger: Ledger, folder: Path) -> None:
    folder.mkdir()
    (folder / "ledger-00000001-00000002.jsonl").write_text("mine")
    with pytest.raises(LedgerError, match="is there already, and holds something else"):
        ledger.archive(NOW + 2, folder)
    assert len(ledger.entries()) == 4


def test_the_database_still_refuses_to_lose_what_is_not_archived(
    ledger: Ledger, folder: Path, tmp_path: Path
) -> None:
    ledger.archive(NOW + 2, folder)
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM entries")
    connection.close()


def test_what_a_guard_noted_is_remembered_beyond_its_archive(ledger: Ledger, folder: Path, url: str) -> None:
    ledger.archive(NOW + 2, folder)
    assert reopened(url).states()["model"].noted == ledger.states()["model"].noted == {"Errors"}


def test_a_decision_is_made_once_beyond_its_archive(ledger: Ledger, folder: Path, url: str) -> None:
    before = ledger.states()
    ledger.append([replace(START, run=2)], NOW + 4)
    ledger.archive(NOW + 4, folder)
    with pytest.raises(ConflictError):
        reopened(url).append([FALL], NOW + 5, before)
