"""The counters by arm of a model canary: what counts where, and what is left out."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from rollguard.exporters.canary.arms import ARM_METRICS
from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.exposition.zero_start import ZeroStart
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block

if TYPE_CHECKING:
    from tests.unit.clock import Time
from tests.unit.exporters.conftest import Samples

NOW = 1_700_000_000.0
REFERENCE = Reference.fit(
    {"spread": np.arange(1000.0), "depth": np.arange(500.0, 1500.0)}, source="", made_at=0
)
PERCENTS = {"shadow": 0.0, "canary": 10.0, "ramp-25": 25.0}
START = "rollguard_exporter_evidence_start_timestamp_seconds"


class Canary:
    """A canary's exporter under a frozen clock."""

    def __init__(self, clock: Time, samples: Samples, **options: Any) -> None:
        self.samples = samples
        given: dict[str, Any] = {"percents": PERCENTS, "edges": {"pnl": (-1, 0, 1)}, "reference": REFERENCE}
        self.measures = CanaryMeasures(
            FileSource("nowhere"), window_seconds=600, min_sample=300, clock=clock, **(given | options)
        )

    def feed(self, *events: dict[str, Any]) -> Canary:
        self.measures.feed(Block(b"".join(json.dumps(event).encode() + b"\n" for event in events)))
        return self

    def read(self, name: str = "") -> dict[str, float]:
        """Return what is not zero, of the metrics whose names begin so, but for the exporter's own."""
        found = self.samples(self.measures.families(NOW))
        return {series: value for series, value in found.items() if series.startswith(name) and value}

    def outcomes(self, metric: str) -> dict[tuple[str, ...], float]:
        """Return the counts of a metric that are not zero, by arm, percent and outcome."""
        return {
            labels: value
            for (name, labels), value in shown(self.measures).items()
            if name == metric and value
        }


def shown(measures: CanaryMeasures) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the series by metric and labels."""
    return {
        (family.metric.name, labels): value
        for family in measures.families(NOW)
        for labels, value in family.samples.items()
        if isinstance(value, int | float)
    }


@pytest.fixture
def canary(clock: Time, samples: Samples) -> Canary:
    return Canary(clock, samples)


def stage(name: str = "canary", ts: float = NOW - 500, **more: Any) -> dict[str, Any]:
    return {"event": "stage", "ts": ts, "stage": name, **more}


def opened(route: str = "canary", ts: float = NOW, **more: Any) -> dict[str, Any]:
    return {"event": "trade_opened", "ts": ts, "route": route, **more}


def closed(route: str = "canary", won: bool = True, ts: float = NOW, **more: Any) -> dict[str, Any]:
    return {"event": "trade_closed", "ts": ts, "route": route, "won": won, **more}


def markout(value: float, ts: float = NOW, **more: Any) -> dict[str, Any]:
    return {"event": "markout", "ts": ts, "route": "canary", "horizon_ms": 500, "value": value, **more}


def score(spread: float | None = 5.0, ts: float = NOW, **more: Any) -> dict[str, Any]:
    features = {"features": {"spread": spread, "depth": 700.0}}
    return {
        "event": "score",
        "ts": ts,
        "slot": "active",
        "score": 0.5,
        "served": "candidate",
        **features,
        **more,
    }


def left_out(canary: Canary, metric: str) -> dict[str, float]:
    found = canary.outcomes("rollguard_exporter_evidence_left_out_total")
    return {labels[1]: value for labels, value in found.items() if labels[0] == metric}


def events_of(canary: Canary, metric: str) -> float:
    return canary.read("rollguard_exporter_evidence_events").get(
        f'rollguard_exporter_evidence_events_total{{metric="{metric}"}}', 0
    )


def test_a_trade_counts_at_the_percent_of_the_stage_that_it_was_opened_in(canary: Canary) -> None:
    canary.feed(stage(), stage("ramp-25", NOW - 100))
    canary.feed(opened(ts=NOW - 101), opened(ts=NOW - 99), opened("paper"))
    canary.feed(
        closed(opened_ts=NOW - 101),
        closed(opened_ts=NOW - 99, won=False),
        closed("paper", opened_ts=NOW - 300),
        closed("full", opened_ts=NOW - 300, percent=100),
    )
    assert canary.outcomes("trades_assigned_total") == {
        ("canary", "10"): 1,
        ("canary", "25"): 1,
        ("baseline", "25"): 1,
    }
    assert canary.outcomes("trade_outcomes_total") == {
        ("canary", "10", "won"): 1,
        ("canary", "25", "lost"): 1,
        ("baseline", "10", "won"): 1,
        ("canary", "100", "won"): 1,
    }
    assert canary.outcomes("trade_outcomes_window_total") == canary.outcomes("trade_outcomes_total")


def test_values_are_counted_by_bin_and_one_on_an_edge_in_the_bin_below(canary: Canary) -> None:
    values = (-1e9, -1, -0.5, 0, 0.1, 1, 1.1)
    canary.feed(*[closed("paper", pnl=pnl, slippage=2, score=0.9, percent=10) for pnl in values])
    canary.feed(markout(0.4, percent=10), markout(-20, percent=10))
    found = {outcome: n for (*_, outcome), n in canary.outcomes("trade_pnl_outcomes_total").items()}
    assert found == {"-1.0": 2, "0.0": 2, "1.0": 2, "+Inf": 1}
    assert canary.outcomes("trade_slippage_outcomes_total") == {("baseline", "10", "2.0"): 7}
    assert canary.outcomes("trade_squared_error_outcomes_total") == {("baseline", "10", "0.01"): 7}
    assert canary.outcomes("markout_500ms_outcomes_total") == {
        ("canary", "10", "0.5"): 1,
        ("canary", "10", "-10.0"): 1,
    }


def test_features_are_counted_by_the_references_bins(canary: Canary) -> None:
    canary.feed(stage(), score(5.0), score(None), score(1e9, served="active"), score(served=None))
    shadow = {"event": "score", "ts": NOW, "slot": "shadow", "score": 0.1}
    canary.feed(shadow, shadow)
    low, high = "1.0", "+Inf"
    spread = {key: n for key, n in canary.outcomes("feature_outcomes_total").items() if key[2] == "spread"}
    assert spread == {("canary", "10", "spread", low): 1, ("baseline", "10", "spread", high): 1}
    assert sum(canary.outcomes("feature_outcomes_total").values()) == 5
    assert canary.outcomes("scores_assigned_total") == {("canary", "10"): 2, ("baseline", "10"): 1}
    assert left_out(canary, "feature_outcomes_total") == {"no_arm": 1}
    assert events_of(canary, "feature_outcomes_total") == 4
    found = canary.read()
    assert found["drift_sample"] == 3  # as before: without `served` the candidate is meant


def test_of_many_features_the_first_twenty_are_counted(
    clock: Time, samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    wide = Reference.fit({f"f{number:02}": np.arange(300.0) for number in range(25)}, source="", made_at=0)
    canary = Canary(clock, samples, reference=wide)
    assert "of 25 features, 20 are counted by arm" in caplog.text
    features = {f"f{number:02}": float(number) for number in range(25)}
    canary.feed(stage(), score() | {"features": features})
    found = canary.outcomes("feature_outcomes_total")
    assert sorted(feature for _, _, feature, _ in found) == sorted(features)[:20]


def test_every_outcome_of_a_known_percent_is_shown_at_zero(canary: Canary) -> None:
    families = {family.metric.name: family.samples for family in canary.measures.families(NOW)}
    assert len(families["trade_outcomes_total"]) == 2 * 3 * 2
    assert len(families["trade_pnl_outcomes_window_total"]) == 2 * 3 * 4
    assert len(families["feature_outcomes_total"]) == 2 * 3 * 20
    canary.feed(stage("by hand", percent=12.5))
    families = {family.metric.name: family.samples for family in canary.measures.families(NOW)}
    assert families["trade_outcomes_total"]["baseline", "12.5", "lost"] == 0
    zero = ZeroStart()
    zero.shown(canary.measures.families(NOW))
    canary.feed(closed(percent=50))
    first, second = (
        {one.metric.name: one.samples for one in zero.shown(canary.measures.families(NOW))} for _ in "12"
    )
    assert first["trade_outcomes_total"]["canary", "50", "won"] == 0
    assert second["trade_outcomes_total"]["canary", "50", "won"] == 1


def test_what_is_not_known_is_left_out_and_counted_by_its_reason(canary: Canary) -> None:
    canary.feed(closed(), closed(opened_ts=NOW - 600), *[closed(percent=10)] * 98)
    assert left_out(canary, "trade_outcomes_total") == {"unopened": 1, "unknown_percent": 1}
    assert events_of(canary, "trade_outcomes_total") == 100
    canary.feed(*[opened(percent=30 + number) for number in range(30)])
    assert left_out(canary, "trades_assigned_total") == {"too_many_percents": 13}
    canary.feed(closed(percent=10, assignment="listed"), closed("paper", percent=10, assignment="match"))
    assert events_of(canary, "trade_outcomes_total") == 100
    not_split = canary.outcomes("rollguard_exporter_evidence_not_split_total")
    assert not_split == {("trade_outcomes_total",): 2}


ODD: tuple[Any, ...] = ("ten", True, [10], {"a": {}}, -1, 1e30)


@pytest.mark.parametrize("key", ["percent", "unit", "assignment", "pnl", "slippage"])
@pytest.mark.parametrize("odd", ODD)
def test_an_odd_key_is_left_out_and_everything_else_counts(canary: Canary, key: str, odd: Any) -> None:
    fine = (key == "unit" and odd in {"ten", -1} if isinstance(odd, str | int) else False) or (
        key in {"pnl", "slippage"} and odd == -1
    )
    canary.feed(closed(**{"percent": 10, "pnl": 1, "slippage": 1, key: odd}))
    found = canary.read()
    assert found['trades_closed_total{route="canary"}'] == 1
    assert not canary.read("rollguard_exporter_events_rejected")
    metric = f"trade_{key}_outcomes_total" if key in {"pnl", "slippage"} else "trade_outcomes_total"
    assert left_out(canary, metric) == ({} if fine else {"odd_field": 1})
    assert events_of(canary, metric) == 1
    if metric != "trade_outcomes_total":
        assert left_out(canary, "trade_outcomes_total") == {}


def test_a_unit_counts_once_a_run_by_its_first_outcome(canary: Canary) -> None:
    canary.feed(stage("shadow", NOW - 550), stage())
    for _ in range(3):
        canary.feed(opened(unit="a"), closed(won=False, opened_ts=NOW - 1, unit="a"))
        canary.feed(closed(won=True, opened_ts=NOW - 1, unit="a", pnl=0.5), score(unit="a"))
    canary.feed(closed("paper", opened_ts=NOW - 1, unit="b"), closed("paper", opened_ts=NOW - 1))
    assert canary.outcomes("trade_outcomes_total") == {
        ("canary", "10", "lost"): 1,
        ("baseline", "10", "won"): 2,
    }
    assert canary.outcomes("trades_assigned_total") == {("canary", "10"): 1}
    assert canary.outcomes("scores_assigned_total") == {("canary", "10"): 1}
    assert sum(canary.outcomes("feature_outcomes_total").values()) == 2
    assert events_of(canary, "trade_outcomes_total") == 8
    canary.feed(closed(won=False, ts=NOW + 50, opened_ts=NOW - 1, unit="a"))
    assert canary.outcomes("trade_outcomes_total")["canary", "10", "lost"] == 1
    canary.feed(stage("shadow", NOW + 1), closed(won=False, percent=10, unit="a"))
    assert canary.outcomes("trade_outcomes_total")["canary", "10", "lost"] == 2


def test_guards_with_times_see_a_unit_once_a_window(canary: Canary) -> None:
    for hour in range(3):
        ts = NOW - 3600 * (2 - hour)
        canary.feed(*[closed(won=False, ts=ts, percent=10, unit="a")] * 5)
    assert canary.outcomes("trade_outcomes_total") == {("canary", "10", "lost"): 1}
    assert canary.outcomes("trade_outcomes_window_total") == {("canary", "10", "lost"): 3}


def stream(seed: int, units: bool) -> list[dict[str, Any]]:
    """Return events of an hour over three stages, in the order of their times."""
    rng = random.Random(seed)
    events: list[dict[str, Any]] = []
    for number in range(600):
        ts = NOW - 500 + number / 1.25
        if number in {100, 300}:
            events.append(stage("canary" if number == 100 else "ramp-25", ts))
        route = rng.choice(["canary", "paper"])
        more: dict[str, Any] = {"unit": f"u{rng.randrange(60)}"} if units else {}
        if rng.random() < 0.3:
            more["percent"] = rng.choice([10, 25, "odd"])
        served = rng.choice(["candidate", "active", None])
        events.append(opened(route, ts, **more))
        events.append(closed(route, rng.random() < 0.5, ts, opened_ts=ts - 90, pnl=rng.gauss(0, 1), **more))
        events.append(score(rng.gauss(500, 300), ts, served=served, **more))
    return events


def by_arm(measures: CanaryMeasures) -> dict[tuple[str, tuple[str, ...]], float]:
    own = {one.name for one in ARM_METRICS}
    return {series: value for series, value in shown(measures).items() if series[0] in own}


@pytest.mark.parametrize("units", [False, True])
def test_a_restart_at_any_place_changes_nothing(clock: Time, samples: Samples, units: bool) -> None:
    events, rng = stream(1, units), random.Random(2)
    whole = Canary(clock, samples).feed(*events)
    parts = Canary(clock, samples)
    cuts = sorted(rng.sample(range(len(events)), 20))
    for first, last in zip([0, *cuts], [*cuts, len(events)], strict=True):
        parts.feed(*events[first:last])
        state, parts = parts.measures.save(), Canary(clock, samples)
        parts.measures.restore(state)
    assert by_arm(parts.measures) == by_arm(whole.measures)


def test_line_by_line_counts_as_all_at_once(clock: Time, samples: Samples) -> None:
    for units in (False, True):
        events = stream(3, units)
        single = Canary(clock, samples)
        for event in events:
            single.feed(event)
        assert by_arm(single.measures) == by_arm(Canary(clock, samples).feed(*events).measures)


def test_two_shards_add_up_to_one_process(clock: Time, samples: Samples) -> None:
    events = stream(4, units=True)
    whole = by_arm(Canary(clock, samples).feed(*events).measures)
    shards: Iterable[dict[Any, float]] = (
        by_arm(
            Canary(clock, samples)
            .feed(*[one for one in events if one["event"] == "stage" or int(one["unit"][1:]) % 2 == shard])
            .measures
        )
        for shard in (0, 1)
    )
    first, second = shards
    assert first.keys() == whole.keys()
    assert {key: first[key] + second[key] for key in whole if key[0] != START} == {
        key: value for key, value in whole.items() if key[0] != START
    }


def test_the_start_stays_with_the_checkpoint_and_moves_without(clock: Time, samples: Samples) -> None:
    first = Canary(clock, samples).feed(closed(percent=10))
    clock.now += 1000
    second, third = Canary(clock, samples), Canary(clock, samples)
    second.measures.restore(first.measures.save())
    assert second.read(START) == {START: NOW}
    assert third.read(START) == {START: NOW + 1000}
    before = msgspec.json.decode(first.measures.save())
    del before["arms"]
    third.measures.restore(msgspec.json.encode(before))  # of a version that did not count by arm
    assert third.read(START) == {START: NOW + 1000}
    assert third.read("trades_closed_total")


def test_other_bins_and_another_reference_start_at_zero(clock: Time, samples: Samples) -> None:
    first = Canary(clock, samples).feed(stage(), closed(percent=10, pnl=3), score())
    other = Reference.fit({"spread": np.arange(300.0), "depth": np.arange(300.0)}, source="", made_at=0)
    second = Canary(clock, samples, edges={"pnl": (-5, 5)}, reference=other)
    second.measures.restore(first.measures.save())
    assert second.outcomes("trade_pnl_outcomes_total") == {}
    assert second.outcomes("feature_outcomes_total") == {}
    same = Canary(clock, samples)
    same.measures.restore(first.measures.save())
    assert same.outcomes("feature_outcomes_total") == first.outcomes("feature_outcomes_total") != {}
    assert second.outcomes("trade_outcomes_total") == {("canary", "10", "won"): 1}
