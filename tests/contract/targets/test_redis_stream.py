"""The Redis stream that is told of modes: once, in order, and urgently of what is critical and new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from rollguard.state import State
from rollguard.targets import TargetError
from rollguard.targets.redis_stream import RedisStreamTarget
from tests.contract.target_cases import BACK, CANARY, FULL, MODES, OFF, RAMP, SHADOW, built, rollout_with
from tests.servers import RedisServer

NOW = 1_700_000_000.0
FALLEN = replace(BACK, guard="DriftDetected", entered_at=NOW)


@pytest.fixture
def target(redis_url: str, tmp_path: Path) -> RedisStreamTarget:
    return target_of(redis_url, tmp_path)


def target_of(url: str, folder: Path, **options: Any) -> RedisStreamTarget:
    spec = {"url": url, "stream": "control:events", "modes": MODES, **options}
    found = built(rollout_with({"redis-stream": spec}), folder)
    assert isinstance(found, RedisStreamTarget)
    return replace(found, clock=lambda: NOW + 1)


@pytest.fixture
def told(redis_url: str) -> Callable[[], list[dict[str, str]]]:
    """Return a function that returns the stream's events."""

    def events() -> list[dict[str, str]]:
        with redis.Redis.from_url(redis_url, decode_responses=True) as client:
            found: Any = client.xrange("control:events")
        return [entry for _, entry in found]

    return events


Told = Callable[[], list[dict[str, str]]]


def test_before_the_first_transition_nothing_is_told(target: RedisStreamTarget, told: Told) -> None:
    target.apply(OFF)
    assert target.read_back(OFF)
    assert told() == []


def test_a_switch_says_from_where_to_where_and_which_transition(
    target: RedisStreamTarget, told: Told
) -> None:
    target.apply(CANARY)
    assert told() == [
        {
            "event": "MODE_SWITCH",
            "from": "disabled",
            "to": "canary",
            "rollout": "model-canary",
            "reason": "",
            "id": "model-canary/1/2",
        }
    ]


def test_a_stage_of_the_same_mode_is_no_switch(target: RedisStreamTarget, told: Told) -> None:
    for state in (CANARY, RAMP):
        target.apply(state)
        assert target.read_back(state)
    assert len(told()) == 1


def test_switches_follow_one_another(target: RedisStreamTarget, told: Told) -> None:
    for state in (SHADOW, CANARY, FULL, BACK):
        target.apply(state)
    assert [(event["from"], event["to"]) for event in told()] == [
        ("disabled", "shadow"),
        ("shadow", "canary"),
        ("canary", "full"),
        ("full", "disabled"),
    ]


def test_a_critical_guard_is_told_urgently_and_once(target: RedisStreamTarget, told: Told) -> None:
    target.apply(CANARY)
    for _ in range(3):
        target.apply(FALLEN)
    urgent = told()[2:]
    assert [(event["event"], event["severity"], event["reason"]) for event in urgent] == [
        ("ALERT", "CRIT", "DriftDetected")
    ]
    assert urgent[0]["id"] == told()[1]["id"] == "model-canary/1/6"


@pytest.mark.parametrize(
    "state",
    [
        replace(FALLEN, guard="CanaryWinrateRollback"),
        replace(FALLEN, guard=None),
        replace(FALLEN, entered_at=NOW - 10_000),
        replace(CANARY, guard="DriftDetected", entered_at=NOW, seq=6),
    ],
    ids=["a warning", "a person", "long ago", "no rollback"],
)
def test_nothing_else_is_urgent(target: RedisStreamTarget, told: Told, state: State) -> None:
    target.apply(SHADOW)
    target.apply(state)
    assert [event["event"] for event in told()] == ["MODE_SWITCH", "MODE_SWITCH"]


def test_a_critical_guard_is_told_though_the_mode_was_the_same(target: RedisStreamTarget, told: Told) -> None:
    target.apply(FALLEN)
    assert [event["event"] for event in told()] == ["ALERT"]


def test_a_writer_that_is_late_with_an_older_state_says_nothing(
    target: RedisStreamTarget, told: Told
) -> None:
    target.apply(FALLEN)
    before = told()
    target.apply(replace(CANARY, entered_at=NOW - 60))
    assert told() == before
    assert target.read_back(FALLEN)


def test_a_new_ledger_that_counts_from_one_is_listened_to(target: RedisStreamTarget, told: Told) -> None:
    target.apply(replace(FALLEN, seq=500))
    target.apply(replace(CANARY, seq=2, entered_at=NOW + 60))
    assert told()[-1]["to"] == "canary"


def test_while_redis_is_down_it_is_an_error_and_afterwards_the_last_change_is_told(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    target = target_of(redis_server.url, tmp_path)
    target.apply(CANARY)
    redis_server.kill()
    for ask in (target.apply, target.read_back):
        with pytest.raises(TargetError, match="cannot be told"):
            ask(FULL)
    redis_server.start()
    assert not target.read_back(FALLEN)
    target.apply(FALLEN)
    with redis_server.client() as client:
        found: Any = client.xrange("control:events")
    assert [entry.get(b"to") for _, entry in found] == [b"canary", b"disabled", None]


def test_a_password_is_read_from_its_file(redis_server: RedisServer, tmp_path: Path) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", "a-secret")
    with pytest.raises(TargetError, match="cannot be told"):
        target_of(redis_server.url, tmp_path).apply(CANARY)
    secret = target_of(redis_server.url, tmp_path, password_file="secret")
    with pytest.raises(TargetError, match=r"the secret in .*secret cannot be read: FileNotFoundError"):
        secret.apply(CANARY)
    (tmp_path / "secret").write_text("a-secret\n")
    secret.apply(CANARY)
    assert secret.read_back(CANARY)
