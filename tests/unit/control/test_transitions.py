"""What people do with a rollout: pause, resume, go back a stage, acknowledge; and what falls together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard.control.decisions import Clock
from rollguard.control.plane import ControlPlane
from rollguard.control.transitions import RefusedError
from rollguard.ledger import Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.spec.calendars import Freeze
from rollguard.spec.rollout import Preflight, Rollout
from rollguard.state import Entry
from tests.factories import shipped_rollout
from tests.unit.clock import NOW, Time

NAME = "model-canary"
COOLDOWN = 30 * 60.0


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def rollout() -> Rollout:
    shipped = shipped_rollout()
    return shipped.model_copy(update={"targets": ()})


Build = Callable[..., ControlPlane]


@pytest.fixture
def build(tmp_path: Path, time: Time) -> Iterator[Build]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield lambda *rollouts: ControlPlane(rollouts, ledger, clock=Clock(time, time))
    ledger.close()


@pytest.fixture
def control(build: Build, rollout: Rollout) -> ControlPlane:
    return build(rollout)


def named(rollout: Rollout, name: str, **changes: Any) -> Rollout:
    flag = rollout.flag.model_copy(update={"key": name})
    return rollout.model_copy(update={"rollout": name, "flag": flag, **changes})


def going_back(rollout: Rollout, to: str) -> Rollout:
    return rollout.model_copy(update={"rollback": rollout.rollback.model_copy(update={"to": to})})


def fires(control: ControlPlane, *guards: str, rollout: str = NAME, firing: bool = True) -> list[Entry]:
    alerts = tuple(GuardAlert(rollout, guard, firing, NOW, guard, {}, {}) for guard in guards)
    return control.notify(Notification(alerts), NOW)


def take_to(control: ControlPlane, stage: str, name: str = NAME) -> None:
    control.start(name, actor="ann")
    while control.state(name).position != stage:
        control.promote(name, actor="ann", early=True)


def position(control: ControlPlane, name: str = NAME) -> str:
    return control.state(name).position


# Pause


def test_a_paused_rollout_is_not_rolled_back_by_a_guard(control: ControlPlane) -> None:
    take_to(control, "canary")
    entry = control.pause(NAME, actor="ann", reason="a test session")
    assert (entry.kind, entry.actor, entry.reason) == ("pause", "ann", "a test session")
    assert fires(control, "DriftDetected") == []
    assert position(control) == "canary"


def test_what_still_fires_on_resuming_rolls_back_at_once(control: ControlPlane) -> None:
    take_to(control, "canary")
    control.pause(NAME, actor="ann")
    fires(control, "DriftDetected")
    control.resume(NAME, actor="ann")
    assert (position(control), control.state(NAME).guard) == ("rollback", "DriftDetected")


def test_what_resolved_during_a_pause_is_over(control: ControlPlane) -> None:
    take_to(control, "canary")
    control.pause(NAME, actor="ann")
    fires(control, "DriftDetected")
    fires(control, "DriftDetected", firing=False)
    control.resume(NAME, actor="ann")
    assert position(control) == "canary"


def test_a_paused_rollout_is_not_promoted(control: ControlPlane) -> None:
    take_to(control, "canary")
    control.pause(NAME, actor="ann")
    with pytest.raises(RefusedError, match="is paused by ann: `rollguard resume model-canary` first"):
        control.promote(NAME, actor="bob", early=True)


def test_a_paused_rollout_is_rolled_back_by_hand_and_no_longer_paused(control: ControlPlane) -> None:
    take_to(control, "canary")
    control.pause(NAME, actor="ann")
    control.rollback(NAME, actor="bob", reason="x")
    assert (position(control), control.state(NAME).paused_by) == ("rollback", "")


def test_a_pause_survives_a_restart(build: Build, control: ControlPlane, rollout: Rollout) -> None:
    take_to(control, "canary")
    control.pause(NAME, actor="ann")
    assert fires(build(rollout), "DriftDetected") == []


@pytest.mark.parametrize(
    ("verb", "why"),
    [
        ("pause", "is in disabled: no run is under way"),
        ("resume", "is not paused"),
        ("acknowledge", "is in disabled: there is nothing to acknowledge"),
    ],
)
def test_what_has_no_sense_is_refused(control: ControlPlane, verb: str, why: str) -> None:
    with pytest.raises(RefusedError, match=why):
        getattr(control, verb)(NAME, actor="ann")


def test_a_second_pause_is_refused_with_who_paused_first(control: ControlPlane) -> None:
    take_to(control, "canary")
    control.pause(NAME, actor="ann")
    with pytest.raises(RefusedError, match="is paused by ann already"):
        control.pause(NAME, actor="bob")


# Acknowledge


def test_the_next_run_begins_only_after_somebody_has_looked(control: ControlPlane, time: Time) -> None:
    take_to(control, "canary")
    fires(control, "DriftDetected")
    fires(control, "DriftDetected", firing=False)
    time.now += COOLDOWN
    with pytest.raises(RefusedError, match="went back by DriftDetected, and nobody has acknowledged it"):
        control.start(NAME, actor="ann")
    control.acknowledge(NAME, actor="bob", reason="INC-17")
    assert control.start(NAME, actor="ann").run == 2


def test_an_acknowledgement_does_not_end_the_cooldown(control: ControlPlane) -> None:
    take_to(control, "canary")
    control.rollback(NAME, actor="ann", reason="x")
    control.acknowledge(NAME, actor="ann")
    with pytest.raises(RefusedError, match="its cooldown ends in 30m"):
        control.start(NAME, actor="ann")


def test_an_acknowledgement_ends_the_holds_of_guards_that_no_longer_fire(control: ControlPlane) -> None:
    take_to(control, "canary")
    fires(control, "WinRateDropNoData", "DriftDetectedNoData")
    fires(control, "WinRateDropNoData", firing=False)
    control.acknowledge(NAME, actor="ann", reason="x")
    assert control.state(NAME).held == {"DriftDetectedNoData"}


def test_a_hold_whose_guard_fires_is_not_acknowledged_away(control: ControlPlane) -> None:
    take_to(control, "canary")
    fires(control, "WinRateDropNoData")
    with pytest.raises(RefusedError, match="is in canary: WinRateDropNoData fires"):
        control.acknowledge(NAME, actor="ann", reason="x")


def test_a_hold_survives_a_restart(build: Build, control: ControlPlane, rollout: Rollout) -> None:
    take_to(control, "canary")
    fires(control, "WinRateDropNoData")
    again = build(rollout)
    with pytest.raises(RefusedError, match="is held by WinRateDropNoData"):
        again.promote(NAME, actor="ann", early=True)


# Approve


def test_an_approval_is_of_the_next_stage_and_moves_nothing(control: ControlPlane) -> None:
    control.start(NAME, actor="ann")
    entry = control.approve(NAME, actor="bob", reason="shadow scores agree")
    assert (entry.kind, entry.actor, entry.evidence) == ("approve", "bob", {"stage": "canary"})
    assert (position(control), control.state(NAME).approved) == ("shadow", "canary")


def test_a_second_approval_is_refused(control: ControlPlane) -> None:
    control.start(NAME, actor="ann")
    control.approve(NAME, actor="bob")
    with pytest.raises(RefusedError, match="canary is approved already"):
        control.approve(NAME, actor="bob")


@pytest.mark.parametrize("stage", ["disabled", "canary", "enabled"])
def test_where_no_stage_needs_one_an_approval_is_refused(control: ControlPlane, stage: str) -> None:
    if stage != "disabled":
        take_to(control, stage)
    with pytest.raises(RefusedError, match=f"is in {stage}: no stage waits for an approval"):
        control.approve(NAME, actor="ann")


def test_an_approval_does_not_outlive_its_run(control: ControlPlane, time: Time) -> None:
    control.start(NAME, actor="ann")
    control.approve(NAME, actor="bob")
    control.rollback(NAME, actor="ann", reason="x")
    control.acknowledge(NAME, actor="ann")
    time.now += COOLDOWN
    control.start(NAME, actor="ann")
    assert control.state(NAME).approved == ""


# The clock


def test_a_pause_stops_the_clock_of_the_hold(control: ControlPlane, rollout: Rollout, time: Time) -> None:
    control.start(NAME, actor="ann")
    time.now += 3600
    control.pause(NAME, actor="ann")
    time.now += 7200
    assert control.hold_left(rollout, control.state(NAME)) == 23 * 3600
    control.resume(NAME, actor="ann")
    time.now += 3600
    assert control.hold_left(rollout, control.state(NAME)) == 22 * 3600


def test_a_hold_stops_the_clock_and_does_not_restart_it(
    control: ControlPlane, rollout: Rollout, time: Time
) -> None:
    control.start(NAME, actor="ann")
    for _ in range(3):
        time.now += 3600
        fires(control, "WinRateDropNoData")
        fires(control, "WinRateDropNoData", firing=False)
        time.now += 7200
        control.acknowledge(NAME, actor="ann")
    assert control.hold_left(rollout, control.state(NAME)) == 21 * 3600


def test_the_clock_stands_still_until_the_last_of_holds_and_pause_is_over(
    control: ControlPlane, build: Build, rollout: Rollout, time: Time
) -> None:
    control.start(NAME, actor="ann")
    begun = time.now
    time.now += 100
    fires(control, "WinRateDropNoData")
    time.now += 100
    fires(control, "DriftDetectedNoData")
    control.pause(NAME, actor="ann")
    time.now += 100
    control.resume(NAME, actor="ann")
    fires(control, "WinRateDropNoData", firing=False)
    control.acknowledge(NAME, actor="ann")
    assert control.state(NAME).clock_until == begun + 100
    time.now += 100
    fires(control, "DriftDetectedNoData", firing=False)
    control.acknowledge(NAME, actor="ann")
    time.now += 60
    again = build(rollout)  # as after a restart
    assert again.state(NAME).counted(time.now) == ((begun, begun + 100), (time.now - 60, time.now))
    assert again.hold_left(rollout, again.state(NAME)) == 24 * 3600 - 160


# Freezes


@pytest.mark.parametrize("verb", ["start", "promote"])
def test_in_a_freeze_nothing_starts_or_goes_on_but_goes_back(
    build: Build, rollout: Rollout, verb: str
) -> None:
    freeze = Freeze.model_validate(
        {"from": "2023-11-14T00:00:00Z", "until": "2023-11-16T00:00:00Z", "why": "year end"}
    )
    if verb == "promote":
        take_to(build(rollout), "canary")
    frozen = build(rollout.model_copy(update={"freezes": (freeze,)}))
    with pytest.raises(RefusedError, match="is frozen until 2023-11-16T00:00:00Z: year end"):
        getattr(frozen, verb)(NAME, actor="ann")
    if verb == "promote":
        assert [entry.kind for entry in fires(frozen, "DriftDetected")] == ["rollback"]


# Back to a stage


def test_a_person_takes_it_back_a_stage(control: ControlPlane) -> None:
    take_to(control, "ramp-50")
    entry = control.rollback(NAME, actor="ann", reason="x", to="previous")
    assert (entry.kind, entry.to_status, entry.to_stage, entry.run) == (
        "step_back",
        "ROLLING_OUT",
        "ramp-25",
        1,
    )


def test_a_person_takes_it_back_to_a_named_stage(control: ControlPlane) -> None:
    take_to(control, "enabled")
    assert control.rollback(NAME, actor="ann", reason="x", to="canary").to_stage == "canary"


@pytest.mark.parametrize("to", ["canary", "ramp-25", "nowhere"])
def test_a_person_takes_it_back_to_earlier_stages_only(control: ControlPlane, to: str) -> None:
    take_to(control, "canary")
    with pytest.raises(RefusedError, match=f"is in canary: it can go back to fallback, shadow, not to {to}"):
        control.rollback(NAME, actor="ann", reason="x", to=to)


def test_back_from_the_first_stage_is_the_fallback(build: Build, rollout: Rollout) -> None:
    control = build(going_back(rollout, "previous"))
    control.start(NAME, actor="ann")
    fires(control, "DriftDetected")
    assert position(control) == "rollback"


def test_a_stage_that_its_file_lost_leads_back_to_the_fallback(
    build: Build, control: ControlPlane, rollout: Rollout
) -> None:
    take_to(control, "ramp-50")
    without = going_back(rollout, "previous").model_copy(
        update={"stages": tuple(stage for stage in rollout.stages if stage.name != "ramp-50")}
    )
    again = build(without)
    fires(again, "DriftDetected")
    assert position(again) == "rollback"


@pytest.fixture
def stepped(build: Build, rollout: Rollout) -> ControlPlane:
    """A rollout that a guard has taken from ramp-25 back to canary, and that still fires."""
    control = build(going_back(rollout, "previous"))
    take_to(control, "ramp-25")
    (entry,) = fires(control, "DriftDetected")
    assert (entry.kind, entry.to_stage) == ("step_back", "canary")
    return control


def test_the_echo_of_a_breach_does_not_take_it_back_further(stepped: ControlPlane) -> None:
    assert fires(stepped, "DriftDetected") == []
    assert position(stepped) == "canary"


def test_a_breach_that_outlasts_the_cooldown_ends_the_run(stepped: ControlPlane, time: Time) -> None:
    time.now += COOLDOWN
    assert [entry.kind for entry in fires(stepped, "DriftDetected")] == ["rollback"]


def test_another_breach_after_a_step_back_ends_the_run(stepped: ControlPlane) -> None:
    assert [entry.kind for entry in fires(stepped, "OnnxParityFailure")] == ["rollback"]


def test_after_a_step_back_a_promotion_needs_somebody_who_looked_and_the_cooldown(
    stepped: ControlPlane, time: Time
) -> None:
    fires(stepped, "DriftDetected", firing=False)
    with pytest.raises(RefusedError, match="nobody has acknowledged it"):
        stepped.promote(NAME, actor="ann", early=True)
    stepped.acknowledge(NAME, actor="ann", reason="x")
    with pytest.raises(RefusedError, match="its cooldown ends in"):
        stepped.promote(NAME, actor="ann", early=True)
    time.now += COOLDOWN
    assert stepped.promote(NAME, actor="ann", early=True).to_stage == "ramp-25"


def test_the_next_run_may_step_back_again(stepped: ControlPlane, time: Time) -> None:
    fires(stepped, "OnnxParityFailure")
    fires(stepped, "DriftDetected", "OnnxParityFailure", firing=False)
    stepped.acknowledge(NAME, actor="ann")
    time.now += COOLDOWN
    take_to(stepped, "ramp-25")
    time.now += 1
    alerts = (GuardAlert(NAME, "DriftDetected", True, time.now, "f", {}, {}),)
    assert [entry.kind for entry in stepped.notify(Notification(alerts), NOW)] == ["step_back"]


# What requires another


@pytest.fixture
def family(build: Build, rollout: Rollout) -> ControlPlane:
    """A parent that is fully on, a child and a grandchild that are rolling out."""
    child = named(rollout, "child", requires=(NAME,))
    grandchild = named(rollout, "grandchild", requires=("child",))
    control = build(rollout, child, grandchild)
    for name in (NAME, "child"):
        take_to(control, "enabled", name)
    take_to(control, "canary", "grandchild")
    return control


def test_what_requires_a_rollout_falls_with_it_in_one_transaction(family: ControlPlane) -> None:
    entries = fires(family, "DriftDetected")
    assert [(entry.rollout, entry.kind, entry.actor) for entry in entries] == [
        (NAME, "rollback", "guard"),
        ("child", "rollback", "cascade"),
        ("grandchild", "rollback", "cascade"),
    ]
    assert entries[1].reason == "requires model-canary, which was rolled back by DriftDetected"


def test_a_rollback_by_hand_takes_along_what_requires_it(family: ControlPlane) -> None:
    family.rollback("child", actor="ann", reason="x")
    places = [position(family, name) for name in (NAME, "child", "grandchild")]
    assert places == ["enabled", "rollback", "rollback"]


def test_a_pause_does_not_keep_a_rollout_up_whose_parent_falls(family: ControlPlane) -> None:
    family.pause("child", actor="ann")
    fires(family, "DriftDetected")
    assert position(family, "child") == "rollback"


def test_a_step_back_takes_nothing_along(family: ControlPlane) -> None:
    family.rollback(NAME, actor="ann", reason="x", to="previous")
    assert position(family, "child") == "enabled"


def test_what_has_fallen_already_does_not_fall_again(family: ControlPlane) -> None:
    family.rollback("child", actor="ann", reason="x")
    assert [entry.rollout for entry in fires(family, "DriftDetected")] == [NAME]


def test_what_falls_by_its_own_guard_and_its_parents_falls_once(family: ControlPlane) -> None:
    alerts = tuple(GuardAlert(name, "DriftDetected", True, NOW, "f", {}, {}) for name in (NAME, "child"))
    entries = family.notify(Notification(alerts), NOW)
    assert [(entry.rollout, entry.kind, entry.actor) for entry in entries] == [
        ("child", "rollback", "guard"),
        (NAME, "rollback", "guard"),
        ("grandchild", "rollback", "cascade"),
    ]


def test_an_observed_rollout_does_not_fall_with_another(build: Build, rollout: Rollout) -> None:
    control = build(rollout, named(rollout, "child", requires=(NAME,), mode="observe"))
    take_to(control, "enabled")
    take_to(control, "canary", "child")
    fires(control, "DriftDetected")
    assert position(control, "child") == "canary"


@pytest.mark.parametrize("verb", ["start", "promote"])
def test_a_rollout_waits_for_what_it_requires(build: Build, rollout: Rollout, verb: str) -> None:
    control = build(rollout, named(rollout, "child", requires=(NAME,)))
    take_to(control, "enabled")
    if verb == "promote":
        control.start("child", actor="ann")
    control.start(NAME, actor="ann", reason="the next release")
    with pytest.raises(RefusedError, match=r"child requires model-canary \(in shadow\), expected in enabled"):
        getattr(control, verb)("child", actor="ann")


# Two control planes on a ledger


@pytest.fixture
def planes(build: Build, rollout: Rollout) -> tuple[ControlPlane, ControlPlane]:
    """Two of them, over a parent that is fully on and its child."""
    rollouts = rollout, named(rollout, "child", requires=(NAME,))
    first, second = build(*rollouts), build(*rollouts)
    take_to(first, "enabled")
    return first, second


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[ControlPlane, Callable[[], object]], None]:
    """Return a function that has something happen between a control plane's next decision and its commit."""

    def have(control: ControlPlane, happen: Callable[[], object]) -> None:
        append = control.ledger.append

        def late(*arguments: Any) -> list[Entry]:
            monkeypatch.undo()
            happen()
            return append(*arguments)

        monkeypatch.setattr(control.ledger, "append", late)

    return have


def test_what_requires_a_rollout_does_not_start_while_another_control_plane_takes_that_back(
    planes: tuple[ControlPlane, ControlPlane], meanwhile: Callable[..., None]
) -> None:
    first, second = planes
    meanwhile(first, lambda: second.rollback(NAME, actor="bob", reason="x"))
    with pytest.raises(RefusedError, match=r"model-canary is in rollback by entry \d+, no longer in enabled"):
        first.start("child", actor="ann")
    assert position(second, "child") == "disabled"


def test_what_another_control_plane_decides_of_another_rollout_at_that_moment_is_seen(
    planes: tuple[ControlPlane, ControlPlane], meanwhile: Callable[..., None]
) -> None:
    first, second = planes
    take_to(second, "enabled", "child")
    first.follow()
    meanwhile(first, lambda: second.rollback("child", actor="bob", reason="x"))
    first.pause(NAME, actor="ann")
    assert first.evaluator.evaluate("child", {"targetingKey": "u"}).variant == "active"


def test_a_rollback_by_hand_takes_along_what_another_control_plane_starts_at_that_moment(
    planes: tuple[ControlPlane, ControlPlane], meanwhile: Callable[..., None]
) -> None:
    first, second = planes
    meanwhile(first, lambda: second.start("child", actor="bob"))
    first.rollback(NAME, actor="ann", reason="x")
    assert [position(first, name) for name in (NAME, "child")] == ["rollback", "rollback"]


def test_what_another_control_plane_starts_at_that_moment_falls_with_what_it_requires(
    planes: tuple[ControlPlane, ControlPlane], meanwhile: Callable[..., None]
) -> None:
    first, second = planes
    meanwhile(first, lambda: second.start("child", actor="ann"))
    assert [entry.rollout for entry in fires(first, "DriftDetected")] == [NAME, "child"]


# Before a start


def test_a_rollout_starts_after_another_only_once_that_is_enabled(build: Build, rollout: Rollout) -> None:
    control = build(rollout, named(rollout, "later", after=(NAME,)))
    take_to(control, "full")
    with pytest.raises(
        RefusedError, match=r"later starts after model-canary \(in full\), expected in enabled"
    ):
        control.start("later", actor="ann")
    assert control.next_step(control.rollouts["later"], control.state("later")).startswith(
        "wait: later starts"
    )
    control.promote(NAME, actor="ann", early=True)
    control.start("later", actor="ann")


def test_what_starts_after_another_does_not_fall_with_it_nor_wait_for_it(
    build: Build, rollout: Rollout
) -> None:
    control = build(rollout, named(rollout, "later", after=(NAME,)))
    take_to(control, "enabled")
    take_to(control, "shadow", "later")
    fires(control, "DriftDetected")
    assert (position(control), position(control, "later")) == ("rollback", "shadow")
    control.promote("later", actor="ann", early=True)
    assert position(control, "later") == "canary"


PREFLIGHT = (Preflight.model_validate({"name": "gates are green", "run": ["true"]}),)


def test_a_failed_preflight_refuses_a_start_and_says_why(build: Build, rollout: Rollout) -> None:
    control = build(rollout.model_copy(update={"preflight": PREFLIGHT}))
    control.preflight = lambda _rollout, _run: ([], ["gates are green: 2 are red", "no gap: 3"])
    why = f"{NAME}: preflight failed: gates are green: 2 are red; no gap: 3."
    for start in (control.start, control.dry_start):
        with pytest.raises(RefusedError) as refused:
            start(NAME, actor="ann", unguarded=True)
        assert str(refused.value) == why
    assert control.ledger.entries() == []


def test_where_nobody_can_try_it_a_preflight_fails(build: Build, rollout: Rollout) -> None:
    control = build(rollout.model_copy(update={"preflight": PREFLIGHT}))
    with pytest.raises(RefusedError, match="gates are green: nobody is there to try it"):
        control.start(NAME, actor="ann")


def test_a_preflight_is_tried_for_the_next_run_and_kept_as_evidence(build: Build, rollout: Rollout) -> None:
    control = build(rollout.model_copy(update={"preflight": PREFLIGHT}))
    runs = []

    def tried(_rollout: Rollout, run: int) -> tuple[list[dict[str, Any]], list[str]]:
        runs.append(run)
        return [{"name": "gates are green"}], []

    control.preflight = tried
    dry = control.dry_start(NAME, actor="ann")
    assert (dry.to_stage, dry.evidence["preflight"]) == ("shadow", [{"name": "gates are green"}])
    assert control.ledger.entries() == []
    entry = control.start(NAME, actor="ann")
    assert entry.evidence["preflight"] == [{"name": "gates are green"}]
    assert runs == [1, 1]


def test_nothing_is_tried_for_a_start_that_is_refused_anyway(build: Build, rollout: Rollout) -> None:
    control = build(rollout.model_copy(update={"preflight": PREFLIGHT}))
    control.preflight = lambda _rollout, _run: ([], [])
    control.start(NAME, actor="ann")
    control.preflight = lambda _rollout, _run: pytest.fail("it was tried")
    with pytest.raises(RefusedError, match="is in stage shadow"):
        control.start(NAME, actor="ann")
