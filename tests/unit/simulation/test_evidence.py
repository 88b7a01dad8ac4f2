"""A simulated guard by evidence says what the evaluator says of the same counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from rollguard.exporters.evidence.evaluator import GuardState, Look
from rollguard.exporters.evidence.judged import judged
from rollguard.monitoring.prometheus import Sample
from rollguard.simulation.evidence import Bet
from rollguard.simulation.laws import Moment, Stream
from rollguard.simulation.reads import NoLawError, Traffic
from rollguard.spec.rollout import Rollout
from rollguard.spec.series import Series
from tests.unit.simulation.played import WORSE, rollout

REQUESTS = {"requests_total": {"per_minute": 90, "bad": 0.05}}
VALUES = {"requests_total": {"per_minute": 90, "mean": 3.0, "deviation": 2.0}}
LATENCIES = {"requests_total": {"per_minute": 90, "median": 0.2, "p95": 0.8}}
GIVEN = {
    "rate": (REQUESTS, WORSE["with"]),
    "times": (REQUESTS, {"bad": 'requests_total{code="500"}', "total": "requests_total", "times": 1.2}),
    "values": (VALUES, {"values": "requests_total", "worse": "higher", "cluster": "none"}),
    "moved": (VALUES, {"values": "requests_total", "worse": "moved", "cluster": "none"}),
    "latency": (LATENCIES, {"values": "requests_total", "worse": "slower", "cluster": "none"}),
}  # fmt: skip


def bet_of(played: Rollout, labelled: bool) -> tuple[Bet, Traffic, Stream]:
    traffic = Traffic(played, 3, np.random.default_rng(1), 60.0, 1)
    names = frozenset({"requests_total"} if labelled else ())
    (guard,) = judged(played)
    bet = Bet(guard, 0.01, traffic, names, (0.1, 0.5))
    higher = guard.worse in ("higher", "slower")
    return (
        bet,
        traffic,
        traffic.stream(Series("requests_total"), higher_is_worse=higher and guard.kind != "rate"),
    )


def samples(counted: np.ndarray, edges: Sequence[float], *, rate: bool, labelled: bool) -> list[Sample]:
    """Return the counters of a rollout, as they stand, by assigned share: (shares, arms, outcomes)."""
    outcomes = [*map(str, edges), "+Inf"]
    names = [{"code": "200"}, {"code": "500"}] if rate else [{"outcome": edge} for edge in outcomes]
    found = []
    shares = [("10", 0), ("50", 1)] if labelled else [("", slice(None))]
    for percent, index in shares:
        for arm, name in enumerate(("baseline", "canary")):
            for outcome, labels in enumerate(names):
                value = float(np.sum(counted[index, arm, outcome]))
                own = {"arm": name, **labels, **({"assigned": percent} if percent else {})}
                found.append(Sample({"__name__": "requests_total", "instance": "a", **own}, value))
    return found


@pytest.mark.parametrize("labelled", [True, False], ids=["known-share", "realised-share"])
@pytest.mark.parametrize("kind", GIVEN)
def test_it_is_the_evidence_of_the_evaluator(kind: str, labelled: bool) -> None:
    laws, given = GIVEN[kind]
    played = rollout(laws, {**WORSE, "with": given})
    bet, traffic, stream = bet_of(played, labelled)
    guard, state = judged(played)[0], GuardState()
    rate = guard.kind == "rate"
    selected = {role: str(series) for role, series in guard.selected.items()}
    counted = np.zeros((2, 2, stream.categories, 3))
    everything: Mapping[str, Any] = {}

    def look(at: float) -> None:
        nonlocal everything
        found = samples(counted[..., 0], stream.edges, rate=rate, labelled=labelled)
        bad = [one for one in found if one.labels.get("code") == "500"]
        everything = {text: bad if role == "bad" else found for role, text in selected.items()}
        state.look(guard, Look(at, samples=dict(everything)))

    look(0.0)
    entered = np.ones(3, dtype=bool)
    for minute in range(1, 241):
        number = 0 if minute <= 120 else 1
        moment = Moment(minute * 60.0, 60.0, 1, np.full(3, (0.1, 0.5)[number]), np.full(3, 0.05), entered)
        traffic.draw(moment)
        bet.look(moment)
        entered = np.zeros(3, dtype=bool)
        counted[number] += stream.counts[0]
        look(minute * 60.0)
    assert state.trouble == ""
    assert bet.log_e[0] == pytest.approx(state.log_e(guard), abs=1e-6)
    if labelled:
        assert bet.upper(np.array([0]))[0] == pytest.approx(state.effect(guard)[2], rel=1e-9)


def test_evidence_of_a_limit_counts_everything() -> None:
    limit = {
        "alert": "Bad", "use": "limit", "severity": "critical", "action": "rollback",
        "with": {"bad": 'requests_total{code="500"}', "total": "requests_total", "above": 0.02},
    }  # fmt: skip
    traffic = Traffic(played := rollout(REQUESTS, limit), 3, np.random.default_rng(1), 60.0, 1)
    bet = Bet(judged(played)[0], 0.01, traffic, frozenset(), ())
    for minute in range(1, 31):
        now = Moment(minute * 60.0, 60.0, 1, np.ones(3), np.zeros(3), np.zeros(3, dtype=bool))
        traffic.draw(now)
        fires, _ = bet.look(now)
    assert fires.all()


def test_a_comparison_of_counters_without_a_law_is_refused() -> None:
    with pytest.raises(NoLawError, match="no law for requests_total"):
        bet_of(rollout({}, WORSE), labelled=True)
    with pytest.raises(NoLawError, match="no share of bad events"):
        bet_of(rollout({"requests_total": {"per_minute": 5}}, WORSE), labelled=True)
