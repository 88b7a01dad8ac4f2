"""Targets that are files: replaced whole, links and rights kept, nobody's change lost."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets import TargetError, files
from tests.contract.target_cases import (
    BACK,
    CANARY,
    FILE_KINDS,
    RAMP,
    SHADOW,
    Case,
    built,
    make_case,
    rollout_with,
    spawn,
)


@pytest.fixture(params=FILE_KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return make_case(request.param, tmp_path)


def test_mode_and_owner_are_kept(case: Case) -> None:
    case.path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(case.path, 12345, 54321)
    before = case.path.stat()
    case.target.apply(CANARY)
    after = case.path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_symbolic_link_stays_and_what_it_points_to_changes(case: Case, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere" / "real"
    real.parent.mkdir()
    case.path.rename(real)
    case.path.symlink_to("../elsewhere/real")
    case.target.apply(CANARY)
    assert case.path.is_symlink()
    assert case.target.read_back(CANARY)
    assert real.read_text() != case.original


def test_the_time_of_change_rises_though_the_clock_was_set_back(case: Case) -> None:
    ahead = time.time_ns() + 3_600_000_000_000
    os.utime(case.path, ns=(ahead, ahead))
    case.target.apply(CANARY)
    assert case.path.stat().st_mtime_ns > ahead


@pytest.mark.parametrize("broken", ["{", "\x00", "a: [", '{"flags": {}, "flags": {}'])
def test_a_broken_file_is_an_error_and_stays_as_it_is(case: Case, broken: str) -> None:
    case.path.write_text(broken)
    with pytest.raises(TargetError):
        case.target.apply(CANARY)
    assert case.content() == broken


def test_a_broken_file_is_an_error_when_read_back(case: Case) -> None:
    case.path.write_text("{")
    with pytest.raises(TargetError, match=r"is not|is missing"):
        case.target.read_back(CANARY)


def test_bytes_that_are_no_text_are_an_error_and_stay(case: Case) -> None:
    case.path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TargetError):
        case.target.apply(CANARY)
    assert case.path.read_bytes() == b"\xff\xfe\x00"


def test_a_folder_in_its_place_is_an_error(case: Case) -> None:
    case.path.unlink()
    case.path.mkdir()
    with pytest.raises(TargetError, match="not a regular file"):
        case.target.apply(CANARY)


def test_a_change_under_the_lock_is_noticed_and_kept(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    write_new = files._write_new

    def interrupted(temporary: Path, real: Path, content: bytes) -> None:
        write_new(temporary, real, content)
        case.path.write_text(case.original + "\n")

    monkeypatch.setattr(files, "_write_new", interrupted)
    with pytest.raises(TargetError, match="changed by somebody else"):
        case.target.apply(CANARY)
    assert case.content() == case.original + "\n"
    assert not list(case.path.parent.glob("*.tmp"))


def test_what_a_crash_left_behind_does_not_hurt(case: Case) -> None:
    leftover = case.path.with_name(f".{case.path.name}.tmp")
    leftover.write_text("half")
    leftover.chmod(0o400)
    case.target.apply(CANARY)
    assert case.target.read_back(CANARY)
    assert not leftover.exists()


def test_a_lock_that_is_held_is_an_error_in_the_end(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.05)
    lock = FileLock(case.path.with_name(f".{case.path.name}.lock"))
    with lock, pytest.raises(TargetError, match="locked by another process"):
        case.target.apply(CANARY)


def _apply_and_count(rollout: Rollout, root: Path, count: int) -> None:
    target = built(rollout, root)
    for number in range(count):
        target.apply(State(rollout.name, "ROLLING_OUT", ("canary", "ramp-25")[number % 2], run=1, seq=number))
    target.apply(State(rollout.name, "ROLLBACK", run=1, seq=count))


def test_two_processes_lose_nothing_of_each_other_in_one_json_file(tmp_path: Path) -> None:
    rollouts = [rollout_with({"flagd-file": {"path": "flags.json"}}, name=name) for name in ("one", "two")]
    processes = [spawn(_apply_and_count, rollout, tmp_path, 40) for rollout in rollouts]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    for rollout in rollouts:
        assert built(rollout, tmp_path).read_back(State(rollout.name, "ROLLBACK", run=1, seq=40))


def test_threads_lose_nothing_of_each_other_in_one_yaml_file(tmp_path: Path) -> None:
    keys = [f"key{number}" for number in range(8)]
    (tmp_path / "app.yml").write_text("".join(f"{key}: 0 # {key}\n" for key in keys))

    def work(key: str) -> None:
        words = ("fallback", "shadow", "canary", "ramp-25", "ramp-50", "full")
        values: dict[str, dict[str, Any]] = {word: {key: 100 + number} for number, word in enumerate(words)}
        rollout = rollout_with({"yaml-file": {"path": "app.yml", "values": values}})
        for state in (CANARY, RAMP, BACK, SHADOW):
            built(rollout, tmp_path).apply(state)

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "app.yml").read_text() == "".join(f"{key}: 101 # {key}\n" for key in keys)
