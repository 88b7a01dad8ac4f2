"""Every target, held to one contract: convergent, idempotent, never torn, considerate of what it shares."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard.spec.rollout import Rollout
from rollguard.state import State
from tests.contract.target_cases import (
    BACK,
    CANARY,
    FULL,
    KINDS,
    OFF,
    STATES,
    Case,
    built,
    event,
    make_case,
    spawn,
    vendor,
)

SHARED_TEXT = ("flagd-file", "yaml-file", "env-file", "json-file", "field")
SEEN_FROM_OUTSIDE = tuple(kind for kind in KINDS if kind not in ("command", "restart", "redis-stream"))


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    if request.param == "http":
        with vendor() as server:
            yield make_case(request.param, tmp_path, server.url)
    else:
        url = request.getfixturevalue("redis_url") if request.param == "redis-stream" else ""
        yield make_case(request.param, tmp_path, url)


def only(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", kinds, indirect=True)


def test_the_name_says_kind_and_place(case: Case) -> None:
    place = {"link": "config", "field": "config", "command": "switch", "restart": "config/app.env"}
    place |= {"redis-stream": "events", "http": "vendor"}
    kind = {"link": "model-registry", "field": "model-registry", "restart": "env-file"}
    expected = f"{kind.get(case.kind, case.kind)}:{place.get(case.kind, f'config/{case.path.name}')}"
    assert case.target.name == expected


@pytest.mark.parametrize("before", STATES, ids=lambda state: f"from {state.position}")
@pytest.mark.parametrize("after", STATES, ids=lambda state: f"to {state.position}")
def test_it_converges_from_any_state_to_any_other(case: Case, before: State, after: State) -> None:
    case.target.apply(before)
    case.target.apply(after)
    assert case.target.read_back(after)


def test_two_ways_to_a_state_end_in_the_same(case: Case) -> None:
    case.target.apply(CANARY)
    expected = case.content()
    for state in (FULL, BACK, CANARY):
        case.target.apply(state)
    assert case.content() == expected


def test_another_state_does_not_read_back(case: Case) -> None:
    case.target.apply(CANARY)
    assert not case.target.read_back(FULL)


@only(*SEEN_FROM_OUTSIDE)
def test_a_change_from_outside_does_not_read_back_until_it_is_put_right(case: Case) -> None:
    case.target.apply(CANARY)
    case.disturb()
    assert not case.target.read_back(CANARY)
    case.target.apply(CANARY)
    assert case.target.read_back(CANARY)


def test_applying_twice_writes_once(case: Case) -> None:
    case.target.apply(CANARY)
    before = case.stamp()
    case.target.apply(CANARY)
    assert case.stamp() == before


def test_reading_back_writes_nothing(case: Case) -> None:
    before = case.stamp()
    case.target.read_back(CANARY)
    assert case.stamp() == before


def test_another_process_reads_back_what_this_one_applied(case: Case) -> None:
    case.target.apply(FULL)
    assert built(case.rollout, case.root).read_back(FULL)


@only(*SHARED_TEXT)
def test_what_is_beside_the_values_keeps_its_text_and_order(case: Case) -> None:
    before = case.others()
    for state in STATES:
        case.target.apply(state)
    assert case.others() == before
    assert before


def _apply_for_ever(rollout: Rollout, root: Path, started: Any) -> None:
    target = built(rollout, root)
    for number in range(1_000_000):
        target.apply((CANARY, FULL)[number % 2])
        started.set()


def test_a_kill_leaves_the_old_or_the_new_and_nothing_in_the_way(case: Case) -> None:
    wanted = []
    for state in (FULL, CANARY, FULL):
        case.target.apply(state)
        wanted.append(case.content())
    for seed in range(4):
        started = event()
        process = spawn(_apply_for_ever, case.rollout, case.root, started)
        assert started.wait(30)
        deadline = time.monotonic() + random.Random(seed).uniform(0.0, 0.05)
        while time.monotonic() < deadline:
            assert case.content() in wanted
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert case.content() in wanted
        state = (BACK, CANARY)[seed % 2]
        case.target.apply(state)
        assert case.target.read_back(state)


def _apply_and_count(rollout: Rollout, root: Path, count: int) -> None:
    target = built(rollout, root)
    for number in range(count):
        target.apply((CANARY, FULL)[number % 2])
    target.apply(BACK)


def test_two_writers_of_one_target_agree_in_the_end(case: Case) -> None:
    processes = [spawn(_apply_and_count, case.rollout, case.root, 10) for _ in range(2)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert case.target.read_back(BACK)


def test_before_the_first_run_the_fallback_is_what_it_converges_to(case: Case) -> None:
    case.target.apply(OFF)
    assert case.target.read_back(OFF)
