"""The pool: few threads for many targets, what hangs delays its own kind only, one step of each at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest

from rollguard.applier import PATIENCE_SECONDS, RECHECK_SECONDS, Applier
from rollguard.pool import THREADS, TargetPool
from rollguard.state import State
from rollguard.targets.interface import Lane
from tests.polling import eventually
from tests.unit.test_applier import BACK, CANARY, FakeTarget, World, rollout_named


@pytest.fixture
def world() -> World:
    return World()


wait_until = partial(eventually, seconds=10.0, every=0.002)


@pytest.fixture
def run() -> Iterator[Callable[[Applier], TargetPool]]:
    started: list[TargetPool] = []

    def start(applier: Applier) -> TargetPool:
        started.append(TargetPool(applier))
        started[-1].start()
        return started[-1]

    yield start
    for pool in started:
        pool.stop()


def test_a_start_applies_at_once(world: World, run: Callable[[Applier], TargetPool]) -> None:
    world.enter(CANARY)
    run(world.applier)
    wait_until(lambda: world.second.held == CANARY.seq)


def test_a_wake_applies_at_once(world: World, run: Callable[[Applier], TargetPool]) -> None:
    pool = run(world.applier)
    wait_until(lambda: world.second.held == 0)
    world.enter(BACK)
    pool.wake("model")
    wait_until(lambda: world.second.held == BACK.seq, seconds=RECHECK_SECONDS / 2)


def test_waking_a_rollout_without_targets_is_harmless(
    world: World, run: Callable[[Applier], TargetPool]
) -> None:
    run(world.applier).wake("nobody")


def test_a_target_that_hangs_delays_no_other_rollout(run: Callable[[Applier], TargetPool]) -> None:
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
    world: World, run: Callable[[Applier], TargetPool]
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


def test_targets_follow_one_another_at_once(world: World, run: Callable[[Applier], TargetPool]) -> None:
    world.enter(CANARY)
    release = threading.Event()
    world.first.before_apply = lambda: release.wait(30)
    run(world.applier)
    wait_until(lambda: world.applier.statuses()[1].error == "waits for first")
    release.set()
    wait_until(lambda: world.second.held == CANARY.seq, seconds=RECHECK_SECONDS / 2)


@dataclass
class FakeFile(FakeTarget):
    """A target in a file of its own."""

    LANE: ClassVar[Lane] = "files"


def test_services_that_hang_keep_no_file_waiting(run: Callable[[Applier], TargetPool]) -> None:
    release = threading.Event()
    names = [f"stuck-{number}" for number in range(2 * THREADS["network"])]
    hanging = {name: [FakeTarget("hanging", before_apply=lambda: release.wait(30))] for name in names}
    file = FakeFile("file")
    applier = Applier([rollout_named(name) for name in (*names, "z")], {**hanging, "z": [file]}, dict)
    run(applier)
    wait_until(lambda: file.held == 0)
    applied = [status.applied for status in applier.statuses()]
    release.set()
    assert applied == [False] * len(names) + [True]


def test_many_targets_are_stepped_by_few_threads(run: Callable[[Applier], TargetPool]) -> None:
    names = [f"release-{number}" for number in range(300)]
    targets = {name: [FakeFile("file"), FakeTarget("service")] for name in names}
    before = threading.active_count()
    run(Applier([rollout_named(name) for name in names], targets, dict))
    wait_until(lambda: all(target.held == 0 for pair in targets.values() for target in pair))
    assert threading.active_count() - before <= THREADS["files"] + THREADS["network"]


def test_a_target_is_stepped_by_one_thread_at_a_time(run: Callable[[Applier], TargetPool]) -> None:
    inside, most, steps = [0], [0], [0]

    def count() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.001)
        inside[0] -= 1
        steps[0] += 1

    target = FakeTarget("forgets", before_apply=count, forgets=True)
    names = ["one", "two", "three"]  # more threads than one
    targets = {"one": [target], "two": [FakeTarget("two")], "three": [FakeTarget("three")]}
    pool = run(Applier([rollout_named(name) for name in names], targets, dict))

    def woken_again() -> bool:
        pool.wake("one")
        return steps[0] >= 30

    wait_until(woken_again)
    assert most == [1]


def test_a_wake_while_a_target_is_stepped_is_not_lost(
    world: World, run: Callable[[Applier], TargetPool]
) -> None:
    release = threading.Event()
    world.enter(CANARY)
    world.first.before_apply = lambda: release.wait(30)
    pool = run(world.applier)
    wait_until(lambda: bool(world.journal))
    world.states = {"model": State("model", "ROLLBACK", run=1, entered_at=CANARY.entered_at, seq=2)}
    pool.wake("model")
    release.set()
    wait_until(lambda: world.first.held == BACK.seq, seconds=RECHECK_SECONDS / 2)


def test_a_step_that_fails_ends_no_thread(
    world: World, run: Callable[[Applier], TargetPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world.applier, "step", lambda _: 1 / 0)
    pool = run(world.applier)
    monkeypatch.undo()
    world.enter(CANARY)

    def woken_again() -> bool:
        pool.wake("model")
        return world.second.held == CANARY.seq

    wait_until(woken_again)


def test_a_stop_ends_the_threads(world: World) -> None:
    pool = TargetPool(world.applier)
    pool.start()
    pool.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("targets, ")]


def test_a_stop_does_not_wait_for_a_target_that_hangs(world: World) -> None:
    release = threading.Event()
    world.first.before_apply = lambda: release.wait(30)
    pool = TargetPool(world.applier)
    pool.start()
    wait_until(lambda: bool(world.journal))
    began = time.monotonic()
    pool.stop(timeout=0.05)
    release.set()
    assert time.monotonic() - began < 5
