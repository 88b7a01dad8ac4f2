"""The table of `rollguard status`: where every rollout stands, at a glance."""

from __future__ import annotations

from typing import Any

import pytest

from rollguard.cli import status

ROW: dict[str, Any] = {
    "rollout": "shop",
    "mode": "guard",
    "state": "ROLLING_OUT",
    "stage": "canary",
    "position": "canary",
    "percent": 10,
    "run": 2,
    "file_problems": [],
    "entered_at": 4_000_000_000.0,
    "held_by": [],
    "paused_by": "",
    "acknowledged": True,
    "overdue": False,
    "waits_for": [],
    "hold_left_seconds": 0.0,
    "cooldown_left_seconds": 0.0,
    "guards": [],
    "targets": [],
}


def shown(**changes: Any) -> dict[str, str]:
    return dict(zip(status._HEAD, status._row({**ROW, **changes}), strict=True))


@pytest.mark.parametrize(
    ("changes", "held_by"),
    [
        ({}, "-"),
        ({"held_by": ["TooSlow", "TooWrong"]}, "TooSlow; TooWrong"),
        ({"held_by": ["A", "B", "C", "D", "E"]}, "A; B; C; +2 more"),
        ({"paused_by": "ann", "overdue": True}, "paused by ann; overdue"),
        ({"acknowledged": False}, "not acknowledged"),
        ({"paused_by": "a\nb"}, "paused by a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_what_holds_a_rollout(changes: dict[str, Any], held_by: str) -> None:
    assert shown(**changes)["HELD BY"] == held_by


def test_a_run_without_a_rollout_file_is_told_in_red() -> None:
    lost = {**ROW, "rollout": "lost", "file_problems": ["no rollout file"]}
    _, first, second, told = status._lines([ROW, lost])
    assert (first.startswith("shop"), second.startswith("\x1b[31mlost")) == (True, True)
    assert told == "\x1b[31mlost: run 2, canary, 10 %: no rollout file\x1b[0m"


def test_a_run_that_is_over_or_of_unknown_share_is_told_as_well() -> None:
    lost = {**ROW, "state": "ROLLBACK", "position": "rollback", "percent": None, "file_problems": ["a", "b"]}
    assert status._lines([lost])[2:] == ["shop: run 2, rollback, an unknown share: a; b"]


def test_the_time_left_is_of_the_hold_and_of_the_cooldown() -> None:
    assert shown()["TIME LEFT"] == "-"
    row = shown(hold_left_seconds=90.2, cooldown_left_seconds=60.0)
    assert row["TIME LEFT"] == "hold 1m31s, cooldown 1m"


def test_only_the_guards_that_fire_are_named() -> None:
    guards = [{"guard": "TooSlow", "firing": True}, {"guard": "TooWrong", "firing": False}]
    assert shown(guards=guards)["GUARDS FIRING"] == "TooSlow"


@pytest.mark.parametrize(
    ("guard", "condition"),
    [
        ({"armed": False}, "not in this stage"),
        ({"armed": True, "condition": None}, "not looked at"),
        ({"armed": True, "condition": "waiting", "why": ""}, "waiting"),
        ({"armed": True, "condition": "without data", "why": "has no rule"}, "without data: has no rule"),
    ],
)
def test_what_a_guard_can_say(guard: dict[str, Any], condition: str) -> None:
    assert status._condition(guard) == condition
