"""A drill: one alert flips one flag that nobody asks for, once, and the rollout stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rollguard.control.decisions import Clock
from rollguard.control.drill import LIMIT_SECONDS, flag_key
from rollguard.control.plane import ControlPlane
from rollguard.control.transitions import RefusedError
from rollguard.conventions import DRILL
from rollguard.flags.definitions import FlagNotFoundError
from rollguard.ledger import Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.state import Entry
from tests.factories import shipped_rollout
from tests.unit.clock import Time

NAME = "model-canary"
FLAG = flag_key(NAME)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def control(tmp_path: Path, time: Time) -> Iterator[ControlPlane]:
    rollout = shipped_rollout()
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ControlPlane([rollout.model_copy(update={"targets": ()})], ledger, clock=Clock(time, time))
    ledger.close()


def fires(control: ControlPlane, time: Time, *, after: float = 0.0, firing: bool = True) -> list[Entry]:
    """Let the drill's alert begin now, and its notification come a while later."""
    alert = GuardAlert(NAME, DRILL, firing, time.now, DRILL, {"guard": DRILL}, {})
    time.now += after
    return control.notify(Notification((alert,)), time.now)


def flipped(control: ControlPlane) -> Any:
    return control.evaluator.evaluate(FLAG, {}).value


def test_the_alert_flips_the_flag_of_the_drill_and_nothing_else(control: ControlPlane, time: Time) -> None:
    control.start(NAME, actor="ann")
    before = control.state(NAME)
    control.drill(NAME, actor="ann")
    assert flipped(control) is False
    assert [entry.kind for entry in fires(control, time)] == ["drill_flip"]
    assert flipped(control) is True
    after = control.state(NAME)
    assert replace(after, drill=None, newest=before.newest) == before


def test_the_result_says_how_long_each_step_took(control: ControlPlane, time: Time) -> None:
    control.drill(NAME, actor="ann")
    time.now += 4
    fires(control, time, after=0.5)
    result = control.end_drill(NAME, actor="ann", seen_seconds=4.625)
    assert result.evidence == {
        "passed": True,
        "seconds": 4.625,
        "steps": {"rule fires": 4.0, "Alertmanager delivers": 0.5, "flag flipped and seen": 0.125},
    }
    assert result.reason == "passed in 4.62 s"
    assert control.state(NAME).drilled_at == time.now


@pytest.mark.parametrize(
    ("comes", "seen", "reason"),
    [
        (False, None, "failed: no alert came"),
        (False, 1.0, "failed: no alert came"),
        (True, None, "failed: the alert came, but nobody saw the flag flipped"),
    ],
)
def test_a_drill_that_fails_says_how_far_it_came(
    control: ControlPlane, time: Time, comes: bool, seen: float | None, reason: str
) -> None:
    control.drill(NAME, actor="ann")
    if comes:
        fires(control, time)
    result = control.end_drill(NAME, actor="ann", seen_seconds=seen)
    assert (result.evidence["passed"], result.reason) == (False, reason)
    assert control.state(NAME).drilled_at is None


def test_the_flag_is_there_only_during_a_drill(control: ControlPlane, time: Time) -> None:
    with pytest.raises(FlagNotFoundError):
        flipped(control)
    control.drill(NAME, actor="ann")
    fires(control, time)
    control.end_drill(NAME, actor="ann", seen_seconds=1.0)
    with pytest.raises(FlagNotFoundError):
        flipped(control)


def test_an_alert_that_comes_again_flips_nothing_more(control: ControlPlane, time: Time) -> None:
    control.drill(NAME, actor="ann")
    assert [len(fires(control, time)) for _ in range(3)] == [1, 0, 0]


def test_an_alert_without_a_drill_does_nothing(control: ControlPlane, time: Time) -> None:
    assert fires(control, time) == []


def test_a_drill_waits_until_the_last_ones_alert_is_over(control: ControlPlane, time: Time) -> None:
    control.drill(NAME, actor="ann")
    with pytest.raises(RefusedError, match=r"a drill is under way; it ends by itself in 10m\."):
        control.drill(NAME, actor="bob")
    fires(control, time)
    control.end_drill(NAME, actor="ann", seen_seconds=1.0)
    with pytest.raises(RefusedError, match="the alert of the last drill still fires"):
        control.drill(NAME, actor="bob")
    fires(control, time, firing=False)
    assert control.drill(NAME, actor="bob").kind == "drill"


def test_a_drill_that_nobody_ended_is_over_in_the_end(control: ControlPlane, time: Time) -> None:
    control.drill(NAME, actor="ann")
    time.now += LIMIT_SECONDS
    assert fires(control, time) == []
    fires(control, time, firing=False)
    assert control.drill(NAME, actor="bob").kind == "drill"


def test_without_a_drill_there_is_none_to_end(control: ControlPlane) -> None:
    with pytest.raises(RefusedError, match="no drill is under way"):
        control.end_drill(NAME, actor="ann")


def test_a_step_of_the_rollout_does_not_disturb_a_drill(control: ControlPlane, time: Time) -> None:
    control.drill(NAME, actor="ann")
    control.start(NAME, actor="bob")
    assert [entry.kind for entry in fires(control, time)] == ["drill_flip"]


def test_a_rollback_goes_before_a_drill(control: ControlPlane, time: Time) -> None:
    control.start(NAME, actor="ann")
    while control.state(NAME).stage != "full":
        control.promote(NAME, actor="ann", early=True)
    control.drill(NAME, actor="ann")
    alerts = [GuardAlert(NAME, name, True, time.now, name, {}, {}) for name in (DRILL, "DriftDetected")]
    assert [entry.kind for entry in control.notify(Notification(tuple(alerts)), time.now)] == ["rollback"]
    assert [entry.kind for entry in fires(control, time)] == ["drill_flip"]
