"""What ends a stage by itself, and what keeps it: pure, with time and observations at hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollguard.control.advance import hold_left, waits_for
from rollguard.control.decide import decide
from rollguard.conventions import PLATFORM
from rollguard.monitoring.alerts import GuardAlert
from rollguard.monitoring.observation import CriterionObservation, GuardObservation, Observation, guards_of
from rollguard.spec.calendars import Freeze, Window
from rollguard.spec.calendars import instant_seconds as seconds
from rollguard.spec.guards import clear_for
from rollguard.spec.rollout import Deadline, Rollout
from rollguard.state import State, Transition
from tests.factories import guard_alert as alert
from tests.factories import shipped_rollout, with_guards

ROLLOUT = shipped_rollout()
HOLD = 4 * 3600.0
NOW = 1_700_000_000.0  # a Tuesday, 22:13 in London
CANARY = State(
    ROLLOUT.name,
    "ROLLING_OUT",
    "canary",
    run=1,
    seq=2,
    newest=2,
    entered_at=NOW - HOLD,
    clock_from=NOW - HOLD,
)
NO_DATA = "WinRateDropNoData"
GUARDS = {guard.name: GuardObservation("armed") for guard in guards_of(ROLLOUT, "canary")}
SEEN = Observation(NOW, newest=2, guards=GUARDS, clock_seconds=HOLD)


def changed(**changes: Any) -> Rollout:
    return ROLLOUT.model_copy(update=changes)


def staged(stage: str, **changes: Any) -> Rollout:
    stages = tuple(item.model_copy(update=changes) if item.name == stage else item for item in ROLLOUT.stages)
    return changed(stages=stages)


def waits(rollout: Rollout = ROLLOUT, state: State = CANARY, seen: Observation | None = SEEN) -> list[str]:
    return [wait.what for wait in waits_for(rollout, state, seen, now=NOW)]


def decided(
    rollout: Rollout = ROLLOUT,
    state: State = CANARY,
    *firing: GuardAlert,
    seen: Observation | None = SEEN,
    now: float = NOW,
    **options: Any,
) -> list[Transition]:
    return decide(rollout, state, firing, now=now, seen=seen, **options)


def with_guard(name: str, seen: GuardObservation) -> Observation:
    return replace(SEEN, guards={**GUARDS, name: seen})


def test_a_stage_whose_conditions_are_all_met_ends_with_what_was_seen_as_evidence() -> None:
    (promotion,) = decided()
    assert (promotion.kind, promotion.to_stage, promotion.actor) == ("promote", "ramp-25", "advance")
    assert promotion.evidence["guards"]["DriftDetected"] == {"condition": "armed", "armed_share": None}


def test_after_the_last_stage_the_release_is_enabled() -> None:
    full = replace(CANARY, stage="full")
    seen = replace(SEEN, clock_seconds=24 * 3600.0)
    assert decided(state=full, seen=seen)[0].to_status == "ENABLED"


def test_without_news_of_prometheus_nothing_ends() -> None:
    assert decided(seen=None) == []
    assert waits(seen=None) == ["Prometheus, which has not answered yet"]


def test_what_was_seen_of_another_state_says_nothing() -> None:
    assert decided(seen=replace(SEEN, newest=1)) == []


def test_a_guard_that_fires_comes_before_every_promotion() -> None:
    assert [found.kind for found in decided(ROLLOUT, CANARY, alert("DriftDetected"))] == ["rollback"]


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (replace(SEEN, clock_seconds=HOLD - 60), "its hold, 1m left"),
        (
            replace(SEEN, problems=("its rules were last evaluated 3m ago",)),
            "its rules were last evaluated 3m ago",
        ),
        (replace(SEEN, ahead=("DriftDetected is pending",)), "DriftDetected is pending in the next stage"),
        (
            replace(SEEN, criteria=(CriterionObservation("enough", "q", 499.0),)),
            "enough: 499",
        ),
        (replace(SEEN, criteria=(CriterionObservation("enough", "q"),)), "enough: no data"),
        (
            replace(SEEN, criteria=(CriterionObservation("enough", "q", error="several series"),)),
            "enough: several series",
        ),
        (
            with_guard("DriftDetected", GuardObservation("breached", "is pending")),
            "DriftDetected, which is pending",
        ),
        (
            with_guard("DriftDetected", GuardObservation("without data", "has no data")),
            "DriftDetected, which has no data",
        ),
    ],
)
def test_what_prometheus_shows_keeps_a_stage(seen: Observation, reason: str) -> None:
    assert waits(seen=seen) == [reason]
    assert decided(seen=seen) == []


def test_a_guard_that_waits_for_its_sample_keeps_no_stage() -> None:
    assert waits(seen=with_guard("DriftDetected", GuardObservation("waiting"))) == []


def test_a_guard_that_nobody_has_looked_at_keeps_a_stage() -> None:
    guards = {name: seen for name, seen in GUARDS.items() if name != "DriftDetected"}
    assert waits(seen=replace(SEEN, guards=guards)) == ["DriftDetected, which has not been looked at"]


def test_a_guard_whose_missing_data_is_ignored_keeps_no_stage() -> None:
    listed = tuple(
        guard.model_copy(update={"no_data": "ignore"}) if guard.name == "DriftDetected" else guard
        for guard in ROLLOUT.guards
    )
    rollout = changed(guards=listed)
    guards = {guard.name: GuardObservation("armed") for guard in guards_of(rollout, "canary")}
    guards["DriftDetected"] = GuardObservation("without data", "has no data")
    assert waits(rollout, seen=replace(SEEN, guards=guards)) == []


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (
            replace(CANARY, held=frozenset({NO_DATA})),
            f"{NO_DATA}, which holds it until it was false for 6m, 0s so far",
        ),
        (replace(CANARY, acknowledged=False), "an acknowledgement"),
        (replace(CANARY, stepped_back=True, rolled_back_at=NOW - 60), "its cooldown, 29m left"),
        (replace(CANARY, paused_by="ann"), "ann, who paused it"),
    ],
)
def test_what_people_and_guards_did_keeps_a_stage(state: State, reason: str) -> None:
    assert waits(state=state) == [reason]
    assert decided(state=state, seen=None) == []


def test_a_stage_that_its_file_lost_does_not_end() -> None:
    assert waits(state=replace(CANARY, stage="gone")) == ["gone, which its file no longer has"]


# Approval


def test_a_stage_that_needs_an_approval_does_not_begin_without() -> None:
    shadow = replace(CANARY, stage="shadow")
    seen = replace(SEEN, clock_seconds=24 * 3600.0)
    assert waits(state=shadow, seen=seen) == ["the approval of canary"]
    assert decided(state=replace(shadow, approved="canary"), seen=seen)[0].to_stage == "canary"


def test_the_approval_of_another_stage_does_not_count() -> None:
    shadow = replace(CANARY, stage="shadow", approved="ramp-25")
    assert decided(state=shadow, seen=replace(SEEN, clock_seconds=24 * 3600.0)) == []


# Calendars

OFFICE = Window(zone="Europe/London", hours="09:00-17:00", holidays=("2023-11-15",))


def test_outside_of_its_window_a_stage_does_not_end() -> None:
    assert waits(changed(advance_in=OFFICE)) == [
        "its window: mon, tue, wed, thu, fri 09:00-17:00 Europe/London"
    ]


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2023-11-14T08:59:59+00:00", False),
        ("2023-11-14T09:00:00+00:00", True),
        ("2023-11-14T16:59:59+00:00", True),
        ("2023-11-14T17:00:00+00:00", False),
        ("2023-11-15T12:00:00+00:00", False),  # a holiday
        ("2023-11-18T12:00:00+00:00", False),  # a Saturday
        ("2023-07-14T08:30:00+00:00", True),  # 09:30 in summer
    ],
)
def test_a_window_is_open_by_its_zones_clock(moment: str, is_open: bool) -> None:
    assert OFFICE.open_at(seconds(moment)) == is_open


def test_a_window_of_whole_days_ends_at_midnight() -> None:
    assert Window(zone="UTC", days=("tue",)).open_at(NOW)


def spans(window: Window, begin: str, end: str) -> list[tuple[float, float]]:
    """Return the parts of a time in which a window is open, in hours since the time began."""
    first, last = seconds(begin), seconds(end)
    return [((one - first) / 3600, (other - first) / 3600) for one, other in window.open_within(first, last)]


def test_a_window_is_open_for_parts_of_a_time() -> None:
    monday, tuesday = "2023-11-13T10:00:00+00:00", "2023-11-17T10:00:00+00:00"
    assert spans(OFFICE, monday, tuesday) == [(0, 7), (23, 31), (71, 79), (95, 96)], "the 15th is a holiday"
    assert spans(OFFICE, "2023-11-18T00:00:00+00:00", "2023-11-19T00:00:00+00:00") == []
    assert spans(OFFICE, "2023-11-14T17:00:00+00:00", "2023-11-14T23:00:00+00:00") == []


def test_whole_days_that_follow_each_other_are_one_time_also_where_clocks_change() -> None:
    days = Window(zone="Europe/London", days=("sat", "sun", "mon"))
    assert spans(days, "2024-03-30T00:00:00+00:00", "2024-04-02T12:00:00+00:00") == [(0, 71)]
    night = Window(zone="America/New_York", days=("sun",), hours="01:00-04:00")
    assert spans(night, "2024-03-10T00:00:00-05:00", "2024-03-11T00:00:00-04:00") == [(1, 3)]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"zone": "Mars/Olympus"}, "expected a time zone"),
        ({"zone": "UTC", "hours": "9-17"}, "expected hours such as"),
        ({"zone": "UTC", "hours": "09:00Z-17:00Z"}, "expected hours such as"),
        ({"zone": "UTC", "hours": "09:00Z-17:00"}, "expected hours such as"),
        ({"zone": "UTC", "hours": "25:00-26:00"}, "expected hours such as"),
        ({"zone": "UTC", "hours": "17:00-09:00"}, "expected the end after the beginning"),
        ({"zone": "UTC", "holidays": ("25.12.2026",)}, "expected a day such as"),
        ({"zone": "UTC", "holidays": ("20261225",)}, "expected a day such as"),
    ],
)
def test_a_window_that_is_none_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Window(**given)


def freeze(begin: str = "2023-11-14T00:00:00+00:00", until: str = "2023-11-15T00:00:00+00:00") -> Freeze:
    return Freeze.model_validate({"from": begin, "until": until, "why": "year end"})


def test_in_a_freeze_a_stage_does_not_end() -> None:
    found = waits(changed(freezes=(freeze(),)))
    assert found == ["the end of a freeze at 2023-11-15T00:00:00+00:00: year end"]


def test_a_freeze_that_is_over_keeps_nothing() -> None:
    assert waits(changed(freezes=(freeze(until="2023-11-14T22:00:00+00:00"),))) == []


def test_a_freeze_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="expected from before until"):
        freeze(until="2023-11-13T00:00:00+00:00")


def test_calendars_do_not_count_where_time_is_scaled() -> None:
    rollout = changed(advance_in=OFFICE, freezes=(freeze(),))
    assert waits_for(rollout, CANARY, SEEN, now=NOW, scale=2.0) == []


# Clocks

CLOCKED = changed(clock=OFFICE)  # it is Tuesday, 22:13 in London


def test_closed_hours_end_no_stage_and_do_not_count() -> None:
    assert waits(CLOCKED) == ["its clock, which runs mon, tue, wed, thu, fri 09:00-17:00 Europe/London"]
    assert decided(CLOCKED) == []
    since_noon = replace(CANARY, clock_from=NOW - 10.25 * 3600)  # 11:58; it closed five hours later
    assert hold_left(changed(clock=OFFICE), since_noon, None, NOW, 1.0) == 0.0
    assert hold_left(changed(clock=OFFICE), CANARY, None, NOW, 1.0) == pytest.approx(HOLD)


def test_a_clock_does_not_count_where_time_is_scaled() -> None:
    assert waits_for(CLOCKED, CANARY, SEEN, now=NOW, scale=2.0) == []


@pytest.mark.parametrize(
    ("starts_at", "now", "kinds"),
    [
        (NOW, NOW + 60, []),
        (NOW - 6 * 3600, NOW, ["rollback"]),  # it began in open hours
        (NOW, NOW + 35 * 3600, ["rollback"]),  # and still fires once they are open again, on Thursday
    ],
)
def test_what_begins_and_ends_in_closed_hours_does_not_count(
    starts_at: float, now: float, kinds: list[str]
) -> None:
    fires = alert("DriftDetected", starts_at=starts_at)
    assert [found.kind for found in decided(CLOCKED, CANARY, fires, now=now)] == kinds
    assert [found.kind for found in decided(ROLLOUT, CANARY, fires, now=now)] == ["rollback"]


def test_a_guard_has_a_clock_of_its_own() -> None:
    listed = tuple(
        guard.model_copy(update={"clock": OFFICE}) if guard.name == "DriftDetected" else guard
        for guard in ROLLOUT.guards
    )
    rollout = changed(guards=listed)
    assert decided(rollout, CANARY, alert("DriftDetected"), alert("DriftDetectedNoData"), seen=None) == []
    assert decided(rollout, CANARY, alert("OnnxParityFailure")) != []
    closed = with_guard("DriftDetected", GuardObservation("closed"))
    assert waits(rollout, seen=closed) == [], "a guard whose clock is closed keeps no stage"


def test_a_hold_lasts_over_closed_hours_and_says_so() -> None:
    held = [
        wait.what
        for wait in waits_for(CLOCKED, HELD, with_guard(NO_DATA, GuardObservation("closed")), now=NOW)
    ]
    assert f"{NO_DATA}, which holds it, and its clock, which runs {OFFICE}" in held


# Requirements


def test_a_stage_waits_for_what_it_requires() -> None:
    rollout = changed(requires=("other",))
    assert waits(rollout) == ["other, which is in disabled"]
    enabled = {"other": State("other", "ENABLED")}
    assert waits_for(rollout, CANARY, SEEN, now=NOW, states=enabled) == []


# Holds


def test_a_hold_names_its_guards_and_keeps_what_their_alerts_said() -> None:
    (hold,) = decided(ROLLOUT, CANARY, alert(NO_DATA), alert("DriftDetectedNoData"))
    assert (hold.kind, hold.reason) == ("hold", "DriftDetectedNoData, WinRateDropNoData")
    assert hold.evidence["alerts"][NO_DATA]["starts_at"] == NOW


HELD = replace(CANARY, held=frozenset({NO_DATA}), hold_changed={NO_DATA: NOW - HOLD})
CLEAR = 360.0
"""Seconds: the 5 minutes in which it sees data go, and its `for` of 4 scrapes."""


def clear(seconds: float | None, name: str = NO_DATA) -> Observation:
    return with_guard(name, GuardObservation("armed", clear_seconds=seconds))


def test_what_holds_already_holds_once() -> None:
    assert decided(ROLLOUT, HELD, alert(NO_DATA), seen=None) == []


def test_a_hold_ends_when_its_guard_was_false_with_data_for_long_enough() -> None:
    assert [found.kind for found in decided(state=HELD, seen=clear(CLEAR))] == ["release"]
    assert decided(state=HELD, seen=clear(CLEAR - 1)) == decided(state=HELD, seen=clear(None)) == []
    assert [found.kind for found in decided(state=HELD, seen=clear(CLEAR / 10), scale=10.0)] == ["release"]


def test_a_hold_lasts_as_long_as_its_guard_must_be_false_wherever_it_fired() -> None:
    begun = replace(HELD, hold_changed={NO_DATA: NOW - CLEAR + 1})
    assert decided(state=begun, seen=clear(CLEAR)) == []
    assert decided(state=replace(begun, hold_changed={NO_DATA: NOW - CLEAR}), seen=clear(CLEAR)) != []


def test_a_guard_says_how_long_it_must_be_false() -> None:
    rollout = guarded(clear_for=7200.0)
    assert decided(rollout, FULL, seen=clear(7199.0, CALIBRATION)) == []
    assert len(decided(rollout, FULL, seen=clear(7200.0, CALIBRATION))) == 1
    assert len(decided(guarded(clear_for=0.0), FULL, seen=clear(0.0, CALIBRATION))) == 1


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({"with": {"metric": "m", "above": 1}}, 60.0),
        ({"with": {"metric": "m", "above": 1}, "for": "10m"}, 600.0),
        (
            {"with": {"metric": "m", "above": 1, "aggregate": "average", "window": "20m"}, "for": "10m"},
            1800.0,
        ),
        ({"with": {"metric": "m", "above": 1, "aggregate": "average", "window": "7d"}}, 3600.0),
        ({"with": {"metric": "m", "above": 1}, "clear_for": "7d"}, 604_800.0),
        ({"with": {"metric": "m", "above": 1}, "clear_for": "0s"}, 0.0),
    ],
    ids=["4 scrapes", "its for", "its window and for", "an hour at most", "its own", "at once"],
)
def test_by_default_a_guard_must_be_false_for_its_window(given: dict[str, Any], seconds: float) -> None:
    rollout = with_guards(ROLLOUT, given)
    assert clear_for(rollout, rollout.guards[0]) == seconds


def test_the_platforms_guards_must_be_false_for_a_while_too() -> None:
    platform = next(guard for guard in guards_of(ROLLOUT, "canary") if guard.use == PLATFORM)
    assert clear_for(ROLLOUT, platform) >= 60.0


@pytest.mark.parametrize("condition", ["waiting", "without data", "breached"])
def test_a_hold_stays_until_its_guard_can_judge(condition: Any) -> None:
    assert decided(state=HELD, seen=with_guard(NO_DATA, GuardObservation(condition, "x"))) == []


def test_a_hold_stays_while_alertmanager_says_that_its_guard_fires() -> None:
    assert decided(ROLLOUT, HELD, alert(NO_DATA)) == []


def test_a_hold_of_a_guard_that_the_file_lost_ends() -> None:
    assert [found.kind for found in decided(state=replace(CANARY, held=frozenset({"Gone"})))] == ["release"]


CALIBRATION = "CalibrationOutOfSpec-ece"
FULL = replace(CANARY, stage="full", held=frozenset({CALIBRATION}))


def silent(seconds: float | None, condition: Any = "without data", **changes: Any) -> Observation:
    """Return what was seen while the calibration guard has had no data for so long."""
    return with_guard(
        CALIBRATION, replace(GuardObservation(condition, "has no data", silent_seconds=seconds), **changes)
    )


def guarded(**changes: Any) -> Rollout:
    listed = tuple(
        guard.model_copy(update=changes) if guard.name == CALIBRATION else guard for guard in ROLLOUT.guards
    )
    return changed(guards=listed)


def ignoring(no_data: str = "ignore") -> Rollout:
    return guarded(no_data=no_data)


@pytest.mark.parametrize("no_data", ["ignore", "notify"])
def test_a_hold_whose_data_are_gone_ends_and_says_why_where_the_file_lets_that_pass(no_data: str) -> None:
    (release,) = decided(ignoring(no_data), FULL, seen=silent(1800.0))
    assert release.reason == f"{CALIBRATION}: no data in full for 30m, and no_data is {no_data}"
    assert (release.kind, release.evidence["guards"]) == ("release", [CALIBRATION])
    assert release.evidence["why"] in release.reason


@pytest.mark.parametrize(
    ("rollout", "seen"),
    [
        (ignoring(), silent(299.0)),
        (ignoring(), silent(None, why="cannot be evaluated: x")),
        (ignoring(), silent(299.0, "waiting", why="")),
        (ignoring(), silent(None, "breached", why="is pending")),
        (ignoring("hold"), silent(1800.0)),
    ],
    ids=["not for long", "an error", "below its sample", "pending", "missing data holds"],
)
def test_a_hold_stays_while_its_guard_may_still_be_breached(rollout: Rollout, seen: Observation) -> None:
    assert decided(rollout, FULL, seen=seen) == []


@pytest.mark.parametrize("no_data", ["hold", "ignore"])
def test_a_hold_whose_guard_stays_below_its_minimal_sample_ends_and_says_so(no_data: str) -> None:
    (release,) = decided(ignoring(no_data), FULL, seen=silent(1800.0, "waiting", why=""))
    assert release.reason == f"{CALIBRATION}: below its minimal sample in full for 30m"
    assert release.evidence["why"] == "below its minimal sample in full for 30m"


def test_a_hold_whose_data_are_gone_stays_while_its_guard_fires() -> None:
    assert decided(ignoring(), FULL, alert(CALIBRATION), seen=silent(1800.0)) == []


def test_a_hold_lasts_as_long_as_a_breach_may_echo() -> None:
    windowed = tuple(
        guard.model_copy(update={"for_": 900.0}) if guard.name == CALIBRATION else guard
        for guard in ignoring().guards
    )
    rollout = changed(guards=windowed)
    assert decided(rollout, FULL, seen=silent(899.0)) == []
    assert len(decided(rollout, FULL, seen=silent(900.0))) == 1
    assert len(decided(rollout, FULL, seen=silent(90.0), scale=10.0)) == 1


def test_several_holds_end_each_for_its_reason() -> None:
    held = replace(FULL, held=frozenset({CALIBRATION, "Gone", NO_DATA}))
    seen = replace(SEEN, guards={**silent(1800.0).guards, NO_DATA: clear(CLEAR).guards[NO_DATA]})
    found = decided(ignoring(), held, seen=seen)
    assert [item.reason.partition(":")[0] for item in found] == [CALIBRATION, "Gone", NO_DATA]
    assert [bool(item.evidence.get("why")) for item in found] == [True, True, False]


def test_a_hold_that_is_stuck_names_what_ends_it() -> None:
    waits = [wait.what for wait in waits_for(ROLLOUT, FULL, silent(60.0), now=NOW)]
    assert f"{CALIBRATION}, which holds it and has no data: `rollguard acknowledge {ROLLOUT.name}" in waits[0]


def test_a_hold_that_is_about_to_end_says_how_long_that_takes() -> None:
    waits = [wait.what for wait in waits_for(ROLLOUT, HELD, clear(90.0), now=NOW)]
    assert waits == [f"{NO_DATA}, which holds it until it was false for 6m, 1m30s so far"]


def test_in_enabled_nothing_is_held() -> None:
    enabled = State(ROLLOUT.name, "ENABLED", run=1)
    assert decided(ROLLOUT, enabled, alert(NO_DATA), seen=None) == []


# Deadlines


def late(action: str) -> Rollout:
    return staged("canary", deadline=Deadline.model_validate({"after": "4h", "action": action}))


@pytest.mark.parametrize(
    ("action", "kinds"),
    [("notify", ["overdue"]), ("hold", ["overdue", "hold"]), ("rollback", ["overdue", "rollback"])],
)
def test_a_deadline_acts_when_it_has_passed(action: str, kinds: list[str]) -> None:
    assert [found.kind for found in decided(late(action), seen=None)] == kinds


def test_a_deadline_does_nothing_just_before() -> None:
    assert decided(late("rollback"), seen=None, now=NOW - 1) == []


def test_a_deadline_is_said_once() -> None:
    assert decided(late("notify"), replace(CANARY, overdue=True), seen=None) == []


def test_an_observed_rollout_does_not_fall_by_its_deadline() -> None:
    rollout = late("rollback").model_copy(update={"mode": "observe"})
    assert [found.kind for found in decided(rollout, seen=None)] == ["overdue"]


def test_a_hold_by_deadline_ends_by_hand_only() -> None:
    state = replace(CANARY, overdue=True, held=frozenset({"deadline"}))
    assert decided(late("hold"), state) == []
