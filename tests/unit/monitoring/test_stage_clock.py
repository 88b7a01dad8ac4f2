"""The stage's clock: what Prometheus is asked of the times in which it counted, and what of that counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from rollguard.monitoring.observation import CriterionObservation, Rules
from rollguard.monitoring.observer import Observer
from rollguard.monitoring.prometheus import Prometheus
from rollguard.spec.calendars import Window
from rollguard.state import State
from tests.factories import shipped_rollout

ROLLOUT = shipped_rollout()
HELD = State(
    ROLLOUT.name,
    "ROLLING_OUT",
    "canary",
    run=1,
    seq=3,
    newest=4,
    entered_at=1000.0,
    clock_from=1000.0,
    clock_until=2000.0,
    held=frozenset({"Errors"}),
)
LET_GO = replace(
    HELD,
    newest=5,
    held=frozenset(),
    clock_from=5000.0,
    clock_until=None,
    clock_earlier=((1000.0, 2000.0),),
)


class Evaluating:
    """A Prometheus that evaluated everything; a criterion failed when `failed_at` says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failed_at: float | None = None

    def value(self, query: str) -> float | None:
        self.asked.append(query)
        return self.failed_at if "max_over_time" in query else 1e6


@pytest.fixture
def prometheus() -> Evaluating:
    return Evaluating()


@pytest.fixture
def observer(prometheus: Evaluating) -> Observer:
    return Observer(cast(Prometheus, prometheus), 1.0, lambda: 0.0)


def clock(observer: Observer, state: State, now: float, **failed: Any) -> float:
    criteria = [CriterionObservation("rating", "q", **failed)] if failed else []
    return observer._clock(ROLLOUT, state, criteria, now)


def test_the_time_of_a_hold_does_not_count_and_what_passed_before_does(observer: Observer) -> None:
    assert clock(observer, HELD, 2000.0) == clock(observer, HELD, 4900.0) == 1000.0
    assert clock(observer, LET_GO, 5600.0) == 1600.0


def test_of_a_time_that_is_past_prometheus_is_asked_once(observer: Observer, prometheus: Evaluating) -> None:
    clock(observer, LET_GO, 5600.0)
    assert [query.count("offset") for query in prometheus.asked] == [1, 0]
    prometheus.asked.clear()
    assert clock(observer, LET_GO, 5615.0) == 1615.0
    assert [query.count("offset") for query in prometheus.asked] == [0]


OFFICE = Window(zone="UTC", days=("thu",), hours="00:30-01:00")  # the first of January 1970 was a Thursday
OFFICE_HOURS = ROLLOUT.model_copy(update={"clock": OFFICE})
BEGUN = replace(LET_GO, clock_from=0.0, clock_earlier=())


@pytest.mark.parametrize(
    ("now", "passed"), [(1800.0, 0.0), (2400.0, 600.0), (3600.0, 1800.0), (90_000.0, 1800.0)]
)
def test_closed_hours_do_not_count(observer: Observer, now: float, passed: float) -> None:
    assert observer._clock(OFFICE_HOURS, BEGUN, (), now) == passed


def test_what_fails_in_closed_hours_is_not_asked_for(observer: Observer, prometheus: Evaluating) -> None:
    prometheus.failed_at = 900.0
    assert observer._failed_at(OFFICE_HOURS, BEGUN, "rating", "up", 1700.0) == 0.0
    assert prometheus.asked == []
    prometheus.failed_at = 2000.0
    assert observer._failed_at(OFFICE_HOURS, BEGUN, "rating", "up", 90_000.0) == 2000.0
    assert [query.count("offset") for query in prometheus.asked] == [1]


def test_a_guard_whose_clock_is_closed_is_not_asked_about(observer: Observer, prometheus: Evaluating) -> None:
    guard = OFFICE_HOURS.guards[0]
    assert observer._guard(OFFICE_HOURS, BEGUN, guard, Rules(), 1700.0).condition == "closed"
    assert observer._guard(OFFICE_HOURS, BEGUN, guard, Rules(), 1800.0).why == "has no rule"
    assert prometheus.asked == []


@pytest.mark.parametrize(("failed_at", "left"), [(1500.0, 1100.0), (5500.0, 100.0)])
def test_what_passed_before_a_failure_does_not_count(
    observer: Observer, failed_at: float, left: float
) -> None:
    assert clock(observer, LET_GO, 5600.0, failed_at=failed_at) == left


@pytest.mark.parametrize(("failed_at", "counts"), [(1500.0, True), (4990.0, False), (5100.0, True)])
def test_what_fails_during_a_hold_counts_neither_for_nor_against(
    observer: Observer, prometheus: Evaluating, failed_at: float, counts: bool
) -> None:
    def value(query: str) -> float | None:
        """Return the failure where it lies in what is asked: before the hold, or since."""
        before = "offset" in query
        return failed_at if before == (failed_at <= 2000.0) else None

    prometheus.value = value  # type: ignore[method-assign]
    found = observer._failed_at(ROLLOUT, LET_GO, "rating", "up", 5600.0)
    assert found == (failed_at if counts else 0.0)
