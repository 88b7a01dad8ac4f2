"""The ledger: what is written stays, whole or not at all, and whoever changes it is found out."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollguard.ledger import GENESIS, ConflictError, Ledger, LedgerError, schema
from rollguard.ledger.chain import digest, row_of
from rollguard.lock import LockError
from rollguard.state import Entry, State, Transition, fold

NOW = 1_700_000_000.0
START = Transition("model", "start", 1, "ROLLING_OUT", "canary", actor="ann", reason="v2")
PROMOTE = Transition("model", "promote", 1, "ENABLED", None, actor="ann")
FALL = Transition("model", "rollback", 1, "ROLLBACK", None, guard="Errors", reason="Errors")
NOTE = Transition("model", "would_rollback", 1, "ROLLING_OUT", "canary", guard="Errors", reason="Errors")


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def open_ledger(path: Path) -> Iterator[Callable[..., Ledger]]:
    opened: list[Ledger] = []

    def open_(at: Path = path, **options: Any) -> Ledger:
        opened.append(Ledger.open(url_of(at), **options))
        return opened[-1]

    yield open_
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: Callable[..., Ledger]) -> Ledger:
    return open_ledger()


def tamper(path: Path, *statements: str) -> None:
    """Change the file as somebody would who knows SQLite."""
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in (
        "DROP TRIGGER entries_no_update",
        "DROP TRIGGER entries_no_delete",
        *statements,
    ):
        connection.execute(statement)
    connection.close()


def refuses(path: Path, statement: str) -> bool:
    connection = sqlite3.connect(path)
    try:
        connection.execute(statement)
    except sqlite3.IntegrityError as error:
        return "append-only" in str(error)
    finally:
        connection.close()
    return False


# The fold


def test_an_empty_ledger_has_no_states_and_the_genesis_head(ledger: Ledger) -> None:
    assert ledger.states() == {}
    assert ledger.head() == (0, GENESIS)


def test_the_state_follows_each_entry(ledger: Ledger) -> None:
    found = []
    for transition in (START, PROMOTE, FALL):
        ledger.append([transition], NOW)
        state = ledger.states()["model"]
        found.append((state.status, state.position, state.run, state.seq))
    assert found == [
        ("ROLLING_OUT", "canary", 1, 1),
        ("ENABLED", "enabled", 1, 2),
        ("ROLLBACK", "rollback", 1, 3),
    ]


def test_a_rollback_keeps_its_reason_and_its_time_for_the_cooldown(ledger: Ledger) -> None:
    ledger.append([START], NOW)
    ledger.append([FALL], NOW + 60)
    state = ledger.states()["model"]
    assert (state.reason, state.entered_at, state.rolled_back_at) == ("Errors", NOW + 60, NOW + 60)


def test_the_next_run_remembers_when_the_last_was_rolled_back(ledger: Ledger) -> None:
    ledger.append([START, FALL], NOW)
    ledger.append([replace(START, run=2)], NOW + 900)
    state = ledger.states()["model"]
    assert (state.run, state.rolled_back_at) == (2, NOW)


def test_what_was_only_observed_leaves_status_and_stage(ledger: Ledger) -> None:
    ledger.append([START], NOW)
    before = ledger.states()["model"]
    ledger.append([NOTE], NOW + 60)
    after = ledger.states()["model"]
    assert (after.status, after.stage, after.entered_at, after.seq) == (
        before.status,
        before.stage,
        before.entered_at,
        before.seq,
    )


def test_states_are_the_fold_of_the_entries(ledger: Ledger) -> None:
    ledger.append([START, NOTE, FALL, replace(START, run=2)], NOW)
    state = State("model")
    for entry in ledger.entries():
        state = fold(state, entry)
    assert ledger.states() == {"model": state}


# Appending


def test_entries_are_numbered_without_gaps_and_chained(ledger: Ledger) -> None:
    first, second = ledger.append([START, PROMOTE], NOW)
    assert [first.seq, second.seq] == [1, 2]
    assert [first.previous_hash, second.previous_hash] == [GENESIS, first.hash]
    assert ledger.head() == (2, second.hash)


def test_an_entry_says_what_it_led_from(ledger: Ledger) -> None:
    ledger.append([START], NOW)
    (entry,) = ledger.append([FALL], NOW)
    assert (entry.from_status, entry.from_stage) == ("ROLLING_OUT", "canary")


def test_entries_read_as_they_were_returned(ledger: Ledger) -> None:
    evidence = {"alert": {"rollout": "modèle \ud800"}, "values": [1, 2.5, None, True]}
    written = ledger.append([START, replace(FALL, evidence=evidence)], NOW)
    assert ledger.entries() == written


def test_entries_can_be_asked_by_rollout_and_number(ledger: Ledger) -> None:
    ledger.append([START, replace(START, rollout="other"), PROMOTE], NOW)
    assert [entry.seq for entry in ledger.entries("model")] == [1, 3]
    assert [entry.seq for entry in ledger.entries(after=1)] == [2, 3]


def test_no_evidence_keeps_a_decision_from_being_recorded(ledger: Ledger) -> None:
    odd = {"value": float("nan"), "path": Path("x"), 3: {"inner": float("inf")}}
    (entry,) = ledger.append([replace(START, evidence=odd)], NOW)  # type: ignore[arg-type]
    assert entry.evidence == {"value": "nan", "path": "x", "3": {"inner": "inf"}}


def test_a_guard_decides_once_in_a_run(ledger: Ledger) -> None:
    ledger.append([START, NOTE], NOW)
    with pytest.raises(ConflictError, match="already"):
        ledger.append([NOTE], NOW + 1)


def test_a_guard_may_decide_again_in_the_next_run(ledger: Ledger) -> None:
    ledger.append([START, FALL], NOW)
    ledger.append([replace(START, run=2), replace(FALL, run=2)], NOW + 900)
    assert ledger.states()["model"].status == "ROLLBACK"


def test_people_may_repeat_themselves(ledger: Ledger) -> None:
    ledger.append([START, PROMOTE], NOW)
    ledger.append([PROMOTE], NOW)
    assert ledger.head()[0] == 3


def test_transitions_are_written_all_or_none(ledger: Ledger) -> None:
    ledger.append([START, NOTE], NOW)
    head = ledger.head()
    with pytest.raises(ConflictError):
        ledger.append([replace(START, rollout="other"), NOTE], NOW + 1)
    assert ledger.head() == head
    assert "other" not in ledger.states()


def test_a_decision_upon_an_old_state_is_refused(ledger: Ledger) -> None:
    ledger.append([START], NOW)
    seen = ledger.states()
    ledger.append([FALL], NOW + 1)
    with pytest.raises(ConflictError, match="is in rollback by entry 2, no longer in canary"):
        ledger.append([PROMOTE], NOW + 2, seen)


def test_a_first_start_is_refused_where_somebody_else_was_first(ledger: Ledger) -> None:
    ledger.append([START], NOW)
    with pytest.raises(ConflictError):
        ledger.append([START], NOW, {"model": State("model")})


def test_a_decision_upon_the_current_state_is_written(ledger: Ledger) -> None:
    ledger.append([START], NOW)
    ledger.append([PROMOTE], NOW, ledger.states())
    assert ledger.states()["model"].status == "ENABLED"


def test_appending_nothing_writes_nothing(ledger: Ledger) -> None:
    assert ledger.append([], NOW) == []
    assert ledger.head() == (0, GENESIS)


# Opening


def test_a_reopened_ledger_has_the_same_states_and_head(open_ledger: Callable[..., Ledger]) -> None:
    first = open_ledger()
    first.append([START, NOTE], NOW)
    states, head = first.states(), first.head()
    first.close()
    second = open_ledger()
    assert (second.states(), second.head()) == (states, head)


def test_a_missing_folder_is_created(open_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    open_ledger(tmp_path / "var" / "deep" / "ledger.db")
    assert (tmp_path / "var" / "deep" / "ledger.db").exists()


def test_a_path_with_odd_characters_is_that_path(open_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    open_ledger(tmp_path / "50 % #1.db").append([START], NOW)
    assert (tmp_path / "50 % #1.db").exists()


def test_a_newer_schema_is_refused(path: Path, open_ledger: Callable[..., Ledger]) -> None:
    open_ledger().close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"UPDATE ledger_schema SET version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(LedgerError, match=f"version {schema.VERSION + 1}, this release knows up to"):
        open_ledger()


_VERSION_1 = """
CREATE TABLE ledger_schema (version INTEGER NOT NULL, PRIMARY KEY (version));
CREATE TABLE entries (
    seq INTEGER NOT NULL, at DOUBLE NOT NULL, rollout TEXT NOT NULL, run INTEGER NOT NULL, kind TEXT NOT NULL,
    from_status TEXT NOT NULL, from_stage TEXT, to_status TEXT NOT NULL, to_stage TEXT, actor TEXT NOT NULL,
    guard TEXT, reason TEXT NOT NULL, evidence TEXT NOT NULL, previous_hash TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (seq), CONSTRAINT one_decision UNIQUE (rollout, run, guard, kind)
);
CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
INSERT INTO ledger_schema VALUES (1);
"""


@pytest.fixture
def old(path: Path, ledger: Ledger, tmp_path: Path) -> tuple[Path, Ledger]:
    """A ledger as the first release wrote it, and one of today with the same entries."""
    entries = ledger.append([START, NOTE], NOW)
    former = tmp_path / "former.db"
    connection = sqlite3.connect(former, isolation_level=None)
    connection.executescript(_VERSION_1)
    for entry in entries:
        row = tuple(row_of(entry).values())
        connection.execute(f"INSERT INTO entries VALUES ({', '.join('?' * len(row))})", row)
    connection.close()
    return former, ledger


def test_an_older_ledger_is_brought_up_to_date_and_keeps_its_chain(
    old: tuple[Path, Ledger], open_ledger: Callable[..., Ledger]
) -> None:
    former, today = old
    found = open_ledger(former)
    assert found.entries() == today.entries()
    assert found.verify(today.head()) == []
    found.append([FALL], NOW, found.states())


def test_an_older_ledger_that_was_brought_up_to_date_is_append_only_and_has_the_tables_of_today(
    old: tuple[Path, Ledger], path: Path, open_ledger: Callable[..., Ledger]
) -> None:
    former, _ = old
    open_ledger(former)
    assert refuses(former, "DELETE FROM entries")
    assert definitions(former) == definitions(path)


def definitions(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {
        text for (text,) in connection.execute("SELECT sql FROM sqlite_master WHERE name != 'ledger_schema'")
    }
    connection.close()
    return found


def test_an_older_ledger_can_be_read_without_being_changed(
    old: tuple[Path, Ledger], open_ledger: Callable[..., Ledger]
) -> None:
    former, today = old
    content = former.read_bytes()
    assert open_ledger(former, read_only=True).verify(today.head()) == []
    assert former.read_bytes() == content


def test_one_control_plane_leads_where_there_can_be_only_one(ledger: Ledger) -> None:
    assert ledger.lead("advance", "me", 0.0)


def test_a_database_of_something_else_is_refused(path: Path, open_ledger: Callable[..., Ledger]) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE invoices (id)")
    connection.close()
    with pytest.raises(LedgerError, match="is a database of something else, with invoices"):
        open_ledger()


def test_a_file_that_is_no_database_is_refused(path: Path, open_ledger: Callable[..., Ledger]) -> None:
    path.write_text("dear diary, " * 1000)
    with pytest.raises(LedgerError, match="not a database"):
        open_ledger()


def test_a_damaged_page_is_an_error_of_the_ledger(path: Path, open_ledger: Callable[..., Ledger]) -> None:
    ledger = open_ledger()
    ledger.append([replace(START, reason="x" * 200)] * 100, NOW)
    ledger.close()
    content = bytearray(path.read_bytes())
    content[4096 * 2 :] = b"\xff" * (len(content) - 4096 * 2)
    path.write_bytes(content)
    with pytest.raises(LedgerError, match="restore a backup"):
        open_ledger()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_ledger_that_would_keep_nothing_is_refused(url: str) -> None:
    with pytest.raises(LedgerError, match="keeps nothing"):
        Ledger.open(url)


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(LedgerError, match="no database URL"):
        Ledger.open("ledger.db")


def test_another_database_is_refused() -> None:
    with pytest.raises(LedgerError, match="is of mysql, expected sqlite or postgresql"):
        Ledger.open("mysql://db/ledger")


# Looking at it while a server writes


def test_a_reader_sees_what_a_writer_committed(open_ledger: Callable[..., Ledger]) -> None:
    writer = open_ledger()
    reader = open_ledger(read_only=True)
    writer.append([START], NOW)
    assert reader.states() == writer.states()
    assert reader.verify(writer.head()) == []


def test_a_probe_finds_a_reader_unable_to_write(open_ledger: Callable[..., Ledger]) -> None:
    writer = open_ledger()
    writer.probe()
    with pytest.raises(LedgerError, match="cannot be written"):
        open_ledger(read_only=True).probe()


def test_a_reader_cannot_write(open_ledger: Callable[..., Ledger]) -> None:
    open_ledger()
    reader = open_ledger(read_only=True)
    with pytest.raises(LedgerError, match="cannot be written"):
        reader.append([START], NOW)


def test_a_reader_creates_no_ledger(path: Path, open_ledger: Callable[..., Ledger]) -> None:
    with pytest.raises(LedgerError, match="cannot be opened"):
        open_ledger(read_only=True)
    assert not path.exists()


def test_a_second_writer_is_seen_by_the_first(open_ledger: Callable[..., Ledger]) -> None:
    first, second = open_ledger(), open_ledger()
    second.append([START], NOW)
    first.append([FALL], NOW, {"model": second.states()["model"]})
    assert first.states() == second.states()


# Tampering


@pytest.mark.parametrize("verb", ["UPDATE entries SET reason = 'nothing happened'", "DELETE FROM entries"])
def test_the_database_refuses_changes(path: Path, ledger: Ledger, verb: str) -> None:
    ledger.append([START], NOW)
    assert refuses(path, verb)


def test_an_untouched_chain_has_no_faults(ledger: Ledger) -> None:
    ledger.append([START, NOTE, FALL], NOW)
    assert ledger.verify(ledger.head()) == []


@pytest.mark.parametrize(
    "change",
    [
        "at = at + 1",
        "rollout = 'other'",
        "run = 7",
        "kind = 'promote'",
        "from_status = 'ENABLED'",
        "from_stage = 'ramp'",
        "to_status = 'ENABLED'",
        "to_stage = 'ramp'",
        "actor = 'bob'",
        "guard = NULL",
        "reason = 'nothing happened'",
        "evidence = '{}'",
    ],
)
def test_a_changed_field_is_found(path: Path, ledger: Ledger, change: str) -> None:
    ledger.append([START, replace(FALL, evidence={"value": 1})], NOW)
    tamper(path, f"UPDATE entries SET {change} WHERE seq = 2")
    assert [fault.seq for fault in ledger.verify()] == [2]


def test_the_first_broken_entry_is_named_first(path: Path, ledger: Ledger) -> None:
    ledger.append([START, NOTE, FALL], NOW)
    tamper(path, "UPDATE entries SET reason = 'x' WHERE seq IN (2, 3)")
    assert str(ledger.verify()[0]) == "entry 2 was changed: its hash is of another text"


def test_a_removed_entry_is_found(path: Path, ledger: Ledger) -> None:
    ledger.append([START, NOTE, FALL], NOW)
    tamper(path, "DELETE FROM entries WHERE seq = 2")
    assert str(ledger.verify()[0]) == "entry 2 is missing: 3 follows 1"


def rehashed(entry: Entry, **changes: Any) -> Entry:
    changed = replace(entry, **changes)
    return replace(changed, hash=digest(row_of(changed)))


def test_an_entry_replaced_with_its_hash_no_longer_fits_the_next(path: Path, ledger: Ledger) -> None:
    forged = rehashed(ledger.append([START, FALL], NOW)[0], reason="forged")
    tamper(path, f"UPDATE entries SET reason = 'forged', hash = '{forged.hash}' WHERE seq = 1")
    assert str(ledger.verify()[0]) == "entry 2 does not follow from entry 1: one of the two was replaced"


def test_a_last_entry_replaced_with_its_hash_shows_against_the_exported_head(
    path: Path, ledger: Ledger
) -> None:
    forged = rehashed(ledger.append([START, FALL], NOW)[1], reason="forged")
    head = ledger.head()
    tamper(path, f"UPDATE entries SET reason = 'forged', hash = '{forged.hash}' WHERE seq = 2")
    assert [fault.seq for fault in ledger.verify(head)] == [2]


def test_a_lost_tail_shows_against_the_exported_head(path: Path, ledger: Ledger) -> None:
    ledger.append([START, NOTE, FALL], NOW)
    head = ledger.head()
    tamper(path, "DELETE FROM entries WHERE seq > 1")
    assert [str(fault) for fault in ledger.verify(head)] == [
        "entry 2 is missing: the ledger had 3 entries, its tail is lost"
    ]


def test_a_lost_tail_shows_to_whoever_had_read_it(path: Path, ledger: Ledger) -> None:
    first, *_ = ledger.append([START, NOTE, FALL], NOW)
    tamper(path, "DELETE FROM entries WHERE seq > 1")
    assert [fault.seq for fault in ledger.verify()] == [2]
    assert ledger.newest() == (1, first.hash)


def test_a_lost_tail_does_not_show_to_others_without_the_head(
    path: Path, ledger: Ledger, open_ledger: Callable[..., Ledger]
) -> None:
    ledger.append([START, NOTE, FALL], NOW)
    tamper(path, "DELETE FROM entries WHERE seq > 1")
    assert open_ledger().verify() == []


def test_a_ledger_has_one_control_plane_at_a_time(ledger: Ledger, open_ledger: Callable[..., Ledger]) -> None:
    other = open_ledger()
    with (
        ledger.sole(),
        pytest.raises(LockError, match=rf"in use by .* process {os.getpid()}\."),
        other.sole(),
    ):
        pass
    with other.sole():
        pass


def test_an_older_exported_head_is_met_by_a_longer_ledger(ledger: Ledger) -> None:
    ledger.append([START], NOW)
    head = ledger.head()
    ledger.append([FALL], NOW)
    assert ledger.verify(head) == []


def test_a_ledger_that_lost_what_was_read_from_it_is_not_written_to(path: Path, ledger: Ledger) -> None:
    ledger.append([START, NOTE], NOW)
    tamper(path, "DELETE FROM entries WHERE seq = 2")
    with pytest.raises(LedgerError, match="no longer holds entry 2"):
        ledger.append([FALL], NOW)


def test_a_file_removed_under_way_is_not_written_to(path: Path, ledger: Ledger) -> None:
    path.unlink()
    with pytest.raises(LedgerError, match="removed or replaced"):
        ledger.append([START], NOW)


# Storage that fails


def fill(folder: Path) -> Path:
    """Leave no byte free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    return ballast


def test_a_full_disk_is_an_error_and_changes_nothing(
    small_disk: Path, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = open_ledger(small_disk / "ledger.db")
    ledger.append([START], NOW)
    states, head = ledger.states(), ledger.head()
    fill(small_disk)
    with pytest.raises(LedgerError, match="disk is full"):
        ledger.append([replace(FALL, evidence={"text": "x" * 10_000})], NOW)
    assert (ledger.states(), ledger.head()) == (states, head)


def test_a_disk_with_room_again_takes_the_decision(
    small_disk: Path, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = open_ledger(small_disk / "ledger.db")
    ledger.append([START], NOW)
    large = replace(FALL, evidence={"text": "x" * 10_000})
    ballast = fill(small_disk)
    with pytest.raises(LedgerError):
        ledger.append([large], NOW)
    ballast.unlink()
    ledger.append([large], NOW, ledger.states())
    assert ledger.states()["model"].status == "ROLLBACK"
    assert ledger.verify(ledger.head()) == []


def test_a_disk_mounted_read_only_is_an_error_on_opening(
    small_disk: Path, open_ledger: Callable[..., Ledger]
) -> None:
    open_ledger(small_disk / "ledger.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(LedgerError, match=r"cannot be opened: .*\n  Check that .* its disk is writable"):
        open_ledger(small_disk / "ledger.db")


def test_a_disk_mounted_read_only_can_be_verified(
    small_disk: Path, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = open_ledger(small_disk / "ledger.db")
    ledger.append([START], NOW)
    head = ledger.head()
    ledger.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert open_ledger(small_disk / "ledger.db", read_only=True).verify(head) == []


def test_a_ledger_held_by_another_process_is_an_error_and_changes_nothing(
    path: Path, open_ledger: Callable[..., Ledger]
) -> None:
    ledger = open_ledger(busy_seconds=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="locked"):
        ledger.append([START], NOW)
    other.close()
    assert ledger.states() == {}


# Several at once

_WRITER = """
import sys
from rollguard.ledger import Ledger
from rollguard.state import Transition
ledger = Ledger.open(sys.argv[1], busy_seconds=60.0)
for number in range(int(sys.argv[3])):
    (entry,) = ledger.append([Transition(sys.argv[2], "promote", 1, "ROLLING_OUT", f"s{number}")], 1.0)
    print(entry.seq, flush=True)
"""


def writer(path: Path, rollout: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, url_of(path), rollout, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_append_to_one_chain(path: Path, open_ledger: Callable[..., Ledger]) -> None:
    processes = [writer(path, rollout, 40) for rollout in ("one", "two")]
    numbers = [int(line) for process in processes for line in process.communicate(timeout=60)[0].split()]
    assert sorted(numbers) == list(range(1, 81))
    assert open_ledger().verify() == []


def test_threads_append_to_one_chain(ledger: Ledger) -> None:
    def work(rollout: str) -> None:
        for _ in range(10):
            ledger.append([replace(PROMOTE, rollout=rollout)], NOW)

    threads = [threading.Thread(target=work, args=(f"r{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.head()[0] == 80
    assert ledger.verify() == []


def test_what_was_acknowledged_survives_a_kill(path: Path, open_ledger: Callable[..., Ledger]) -> None:
    process = writer(path, "one", 1_000_000)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(25)]
    process.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in process.communicate()[0].split("\n")[:-1]]
    ledger = open_ledger()
    assert ledger.head()[0] >= acknowledged[-1]
    assert ledger.verify() == []


def test_evidence_is_stored_as_text_that_depends_on_the_data_alone(path: Path, ledger: Ledger) -> None:
    ledger.append([replace(START, evidence={"b": 1, "a": {"d": "é", "c": 2}})], NOW)
    connection = sqlite3.connect(path)
    ((text,),) = connection.execute("SELECT evidence FROM entries").fetchall()
    connection.close()
    assert text == '{"a":{"c":2,"d":"\\u00e9"},"b":1}'
    assert json.loads(text) == {"b": 1, "a": {"d": "é", "c": 2}}
