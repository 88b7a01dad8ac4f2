"""Whole rollouts: what becomes of healthy and of worse ones, and that nothing is missed between decisions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from rollguard.simulation.play import Play
from rollguard.simulation.results import plan_seconds, summary
from rollguard.simulation.runs import Run, Scenario
from rollguard.spec.rollout import Rollout
from tests.unit.simulation.played import RISES, STAGES, WORSE, rollout

HOUR = 3600.0
REQUESTS = {"requests_total": {"per_minute": 60, "bad": 0.02}}
CALM = {"failures_total": {"per_minute": 0}}
BACK = {"alert": "Fails", **RISES, "action": "rollback"}
HOLD = {"alert": "Fails", **RISES, "action": "hold"}


def play(played: Rollout, hours: float, *scenarios: Scenario, rows: int = 20, seed: int = 1) -> list[Run]:
    return Play(played, [*(scenarios or (Scenario(),))] * rows, seed).play(hours * HOUR)


def test_a_rollout_that_nothing_keeps_takes_as_long_as_planned() -> None:
    for run in play(rollout(CALM, BACK), 4, rows=2):
        assert [run.full, run.enabled] == pytest.approx([2 * HOUR, 3 * HOUR], abs=60)
        assert run.messages == 4  # started, two promotions, enabled
        assert math.isnan(run.rolled_back)


def test_a_guard_that_fires_rolls_back_and_is_named() -> None:
    runs = play(rollout({"failures_total": {"per_minute": 0.05}}, BACK), 4, rows=50)
    back = np.array([run.rolled_back for run in runs])
    assert np.isnan(back).mean() < 0.05
    assert {run.guard for run in runs} <= {"Fails", ""}
    assert np.nanmedian(back) == pytest.approx(math.log(2) / 0.05 * 60, rel=0.5)


def test_a_hold_stops_the_clock_until_its_guard_is_clear() -> None:
    runs = play(rollout({"failures_total": {"per_minute": 0.01}}, HOLD), 12, rows=30)
    held = [run for run in runs if run.holds == 1 and not math.isnan(run.enabled)]
    assert held
    for run in held:
        assert run.held_seconds > 600  # its window
        assert run.enabled == pytest.approx(3 * HOUR + run.held_seconds, abs=240)


def test_a_person_approves_at_once() -> None:
    stages = [STAGES[0], {**STAGES[1], "approve": "manual"}, STAGES[2]]
    (run,) = play(rollout(CALM, BACK, stages=stages), 4, rows=1)
    assert run.full == pytest.approx(2 * HOUR, abs=60)


def test_a_calendar_delays_a_stage() -> None:
    window = {"hours": "12:00-14:00", "zone": "UTC"}
    (run,) = play(rollout(CALM, BACK, advance_in=window), 8, rows=1)  # it starts at 08:00
    assert run.full == pytest.approx(5 * HOUR, abs=120)


def test_a_criterion_delays_a_stage_until_it_holds() -> None:
    criterion = {"name": "enough", "stages": ["canary"], "expr": "sample_canary >= 600"}
    laws = {**REQUESTS, "sample_canary": {"number_of": "requests_total", "arm": "canary"}}
    (run,) = play(rollout(laws, BACK, advance=[criterion]), 4, rows=1)
    assert run.full == pytest.approx(HOUR + 600 / 6 * 60, rel=0.1)  # six of the canary's a minute


def test_a_criterion_that_must_hold_throughout_begins_the_stage_anew() -> None:
    criterion = {"name": "calm", "when": "throughout", "expr": "increase(failures_total[5m]) == 0"}
    quiet = {"alert": "Fails", **RISES, "action": "notify"}
    runs = play(rollout({"failures_total": {"per_minute": 0.01}}, quiet, advance=[criterion]), 12, rows=40)
    full = np.array([run.full for run in runs])
    assert full[~np.isnan(full)].min() >= 2 * HOUR - 60
    assert np.nanmedian(full) > 2.2 * HOUR


def test_a_stage_that_fails_is_taken_back_when_its_hold_has_passed() -> None:
    failure = {"name": "too many", "stages": ["half"], "expr": "wrong >= 0.05"}
    laws = {**REQUESTS, "wrong": {"bad_of": "requests_total", "window": "30m"}}
    quiet = {"alert": "Fails", **RISES, "action": "notify"}
    runs = play(rollout(laws, quiet, fail=[failure]), 4, Scenario(), Scenario(0.2), rows=4)
    for run in runs[::2]:
        assert run.enabled == pytest.approx(3 * HOUR, abs=60)
    for run in runs[1::2]:
        assert run.rolled_back == pytest.approx(2 * HOUR, abs=60)
        assert run.guard == "FAIL: half, by too many"


def test_a_proof_delays_a_stage_until_the_bound_is_low_enough() -> None:
    proof = {"name": "no worse", "not_worse": "Worse", "margin": 0.03, "stages": ["canary", "half"]}
    healthy, worse = Scenario(), Scenario(0.03)
    runs = play(rollout(REQUESTS, WORSE, advance=[proof]), 8, healthy, worse, rows=15)
    full = [np.mean([not math.isnan(run.full) for run in runs[first::2]]) for first in (0, 1)]
    assert full[0] > 0.9
    assert full[1] < 0.1


def test_evidence_finds_what_is_worse_and_lets_health_through() -> None:
    healthy, early, late = Scenario(), Scenario(0.1), Scenario(0.1, HOUR)
    runs = play(rollout(REQUESTS, WORSE), 3, healthy, early, late, rows=60)
    found = [
        summary(one, runs[place::3], 3 * HOUR, 2 * HOUR) for place, one in enumerate((healthy, early, late))
    ]
    assert [one.rolled_back for one in found] == [pytest.approx(0, abs=0.04), 1.0, 1.0]
    assert found[0].full > 0.95
    assert found[1].found_median is not None
    assert found[2].found_median is not None
    assert found[2].found_median < found[1].found_median  # the canary of the second stage has half of all
    assert found[1].excess_bad == pytest.approx(0.1 * 0.1 * found[1].found_median, rel=0.5)
    assert found[1].guards == {"Worse": 60}


@pytest.mark.parametrize("action", ["rollback", "hold"])
def test_to_be_asked_at_each_look_changes_nothing(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    laws = {**REQUESTS, "failures_total": {"per_minute": 0.02}}
    criterion = {"name": "calm", "when": "throughout", "expr": "increase(failures_total[5m]) == 0"}
    stages = [{**stage, "hold": "20m"} for stage in STAGES]
    played = rollout(laws, {**WORSE, "action": action}, HOLD, advance=[criterion], stages=stages)
    seldom = play(played, 2, Scenario(), Scenario(0.1), rows=5)
    signs = iter(range(1, 10_000))
    monkeypatch.setattr(
        Play, "_sign", lambda self, at, now: np.full(len(self._rows), next(signs), dtype=np.uint64)
    )
    always = play(played, 2, Scenario(), Scenario(0.1), rows=5)
    assert [told(run) for run in seldom] == [told(run) for run in always]
    assert any(run.holds for run in seldom)


def told(run: Run) -> tuple[Any, ...]:
    times = (run.rolled_back, run.full, run.enabled, run.held_seconds)
    return (run.messages, run.holds, run.guard, *(None if math.isnan(time) else time for time in times))


def test_what_is_forgotten_on_the_way_changes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollouts that are over are dropped: what is counted of them stays."""
    played = rollout({**REQUESTS, "failures_total": {"per_minute": 0.02}}, BACK)
    runs = play(played, 4, rows=60)
    back = np.array([run.rolled_back for run in runs])
    assert 0.5 < (~np.isnan(back)).mean() < 1
    assert all(run.serving == 0.0 for run in runs)
    monkeypatch.setattr("rollguard.simulation.play._COMPACT", 0.0)
    kept = np.array([run.rolled_back for run in play(played, 4, rows=60)])
    assert (~np.isnan(kept)).mean() == pytest.approx((~np.isnan(back)).mean(), abs=0.2)


def test_what_has_no_law_or_formula_is_named() -> None:
    burns = {
        "alert": "Burns", "use": "burn-rate", "severity": "warning", "action": "hold",
        "with": {"ratio": "uptime_ratio", "objective": 0.99, "factor": 2, "long": "1h", "short": "5m"},
    }  # fmt: skip
    criterion = {"name": "odd", "expr": "rate(requests_total[5m]) / 2 > 0"}
    played = Play(rollout(REQUESTS, BACK, burns, WORSE, advance=[criterion]), [Scenario()], 1)
    assert played.not_simulated == {
        "Fails": "no law for failures_total",
        "Burns": "no formula for the template burn-rate",
        "odd": "no formula for its expression",
    }


def test_the_plan_is_the_stages_before_the_last() -> None:
    assert plan_seconds(rollout(CALM, BACK)) == 2 * HOUR
