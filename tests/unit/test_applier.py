"""The applier: targets follow the state in order, and are tried until they read back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from rollguard.applier import (
    LONGEST_RETRY_SECONDS,
    PATIENCE_SECONDS,
    RECHECK_SECONDS,
    SHORTEST_RETRY_SECONDS,
    Applier,
    ApplierThreads,
)
from rollguard.errors import RollguardError
from rollguard.loading import load_rollout
from rollguard.spec import Rollout
from rollguard.state import State
from rollguard.targets import TargetError
from tests.polling import eventually

ROOT = Path(__file__).parents[2]
NOW = 1_700_000_000.0
CANARY = State("model", "ROLLING_OUT", "canary", run=1, entered_at=NOW + 10, seq=1)
BACK = State("model", "ROLLBACK", run=1, entered_at=NOW + 20, reason="WinRateDrop", seq=2)


def rollout_named(name: str, mode: str = "guard") -> Rollout:
    rollout = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
    return rollout.model_copy(update={"rollout": name, "mode": mode, "targets": ()})


@dataclass
class FakeTarget:
    """Keeps the seq of the state that was applied; fails, forgets or hangs on demand."""

    name: str
    journal: list[str] = field(default_factory=list)
    held: int | None = None
    fails: Exception | None = None
    forgets: bool = False
    before_apply: Callable[[], object] = lambda: None

    def apply(self, state: State) -> None:
        self.journal.append(f"{self.name} {state.position}")
        self.before_apply()
        if self.fails:
            raise self.fails
        if not self.forgets:
            self.held = state.seq

    def read_back(self, state: State) -> bool:
        return self.held == state.seq


class World:
    """A rollout with two targets, its states and a clock that stands still."""

    def __init__(self, *rollouts: Rollout) -> None:
        self.now = NOW
        self.states: dict[str, State] = {}
        self.journal: list[str] = []
        self.told: list[tuple[str, str, int, float]] = []
        self.first = FakeTarget("first", self.journal)
        self.second = FakeTarget("second", self.journal)
        self.unreadable: Exception | None = None
        self.applier = Applier(
            rollouts or [rollout_named("model")],
            {"model": [self.first, self.second]},
            self.read,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            on_applied=lambda rollout, target, state, at: self.told.append((rollout, target, state.seq, at)),
        )

    def read(self) -> dict[str, State]:
        if self.unreadable:
            raise self.unreadable
        return self.states

    def enter(self, state: State) -> None:
        self.states = {**self.states, state.rollout: state}
        self.now = state.entered_at

    def step(self) -> list[float]:
        """Step both targets, and return after how many seconds to look at each again."""
        return [self.applier.step("model", place) for place in (0, 1)]


@pytest.fixture
def world() -> World:
    return World()


# Order


def test_targets_are_applied_in_the_order_listed(world: World) -> None:
    world.enter(CANARY)
    world.step()
    assert world.journal == ["first canary", "second canary"]


def test_a_rollout_that_never_started_is_applied_as_disabled(world: World) -> None:
    world.step()
    assert world.journal == ["first disabled", "second disabled"]


def test_what_reads_back_is_not_applied_again(world: World) -> None:
    world.enter(CANARY)
    world.step()
    world.step()
    assert world.journal == ["first canary", "second canary"]


def test_a_later_target_waits_while_an_earlier_one_fails(world: World) -> None:
    world.enter(CANARY)
    world.first.fails = TargetError("no route")
    world.step()
    assert world.journal == ["first canary"]


def test_a_later_target_waits_while_an_earlier_one_does_not_read_back(world: World) -> None:
    world.enter(CANARY)
    world.first.forgets = True
    world.step()
    assert world.journal == ["first canary"]


def test_back_to_the_fallback_no_target_waits_for_a_broken_one(world: World) -> None:
    world.enter(BACK)
    world.first.fails = TargetError("no route")
    world.step()
    assert world.journal == ["first rollback", "second rollback"]
    assert [status.applied for status in world.applier.statuses()] == [False, True]


def hang(world: World) -> None:
    """Take a rollout back whose first target hangs, and step the second."""
    world.enter(CANARY)
    world.step()
    world.enter(BACK)
    world.journal.clear()
    world.applier.step("model", 1)


def test_back_to_the_fallback_a_target_first_lets_those_above_it_go(world: World) -> None:
    hang(world)
    assert world.journal == []
    assert world.applier.statuses()[1].error == "waits for first"


def test_back_to_the_fallback_no_target_waits_for_long(world: World) -> None:
    hang(world)
    world.now += PATIENCE_SECONDS
    assert world.applier.step("model", 1) == RECHECK_SECONDS
    assert world.journal == ["second rollback"]


def test_who_has_waited_goes_on_when_the_one_above_is_done(world: World) -> None:
    hang(world)
    assert world.applier.released("model") == []
    world.applier.step("model", 0)
    assert world.applier.released("model") == [1]
    world.applier.step("model", 1)
    assert world.applier.released("model") == []


def test_who_failed_in_the_end_does_not_wait_any_more(world: World) -> None:
    hang(world)
    world.now += PATIENCE_SECONDS
    world.second.fails = TargetError("no route")
    assert world.applier.step("model", 1) == SHORTEST_RETRY_SECONDS
    world.applier.step("model", 0)
    assert world.applier.released("model") == []


def test_a_later_target_follows_once_the_earlier_one_has_mended(world: World) -> None:
    world.enter(CANARY)
    world.first.fails = TargetError("no route")
    world.step()
    world.first.fails = None
    world.step()
    assert world.journal == ["first canary", "first canary", "second canary"]


def test_a_rollback_under_way_overtakes_the_rest_of_a_promotion(world: World) -> None:
    world.enter(CANARY)
    world.first.before_apply = lambda: world.enter(BACK)
    world.step()
    world.step()
    assert world.journal == ["first canary", "first rollback", "second rollback"]


def test_an_observed_rollout_is_left_alone() -> None:
    world = World(rollout_named("model", mode="observe"))
    world.enter(CANARY)
    assert world.applier.places == ()
    assert world.applier.statuses() == []


# Trying again


def test_a_failure_is_tried_again_soon_and_then_ever_later(world: World) -> None:
    world.enter(CANARY)
    world.first.fails = TargetError("no route")
    delays = [round(world.step()[0], 3) for _ in range(10)]
    assert delays[:4] == [SHORTEST_RETRY_SECONDS, 0.4, 0.8, 1.6]
    assert delays[-2:] == [LONGEST_RETRY_SECONDS, LONGEST_RETRY_SECONDS]


def test_a_new_transition_is_tried_again_soon(world: World) -> None:
    world.enter(CANARY)
    world.first.fails = TargetError("no route")
    for _ in range(10):
        world.step()
    world.enter(BACK)
    assert world.step()[0] == pytest.approx(SHORTEST_RETRY_SECONDS)


def test_a_target_in_place_is_looked_at_again_for_drift(world: World) -> None:
    world.enter(CANARY)
    assert world.step() == [RECHECK_SECONDS, RECHECK_SECONDS]


def test_drift_is_put_right(world: World) -> None:
    world.enter(CANARY)
    world.step()
    world.second.held = None
    world.step()
    assert world.journal == ["first canary", "second canary", "second canary"]
    assert all(status.applied for status in world.applier.statuses())


def test_states_that_cannot_be_read_are_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.unreadable = RollguardError("the ledger is locked")
    with caplog.at_level(logging.CRITICAL):
        assert world.step() == [1.0, 1.0]
    world.unreadable = None
    world.enter(CANARY)
    world.step()
    assert world.journal == ["first canary", "second canary"]


# Status


def test_a_status_says_what_was_applied(world: World) -> None:
    world.enter(CANARY)
    world.step()
    first, _ = world.applier.statuses()
    assert (first.rollout, first.target, first.desired, first.applied) == ("model", "first", "canary", True)
    assert (first.pending_since, first.attempts, first.error) == (None, 0, "")


def test_a_status_says_what_failed_and_since_when(world: World) -> None:
    world.enter(CANARY)
    world.first.fails = TargetError("no route")
    world.step()
    world.now += 5
    world.step()
    first, _ = world.applier.statuses()
    assert (first.applied, first.pending_since, first.attempts, first.error) == (
        False,
        CANARY.entered_at,
        2,
        "no route",
    )


def test_a_status_says_what_a_target_waits_for(world: World) -> None:
    world.enter(CANARY)
    world.first.fails = TargetError("no route")
    world.step()
    _, second = world.applier.statuses()
    assert (second.applied, second.attempts, second.error) == (False, 0, "waits for first")


def test_a_status_says_what_was_written_but_does_not_read_back(world: World) -> None:
    world.enter(CANARY)
    world.first.forgets = True
    world.step()
    assert world.applier.statuses()[0].error == "was written, but does not read back"


def test_a_target_with_a_bug_shows_it_and_does_not_end_the_worker(world: World) -> None:
    world.enter(CANARY)
    world.first.fails = KeyError("slot")
    world.step()
    assert world.applier.statuses()[0].error == "KeyError: 'slot'"


def test_a_transition_is_pending_before_any_worker_saw_it(world: World) -> None:
    world.enter(CANARY)
    world.step()
    world.enter(BACK)
    first, second = world.applier.statuses()
    assert (first.desired, first.applied, first.pending_since) == ("fallback", False, BACK.entered_at)
    assert not second.applied


def test_what_was_pending_before_a_restart_is_so_since_the_restart(world: World) -> None:
    world.states = {"model": State("model", "ROLLBACK", run=1, entered_at=NOW - 86_400, seq=9)}
    assert world.applier.statuses()[0].pending_since == NOW


def test_drift_that_cannot_be_put_right_is_pending_since_it_was_noticed(world: World) -> None:
    world.enter(CANARY)
    world.step()
    world.first.held, world.first.fails = None, TargetError("no route")
    world.now += 100
    world.step()
    world.now += 50
    world.step()
    assert world.applier.statuses()[0].pending_since == CANARY.entered_at + 100


def test_a_later_target_in_place_stays_applied_while_an_earlier_one_drifts(world: World) -> None:
    world.enter(CANARY)
    world.step()
    world.first.held, world.first.fails = None, TargetError("no route")
    world.step()
    assert world.applier.statuses()[1].applied


# The report of what was applied


def test_each_target_is_reported_once_for_each_state(world: World) -> None:
    for state in (CANARY, BACK):
        world.enter(state)
        world.step()
        world.step()
    assert world.told == [
        ("model", "first", 1, CANARY.entered_at),
        ("model", "second", 1, CANARY.entered_at),
        ("model", "first", 2, BACK.entered_at),
        ("model", "second", 2, BACK.entered_at),
    ]


def test_drift_that_was_put_right_is_not_reported(world: World) -> None:
    world.enter(CANARY)
    world.step()
    world.told.clear()
    world.first.held = None
    world.step()
    assert world.told == []


def test_what_is_found_in_place_after_a_start_is_not_reported(world: World) -> None:
    world.enter(CANARY)
    world.first.held = world.second.held = CANARY.seq
    world.step()
    assert world.told == []


def test_what_a_start_has_to_write_is_reported(world: World) -> None:
    world.enter(CANARY)
    world.first.held = CANARY.seq
    world.step()
    assert [target for _, target, _, _ in world.told] == ["second"]


def test_a_rollout_that_never_started_is_not_reported(world: World) -> None:
    world.step()
    assert world.told == []


# Threads


wait_until = partial(eventually, seconds=10.0, every=0.002)


@pytest.fixture
def run() -> Iterator[Callable[[Applier], ApplierThreads]]:
    started: list[ApplierThreads] = []

    def start(applier: Applier) -> ApplierThreads:
        started.append(ApplierThreads(applier))
        started[-1].start()
        return started[-1]

    yield start
    for threads in started:
        threads.stop()


def test_a_start_applies_at_once(world: World, run: Callable[[Applier], ApplierThreads]) -> None:
    world.enter(CANARY)
    run(world.applier)
    wait_until(lambda: world.second.held == CANARY.seq)


def test_a_wake_applies_at_once(world: World, run: Callable[[Applier], ApplierThreads]) -> None:
    threads = run(world.applier)
    wait_until(lambda: world.second.held == 0)
    world.enter(BACK)
    threads.wake("model")
    wait_until(lambda: world.second.held == BACK.seq, seconds=RECHECK_SECONDS / 2)


def test_waking_a_rollout_without_targets_is_harmless(
    world: World, run: Callable[[Applier], ApplierThreads]
) -> None:
    run(world.applier).wake("nobody")


def test_a_target_that_hangs_delays_no_other_rollout(run: Callable[[Applier], ApplierThreads]) -> None:
    release = threading.Event()
    hanging = FakeTarget("hanging", before_apply=lambda: release.wait(30))
    quick = FakeTarget("quick")
    applier = Applier(
        [rollout_named("stuck"), rollout_named("free")],
        {"stuck": [hanging], "free": [quick]},
        dict,
    )
    run(applier)
    wait_until(lambda: quick.held == 0)
    stuck, free = applier.statuses()
    release.set()
    assert (stuck.applied, free.applied) == (False, True)


def test_a_target_that_hangs_keeps_no_other_of_its_rollout_exposed(
    world: World, run: Callable[[Applier], ApplierThreads]
) -> None:
    release = threading.Event()
    world.first.before_apply = lambda: release.wait(30)
    world.enter(BACK)
    run(world.applier)
    wait_until(lambda: world.journal == ["first rollback"])
    world.now += PATIENCE_SECONDS
    wait_until(lambda: world.second.held == BACK.seq)
    assert world.first.held is None
    release.set()


def test_targets_follow_one_another_at_once(world: World, run: Callable[[Applier], ApplierThreads]) -> None:
    world.enter(CANARY)
    release = threading.Event()
    world.first.before_apply = lambda: release.wait(30)
    run(world.applier)
    wait_until(lambda: world.applier.statuses()[1].error == "waits for first")
    release.set()
    wait_until(lambda: world.second.held == CANARY.seq, seconds=RECHECK_SECONDS / 2)


def test_a_stop_ends_the_threads(world: World) -> None:
    threads = ApplierThreads(world.applier)
    threads.start()
    threads.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.endswith(" of model")]


def test_a_stop_does_not_wait_for_a_target_that_hangs(world: World) -> None:
    release = threading.Event()
    world.first.before_apply = lambda: release.wait(30)
    threads = ApplierThreads(world.applier)
    threads.start()
    wait_until(lambda: bool(world.journal))
    began = time.monotonic()
    threads.stop(timeout=0.05)
    release.set()
    assert time.monotonic() - began < 5
