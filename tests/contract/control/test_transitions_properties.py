"""Any order, delay, loss and repetition of events: what is rolled back stays so, and nothing is skipped."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import Any, TypeAlias

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rollguard.control.decide import armed
from rollguard.control.decisions import Clock
from rollguard.control.plane import ControlPlane
from rollguard.control.transitions import RefusedError
from rollguard.ledger import Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.monitoring.observation import Condition, GuardObservation, Observation, guards_of
from rollguard.state import MOVES, Entry
from tests.factories import shipped_rollout

PARENT, CHILD = "model-canary", "child"
ROLLOUT = shipped_rollout().model_copy(update={"targets": ()})
REQUIRES = ROLLOUT.model_copy(
    update={
        "rollout": CHILD,
        "requires": (PARENT,),
        "flag": ROLLOUT.flag.model_copy(update={"key": CHILD}),
        "rollback": ROLLOUT.rollback.model_copy(update={"to": "previous"}),
    }
)
GUARDS = ("DriftDetected", "OnnxParityFailure", "CanaryWinrateRollback", "WinRateDropNoData")

names = st.sampled_from([PARENT, CHILD])
guards = st.sampled_from(GUARDS)
conditions: st.SearchStrategy[Condition] = st.sampled_from(["armed", "waiting", "without data", "breached"])
VERBS = ["start", "approve", "promote", "pause", "resume", "acknowledge"]


Act: TypeAlias = tuple[str, str]
"""Of a person: on which rollout, and the verb."""

acts = st.tuples(names, st.sampled_from(["start", "promote", "rollback"]))


def act(control: ControlPlane, asked: Act) -> None:
    name, verb = asked
    options = {"early": True} if verb == "promote" else {}
    with suppress(RefusedError):
        getattr(control, verb)(name, actor="ann", reason="x", **options)


class Lifecycle(RuleBasedStateMachine):
    """Two rollouts of which one requires the other, an Alertmanager that loses things, and people."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(f"sqlite:///{self.folder.name}/ledger.db")
        self.now = 1_700_000_000.0
        self.firing: dict[tuple[str, str], GuardAlert] = {}
        self.told: list[GuardAlert] = []
        self.restart()

    @rule()
    def restart(self) -> None:
        clock = Clock(lambda: self.now, lambda: self.now)
        self.control = ControlPlane([ROLLOUT, REQUIRES], self.ledger, clock=clock)

    @rule(seconds=st.sampled_from([1.0, 60.0, 1900.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(name=names, guard=guards, lost=st.booleans())
    def fires(self, name: str, guard: str, lost: bool) -> None:
        alert = GuardAlert(name, guard, True, self.now, guard, {}, {})
        self.firing.setdefault((name, guard), alert)
        self.told.append(alert)
        if not lost:
            self.control.notify(Notification((alert,)), self.now)

    @rule(name=names, guard=guards, lost=st.booleans())
    def resolves(self, name: str, guard: str, lost: bool) -> None:
        found = self.firing.pop((name, guard), None)
        if found and not lost:
            gone = GuardAlert(name, guard, False, found.starts_at, guard, {}, {})
            self.control.notify(Notification((gone,)), self.now)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def an_old_notification_comes_again(self, data: st.DataObject) -> None:
        self.control.notify(Notification((data.draw(st.sampled_from(self.told)),)), self.now)

    @rule()
    def polls(self) -> None:
        self.control.polled(self.firing.values(), self.now)
        for name, rollout in self.control.rollouts.items():
            state = self.control.state(name)
            breached = armed(rollout, state.position, self.firing.values(), "rollback")
            assert not breached or not state.running or state.paused_by or state.stepped_back, (
                "a lost rollback"
            )

    @rule(name=names, verb=st.sampled_from(VERBS))
    def a_person_acts(self, name: str, verb: str) -> None:
        act(self.control, (name, verb))

    @rule(name=names, to=st.sampled_from(["fallback", "previous"]))
    def a_person_rolls_back(self, name: str, to: str) -> None:
        try:
            self.control.rollback(name, actor="ann", reason="x", to=to)
        except RefusedError:
            assert to == "previous" or not self.control.state(name).running

    @rule()
    def the_parent_goes_well(self) -> None:
        """Without it, what requires the parent would hardly ever start."""
        for guard in GUARDS:
            self.resolves(PARENT, guard, lost=False)
        self.now += 1900.0
        for verb in ("resume", "acknowledge", "start", *["promote"] * len(ROLLOUT.stages)):
            act(self.control, (PARENT, verb))

    @rule(name=names, condition=conditions, enough=st.booleans(), late=st.booleans())
    def prometheus_is_seen(self, name: str, condition: Condition, enough: bool, late: bool) -> None:
        state, rollout = self.control.state(name), self.control.rollouts[name]
        guards = {guard.name: GuardObservation("armed") for guard in guards_of(rollout, state.position)}
        seen = Observation(
            self.now,
            state.newest - late,
            guards={**guards, GUARDS[-1]: GuardObservation(condition)},
            clock_seconds=1e6 if enough else 0.0,
        )
        self.control.observed(name, seen)

    @invariant()
    def nothing_advances_without_its_approval_or_past_a_hold(self) -> None:
        approved: dict[str, str] = {}
        held: dict[str, set[str]] = {}
        for entry in self.ledger.entries():
            held.setdefault(entry.rollout, set())
            if entry.kind == "approve":
                approved[entry.rollout] = entry.evidence["stage"]
            if entry.kind == "hold":
                held[entry.rollout] |= set(entry.evidence["guards"])
            if entry.kind in ("release", "acknowledge"):
                held[entry.rollout] -= set(entry.evidence.get("guards", ()))
            if entry.kind == "promote":
                assert not held[entry.rollout], "a held stage ended"
                stage = ROLLOUT.stage(entry.to_stage)
                if entry.actor == "advance" and stage and stage.approve:
                    assert approved.get(entry.rollout) == stage.name, "an approval was skipped"
            if entry.kind in MOVES:
                approved.pop(entry.rollout, None)
                held[entry.rollout] = set()

    @invariant()
    def a_rolled_back_flag_is_off(self) -> None:
        self.control.follow()
        for name, state in self.ledger.states().items():
            if state.status == "ROLLBACK":
                served = self.control.evaluator.evaluate(name, {"targetingKey": "ann"}).variant
                assert served == ROLLOUT.flag.fallback

    @invariant()
    def no_run_goes_on_after_its_rollback(self) -> None:
        over: dict[str, int] = {}
        looked_at: dict[str, bool] = {}
        for entry in self.ledger.entries():
            if entry.kind in ("start", "promote"):
                assert looked_at.get(entry.rollout, True), "nobody has acknowledged"
                assert entry.run > over.get(entry.rollout, 0), "a run that is over goes on"
            if entry.kind in ("rollback", "step_back"):
                looked_at[entry.rollout] = False
            if entry.kind == "rollback":
                over[entry.rollout] = entry.run
            looked_at[entry.rollout] = looked_at.get(entry.rollout, True) or entry.kind == "acknowledge"

    @invariant()
    def what_requires_a_rollout_has_fallen_with_it(self) -> None:
        states = self.ledger.states()
        if PARENT in states and states[PARENT].status == "ROLLBACK" and CHILD in states:
            assert not states[CHILD].running

    @invariant()
    def no_decision_is_taken_twice_and_the_chain_holds(self) -> None:
        decisions = [
            (entry.rollout, entry.run, entry.guard, entry.kind)
            for entry in self.ledger.entries()
            if entry.guard
        ]
        assert len(decisions) == len(set(decisions))
        assert self.ledger.verify() == []

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()


class TwoPlanes(Lifecycle):
    """The same with two control planes on the ledger, of which one commits while the other decides."""

    @rule()
    def restart(self) -> None:
        super().restart()
        self.other = self.control
        super().restart()

    @rule()
    def the_other_one_is_asked(self) -> None:
        self.control, self.other = self.other, self.control

    @rule(mine=acts, others=acts)
    def both_act_at_once(self, mine: Act, others: Act) -> None:
        append, other = Ledger.append, self.other

        def late(*arguments: Any) -> list[Entry]:
            vars(self.ledger).pop("append")
            act(other, others)
            return append(self.ledger, *arguments)

        vars(self.ledger)["append"] = late
        act(self.control, mine)
        vars(self.ledger).pop("append", None)


_SHORT = settings(
    max_examples=8, stateful_step_count=30, deadline=None, derandomize=True, phases=[Phase.generate]
)
TestLifecycle, TestTwoPlanes = Lifecycle.TestCase, TwoPlanes.TestCase
TestLifecycle.settings = TestTwoPlanes.settings = _SHORT


@pytest.mark.slow
@pytest.mark.parametrize("machine", [Lifecycle, TwoPlanes])
def test_the_lifecycle_at_length(machine: type[Lifecycle]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=500, stateful_step_count=60))
