"""The decision: pure, about what fires now, and the same however that became known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollguard.control.decide import armed, decide
from rollguard.monitoring.alerts import GuardAlert
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from tests.factories import shipped_rollout

ROLLOUT = shipped_rollout()
CANARY = State(ROLLOUT.name, "ROLLING_OUT", "canary", run=1, seq=2, started_at=100.0)


def alert(guard: str, **changes: Any) -> GuardAlert:
    labels = {"guard": guard, "rollout": ROLLOUT.name, **changes.pop("labels", {})}
    return replace(GuardAlert(ROLLOUT.name, guard, True, 150.0, "f", labels, {"summary": "x"}), **changes)


def with_guard(guard: str, **changes: Any) -> Rollout:
    listed = tuple(g.model_copy(update=changes) if g.name == guard else g for g in ROLLOUT.guards)
    return ROLLOUT.model_copy(update={"guards": listed})


def test_a_guard_that_fires_rolls_back_with_its_name_as_the_reason() -> None:
    (transition,) = decide(ROLLOUT, CANARY, [alert("DriftDetected")])
    assert (transition.kind, transition.to_status, transition.guard, transition.reason, transition.run) == (
        "rollback",
        "ROLLBACK",
        "DriftDetected",
        "DriftDetected",
        1,
    )


def test_the_evidence_holds_what_was_known() -> None:
    found = decide(ROLLOUT, CANARY, [alert("DriftDetected"), alert("OnnxParityFailure")])[0].evidence
    assert found == {
        "alert": {"guard": "DriftDetected", "rollout": "model-canary"},
        "annotations": {"summary": "x"},
        "starts_at": 150.0,
        "also_firing": ["OnnxParityFailure"],
    }


def test_the_evidence_holds_the_query_where_it_is_known() -> None:
    (transition,) = decide(ROLLOUT, CANARY, [alert("DriftDetected", query="winrate < 0.5")])
    assert transition.evidence["query"] == "winrate < 0.5"


def test_nothing_that_fires_is_nothing_to_decide() -> None:
    assert decide(ROLLOUT, CANARY, []) == []


@pytest.mark.parametrize("status", ["DISABLED", "ROLLBACK"])
def test_without_a_run_nothing_is_decided(status: Any) -> None:
    assert decide(ROLLOUT, State(ROLLOUT.name, status, run=1), [alert("DriftDetected")]) == []


def test_a_release_that_is_fully_on_still_falls() -> None:
    enabled = State(ROLLOUT.name, "ENABLED", run=1)
    assert decide(ROLLOUT, enabled, [alert("DriftDetected")])[0].to_status == "ROLLBACK"


def test_a_resolved_alert_decides_nothing() -> None:
    assert decide(ROLLOUT, CANARY, [alert("DriftDetected", firing=False)]) == []


def test_a_resolved_alert_does_not_undo_a_rollback() -> None:
    back = State(ROLLOUT.name, "ROLLBACK", run=1, reason="DriftDetected")
    assert decide(ROLLOUT, back, [alert("DriftDetected", firing=False)]) == []


def test_an_alert_of_another_rollout_decides_nothing() -> None:
    assert decide(ROLLOUT, CANARY, [alert("DriftDetected", rollout="other")]) == []


def test_an_alert_of_no_guard_decides_nothing() -> None:
    assert decide(ROLLOUT, CANARY, [alert("HighLatency", labels={"action": "rollback"})]) == []


@pytest.mark.parametrize(("action", "kinds"), [("hold", ["hold"]), ("notify", [])])
def test_the_action_is_the_files_whatever_a_label_says(action: str, kinds: list[str]) -> None:
    rollout = with_guard("DriftDetected", action=action)
    found = decide(rollout, CANARY, [alert("DriftDetected", labels={"action": "rollback"})])
    assert [transition.kind for transition in found] == kinds


def test_a_label_cannot_take_a_rollback_away() -> None:
    assert decide(ROLLOUT, CANARY, [alert("DriftDetected", labels={"action": "notify"})]) != []


def test_a_vanished_series_that_holds_does_not_roll_back() -> None:
    assert [found.kind for found in decide(ROLLOUT, CANARY, [alert("WinRateDropNoData")])] == ["hold"]


def test_a_vanished_series_rolls_back_where_the_file_says_so() -> None:
    rollout = with_guard("DriftDetected", no_data="rollback")
    (transition,) = decide(rollout, CANARY, [alert("DriftDetectedNoData")])
    assert (transition.kind, transition.reason) == ("rollback", "DriftDetectedNoData")


@pytest.mark.parametrize("stage", ["shadow", "full"])
def test_a_guard_is_silent_where_it_is_not_armed(stage: str) -> None:
    assert decide(ROLLOUT, replace(CANARY, stage=stage), [alert("CanaryWinrateRollback")]) == []


def test_an_alert_from_a_stage_without_its_guard_counts_in_the_next() -> None:
    fires = [alert("CanaryWinrateRollback")]
    assert decide(ROLLOUT, replace(CANARY, stage="shadow"), fires) == []
    assert decide(ROLLOUT, CANARY, fires)[0].reason == "CanaryWinrateRollback"


def test_the_most_severe_guard_is_the_reason() -> None:
    fires = [alert("OnnxParityFailure", starts_at=1.0), alert("DriftDetected", starts_at=2.0)]
    assert decide(ROLLOUT, CANARY, fires)[0].reason == "DriftDetected"


def test_among_equals_the_first_to_fire_is_the_reason() -> None:
    fires = [alert("CanaryWinrateRollback", starts_at=2.0), alert("OnnxParityFailure", starts_at=1.0)]
    assert decide(ROLLOUT, CANARY, fires)[0].reason == "OnnxParityFailure"


# Mode observe

OBSERVED = ROLLOUT.model_copy(update={"mode": "observe"})


def test_observing_notes_and_changes_nothing() -> None:
    (note,) = decide(OBSERVED, CANARY, [alert("DriftDetected")])
    assert (note.kind, note.to_status, note.to_stage) == ("would_rollback", "ROLLING_OUT", "canary")


def test_observing_notes_a_guard_once_in_a_run() -> None:
    noted = replace(CANARY, noted=frozenset({"DriftDetected"}))
    assert decide(OBSERVED, noted, [alert("DriftDetected")]) == []


def test_observing_notes_each_guard() -> None:
    noted = replace(CANARY, noted=frozenset({"DriftDetected"}))
    (note,) = decide(OBSERVED, noted, [alert("DriftDetected"), alert("OnnxParityFailure")])
    assert note.guard == "OnnxParityFailure"


# However it became known

_NAMES = st.sampled_from(["DriftDetected", "OnnxParityFailure", "CanaryWinrateRollback", "Nobody"])
_ALERTS = st.builds(
    lambda guard, starts_at, mark: alert(guard, starts_at=starts_at, fingerprint=mark),
    _NAMES,
    st.sampled_from([150.0, 160.0]),
    st.sampled_from(["a", "b"]),
)


@settings(deadline=None)
@given(st.lists(_ALERTS, max_size=6), st.data())
def test_any_order_and_repetition_gives_the_same_single_rollback(fires: list[GuardAlert], data: Any) -> None:
    again = data.draw(st.permutations([*fires, *fires]))
    found = decide(ROLLOUT, CANARY, fires)
    assert decide(ROLLOUT, CANARY, again) == found
    assert len(found) <= 1


def test_armed_names_each_alert_with_its_guard() -> None:
    found = armed(ROLLOUT, "canary", [alert("DriftDetected"), alert("WinRateDropNoData")], "hold")
    assert [(guard.name, fires.guard) for guard, fires in found] == [
        ("WinRateDropNoData", "WinRateDropNoData")
    ]


# Blindness

AT_ONCE = ROLLOUT.model_copy(update={"blind": "rollback"})
HELD = replace(CANARY, held=frozenset({"blind"}))


def test_who_is_blind_holds_its_stage_once() -> None:
    (transition,) = decide(ROLLOUT, CANARY, [], blind=True)
    assert (transition.kind, transition.evidence["guards"]) == ("hold", ["blind"])
    assert decide(ROLLOUT, HELD, [], blind=True) == []


def test_who_is_blind_goes_back_where_the_file_says_so() -> None:
    (transition,) = decide(AT_ONCE, CANARY, [], blind=True)
    assert (transition.kind, transition.reason) == (
        "rollback",
        "blind: no heartbeat, and no rule evaluated in 2m",
    )


def test_a_rollout_that_is_only_observed_does_not_go_back() -> None:
    observed = AT_ONCE.model_copy(update={"mode": "observe"})
    assert [found.kind for found in decide(observed, CANARY, [], blind=True)] == ["hold"]


def test_what_fires_counts_before_blindness() -> None:
    (transition,) = decide(ROLLOUT, CANARY, [alert("DriftDetected")], blind=True)
    assert transition.reason == "DriftDetected"


@pytest.mark.parametrize(("blind", "kinds"), [(True, []), (None, []), (False, ["release"])])
def test_a_hold_for_blindness_ends_when_somebody_watches_and_no_earlier(
    blind: bool | None, kinds: list[str]
) -> None:
    assert [found.kind for found in decide(ROLLOUT, HELD, [], blind=blind)] == kinds


@pytest.mark.parametrize("blind", [False, None])
def test_who_is_not_blind_is_left_alone(blind: bool | None) -> None:
    assert decide(ROLLOUT, CANARY, [], blind=blind) == decide(AT_ONCE, CANARY, [], blind=blind) == []
