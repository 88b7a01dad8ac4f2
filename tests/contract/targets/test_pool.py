"""The pool: few threads for many targets, what hangs delays its own kind only, one step of each at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from rollguard.spec.rollout import Rollout
from rollguard.state import State
from rollguard.targets.applier import PATIENCE_SECONDS, RECHECK_SECONDS, Applier
from rollguard.targets.interface import Lane, Target
from rollguard.targets.pool import MOST_GIVEN_UP, THREADS, TargetPool
from tests.contract.target_cases import built, rollout_with, trickling, vendor
from tests.polling import eventually
from tests.unit.targets.test_applier import BACK, CANARY, FakeTarget, World, rollout_named


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


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what lasts a moment for what hangs."""
    monkeypatch.setattr("rollguard.targets.pool.HANGS_SECONDS", 0.05)
    monkeypatch.setattr("rollguard.targets.pool.WATCH_SECONDS", 0.01)


def hanging_beside(kind: type[FakeTarget], count: int, release: threading.Event) -> Applier:
    """Return an applier of so many targets that hang, and last, one that does not."""
    names = [f"stuck-{number:03}" for number in range(count)]
    hanging = {name: [kind("hanging", before_apply=release.wait)] for name in names}
    return Applier([rollout_named(name) for name in (*names, "z")], {**hanging, "z": [kind("quick")]}, dict)


def ended_threads() -> bool:
    return sum(thread.name.startswith("targets, network") for thread in threading.enumerate()) <= 16


@pytest.mark.parametrize("kind", [FakeFile, FakeTarget])
@pytest.mark.usefixtures("impatient")
def test_targets_that_hang_for_good_keep_no_other_of_their_lane_waiting(
    run: Callable[[Applier], TargetPool], kind: type[FakeTarget]
) -> None:
    release = threading.Event()
    count = THREADS[kind.LANE] + MOST_GIVEN_UP - 1
    applier = hanging_beside(kind, count, release)
    run(applier)
    wait_until(lambda: applier.statuses()[-1].applied)
    applied = [status.applied for status in applier.statuses()]
    release.set()
    assert applied == [False] * count + [True]


@pytest.mark.usefixtures("impatient")
def test_not_more_threads_hang_than_may_and_each_counts_until_its_step_ends(
    run: Callable[[Applier], TargetPool], caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    most = THREADS["network"] + MOST_GIVEN_UP
    applier = hanging_beside(FakeTarget, 2 * most, release)
    before = threading.active_count()
    run(applier)
    wait_until(lambda: f"({MOST_GIVEN_UP} of {MOST_GIVEN_UP})" in caplog.text)
    assert threading.active_count() - before <= most + 1  # and the one that watches
    release.set()
    wait_until(lambda: all(status.applied for status in applier.statuses()))
    wait_until(ended_threads)


def test_services_that_trickle_keep_no_other_service_waiting(
    run: Callable[[Applier], TargetPool], tmp_path: Path
) -> None:
    def asking(name: str, url: str) -> tuple[Rollout, list[Target]]:
        states = {"fallback": {"on": False}}
        spec = {"name": name, "url": url, "timeout": "1s", "read": {"expect": states}}
        spec["send"] = {"fallback": [{"path": "/on", "body": False}]}
        rollout = rollout_with({"http": spec}).model_copy(update={"rollout": name})
        return rollout, [built(rollout, tmp_path)]

    with trickling(b"HTTP/1.1 200 OK\r\nx: ") as slow, vendor() as service:
        service.state["on"] = True
        pairs = [asking(f"slow-{number}", slow) for number in range(40)] + [asking("z", service.url)]
        applier = Applier(
            [rollout for rollout, _ in pairs], {rollout.name: found for rollout, found in pairs}, dict
        )
        run(applier)
        wait_until(lambda: applier.statuses()[-1].applied, seconds=20)
        assert service.state["on"] is False


def test_many_targets_are_stepped_by_few_threads(run: Callable[[Applier], TargetPool]) -> None:
    names = [f"release-{number}" for number in range(60)]
    targets = {name: [FakeFile("file"), FakeTarget("service")] for name in names}
    before = threading.active_count()
    run(Applier([rollout_named(name) for name in names], targets, dict))
    wait_until(lambda: all(target.held == 0 for pair in targets.values() for target in pair))
    assert threading.active_count() - before <= THREADS["files"] + THREADS["network"] + 1


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
