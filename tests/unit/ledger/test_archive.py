"""Archives: the oldest entries go into files, and nobody loses anything, nor the chain."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import reduce
from pathlib import Path

import pytest

from rollguard.ledger import ConflictError, Ledger, LedgerError
from rollguard.ledger.archive import encode_states
from rollguard.ledger.chain import NOTHING, Head
from rollguard.state import Entry, Transition

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
    path = ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert path == folder / "ledger-00000001-00000002.jsonl"
    assert [json.loads(line)["hash"] for line in path.read_text().splitlines()] == [
        entry.hash for entry in before[:2]
    ]
    assert ledger.entries()[:-1] == before[2:]


def test_states_and_head_are_what_they_were(ledger: Ledger, folder: Path, url: str) -> None:
    states, head = ledger.states(), ledger.head()
    ledger.archive(NOW + 3, folder, NOW + 100, "ann")
    assert {name: ledger.states()[name] for name in states} == states
    assert (reopened(url).states(), reopened(url).head()) == (ledger.states(), ledger.head())
    assert ledger.verify(head) == []


def test_a_running_control_plane_goes_on(ledger: Ledger, folder: Path, url: str) -> None:
    reopened(url).archive(NOW + 3, folder, NOW + 100, "ann")
    (entry,) = ledger.append([replace(START, run=2)], NOW + 4, ledger.states())
    assert entry.seq == 6  # the fifth says what was archived
    assert ledger.verify(ledger.head()) == []


def test_the_last_entry_stays(ledger: Ledger, folder: Path) -> None:
    ledger.archive(NOW + 100, folder, NOW + 100, "ann")
    assert [(entry.seq, entry.kind) for entry in ledger.entries()] == [(4, "rollback"), (5, "archive")]


def test_where_nothing_is_so_old_nothing_is_written(ledger: Ledger, folder: Path) -> None:
    assert ledger.archive(NOW, folder, NOW + 100, "ann") is None
    assert not folder.exists()


def test_several_archives_follow_one_another(ledger: Ledger, folder: Path, url: str) -> None:
    paths = [
        ledger.archive(NOW + 1, folder, NOW + 100, "ann"),
        ledger.archive(NOW + 3, folder, NOW + 100, "ann"),
    ]
    found = [path for path in paths if path]
    assert [path.name for path in found] == [
        "ledger-00000001-00000001.jsonl",
        "ledger-00000002-00000003.jsonl",
    ]
    assert reopened(url).verify(ledger.head(), found) == []


def test_without_its_archives_the_walk_begins_after_them(ledger: Ledger, folder: Path) -> None:
    ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert ledger.verify(ledger.head()) == []


def test_a_head_that_is_archived_needs_its_archive(ledger: Ledger, folder: Path) -> None:
    first = ledger.entries()[0]
    path = ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert path is not None
    assert [str(fault) for fault in ledger.verify((1, first.hash))] == [
        "entry 1 was archived: name its archive"
    ]
    assert ledger.verify((1, first.hash), [path]) == []


def test_a_changed_line_of_an_archive_is_found(ledger: Ledger, folder: Path) -> None:
    path = ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert path is not None
    path.write_text(path.read_text().replace("v2", "v3"))
    assert [fault.seq for fault in ledger.verify(None, [path])] == [1]


def test_an_archive_that_lost_its_last_line_is_found(ledger: Ledger, folder: Path) -> None:
    path = ledger.archive(NOW + 3, folder, NOW + 100, "ann")
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
        ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert not folder.exists()


def test_a_file_that_was_written_before_a_kill_is_taken_up(ledger: Ledger, folder: Path) -> None:
    class KilledError(Exception):
        pass

    def die() -> None:
        raise KilledError

    ledger._storage.writing, usual = die, ledger._storage.writing  # type: ignore[method-assign,assignment]
    with pytest.raises(KilledError):
        ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    ledger._storage.writing = usual  # type: ignore[method-assign]
    assert len(ledger.entries()) == 4
    path = ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert path is not None
    assert ledger.verify(ledger.head(), [path]) == []


def test_a_file_that_holds_something_else_is_left_alone(ledger: Ledger, folder: Path) -> None:
    folder.mkdir()
    (folder / "ledger-00000001-00000002.jsonl").write_text("mine")
    with pytest.raises(LedgerError, match="is there already, and holds something else"):
        ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert len(ledger.entries()) == 4


def test_the_database_still_refuses_to_lose_what_is_not_archived(
    ledger: Ledger, folder: Path, tmp_path: Path
) -> None:
    ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute("DELETE FROM entries")
    connection.close()


def test_what_a_guard_noted_is_remembered_beyond_its_archive(ledger: Ledger, folder: Path, url: str) -> None:
    ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert reopened(url).states()["model"].noted == ledger.states()["model"].noted == {"Errors"}


def test_a_decision_is_made_once_beyond_its_archive(ledger: Ledger, folder: Path, url: str) -> None:
    before = ledger.states()
    ledger.append([replace(START, run=2)], NOW + 4)
    ledger.archive(NOW + 4, folder, NOW + 100, "ann")
    with pytest.raises(ConflictError):
        reopened(url).append([FALL], NOW + 5, before)


# What an archive led to


FORGED = "UPDATE archives SET states = replace(states, 'ROLLING_OUT', 'ENABLED')"
DIGEST = "entry 2 led to other states than are kept: entry 5 has their digest"
REFOLDED = "entry 2 led model to other states than are kept: status 'ENABLED', not 'ROLLING_OUT'"
YOUNGER = {"definition"}
"""Fields of a state that the release before did not know."""


@pytest.fixture
def archive(ledger: Ledger, folder: Path) -> Path:
    path = ledger.archive(NOW + 2, folder, NOW + 100, "ann")
    assert path is not None
    return path


def forge(tmp_path: Path, *statements: str) -> None:
    """Change the file as somebody would who knows SQLite."""
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)


def found(ledger: Ledger, *archived: Path) -> list[str]:
    return [str(fault) for fault in ledger.verify(None, archived)]


def test_the_chain_says_what_was_archived_by_whom(ledger: Ledger, archive: Path) -> None:
    entry = ledger.entries()[-1]
    assert (entry.kind, entry.actor, entry.at) == ("archive", "ann", NOW + 100)
    assert entry.reason == "entries 1 to 2 are in ledger-00000001-00000002.jsonl"
    assert found(ledger) == found(ledger, archive) == []
    assert ledger.unproven() == []


def test_forged_states_are_found_and_named_with_the_archive(
    ledger: Ledger, archive: Path, tmp_path: Path
) -> None:
    forge(tmp_path, FORGED)
    assert found(ledger) == [DIGEST]
    assert found(ledger, archive) == [DIGEST, REFOLDED]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE archives SET states = '{}'",
        """UPDATE archives SET states = replace(states, '"acknowledged":true', '"acknowledged":false')""",
        """UPDATE archives SET states = replace(states, '"noted":["Errors"]', '"noted":[]')""",
        "UPDATE archives SET states = replace(states, ',', ', ')",
    ],
)
def test_whatever_is_forged_of_the_states_is_found(
    ledger: Ledger, archive: Path, tmp_path: Path, statement: str
) -> None:
    forge(tmp_path, statement)
    assert found(ledger)[0] == DIGEST


def test_states_that_were_forged_before_a_lower_version_was_written_are_found(
    ledger: Ledger, archive: Path, tmp_path: Path
) -> None:
    forge(tmp_path, FORGED, "UPDATE ledger_schema SET version = 3")
    assert found(ledger) == [DIGEST]


def test_an_archive_that_the_chain_does_not_know_is_found(
    ledger: Ledger, archive: Path, tmp_path: Path
) -> None:
    forge(
        tmp_path,
        "INSERT INTO archives SELECT 3, entries.hash, states FROM archives, entries WHERE entries.seq = 3",
        "DELETE FROM entries WHERE seq = 3",
    )
    assert found(ledger) == [
        "entry 3 was archived, but no entry of the chain says so: its states may be forged"
    ]


def test_an_archive_that_is_forgotten_is_found(ledger: Ledger, archive: Path, tmp_path: Path) -> None:
    forge(tmp_path, "DELETE FROM archives")
    assert found(ledger)[0] == "entry 1 is missing: 3 follows 0"


def test_a_removed_entry_of_an_archive_is_found(ledger: Ledger, archive: Path, tmp_path: Path) -> None:
    forge(tmp_path, FORGED, "DELETE FROM entries WHERE kind = 'archive'")
    assert "its states may be forged" in found(ledger)[0]


def test_a_file_that_was_written_anew_is_found(ledger: Ledger, archive: Path) -> None:
    lines = [json.loads(line) for line in archive.read_text().splitlines()]
    archive.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
    assert found(ledger, archive) == [f"entry 1 begins {archive}, whose digest is not that in entry 5"]


def test_the_archive_of_another_ledger_is_found(ledger: Ledger, archive: Path, tmp_path: Path) -> None:
    with closing(Ledger.open(f"sqlite:///{tmp_path / 'other.db'}")) as other:
        other.append([replace(START, reason="v1"), NOTE], NOW)
        other.append([FALL], NOW + 1)
        swapped = other.archive(NOW + 1, tmp_path / "others", NOW + 100, "ann")
    assert swapped is not None
    assert found(ledger, swapped)[0].startswith("entry 2 is not the one that was seen with hash")


def test_an_archive_cut_within_a_line_is_an_error_with_its_place(ledger: Ledger, archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-20])
    with pytest.raises(LedgerError, match=r"00000002.jsonl:2 is no entry of a ledger"):
        found(ledger, archive)


@pytest.mark.parametrize(
    "statement",
    [
        FORGED,
        "DELETE FROM archives",
        "INSERT OR REPLACE INTO archives VALUES (2, 'x', '{}')",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries",
        "UPDATE ledger_schema SET version = 3",
        "DELETE FROM ledger_schema",
    ],
)
def test_the_database_refuses_accidents_in_every_table(archive: Path, tmp_path: Path, statement: str) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(statement)


@pytest.fixture
def older(ledger: Ledger, archive: Path, tmp_path: Path) -> Path:
    """The archive of a ledger that the release before has written."""
    lines = [json.loads(line) for line in archive.read_text().splitlines()]
    states = json.loads(encode_states(reduce(Head.after, [Entry(**line) for line in lines], NOTHING)))
    known = {name: state for name, state in states["model"].items() if name not in YOUNGER}
    forge(
        tmp_path,
        "DELETE FROM entries WHERE kind = 'archive'",
        f"UPDATE archives SET states = '{json.dumps({'model': known})}'",
        "UPDATE ledger_schema SET version = 3",
    )
    return archive


def test_an_older_archive_is_told_as_unproven_and_is_no_fault(url: str, older: Path) -> None:
    with closing(Ledger.open(url, read_only=True)) as ledger:
        assert ledger.verify() == []
        assert "entries up to 2 led to were kept by an older release" in ledger.unproven()[0]
        assert (ledger.verify(None, [older]), ledger.unproven([older])) == ([], [])


def test_an_older_archive_is_entered_when_the_ledger_is_brought_up_to_date(
    url: str, older: Path, tmp_path: Path
) -> None:
    ledger = reopened(url)
    entry = ledger.entries()[-1]
    assert (entry.kind, entry.evidence["last"], entry.evidence["unproven"]) == ("archive", 2, True)
    assert (ledger.verify(), len(ledger.unproven())) == ([], 1)
    assert (ledger.verify(None, [older]), ledger.unproven([older])) == ([], [])
    assert reopened(url).entries() == ledger.entries()
    forge(tmp_path, FORGED)
    assert found(ledger)[0] == DIGEST


def test_an_older_archive_whose_states_are_forged_is_found_with_its_file(
    url: str, older: Path, tmp_path: Path
) -> None:
    forge(tmp_path, FORGED)
    assert found(reopened(url), older) == [REFOLDED]
