"""A delivery that is retried may tell of an alert that ended before this run began."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollguard.control.decisions import Clock
from rollguard.control.plane import ControlPlane
from rollguard.ledger import Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.spec.loading import load_rollout

ROLLOUT = Path(__file__).parents[3] / "rollouts" / "model-canary.yaml"
NAME = "model-canary"


def old_alert(guard: str = "DriftDetected") -> GuardAlert:
    return GuardAlert(NAME, guard, True, 500.0, "f", {"rollout": NAME, "guard": guard}, {})


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlPlane]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    found = ControlPlane([load_rollout(ROLLOUT)], ledger, clock=Clock(lambda: 1000.0, lambda: 1.0))
    found.start(NAME, actor="test")
    yield found
    ledger.close()


def test_it_is_dropped_where_alertmanager_no_longer_lists_it(control: ControlPlane) -> None:
    def nothing_fires() -> bool:
        control.polled([], asked_at=2.0)
        return True

    control.confirm = nothing_fires
    control.notify(Notification((old_alert(),)), received_at=1.0)
    assert control.state(NAME).status == "ROLLING_OUT"


def test_it_is_decided_where_alertmanager_lists_it_still(control: ControlPlane) -> None:
    def it_fires() -> bool:
        control.polled([old_alert()], asked_at=2.0)
        return True

    control.confirm = it_fires
    control.notify(Notification((old_alert(),)), received_at=1.0)
    assert control.state(NAME).status == "ROLLBACK"


def test_it_is_believed_where_alertmanager_does_not_answer(control: ControlPlane) -> None:
    control.confirm = lambda: False
    entries = control.notify(Notification((old_alert(),)), received_at=1.0)
    assert [entry.reason for entry in entries] == ["DriftDetected"]


def test_a_step_taken_while_nobody_says_what_fires_is_noted(control: ControlPlane) -> None:
    assert control.promote(NAME, actor="test", early=True).evidence["alerts_unknown"] is True


def test_a_step_taken_after_an_answer_is_not(control: ControlPlane) -> None:
    control.polled([], asked_at=1.0)
    assert "alerts_unknown" not in control.promote(NAME, actor="test", early=True).evidence
