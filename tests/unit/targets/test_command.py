"""Commands: run once for each state that a run comes to, without a shell, within their time."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollguard.targets import TargetError
from rollguard.targets.interface import Target
from tests.contract.target_cases import BACK, CANARY, FULL, OFF, SHADOW, built, rollout_with, spawn

NOTE = ["sh", "-c", "echo $ROLLGUARD_ROLLOUT $ROLLGUARD_RUN $ROLLGUARD_STATE >> runs"]


def command(folder: Path, run: dict[str, list[str]], **options: Any) -> Target:
    return built(rollout_with({"command": {"name": "x", "run": run, **options}}), folder)


def runs(folder: Path) -> list[str]:
    return (folder / "runs").read_text().splitlines() if (folder / "runs").exists() else []


def test_nothing_is_run_before_the_first_run_of_the_rollout(tmp_path: Path) -> None:
    target = command(tmp_path, {"fallback": NOTE})
    target.apply(OFF)
    assert target.read_back(OFF)
    assert not runs(tmp_path)


def test_a_command_is_told_rollout_run_and_state(tmp_path: Path) -> None:
    command(tmp_path, {"fallback": NOTE}).apply(BACK)
    assert runs(tmp_path) == ["model-canary 1 fallback"]


def test_a_state_without_a_command_is_reached_at_once(tmp_path: Path) -> None:
    target = command(tmp_path, {"fallback": NOTE})
    target.apply(SHADOW)
    assert target.read_back(SHADOW)
    assert not runs(tmp_path)


def test_each_rollback_runs_its_command_once(tmp_path: Path) -> None:
    target = command(tmp_path, {"fallback": NOTE})
    for state in (SHADOW, BACK, replace(BACK, seq=9), replace(SHADOW, run=2), replace(BACK, run=2)):
        target.apply(state)
    assert runs(tmp_path) == ["model-canary 1 fallback", "model-canary 2 fallback"]


def test_a_state_come_to_again_in_one_run_runs_its_command_again(tmp_path: Path) -> None:
    target = command(tmp_path, {"canary": NOTE})
    for state in (CANARY, FULL, CANARY):
        target.apply(state)
    assert len(runs(tmp_path)) == 2


def test_a_command_that_fails_says_so_and_is_tried_again(tmp_path: Path) -> None:
    script = ["sh", "-c", "echo tried >> runs; echo first; echo no database; exit 3"]
    target = command(tmp_path, {"fallback": script})
    for _ in range(2):
        with pytest.raises(TargetError, match="ended with 3: no database"):
            target.apply(BACK)
    assert not target.read_back(BACK)
    assert len(runs(tmp_path)) == 2


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = ["sh", "-c", "sh -c 'echo $$ > child; exec sleep 60' & echo waiting; wait"]
    with pytest.raises(TargetError, match="takes over 500ms, and was killed: waiting"):
        command(tmp_path, {"fallback": script}, timeout="500ms").apply(BACK)
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "cmdline"
    deadline = time.monotonic() + 10
    while child.exists() and child.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not (child.exists() and child.read_bytes())


def _apply_canary(folder: Path) -> None:
    script = ["sh", "-c", "touch begun; sleep 60; echo late >> runs"]
    command(folder, {"canary": script}).apply(CANARY)


def test_a_command_that_outlived_its_control_plane_does_not_undo_the_next(tmp_path: Path) -> None:
    process = spawn(_apply_canary, tmp_path)
    deadline = time.monotonic() + 30
    while "running" not in kept(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = json.loads(kept(tmp_path))["running"]["pid"]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert Path(f"/proc/{left}/cmdline").read_bytes()
    command(tmp_path, {"fallback": NOTE}).apply(BACK)
    while _alive(left) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _alive(left)
    assert runs(tmp_path) == ["model-canary 1 fallback"]


def _alive(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def kept(folder: Path) -> str:
    found = list(folder.glob("memory/model-canary/*.json"))
    return found[0].read_text() if found else ""


def test_what_a_command_leaves_running_does_not_hold_it_up(tmp_path: Path) -> None:
    target = command(tmp_path, {"fallback": ["sh", "-c", "sleep 5 & echo left"]}, timeout="4s")
    target.apply(BACK)
    assert target.read_back(BACK)


def test_arguments_are_read_by_no_shell(tmp_path: Path) -> None:
    command(tmp_path, {"fallback": ["touch", "$(touch evil)", "; touch evil"]}).apply(BACK)
    assert (tmp_path / "$(touch evil)").exists()
    assert not (tmp_path / "evil").exists()


def test_a_missing_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no-such-program cannot be started"):
        command(tmp_path, {"fallback": ["no-such-program"]}).apply(BACK)


def test_the_end_of_the_output_is_kept(tmp_path: Path) -> None:
    command(tmp_path, {"fallback": ["sh", "-c", "seq 100000; echo done"]}).apply(BACK)
    (kept,) = tmp_path.glob("memory/model-canary/*.json")
    assert "100000\\ndone" in kept.read_text()
    assert kept.stat().st_size < 10_000


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_a_memory_that_is_lost_runs_the_command_again(tmp_path: Path, content: str) -> None:
    target = command(tmp_path, {"fallback": NOTE})
    target.apply(BACK)
    (kept,) = tmp_path.glob("memory/model-canary/*.json")
    kept.write_bytes(content.encode("latin-1"))
    assert not target.read_back(BACK)
    target.apply(BACK)
    assert target.read_back(BACK)
