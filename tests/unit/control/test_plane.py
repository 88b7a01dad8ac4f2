"""The control plane: alerts in, one decision in the ledger, and the flag that shows it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rollguard.control.decisions import ATTEMPTS, Clock, Listener, UnknownRolloutError
from rollguard.control.evidence import said
from rollguard.control.plane import ControlPlane
from rollguard.control.transitions import RefusedError, undo
from rollguard.ledger import ConflictError, Ledger, LedgerError
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.monitoring.observation import CriterionObservation, GuardObservation, Observation, guards_of
from rollguard.spec.rollout import Rollout
from rollguard.state import Entry, State, Transition
from tests.factories import guard_alert as alert
from tests.factories import shipped_rollout
from tests.unit.clock import NOW, Time

NAME = "model-canary"


@dataclass
class Heard(Listener):
    entries: list[Entry] = field(default_factory=list)
    strangers: list[GuardAlert] = field(default_factory=list)
    beats: int = 0

    def decided(self, entries: Sequence[Entry], _received_at: float | None) -> None:
        self.entries += entries

    def unknown(self, alert: GuardAlert) -> None:
        self.strangers.append(alert)

    def heartbeat(self) -> None:
        self.beats += 1


Build = Callable[..., ControlPlane]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield found
    found.close()


@pytest.fixture
def rollout() -> Rollout:
    return shipped_rollout()


@pytest.fixture
def build(rollout: Rollout, ledger: Ledger, time: Time, heard: Heard) -> Build:
    def of(*rollouts: Rollout, **options: Any) -> ControlPlane:
        return ControlPlane(
            rollouts or (rollout,), ledger, clock=Clock(time, time), listeners=[heard], **options
        )

    return of


@pytest.fixture
def control(build: Build) -> ControlPlane:
    return build()


def notify(control: ControlPlane, *alerts: GuardAlert) -> list[Entry]:
    return control.notify(Notification(alerts), NOW)


def served(control: ControlPlane, key: str = "user-1") -> str:
    return control.evaluator.evaluate(NAME, {"targetingKey": key}).variant


def take_to(control: ControlPlane, stage: str) -> None:
    control.start(NAME, actor="ann")
    while control.state(NAME).stage != stage:
        control.promote(NAME, actor="ann", early=True)


# A guard fires


def test_a_guard_that_fires_is_a_rollback_in_the_ledger(control: ControlPlane, ledger: Ledger) -> None:
    take_to(control, "canary")
    (entry,) = notify(control, alert())
    assert ledger.entries()[-1] == entry
    assert (entry.kind, entry.guard, entry.actor) == ("rollback", "DriftDetected", "guard")


def test_the_flag_shows_a_rollback_as_soon_as_it_is_decided(control: ControlPlane) -> None:
    take_to(control, "full")
    assert served(control) == "candidate"
    notify(control, alert())
    assert served(control) == "active"


def test_an_alert_that_comes_again_decides_nothing_more(control: ControlPlane) -> None:
    take_to(control, "canary")
    assert len(notify(control, alert())) == 1
    assert notify(control, alert(), alert("DriftDetected")) == []


def test_what_resolves_leaves_the_flag_off(control: ControlPlane) -> None:
    take_to(control, "full")
    notify(control, alert())
    notify(control, alert(firing=False))
    assert served(control) == "active"


def test_what_was_never_notified_is_decided_by_a_poll(control: ControlPlane) -> None:
    take_to(control, "canary")
    assert control.polled([alert()], NOW)[0].reason == "DriftDetected"


def test_an_alert_from_a_stage_without_its_guard_counts_when_the_stage_arms_it(
    control: ControlPlane,
) -> None:
    control.start(NAME, actor="ann")
    assert notify(control, alert("CanaryWinrateRollback")) == []
    with pytest.raises(RefusedError, match="CanaryWinrateRollback fires in canary"):
        control.promote(NAME, actor="ann", early=True)


def test_a_notification_from_before_the_run_is_dropped_where_alertmanager_denies_it(
    control: ControlPlane,
) -> None:
    control.start(NAME, actor="ann")
    control.confirm = lambda: control.polled([], NOW + 1) == []
    assert notify(control, alert(starts_at=NOW - 1)) == []
    assert control.state(NAME).status == "ROLLING_OUT"


def test_a_notification_from_before_the_run_counts_where_alertmanager_confirms_it(
    control: ControlPlane,
) -> None:
    control.start(NAME, actor="ann")
    control.confirm = lambda: bool(control.polled([alert(starts_at=NOW - 1)], NOW + 1))
    notify(control, alert(starts_at=NOW - 1))
    assert control.state(NAME).status == "ROLLBACK"


def test_a_notification_from_before_the_run_counts_where_nobody_can_be_asked(control: ControlPlane) -> None:
    control.start(NAME, actor="ann")
    assert len(notify(control, alert(starts_at=NOW - 1))) == 1


def test_nobody_is_asked_about_an_alert_of_this_run(control: ControlPlane) -> None:
    def confirm() -> bool:
        pytest.fail("Alertmanager was asked")

    control.confirm = confirm
    control.start(NAME, actor="ann")
    assert len(notify(control, alert())) == 1


def test_a_poll_confirms_what_fires_since_before_the_run(control: ControlPlane) -> None:
    control.start(NAME, actor="ann")
    assert len(control.polled([alert(starts_at=NOW - 1)], NOW)) == 1


def test_observing_leaves_the_flag_alone_and_notes_once(build: Build, rollout: Rollout) -> None:
    control = build(rollout.model_copy(update={"mode": "observe"}))
    take_to(control, "canary")
    assert [entry.kind for entry in notify(control, alert())] == ["would_rollback"]
    assert notify(control, alert()) == []
    assert control.state(NAME).status == "ROLLING_OUT"


def test_two_rollouts_fall_each_by_its_own_guards(build: Build, rollout: Rollout) -> None:
    flag = rollout.flag.model_copy(update={"key": "other"})
    control = build(rollout, rollout.model_copy(update={"rollout": "other", "flag": flag}))
    for name in (NAME, "other"):
        control.start(name, actor="ann")
    notify(control, alert())
    assert (control.state(NAME).status, control.state("other").status) == ("ROLLBACK", "ROLLING_OUT")


def test_an_alert_of_an_unknown_rollout_is_told_each_time_and_logged_once(
    control: ControlPlane, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        assert notify(control, alert(rollout="nobody")) == []
    assert len(heard.strangers) == 3
    assert len([record for record in caplog.records if "of no loaded rollout" in record.message]) == 1


def test_an_unknown_rollout_hides_no_known_one(control: ControlPlane) -> None:
    take_to(control, "canary")
    assert len(notify(control, alert(rollout="nobody"), alert())) == 1


# The platform


@pytest.mark.parametrize(
    "guard", ["RollguardExporterDown", "RollguardExporterStale", "PrometheusRuleFailures"]
)
def test_a_hold_of_the_platform_refuses_a_promotion_until_its_guard_is_false_with_data(
    control: ControlPlane, guard: str
) -> None:
    take_to(control, "canary")
    assert [entry.reason for entry in notify(control, alert(guard))] == [guard]
    with pytest.raises(RefusedError, match=f"{guard} fires in canary .action hold."):
        control.promote(NAME, actor="ann", early=True)
    notify(control, alert(guard, firing=False))
    with pytest.raises(RefusedError, match=f"is held by {guard}: each guard lets go once"):
        control.promote(NAME, actor="ann", early=True)
    judged = {guard: GuardObservation("armed", clear_seconds=3600.0)}
    seen = Observation(NOW + 3600.0, control.state(NAME).newest, guards=judged)
    assert [entry.kind for entry in control.observed(NAME, seen)] == ["release"]
    assert control.promote(NAME, actor="ann", early=True).to_stage == "ramp-25"


def test_a_hold_of_the_platform_delays_no_rollback(control: ControlPlane) -> None:
    take_to(control, "canary")
    notify(control, alert("RollguardExporterDown"))
    assert [entry.kind for entry in notify(control, alert())] == ["rollback"]


def test_the_heartbeat_is_heard_and_is_no_stranger(control: ControlPlane, heard: Heard) -> None:
    notify(control, alert("Watchdog", rollout=""), alert("RollguardDown", rollout=""))
    assert (heard.beats, heard.strangers) == (1, [])


def test_a_heartbeat_that_resolves_is_none(control: ControlPlane, heard: Heard) -> None:
    notify(control, alert("Watchdog", rollout="", firing=False))
    assert heard.beats == 0


# People


def test_a_start_opens_the_next_run_in_the_first_stage(control: ControlPlane, heard: Heard) -> None:
    entry = control.start(NAME, actor="ann", reason="v2")
    assert (entry.run, entry.to_stage, entry.actor, entry.reason) == (1, "shadow", "ann", "v2")
    assert heard.entries == [entry]


def test_a_second_start_is_refused(control: ControlPlane) -> None:
    control.start(NAME, actor="ann")
    with pytest.raises(RefusedError, match="is in stage shadow; roll it back to start anew"):
        control.start(NAME, actor="bob")


def test_after_the_last_stage_it_is_enabled(control: ControlPlane) -> None:
    take_to(control, "full")
    assert control.promote(NAME, actor="ann", early=True).to_status == "ENABLED"


@pytest.mark.parametrize("status", ["DISABLED", "ROLLBACK"])
def test_without_a_run_a_promotion_is_refused(control: ControlPlane, status: str) -> None:
    if status == "ROLLBACK":
        control.start(NAME, actor="ann")
        control.rollback(NAME, actor="ann", reason="")
        notify(control, alert())
    with pytest.raises(RefusedError, match=f"is in {status.lower()}: no stage is under way"):
        control.promote(NAME, actor="ann", early=True)


def test_a_stage_that_its_file_lost_cannot_be_left_by_a_promotion(build: Build, rollout: Rollout) -> None:
    build().start(NAME, actor="ann")
    without = build(rollout.model_copy(update={"stages": rollout.stages[1:]}))
    with pytest.raises(RefusedError, match="stages has no shadow, where run 1 is; mend its rollout file"):
        without.promote(NAME, actor="ann", early=True)


def test_without_a_run_a_rollback_is_refused(control: ControlPlane) -> None:
    with pytest.raises(RefusedError, match="is in disabled: no run is under way"):
        control.rollback(NAME, actor="ann", reason="x")


@pytest.mark.parametrize("verb", ["start", "promote"])
def test_an_unknown_rollout_is_refused_with_those_that_are_known(control: ControlPlane, verb: str) -> None:
    with pytest.raises(UnknownRolloutError, match="nobody is no rollout; known: model-canary"):
        getattr(control, verb)("nobody", actor="ann")


def test_a_rollback_by_hand_keeps_who_and_why(control: ControlPlane) -> None:
    control.start(NAME, actor="ann")
    entry = control.rollback(NAME, actor="bob", reason="customers complain")
    assert (entry.actor, entry.guard, entry.reason) == ("bob", None, "customers complain")


def test_a_promotion_is_refused_while_a_guard_holds(control: ControlPlane) -> None:
    take_to(control, "canary")
    notify(control, alert("WinRateDropNoData"))
    with pytest.raises(RefusedError, match=r"WinRateDropNoData fires in canary \(action hold\)"):
        control.promote(NAME, actor="ann", early=True)


def test_a_start_is_refused_while_a_guard_of_the_first_stage_fires(control: ControlPlane) -> None:
    notify(control, alert())
    with pytest.raises(RefusedError, match=r"DriftDetected fires in shadow \(action rollback\)"):
        control.start(NAME, actor="ann")


def test_evidence_of_the_run_before_takes_nothing_back_and_refuses_no_start(
    control: ControlPlane, time: Time
) -> None:
    take_to(control, "canary")
    assert [entry.kind for entry in notify(control, alert(labels={"run": "1"}))] == ["rollback"]
    control.acknowledge(NAME, actor="ann")
    time.now += 3600
    take_to(control, "canary")
    assert notify(control, alert(labels={"run": "1"})) == []
    assert [entry.kind for entry in notify(control, alert(labels={"run": "2"}))] == ["rollback"]


def test_a_rollback_by_hand_is_never_refused_by_a_guard(control: ControlPlane) -> None:
    take_to(control, "canary")
    notify(control, alert("WinRateDropNoData"))
    assert control.rollback(NAME, actor="ann", reason="x").to_status == "ROLLBACK"


# Cooldown and hold


def test_a_start_is_refused_during_the_cooldown(control: ControlPlane, time: Time) -> None:
    take_to(control, "canary")
    notify(control, alert())
    notify(control, alert(firing=False))
    control.acknowledge(NAME, actor="ann")
    time.now += 60
    with pytest.raises(RefusedError, match="was rolled back by DriftDetected; its cooldown ends in 29m"):
        control.start(NAME, actor="ann")


def test_a_refusal_does_not_take_a_reason_for_whoever_rolled_back(control: ControlPlane) -> None:
    take_to(control, "canary")
    control.rollback(NAME, actor="ann", reason="oops")
    with pytest.raises(RefusedError, match=r"went back \(oops\), and nobody has acknowledged it"):
        control.start(NAME, actor="ann")
    control.acknowledge(NAME, actor="ann")
    with pytest.raises(RefusedError, match=r"was rolled back \(oops\); its cooldown ends in"):
        control.start(NAME, actor="ann")


def test_the_cooldown_lasts_as_long_as_a_breach_may_echo(
    control: ControlPlane, rollout: Rollout, time: Time
) -> None:
    control.start(NAME, actor="ann")
    control.rollback(NAME, actor="ann", reason="x")
    assert rollout.rollback.cooldown == 15 * 60
    assert control.cooldown_left(rollout, control.state(NAME)) == 30 * 60


def test_a_start_is_taken_after_the_cooldown(control: ControlPlane, time: Time) -> None:
    control.start(NAME, actor="ann")
    control.rollback(NAME, actor="ann", reason="x")
    control.acknowledge(NAME, actor="ann")
    time.now += 30 * 60
    assert control.start(NAME, actor="ann").run == 2


def test_a_cooldown_does_not_delay_a_rollback(control: ControlPlane, time: Time) -> None:
    control.start(NAME, actor="ann")
    control.rollback(NAME, actor="ann", reason="x")
    control.acknowledge(NAME, actor="ann")
    time.now += 30 * 60
    control.start(NAME, actor="ann")
    assert len(notify(control, alert(starts_at=time.now))) == 1


def test_cooldown_and_hold_are_scaled(build: Build, rollout: Rollout, time: Time) -> None:
    control = build(scale=60.0)
    control.start(NAME, actor="ann")
    assert control.hold_left(rollout, control.state(NAME)) == 24 * 60
    control.rollback(NAME, actor="ann", reason="x")
    assert control.cooldown_left(rollout, control.state(NAME)) == 30


# Promotions by hand


@pytest.fixture
def plain(build: Build, rollout: Rollout) -> ControlPlane:
    """Return a control plane without a Prometheus that criteria could be asked of, and without criteria."""
    return build(rollout.model_copy(update={"advance": ()}))


def test_a_promotion_before_its_time_is_refused_and_early_says_what_it_skipped(
    plain: ControlPlane, time: Time
) -> None:
    control = plain
    control.start(NAME, actor="ann")
    time.now += 3600
    why = "waits for the approval of canary; its hold, 23h left; `rollguard promote model-canary --early`"
    with pytest.raises(RefusedError, match=why):
        control.promote(NAME, actor="ann")
    entry = control.promote(NAME, actor="ann", early=True)
    assert entry.evidence["skipped"] == ["the approval of canary", "its hold, 23h left"]
    assert said(entry.evidence) == "skipped the approval of canary; skipped its hold, 23h left"


def test_a_criterion_that_nobody_can_ask_is_unmet(control: ControlPlane, time: Time) -> None:
    take_to(control, "ramp-25")
    time.now += 24 * 3600
    with pytest.raises(RefusedError, match="no parity failure: there is no Prometheus to ask"):
        control.promote(NAME, actor="ann")


def test_three_promotions_in_a_row_are_one_step_at_most(plain: ControlPlane, time: Time) -> None:
    control = plain
    control.start(NAME, actor="ann")
    control.approve(NAME, actor="ann")
    time.now += 24 * 3600
    assert control.promote(NAME, actor="ann").to_stage == "canary"
    for _ in range(2):
        with pytest.raises(RefusedError, match="waits for its hold, 4h left"):
            control.promote(NAME, actor="ann")


def observed(control: ControlPlane, **changes: Any) -> Observation:
    """Return a stage whose time has passed, as Prometheus shows it when somebody asks, with changes."""
    state = control.state(NAME)
    known = control.rollouts[NAME]
    guards = {guard.name: GuardObservation("armed") for guard in guards_of(known, state.position)}
    whole = Observation(NOW, state.newest, guards=guards, clock_seconds=48 * 3600.0)
    return replace(whole, **changes)


def in_ramp(control: ControlPlane, **changes: Any) -> None:
    take_to(control, "ramp-25")
    seen = observed(control, **changes)
    control.check_rules_loaded = lambda *_: []
    control.observe = lambda *_: seen
    control.observed(NAME, seen, decides=False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"clock_seconds": 0.0}, "its hold, 4h left"),
        ({"criteria": (CriterionObservation("enough", "q", 3.0),)}, "enough: 3"),
        ({"criteria": (CriterionObservation("enough", "q"),)}, "enough: no data"),
        ({"guards": {}}, "DriftDetected, which has not been looked at"),
    ],
)
def test_what_keeps_a_stage_refuses_a_promotion_unless_early(
    control: ControlPlane, changes: dict[str, Any], why: str
) -> None:
    in_ramp(control, **changes)
    with pytest.raises(RefusedError, match=why):
        control.promote(NAME, actor="ann")
    assert why in control.promote(NAME, actor="ann", early=True).evidence["skipped"]


@pytest.mark.parametrize(
    "changes",
    [
        {"ahead": ("DriftDetected is pending",)},
        {"problems": ("its rules were last evaluated 3m ago",)},
        {"guards": {"DriftDetected": GuardObservation("breached", "is pending")}},
    ],
)
def test_early_passes_over_no_guard_that_is_about_to_fire(
    control: ControlPlane, changes: dict[str, Any]
) -> None:
    in_ramp(control, **changes)
    with pytest.raises(RefusedError, match="--unguarded` goes on all the same"):
        control.promote(NAME, actor="ann", early=True)


def test_a_promotion_whose_stage_is_over_skips_nothing(control: ControlPlane) -> None:
    in_ramp(control)
    assert control.next_step(control.rollouts[NAME], control.state(NAME)) == (
        "rollguard promote model-canary --from ramp-25"
    )
    assert "skipped" not in control.promote(NAME, actor="ann").evidence


def test_an_approval_meant_for_another_stage_is_refused(control: ControlPlane) -> None:
    control.start(NAME, actor="ann")
    with pytest.raises(RefusedError, match="is in shadow by now, no longer in canary"):
        control.approve(NAME, actor="ann", origin="canary")
    control.approve(NAME, actor="ann", origin="shadow")


def test_a_step_names_the_command_that_takes_it_back(control: ControlPlane) -> None:
    back = f"rollguard rollback {NAME}"
    assert undo(control.start(NAME, actor="ann")) == f"{back} --reason …"
    assert undo(control.promote(NAME, actor="ann", early=True)) == f"{back} --to shadow --reason …"
    assert undo(control.pause(NAME, actor="ann")) == f"rollguard resume {NAME}"
    assert undo(control.resume(NAME, actor="ann")) == f"rollguard pause {NAME} --reason …"
    while control.state(NAME).stage != "full":
        control.promote(NAME, actor="ann", early=True)
    assert undo(control.promote(NAME, actor="ann", early=True)) == f"{back} --to full --reason …"
    assert control.rollback(NAME, actor="ann", reason="x", to="full").to_stage == "full"
    assert undo(control.rollback(NAME, actor="ann", reason="x")) == ""


# The next step


def act_on(control: ControlPlane, command: str) -> None:
    """Do what a command line says."""
    match command.split():
        case ["rollguard", ("promote" | "approve") as verb, _, "--from", stage]:
            getattr(control, verb)(NAME, actor="ann", origin=stage)
        case ["rollguard", verb, *_]:
            getattr(control, verb)(NAME, actor="ann")


@pytest.mark.parametrize(
    ("steps", "proposed"),
    [
        ((), "rollguard start model-canary"),
        (("start",), "rollguard approve model-canary --from shadow"),
        (("start", "approve"), "wait: model-canary waits for its hold, 1d left;"),
        (("start", "approve", "day"), "rollguard promote model-canary --from shadow"),
        (("start", "pause"), "rollguard resume model-canary"),
        (("start", "rollback"), "rollguard acknowledge model-canary --reason …"),
        (
            ("start", "rollback", "acknowledge"),
            "wait: model-canary was rolled back (x); its cooldown ends in",
        ),
        (("start", "rollback", "acknowledge", "day"), "rollguard start model-canary"),
        (("holds",), "wait: model-canary: WinRateDropNoData fires in canary"),
        (("holds", "silent"), "wait: model-canary is held by WinRateDropNoData"),
        (("fires",), "wait: model-canary: DriftDetected fires in shadow"),
    ],
)
def test_the_next_step_is_never_one_that_is_refused(
    plain: ControlPlane, time: Time, steps: tuple[str, ...], proposed: str
) -> None:
    control = plain
    for step in steps:
        if step == "day":
            time.now += 24 * 3600
        elif step == "fires":
            notify(control, alert())
        elif step == "holds":
            take_to(control, "canary")
            notify(control, alert("WinRateDropNoData"))
        elif step == "silent":
            notify(control, alert("WinRateDropNoData", firing=False))
        else:
            getattr(control, step)(NAME, actor="ann", reason="x")
    found = control.next_step(control.rollouts[NAME], control.state(NAME))
    assert found.startswith(proposed)
    if found.startswith("rollguard"):
        act_on(control, found)


def test_no_start_is_proposed_while_prometheus_shows_no_guards(control: ControlPlane) -> None:
    control.unguarded[NAME] = ["its rules have not been evaluated yet"]
    found = control.next_step(control.rollouts[NAME], control.state(NAME))
    assert found == "wait: model-canary: its rules have not been evaluated yet."


# Storage, other writers, restarts


class Failing:
    """A ledger whose next calls fail."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.errors: dict[str, list[Exception]] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            return getattr(self._ledger, name)(*arguments, **options)

        return call


@pytest.fixture
def failing(ledger: Ledger) -> Failing:
    return Failing(ledger)


@pytest.fixture
def fragile(failing: Failing, rollout: Rollout, time: Time) -> ControlPlane:
    control = ControlPlane([rollout], failing, clock=Clock(time, time))  # type: ignore[arg-type]
    take_to(control, "full")
    return control


def test_a_ledger_that_cannot_be_written_leaves_the_flag_as_it_was(
    fragile: ControlPlane, failing: Failing
) -> None:
    failing.errors["append"] = [LedgerError("disk full")]
    with pytest.raises(LedgerError):
        notify(fragile, alert())
    assert served(fragile) == "candidate"


def test_a_retry_decides_once_the_ledger_can_be_written(fragile: ControlPlane, failing: Failing) -> None:
    failing.errors["append"] = [LedgerError("disk full")]
    with pytest.raises(LedgerError):
        notify(fragile, alert())
    assert len(notify(fragile, alert())) == 1
    assert served(fragile) == "active"


def test_the_next_poll_decides_where_no_retry_comes(fragile: ControlPlane, failing: Failing) -> None:
    failing.errors["append"] = [LedgerError("disk full")]
    with pytest.raises(LedgerError):
        notify(fragile, alert())
    assert len(fragile.polled([alert()], NOW)) == 1


def test_a_state_that_changed_under_way_is_decided_upon_anew(fragile: ControlPlane, failing: Failing) -> None:
    failing.errors["append"] = [ConflictError("somebody was quicker")]
    assert len(notify(fragile, alert())) == 1


def test_somebody_may_be_quicker_with_several_rollouts(fragile: ControlPlane, failing: Failing) -> None:
    failing.errors["append"] = [ConflictError("quicker")] * (ATTEMPTS - 1)
    assert len(notify(fragile, alert())) == 1


def test_conflicts_without_end_are_given_up_for_a_retry(fragile: ControlPlane, failing: Failing) -> None:
    failing.errors["append"] = [ConflictError("quicker")] * ATTEMPTS
    with pytest.raises(ConflictError):
        notify(fragile, alert())


def test_a_person_who_is_too_late_is_refused(fragile: ControlPlane, failing: Failing) -> None:
    failing.errors["append"] = [ConflictError("in rollback since entry 7")]
    with pytest.raises(RefusedError, match="in rollback since entry 7"):
        fragile.promote(NAME, actor="ann", early=True)


def test_the_flag_shows_what_another_process_decided(control: ControlPlane, ledger: Ledger) -> None:
    take_to(control, "full")
    ledger.append([Transition(NAME, "rollback", 1, "ROLLBACK", actor="bob", reason="x")], NOW)
    control.polled([], NOW)
    assert served(control) == "active"


def test_a_decision_that_another_process_took_first_is_shown(control: ControlPlane, ledger: Ledger) -> None:
    take_to(control, "full")
    ledger.append([Transition(NAME, "rollback", 1, "ROLLBACK", guard="DriftDetected", reason="x")], NOW)
    assert notify(control, alert()) == []
    assert served(control) == "active"


def test_a_restart_remembers(build: Build, control: ControlPlane) -> None:
    take_to(control, "full")
    notify(control, alert())
    again = build()
    assert served(again) == "active"
    assert again.state(NAME) == control.state(NAME)


def test_a_rollout_that_is_in_a_stage_its_file_lost_serves_what_the_ledger_noted(
    build: Build, control: ControlPlane, rollout: Rollout
) -> None:
    take_to(control, "ramp-50")
    before = served(control)
    assert served(build(rollout.model_copy(update={"stages": rollout.stages[:2]}))) == before == "candidate"


def test_a_rollout_that_is_in_a_stage_its_file_lost_serves_the_fallback_where_nothing_is_noted(
    build: Build, ledger: Ledger, rollout: Rollout
) -> None:
    ledger.append([Transition(NAME, "start", 1, "ROLLING_OUT", "ramp-50", actor="ann")], NOW)
    assert served(build(rollout.model_copy(update={"stages": rollout.stages[:2]}))) == "active"


def test_many_notifications_at_once_are_one_rollback(control: ControlPlane, ledger: Ledger) -> None:
    take_to(control, "canary")
    names = ["DriftDetected", "OnnxParityFailure", "CanaryWinrateRollback", "ExecutionDegradation"] * 4
    threads = [threading.Thread(target=notify, args=(control, alert(name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.kind for entry in ledger.entries()].count("rollback") == 1


def test_a_rollout_without_entries_is_disabled(control: ControlPlane) -> None:
    assert control.state(NAME) == State(NAME)
    assert served(control) == "active"
