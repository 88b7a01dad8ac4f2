"""The counters by arm of a canary's exporter are what the evaluator reads: worse is found, healthy is not."""

from __future__ import annotations

import json
import math
import random
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.evidence.evaluator import GuardState, Look
from rollguard.exporters.evidence.judged import Judged, judged
from rollguard.exporters.exposition.families import Family
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block
from rollguard.monitoring.prometheus import Sample
from rollguard.spec.rollout import Rollout
from tests.factories import shipped_rollout

if TYPE_CHECKING:
    from tests.unit.clock import Time

NOW = 1_700_000_000.0
MINUTES, TRADES = 120, 40
REFERENCE = Reference.fit({"spread": np.arange(-3, 3, 0.01)}, source="", made_at=0)
GUARDS: dict[str, dict[str, Any]] = {
    "trades": {
        "bad": 'trade_outcomes_total{outcome="lost"}',
        "total": "trade_outcomes_total",
        "assigned": "trades_assigned_total",
    },
    "times": {
        "bad": 'trade_outcomes_window_total{outcome="lost"}',
        "total": "trade_outcomes_window_total",
        "times": 1.1,
    },
    "pnl": {"values": "trade_pnl_outcomes_total"},
    "error": {"values": "trade_squared_error_outcomes_total", "worse": "higher"},
    "markout": {"values": "markout_500ms_outcomes_total"},
    "features": {"values": "feature_outcomes_total", "worse": "moved", "each": "feature"},
}


def guard(given: dict[str, Any]) -> Judged:
    rollout = shipped_rollout().model_dump(by_alias=True, exclude_defaults=True)
    written = {"alert": "Worse", "use": "compare", "severity": "critical", "action": "rollback"}
    with_ = {"cluster": "none", **given}
    (found,) = judged(Rollout.model_validate({**rollout, "guards": [{**written, "with": with_}]}))
    return found


def trade(ts: float, rng: random.Random, worse: bool) -> list[dict[str, Any]]:
    """Return a trade of either arm; where the canary is worse, it is so in all that is measured."""
    canary = rng.random() < 0.1
    bad = worse and canary
    route, served = ("canary", "candidate") if canary else ("paper", "active")
    won, gain, score = rng.random() < (0.3 if bad else 0.55), rng.gauss(-1.0 if bad else 0.0, 2), rng.random()
    features = {"spread": rng.gauss(1.0 if bad else 0.0, 1)}
    arm = {"route": route, "opened_ts": ts - 30}
    return [
        {
            "event": "score",
            "ts": ts,
            "slot": "active",
            "score": score,
            "served": served,
            "features": features,
        },
        {"event": "trade_opened", "ts": ts, "route": route},
        {
            "event": "trade_closed",
            "ts": ts,
            "won": won,
            "pnl": gain,
            "score": 0.9 if won != bad else 0.2,
            **arm,
        },
        {"event": "markout", "ts": ts, "horizon_ms": 500, "value": gain, **arm},
    ]


def samples(families: list[Family], selector: str) -> list[Sample]:
    """Return what a selector finds of an exporter's series."""
    name, _, matchers = selector.partition("{")
    wanted = dict(re.findall(r'(\w+)="([^"]*)"', matchers)) | {"rollout": "model-canary"}
    found = []
    for family in families:
        if family.metric.name == name:
            for values, value in family.samples.items():
                labels = dict(zip(family.metric.labels, values, strict=True))
                labels |= {"__name__": name, "rollout": "model-canary", "instance": "a"}
                if all(labels[key] == text for key, text in wanted.items()):
                    found.append(Sample(labels, float(str(value))))
    return found


def evidence(clock: Time, worse: bool) -> dict[str, GuardState]:
    exporter = CanaryMeasures(
        FileSource("nowhere"),
        window_seconds=1800,
        reference=REFERENCE,
        min_sample=300,
        clock=clock,
        percents={"canary": 10.0},
    )
    rng, guards = random.Random(5), {name: guard(given) for name, given in GUARDS.items()}
    states = {name: GuardState() for name in guards}
    events: list[dict[str, Any]] = [{"event": "stage", "ts": NOW - 100, "stage": "canary"}]
    for minute in range(MINUTES):
        clock.now = NOW + 60 * minute
        exporter.feed(Block(b"".join(json.dumps(event).encode() + b"\n" for event in events)))
        families = list(exporter.families(clock.now))
        for name, one in guards.items():
            read = {str(series): samples(families, str(series)) for series in one.selected.values()}
            states[name].look(one, Look(clock.now, 1, read))
        events = [event for _ in range(TRADES) for event in trade(clock.now, rng, worse)]
    return states


@pytest.mark.parametrize("worse", [False, True])
def test_every_kind_of_counter_tells_a_worse_canary_from_a_healthy_one(clock: Time, worse: bool) -> None:
    states = evidence(clock, worse)
    for name, given in GUARDS.items():
        log_e = states[name].log_e(guard(given))
        assert log_e is not None, (name, states[name].trouble)
        assert (log_e > math.log(100)) is worse, (name, log_e)
        assert states[name].events(0) + states[name].events(1) > 0.9 * MINUTES * TRADES, name
