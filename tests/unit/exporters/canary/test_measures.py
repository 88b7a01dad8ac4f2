from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.exporters.canary.events import KINDS, Event
from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.runtime.decoding import LineDecoder, Rejections
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block

if TYPE_CHECKING:
    from tests.unit.clock import Time
from tests.unit.exporters.conftest import Samples

NOW = 1_700_000_000.0
WINDOW = 600.0
REFERENCE = Reference.fit({"spread": np.arange(1000.0), "depth": np.ones(1000)}, source="", made_at=0)


class Canary:
    """Measures under a frozen clock, fed with events and read as series."""

    def __init__(self, clock: Time, samples: Samples, reference: Reference | None = REFERENCE) -> None:
        self.clock, self.samples, self.reference = clock, samples, reference
        self.measures = self.fresh()

    def fresh(self, *, window_seconds: float = WINDOW, reference: Reference | None = None) -> CanaryMeasures:
        return CanaryMeasures(
            FileSource("events.jsonl"),
            window_seconds=window_seconds,
            reference=reference or self.reference,
            min_sample=300,
            clock=self.clock,
        )

    def feed(self, *events: dict[str, Any]) -> None:
        self.measures.feed(Block(b"".join(json.dumps(event).encode() + b"\n" for event in events)))

    def read(self) -> dict[str, float]:
        return self.samples(self.measures.families(self.clock.now))


@pytest.fixture
def canary(clock: Time, samples: Samples) -> Canary:
    return Canary(clock, samples)


def stage(ts: float = NOW, **more: Any) -> dict[str, Any]:
    return {"event": "stage", "ts": ts, "stage": "canary", **more}


def closed(route: str, won: bool, ts: float = NOW, **more: Any) -> dict[str, Any]:
    return {"event": "trade_closed", "ts": ts, "route": route, "won": won, **more}


def order(status: str, route: str = "canary", ts: float = NOW) -> dict[str, Any]:
    return {"event": "order", "ts": ts, "route": route, "status": status}


def score(value: float = 0.5, ts: float = NOW, slot: str = "active", **more: Any) -> dict[str, Any]:
    return {"event": "score", "ts": ts, "slot": slot, "score": value, **more}


def markout(value: float, horizon_ms: int = 1000, ts: float = NOW, **more: Any) -> dict[str, Any]:
    return {"event": "markout", "ts": ts, "route": "canary", "horizon_ms": horizon_ms, "value": value, **more}


def served(*, count: int, ts: float = NOW, **more: Any) -> list[dict[str, Any]]:
    return [score(ts=ts, features={"spread": 1.0, "depth": 1.0}, **more)] * count


def test_before_any_event_counters_are_zero_and_windows_say_nothing(canary: Canary) -> None:
    found = canary.read()
    for route in ("canary", "paper", "full"):
        for name in ("opened", "closed", "won"):
            assert found.pop(f'trades_{name}_total{{route="{route}"}}') == 0
    for name in ("sample_canary", "sample_baseline_active", "drift_sample", "onnx_parity_fail_total"):
        assert found.pop(name) == 0
    assert found.pop("rollguard_exporter_evidence_start_timestamp_seconds") == NOW
    assert all("_total" in name and value == 0 for name, value in found.items())


def test_trades_are_counted_by_route(canary: Canary) -> None:
    canary.feed({"event": "trade_opened", "ts": NOW, "route": "canary"}, *[closed("paper", True)] * 10)
    canary.feed(*[closed("paper", False)] * 10, *[closed("full", True)] * 20)
    found = canary.read()
    assert found['trades_opened_total{route="canary"}'] == 1
    assert found['trades_closed_total{route="paper"}'] == 20
    assert found['trades_won_total{route="paper"}'] == 10
    assert found['winrate_rolling{route="paper"}'] == 0.5
    assert found['winrate_rolling{route="full"}'] == 1
    assert 'winrate_rolling{route="canary"}' not in found


def test_what_leaves_the_window_leaves_the_rate_but_not_the_counter(canary: Canary) -> None:
    canary.feed(*[closed("paper", True)] * 20)
    canary.clock.now += WINDOW + 20
    assert 'winrate_rolling{route="paper"}' not in canary.read()
    assert canary.read()['trades_closed_total{route="paper"}'] == 20


def test_fills_and_cancellations(canary: Canary) -> None:
    canary.feed(*[order("filled"), order("cancelled"), order("cancelled"), order("cancelled")] * 40)
    found = canary.read()
    assert found['fill_rate_rolling{route="canary"}'] == 0.25
    assert found['cancel_to_fill_ratio{route="canary"}'] == 3


def test_cancellations_without_a_fill_are_the_worst_not_the_best(canary: Canary) -> None:
    canary.feed(*[order("cancelled")] * 159)
    assert 'fill_rate_rolling{route="canary"}' not in canary.read()
    canary.feed(order("cancelled"))
    found = canary.read()
    assert found['fill_rate_rolling{route="canary"}'] == 0
    assert found['cancel_to_fill_ratio{route="canary"}'] == float("inf")


def test_markouts_by_horizon(canary: Canary) -> None:
    canary.feed(*[markout(1.5), markout(-0.5)] * 10, *[markout(4, horizon_ms=100)] * 20)
    found = canary.read()
    assert found['avg_markout_1000ms{route="canary"}'] == 0.5
    assert found['avg_markout_100ms{route="canary"}'] == 4
    assert 'avg_markout_500ms{route="canary"}' not in found


@pytest.mark.parametrize(("slot", "name"), [("active", "model"), ("shadow", "shadow")])
def test_scores_by_slot(canary: Canary, slot: str, name: str) -> None:
    values = [0.1, 0.4, 0.9]
    canary.feed(*(score(value, slot=slot) for value in values))
    found = canary.read()
    distribution = f'{name}_score_distribution{{split="online",stat="%s"}}'
    assert found[distribution % "mean"] == pytest.approx(np.mean(values), abs=1e-12)
    assert found[distribution % "std"] == pytest.approx(np.std(values), abs=1e-12)
    assert sum("score_distribution" in series for series in found) == 2


def test_equal_scores_have_no_spread(canary: Canary) -> None:
    canary.feed(*[score(0.1)] * 7)
    assert canary.read()['model_score_distribution{split="online",stat="std"}'] == pytest.approx(0, abs=1e-7)


def test_precision_is_silent_one_trade_below_its_sample(canary: Canary) -> None:
    canary.feed(*[closed("canary", True)] * 400, *[closed("paper", False)] * 599)
    assert "rolling_precision" not in canary.read()
    canary.feed(closed("full", False))
    assert canary.read()["rolling_precision"] == 0.4


def test_parity_counts_what_did_not_agree(canary: Canary) -> None:
    canary.feed(*({"event": "parity", "ts": NOW, "ok": ok} for ok in (True, False, False)))
    assert canary.read()["onnx_parity_fail_total"] == 2


def test_the_cohort_has_trades_opened_since_the_stage_began(canary: Canary) -> None:
    canary.feed(
        closed("canary", False, NOW - 9),
        stage(NOW - 8),
        closed("canary", True, NOW, opened_ts=NOW - 8),
        closed("canary", False, NOW, opened_ts=NOW - 8.001),
        closed("canary", True, NOW),
        closed("paper", False, NOW),
        closed("full", True, NOW),
    )
    found = canary.read()
    assert (found["sample_canary"], found["winrate_canary"]) == (2, 1)
    assert (found["sample_baseline_active"], found["winrate_baseline_active"]) == (1, 0)


def test_the_cohort_outlives_the_window(canary: Canary) -> None:
    canary.feed(stage(), closed("canary", True))
    canary.clock.now += 10 * WINDOW
    assert canary.read()["winrate_canary"] == 1


def test_a_new_stage_starts_the_cohort_again(canary: Canary) -> None:
    canary.feed(stage(), *[closed("canary", True)] * 20, closed("paper", True), stage(NOW + 1))
    found = canary.read()
    assert found["sample_canary"] == found["sample_baseline_active"] == 0
    assert "winrate_canary" not in found
    assert "winrate_baseline_active" not in found
    assert found['winrate_rolling{route="canary"}'] == 1


def test_a_stage_of_before_that_comes_late_starts_nothing(canary: Canary) -> None:
    canary.feed(stage(), closed("canary", True), stage(NOW - 1))
    assert canary.read()["sample_canary"] == 1


def executor_start(ts: float) -> dict[str, Any]:
    return {"event": "executor_start", "ts": ts}


def every_judged_event(ts: float) -> list[dict[str, Any]]:
    at = {"ts": ts, "route": "canary"}
    return [
        closed("canary", True, ts),
        order("filled", ts=ts),
        markout(1.0, ts=ts),
        *served(count=1, ts=ts),
        at | {"event": "trade_opened"},
        {"event": "parity", "ts": ts, "ok": False},
        {"event": "ladder", "ts": ts, "bucket": "high"},
    ]


def test_what_is_traded_and_scored_while_an_executor_warms_up_is_judged_by_nobody(canary: Canary) -> None:
    canary.feed(executor_start(NOW - 100))
    before = canary.read()
    canary.feed(*every_judged_event(NOW - 100), *every_judged_event(NOW - 10.001))
    found = canary.read()
    assert found.pop("rollguard_exporter_warmup_events_total") == 14
    assert {name: found[name] for name in before if name in found and "events_total" not in name} == {
        name: value for name, value in before.items() if "events_total" not in name
    }


@pytest.mark.parametrize("ts", [NOW - 100.001, NOW - 10])
def test_what_came_before_the_start_or_after_the_warm_up_is_judged(canary: Canary, ts: float) -> None:
    canary.feed(executor_start(NOW - 100), *every_judged_event(ts))
    found = canary.read()
    assert found["rollguard_exporter_warmup_events_total"] == 0
    assert found['trades_won_total{route="canary"}'] == found["onnx_parity_fail_total"] == 1


def test_another_start_warms_up_again_and_an_old_one_that_comes_late_does_not(canary: Canary) -> None:
    canary.feed(executor_start(NOW - 500), executor_start(NOW - 50), executor_start(NOW - 300))
    canary.feed(closed("canary", True, NOW), closed("canary", True, NOW - 250))
    found = canary.read()
    assert found["rollguard_exporter_warmup_events_total"] == 1
    assert found['trades_won_total{route="canary"}'] == 1


def test_stages_and_data_checks_count_while_an_executor_warms_up(canary: Canary) -> None:
    canary.feed(closed("canary", True, NOW - 9), executor_start(NOW - 5), stage(NOW - 4))
    canary.feed({"event": "schema_check", "ts": NOW, "ok": False})
    found = canary.read()
    assert (found["sample_canary"], found["parquet_schema_version_mismatch_total"]) == (0, 1)


def test_drift_is_silent_below_its_sample(canary: Canary) -> None:
    values = np.random.default_rng(1).normal(9, size=600)
    rows = [
        score(ts=NOW - WINDOW + WINDOW * (number + 1) / 600, features={"spread": value, "depth": 1.0})
        for number, value in enumerate(values.tolist())
    ]
    canary.feed(*rows[:250])
    found = canary.read()
    assert 0 < found['drift_effective_sample{feature="spread"}'] < 300
    assert not any(series.startswith(("psi", "ks")) for series in found)
    canary.feed(*rows[250:])
    found = canary.read()
    assert found["drift_sample"] == 600
    assert found['drift_effective_sample{feature="spread"}'] > 300
    assert found['ks_feature{feature="spread"}'] == pytest.approx(0.9)
    assert found['psi_feature{feature="spread"}'] > 1
    assert found['drift_effective_sample{feature="depth"}'] == 1
    assert 'ks_feature{feature="depth"}' not in found


@pytest.mark.parametrize(
    ("more", "rows"),
    [
        ({}, 1),
        ({"served": None}, 1),
        ({"served": "candidate"}, 1),
        ({"served": "active"}, 0),
        ({"slot": "shadow"}, 0),
        ({"features": {}}, 0),
        ({"features": {"other": 1}}, 0),
        ({"features": {"spread": None, "other": 1}}, 0),
        ({"features": {"spread": None, "depth": 1}}, 1),
    ],
)
def test_drift_is_of_what_the_candidate_served(canary: Canary, more: dict[str, Any], rows: int) -> None:
    canary.feed({**score(features={"spread": 1}), **more})
    assert canary.read()["drift_sample"] == rows


def test_a_new_stage_is_not_judged_by_what_the_one_before_served(canary: Canary) -> None:
    canary.feed(*served(count=200))
    canary.feed(*served(count=200), stage(), *served(count=3), *served(count=5, ts=NOW - 1))
    assert canary.read()["drift_sample"] == 3


def test_features_beside_the_reference_are_counted(canary: Canary) -> None:
    canary.feed(score(features={"spread": 1, "other": 2, "another": None}), score(features={"third": 1}))
    canary.feed(*[score(features={"third": 1, "depth": 1, "other": 2})] * 3)
    found = canary.read()
    assert found["rollguard_exporter_features_unknown_total"] == 2 + 6
    assert found["drift_sample"] == 4
    assert found['rollguard_exporter_events_rejected_total{reason="shape"}'] == 0


def test_without_a_reference_there_is_no_drift(clock: Time, samples: Samples) -> None:
    canary = Canary(clock, samples, reference=None)
    canary.feed(*served(count=400))
    assert canary.read()["drift_sample"] == 0
    assert canary.read()["rollguard_exporter_features_unknown_total"] == 0
    canary.measures.restore(canary.measures.save())


def test_late_events_within_the_window_count_where_they_belong(canary: Canary) -> None:
    canary.feed(*[closed("paper", True)] * 20, *[closed("paper", False, NOW - WINDOW + 60)] * 20)
    assert canary.read()['winrate_rolling{route="paper"}'] == 0.5
    canary.clock.now += 120
    assert canary.read()['winrate_rolling{route="paper"}'] == 1


def test_events_too_late_for_the_window_move_counters_only(canary: Canary) -> None:
    old = NOW - WINDOW - 61
    canary.feed(score(1), *[closed("paper", True)] * 20, order("filled"))
    canary.feed(*served(count=1, ts=old), closed("paper", False, old), order("cancelled", ts=old))
    found = canary.read()
    assert found['trades_closed_total{route="paper"}'] == 21
    assert found['winrate_rolling{route="paper"}'] == 1
    assert found['model_score_distribution{split="online",stat="mean"}'] == 1
    assert found["drift_sample"] == 0
    assert found['rollguard_exporter_events_rejected_total{reason="late"}'] == 3


def test_the_future_moves_nothing(canary: Canary) -> None:
    before = canary.read()
    canary.feed(closed("paper", True, NOW + 61), stage(NOW + 61))
    after = canary.read()
    assert after.pop('rollguard_exporter_events_rejected_total{reason="future"}') == 2
    before.pop('rollguard_exporter_events_rejected_total{reason="future"}')
    assert before == after


def test_another_reference_starts_drift_afresh_and_keeps_the_rest(
    canary: Canary, caplog: pytest.LogCaptureFixture
) -> None:
    canary.feed(*served(count=400), *[closed("paper", True)] * 20)
    other = Reference.fit({"spread": np.arange(300.0)}, source="", made_at=0)
    state, canary.measures = canary.measures.save(), canary.fresh(reference=other)
    canary.measures.restore(state)
    assert canary.read()["drift_sample"] == 0
    assert canary.read()['winrate_rolling{route="paper"}'] == 1
    assert "of another reference" in caplog.text


def test_another_window_starts_empty_and_keeps_the_counters(
    canary: Canary, caplog: pytest.LogCaptureFixture
) -> None:
    canary.feed(closed("paper", True))
    state, canary.measures = canary.measures.save(), canary.fresh(window_seconds=60)
    canary.measures.restore(state)
    assert 'winrate_rolling{route="paper"}' not in canary.read()
    assert canary.read()['trades_won_total{route="paper"}'] == 1
    assert "of another length" in caplog.text


@pytest.mark.parametrize("state", [b"", b"{}", b"[]", b'{"intake":1}'])
def test_a_state_of_something_else_changes_nothing(canary: Canary, state: bytes) -> None:
    canary.feed(closed("paper", True))
    before = canary.read()
    with pytest.raises(ValueError, match=r"."):
        canary.measures.restore(state)
    assert canary.read() == before


ODD = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(-1e308, 1e308), st.text(), st.just({"a": [1]})),
    *(st.sampled_from([0, 10, 25, 100, "split", "listed"]), st.lists(st.integers(), max_size=2)),
)
"""What an optional key may hold, sense and nonsense."""


def any_event(numbers: st.SearchStrategy[float]) -> st.SearchStrategy[dict[str, Any]]:
    moments = st.floats(0, NOW + 60) | st.floats(NOW - WINDOW, NOW)
    routes = st.sampled_from(["canary", "paper", "full"])
    drawn = {"percent": ODD, "assignment": ODD, "unit": ODD}
    features = st.dictionaries(st.sampled_from(["spread", "depth", "other"]), st.none() | numbers)
    return st.one_of(
        st.builds(stage, moments, percent=ODD, run=ODD),
        st.builds(
            closed,
            routes,
            st.booleans(),
            moments,
            opened_ts=st.none() | st.floats(0, 1e308),
            **drawn,
            pnl=ODD,
            slippage=ODD,
        ),
        st.builds(order, st.sampled_from(["filled", "cancelled"]), routes, moments),
        st.builds(markout, numbers, st.sampled_from([100, 500, 1000]), moments, **drawn, opened_ts=ODD),
        st.builds(
            score,
            st.floats(0, 1),
            moments,
            st.sampled_from(["active", "shadow"]),
            served=st.sampled_from([None, "active", "candidate"]),
            features=features,
            **drawn,
        ),
    )


@given(st.lists(any_event(st.floats(-1e15, 1e15))))
def test_every_accepted_event_leaves_finite_numbers(
    new_clock: type[Time], samples: Samples, steps: list[dict[str, Any]]
) -> None:
    canary = Canary(new_clock(), samples)
    canary.feed(*steps)
    found = canary.read()
    assert not any(math.isnan(value) for value in found.values())
    assert not any("rejected" in series and value for series, value in found.items() if "late" not in series)


@given(st.lists(any_event(st.floats(-1e6, 1e6)), max_size=40), st.data())
def test_blocks_and_restarts_change_no_number(
    new_clock: type[Time], samples: Samples, steps: list[dict[str, Any]], data: st.DataObject
) -> None:
    whole, parts = (Canary(new_clock(), samples) for _ in range(2))
    whole.feed(*steps)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(steps)), max_size=4)))
    for first, last in zip([0, *cuts], [*cuts, len(steps)], strict=True):
        parts.feed(*steps[first:last])
        state, parts.measures = parts.measures.save(), parts.fresh()
        parts.measures.restore(state)
    assert parts.read() == pytest.approx(whole.read(), rel=1e-9, abs=1e-6)


@given(any_event(st.floats(-1e6, 1e6)), st.data())
def test_a_broken_line_moves_no_metric_but_its_own(
    new_clock: type[Time], samples: Samples, event: dict[str, Any], data: st.DataObject
) -> None:
    line = bytearray(json.dumps(event).encode())
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, min(len(line), start + 5)))
    line[start:end] = data.draw(st.binary(max_size=5).filter(lambda noise: b"\n" not in noise))
    decoder = LineDecoder(msgspec.json.Decoder(Event), frozenset(KINDS), Rejections())
    canary = Canary(new_clock(), samples)
    before = canary.read()
    canary.measures.feed(Block(bytes(line) + b"\n"))
    after = canary.read()
    moved = {series for series in after if after[series] != before.get(series)}
    if not decoder.decode(bytes(line))[0]:
        assert all("rejected" in series for series in moved)
        assert sum(after[series] for series in moved) == bool(line.strip())
