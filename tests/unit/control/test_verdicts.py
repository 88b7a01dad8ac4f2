"""A stage ends in PASS, EXTEND or FAIL whenever its hold has passed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollguard.control.decide import decide
from rollguard.monitoring.observation import CriterionObservation, GuardObservation, Observation, guards_of
from rollguard.spec.calendars import Window
from rollguard.spec.rollout import Failure, Rollout
from rollguard.state import Entry, State, Transition, fold
from tests.factories import shipped_rollout

HOLD = 4 * 3600.0
NOW = 1_700_000_000.0
TOO_SLOW = Failure(name="too slow", expr="seconds > 2")
ROLLOUT = shipped_rollout().model_copy(update={"fail": (TOO_SLOW,)})
RAMP = State(
    ROLLOUT.name,
    "ROLLING_OUT",
    "ramp-25",
    1,
    NOW - HOLD,
    seq=2,
    newest=2,
    started_at=1.0,
    clock_from=NOW - HOLD,
)
GUARDS = {guard.name: GuardObservation("armed") for guard in guards_of(ROLLOUT, "ramp-25")}
PASSES = Observation(
    NOW,
    newest=2,
    guards=GUARDS,
    clock_seconds=HOLD,
    failures=(CriterionObservation("too slow", "q", 1.5),),
)
FAILS = replace(PASSES, failures=(CriterionObservation("too slow", "q", 2.5, holds=True),))
UNMET = replace(PASSES, criteria=(CriterionObservation("enough", "q", 499.0),))


def decided(
    seen: Observation | None, state: State = RAMP, rollout: Rollout = ROLLOUT, **options: Any
) -> list[Transition]:
    return decide(rollout, state, [], seen=seen, **{"now": NOW, **options})


def test_a_stage_that_nothing_fails_and_that_waits_for_nothing_passes() -> None:
    assert [item.to_stage for item in decided(PASSES)] == ["ramp-50"]


def test_a_stage_fails_when_its_hold_has_passed() -> None:
    (item,) = decided(FAILS)
    assert (item.kind, item.actor, item.guard) == ("rollback", "advance", None)
    assert item.reason == "FAIL: ramp-25, by too slow"
    assert item.evidence["criteria"] == [{"name": "too slow", "query": "q", "value": 2.5, "holds": True}]


def test_before_its_hold_has_passed_it_does_not_fail() -> None:
    assert decided(FAILS, now=NOW - 1) == []


def test_the_time_in_which_a_guard_holds_it_counts_for_the_verdict() -> None:
    held = replace(RAMP, held=frozenset({"ParquetGap"}), clock_until=NOW - HOLD + 1)
    assert [item.kind for item in decided(FAILS, held)] == ["rollback"]


def test_closed_hours_of_the_clock_do_not_count_for_the_verdict() -> None:
    closed = ROLLOUT.model_copy(update={"clock": Window(days=("sat",), zone="UTC")})
    assert decided(FAILS, rollout=closed) == []


@pytest.mark.parametrize(
    ("to", "kind", "stage"), [("previous", "step_back", "canary"), ("shadow", "step_back", "shadow")]
)
def test_it_goes_where_its_file_says(to: str, kind: str, stage: str) -> None:
    back = ROLLOUT.model_copy(update={"fail": (TOO_SLOW.model_copy(update={"to": to}),)})
    (item,) = decided(FAILS, rollout=back)
    assert (item.kind, item.to_stage) == (kind, stage)


def test_a_stage_that_neither_passes_nor_fails_is_extended_once_for_each_hold() -> None:
    (item,) = decided(UNMET)
    assert (item.kind, item.to_stage) == ("extend", "ramp-25")
    assert item.reason == "EXTEND: ramp-25 waits for enough: 499"
    after = extended(RAMP, item)
    assert decided(replace(UNMET, newest=3), after) == []
    assert [again.kind for again in decided(replace(UNMET, newest=3), after, now=NOW + HOLD)] == ["extend"]


def test_an_extended_stage_fails_at_the_end_of_its_second_hold_only() -> None:
    after = extended(RAMP, decided(UNMET)[0])
    fails = replace(FAILS, newest=3)
    assert decided(fails, after, now=NOW + HOLD - 1) == []
    assert [item.kind for item in decided(fails, after, now=NOW + HOLD)] == ["rollback"]


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (CriterionObservation("too slow", "q"), "too slow: no data"),
        (CriterionObservation("too slow", "q", error="several series"), "too slow: several series"),
    ],
)
def test_what_would_fail_it_and_cannot_be_read_keeps_it_and_fails_nothing(
    failure: CriterionObservation, told: str
) -> None:
    (item,) = decided(replace(PASSES, failures=(failure,)))
    assert (item.kind, item.reason) == ("extend", f"EXTEND: ramp-25 waits for {told}")


def test_a_stage_that_would_fail_does_not_pass_between_two_verdicts() -> None:
    after = extended(RAMP, decided(UNMET)[0])
    assert decided(replace(FAILS, newest=3), after, now=NOW + 60) == []


def test_in_mode_observe_it_is_extended() -> None:
    observed = ROLLOUT.model_copy(update={"mode": "observe"})
    (item,) = decided(FAILS, rollout=observed)
    assert item.reason == "EXTEND: ramp-25 waits for too slow: 2.5, which fails it"


def test_what_was_seen_of_another_state_gives_no_verdict() -> None:
    assert decided(replace(FAILS, newest=1)) == []
    assert decided(None) == []


def test_the_next_stage_begins_with_its_first_hold() -> None:
    later = fold(replace(RAMP, extended=2), entry("promote", "ramp-50"))
    assert later.extended == 0


def extended(state: State, item: Transition) -> State:
    assert item.kind == "extend"
    return fold(state, entry("extend", state.stage))


def entry(kind: Any, stage: str | None) -> Entry:
    return Entry(
        3,
        NOW,
        ROLLOUT.name,
        1,
        kind,
        "ROLLING_OUT",
        "ramp-25",
        "ROLLING_OUT",
        stage,
        "advance",
        None,
        "",
        {},
        "",
        "",
    )
