"""The applier: targets follow the state in order, and are tried until they read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Rollout
from rollguard.state import State, Status
from rollguard.targets import TargetError, files
from rollguard.targets.applier import (
    HANGS_SECONDS,
    LONGEST_RETRY_SECONDS,
    PATIENCE_SECONDS,
    RECHECK_SECONDS,
    SHORTEST_RETRY_SECONDS,
    Applier,
)
from rollguard.targets.flagd_file import FlagdFileTarget
from rollguard.targets.interface import Lane
from rollguard.targets.yaml_file import YamlFileTarget
from tests.factories import ROOT

NOW = 1_700_000_000.0
CANARY = State("model", "ROLLING_OUT", "canary", run=1, entered_at=NOW + 10, seq=1)
BACK = State("model", "ROLLBACK", run=1, entered_at=NOW + 20, reason="DriftDetected", seq=2)


def rollout_named(name: str, mode: str = "guard") -> Rollout:
    rollout = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
    return rollout.model_copy(update={"rollout": name, "mode": mode, "targets": ()})


@dataclass
class FakeTarget:
    """Keeps the seq of the state that was applied; fails, forgets or hangs on demand."""

    LANE: ClassVar[Lane] = "network"

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

    def __init__(self, *rollouts: Rollout, settle: float = 0.0) -> None:
        self.now = NOW
        self.states: dict[str, State] = {}
        self.journal: list[str] = []
        self.told: list[tuple[str, str, int, float]] = []
        self.first = FakeTarget("first", self.journal)
        self.second = FakeTarget("second", self.journal)
        self.applier = Applier(
            rollouts or [rollout_named("model")],
            {"model": [self.first, self.second]},
            lambda: self.states,
            clock=lambda: self.now,
            monotonic=lambda: self.now,
            settle=settle,
            on_applied=lambda rollout, target, state, at: self.told.append((rollout, target, state.seq, at)),
        )

    def enter(self, state: State) -> None:
        self.states = {**self.states, state.rollout: state}
        self.now = state.entered_at

    def step(self) -> list[float]:
        """Step both targets, and return after how many seconds to look at each again."""
        return [self.look_at(place) for place in (0, 1)]

    def look_at(self, place: int) -> float:
        """Step one target, and return after how many seconds to look at it again."""
        at = ("model", place)
        return self.applier.step([at])[at]


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
    world.look_at(1)


def test_back_to_the_fallback_a_target_first_lets_those_above_it_go(world: World) -> None:
    hang(world)
    assert world.journal == []
    assert world.applier.statuses()[1].error == "waits for first"


def test_back_to_the_fallback_no_target_waits_for_long(world: World) -> None:
    hang(world)
    world.now += PATIENCE_SECONDS
    assert world.look_at(1) == RECHECK_SECONDS
    assert world.journal == ["second rollback"]


def test_who_has_waited_goes_on_when_the_one_above_is_done(world: World) -> None:
    hang(world)
    assert world.applier.released("model") == []
    world.look_at(0)
    assert world.applier.released("model") == [("model", 1)]
    world.look_at(1)
    assert world.applier.released("model") == []


def test_who_failed_in_the_end_does_not_wait_any_more(world: World) -> None:
    hang(world)
    world.now += PATIENCE_SECONDS
    world.second.fails = TargetError("no route")
    assert world.look_at(1) == SHORTEST_RETRY_SECONDS
    world.look_at(0)
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
    assert world.applier.jobs == []
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


def test_where_others_are_at_work_a_change_from_outside_stays_for_a_moment() -> None:
    world = World(settle=0.5)
    world.enter(CANARY)
    world.step()
    world.first.held = None
    world.step()
    assert world.journal == ["first canary", "second canary"]
    assert world.applier.statuses()[0].error == "was changed from outside"
    world.now += 0.5
    world.step()
    assert world.journal == ["first canary", "second canary", "first canary"]


def test_where_others_are_at_work_a_new_state_is_written_at_once() -> None:
    world = World(settle=0.5)
    for state in (CANARY, BACK):
        world.enter(state)
        world.step()
    assert world.first.held == world.second.held == BACK.seq


# Targets that share a file


class Shared:
    """Rollouts whose flags are in one file, and the states that they are in."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.path = folder / "flags.json"
        self.states: dict[str, State] = {}
        rollouts = [rollout_named(name) for name in names]
        flags = [one.flag.model_copy(update={"key": one.name}) for one in rollouts]
        self.rollouts = [
            one.model_copy(update={"flag": flag}) for one, flag in zip(rollouts, flags, strict=True)
        ]
        self.targets = {one.name: [FlagdFileTarget("file", one, self.path)] for one in self.rollouts}
        self.applier = Applier(self.rollouts, self.targets, lambda: self.states)

    def enter(self, status: Status, seq: int) -> None:
        """Bring all rollouts into a state."""
        self.states = {
            one.name: State(one.name, status, run=1, entered_at=NOW, seq=seq) for one in self.rollouts
        }

    def step(self) -> None:
        """Step the one job that there is."""
        (job,) = self.applier.jobs
        self.applier.step(job.members)

    def variants(self) -> dict[str, str]:
        """Return what the file says."""
        flags = json.loads(self.path.read_text())["flags"]
        return {key: flag["defaultVariant"] for key, flag in flags.items()}


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were written, each as often as it was."""
    found: list[Path] = []
    write = files._write

    def noted(real: Path, before: bytes | None, after: bytes) -> None:
        found.append(real)
        write(real, before, after)

    monkeypatch.setattr(files, "_write", noted)
    return found


def test_rollouts_that_share_a_file_are_one_write(tmp_path: Path, writes: list[Path]) -> None:
    shared = Shared(tmp_path, *(f"release-{number}" for number in range(50)))
    for seq, (status, variant) in enumerate((("ENABLED", "candidate"), ("ROLLBACK", "active")), 1):
        shared.enter(status, seq)  # type: ignore[arg-type]
        shared.step()
        assert set(shared.variants().values()) == {variant}
    assert len(writes) == 2
    assert all(status.applied for status in shared.applier.statuses())
    shared.step()
    assert len(writes) == 2


def test_in_a_shared_file_only_what_has_changed_is_put_right(tmp_path: Path, writes: list[Path]) -> None:
    shared = Shared(tmp_path, "one", "two")
    shared.enter("ENABLED", 1)
    shared.step()
    text = shared.path.read_text()
    shared.path.write_text(text.replace('"defaultVariant": "candidate"', '"defaultVariant": "active"', 1))
    shared.step()
    assert (shared.path.read_text(), len(writes)) == (text, 2)


def test_a_shared_file_that_is_broken_is_told_for_each(tmp_path: Path) -> None:
    shared = Shared(tmp_path, "one", "two")
    shared.path.write_text("{")
    shared.enter("ENABLED", 1)
    shared.step()
    assert shared.path.read_text() == "{"
    assert ["is not JSON" in status.error for status in shared.applier.statuses()] == [True, True]


def yaml_applier(path: Path, **keys: str) -> Applier:
    """Return what applies rollouts that each write a key of one YAML file."""
    rollouts = [rollout_named(name) for name in keys]
    targets = {
        one.name: [YamlFileTarget("file", one, path, {"fallback": {keys[one.name]: one.name}})]
        for one in rollouts
    }
    return Applier(rollouts, targets, dict)


def test_in_a_shared_file_one_whose_key_is_missing_keeps_no_other_back(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: x\nb: x\n")
    applier = yaml_applier(path, one="a", lost="none", two="b")
    (job,) = applier.jobs
    applier.step(job.members)
    assert path.read_text() == "a: one\nb: two\n"
    assert [status.applied for status in applier.statuses()] == [True, False, True]
    assert "none is missing" in applier.statuses()[1].error


def test_in_a_shared_file_two_that_want_a_key_otherwise_do_not_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "app.yml"
    path.write_text("a: x\n")
    applier = yaml_applier(path, one="a", two="a")
    (job,) = applier.jobs
    applier.step(job.members)
    assert path.read_text() == "a: one\n"
    assert "a is given another value by another rollout" in applier.statuses()[1].error


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


@pytest.mark.parametrize("reads_back", [True, False])
def test_a_step_that_does_not_end_is_told_while_it_lasts(world: World, reads_back: bool) -> None:
    seen = []

    def hang() -> None:
        for seconds in (HANGS_SECONDS, 42.0 - HANGS_SECONDS):
            world.now += seconds
            seen.append(world.applier.statuses()[0])

    world.enter(CANARY)
    world.step()
    world.first.held = None
    world.first.forgets = not reads_back
    world.first.before_apply = hang
    world.step()
    assert [(status.hangs, status.error) for status in seen] == [
        (False, ""),
        (True, "its step has not ended for 42s"),
    ]
    assert not world.applier.statuses()[0].hangs


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
