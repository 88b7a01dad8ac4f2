"""What runs around a canary, with known answers."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block
from tests.unit.clock import NOW
from tests.unit.exporters.conftest import Samples


class Canary:
    """A canary's exporter that is fed events."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.exporter = CanaryMeasures(
            FileSource("nowhere"), window_seconds=1800.0, reference=None, min_sample=300, clock=lambda: NOW
        )

    def feed(self, *events: dict[str, Any]) -> None:
        self.exporter.feed(Block(b"".join(msgspec.json.encode(event) + b"\n" for event in events)))

    def closed(self, route: str, score: float, won: bool, times: int = 1) -> None:
        event = {"event": "trade_closed", "ts": NOW - 60, "route": route, "won": won, "score": score}
        self.feed(*[event] * times)

    def read(self, end: float = NOW) -> dict[str, float]:
        return self._samples(self.exporter.families(end))


@pytest.fixture
def canary(samples: Samples) -> Canary:
    return Canary(samples)


def test_brier_is_of_each_arms_own_scores(canary: Canary) -> None:
    canary.closed("canary", 0.8, True, 2000)
    canary.closed("full", 0.8, False, 500)
    canary.closed("paper", 0.5, True, 2500)
    found = canary.read()
    assert found["brier_online"] == pytest.approx((40 * 0.04 + 10 * 0.64) / 50)
    assert found["brier_baseline_active"] == pytest.approx(0.25)


def test_what_is_shown_of_events_is_what_scikit_learn_says_of_them(canary: Canary) -> None:
    rng = np.random.default_rng(2)
    scores = rng.uniform(size=2500)
    outcomes = rng.uniform(size=2500) < scores**2
    for score, won in zip(scores.tolist(), outcomes.tolist(), strict=True):
        canary.closed("canary", score, won)
    found = canary.read()
    assert found["brier_online"] == pytest.approx(brier_score_loss(outcomes, scores), abs=1e-12)
    frequency, mean = calibration_curve(outcomes, scores, n_bins=10)
    counts, _ = np.histogram(scores, np.linspace(0, 1, 11))
    noise = np.sum(counts * np.sqrt(mean * (1 - mean) / counts)) * np.sqrt(2 / np.pi) / 2500
    expected = np.sum(counts * np.abs(frequency - mean)) / 2500 - noise
    assert found["ece_online"] == pytest.approx(expected, abs=1e-12)


def test_brier_is_silent_below_2500_trades(canary: Canary) -> None:
    canary.closed("canary", 0.8, True, 2499)
    assert "brier_online" not in canary.read()
    canary.closed("canary", 0.8, True)
    assert "brier_online" in canary.read()


def test_a_calibrated_model_has_no_error_beyond_its_noise(canary: Canary) -> None:
    for score, won, lost in ((0.25, 125, 375), (0.75, 375, 125)):
        canary.closed("canary", score, True, won)
        canary.closed("canary", score, False, lost)
    assert canary.read()["ece_online"] == 0


def test_the_calibration_error_is_less_its_noise(canary: Canary) -> None:
    canary.closed("canary", 0.9, True, 500)
    canary.closed("canary", 0.9, False, 500)
    noise = np.sqrt(0.9 * 0.1 / 1000) * np.sqrt(2 / np.pi)
    assert canary.read()["ece_online"] == pytest.approx(0.4 - noise)


def test_calibration_leaves_with_its_window(canary: Canary) -> None:
    canary.closed("canary", 0.9, True, 1000)
    assert "ece_online" in canary.read(NOW + 3600)
    assert "ece_online" not in canary.read(NOW + 90000)


def test_trades_without_a_score_say_nothing_of_calibration(canary: Canary) -> None:
    canary.feed(*[{"event": "trade_closed", "ts": NOW - 60, "route": "canary", "won": True}] * 2600)
    assert "brier_online" not in canary.read()


def opened(hours_ago: float, times: int) -> list[dict[str, Any]]:
    return [{"event": "trade_opened", "ts": NOW - 3600 * hours_ago, "route": "paper"}] * times


def model(name: str, ts: float = NOW, **more: float) -> dict[str, Any]:
    return {"event": "model", "ts": ts, "slot": "active", "id": name} | more


def test_trades_per_hour_are_those_of_the_last_hour(canary: Canary) -> None:
    canary.feed(*opened(1.5, 7), *opened(0.5, 3), *opened(0.1, 2))
    assert canary.read()["trades_per_hour"] == 5
    assert "trades_per_hour" not in canary.read(NOW + 7200)


def test_the_release_before_is_what_its_hours_were(canary: Canary) -> None:
    canary.feed(model("old", NOW - 40 * 3600))
    for hour in range(30, 0, -1):
        canary.feed(*opened(hour, hour))
    canary.feed(model("old", NOW - 10))
    assert "trades_per_hour_prev_release_p95" not in canary.read()
    canary.feed(model("new"))
    assert canary.read()["trades_per_hour_prev_release_p95"] == pytest.approx(np.quantile(range(1, 31), 0.95))


def test_a_release_of_less_than_a_day_says_nothing(canary: Canary) -> None:
    canary.feed(model("old", NOW - 40 * 3600))
    for hour in range(23, 0, -1):
        canary.feed(*opened(hour, hour))
    canary.feed(model("new"))
    assert "trades_per_hour_prev_release_p95" not in canary.read()


def test_a_producer_may_say_what_was_usual_before(canary: Canary) -> None:
    canary.feed(model("new", trades_per_hour_p95=140))
    assert canary.read()["trades_per_hour_prev_release_p95"] == 140


def test_a_slot_shows_the_model_that_it_holds_now(canary: Canary) -> None:
    canary.feed(model("old", NOW - 5), model("new"))
    found = canary.read()
    assert found['model_active_id{model="new"}'] == 1
    assert 'model_active_id{model="old"}' not in found


def test_a_threshold_is_the_newest_of_its_model(canary: Canary) -> None:
    first = {"event": "thresholds", "ts": NOW - 9, "model": "a", "tau_entry": 0.6, "tau_hold": 0.5}
    canary.feed(first, first | {"ts": NOW - 3, "tau_entry": 0.7}, first | {"model": "b"})
    found = canary.read()
    assert found['tau_entry_current{model="a"}'] == 0.7
    assert found['tau_hold_current{model="b"}'] == 0.5


def test_counters_count(canary: Canary) -> None:
    canary.feed(
        {"event": "ladder", "ts": NOW, "bucket": "high"},
        {"event": "shadow_signal", "ts": NOW, "approved": True},
        {"event": "shadow_signal", "ts": NOW, "approved": False},
        {"event": "schema_check", "ts": NOW, "ok": False},
        {"event": "schema_check", "ts": NOW, "ok": True},
        {"event": "exchange_check", "ts": NOW, "mismatches": 3},
        {"event": "warmup_skip", "ts": NOW, "symbol": "BTC"},
        {"event": "backpressure", "ts": NOW, "symbol": "BTC"},
        {"event": "fail_safe_route", "ts": NOW, "symbol": "BTC"},
        {"event": "fail_safe_switch", "ts": NOW, "reason": "crit"},
        {"event": "parquet_scan", "ts": NOW, "gap_ms": 60001},
    )
    found = canary.read()
    expected = {
        'exec_ladder_aggressiveness_total{bucket="high"}': 1,
        'exec_ladder_aggressiveness_total{bucket="low"}': 0,
        "shadow_signals_evaluated_total": 2,
        "shadow_signals_approved_total": 1,
        "parquet_schema_version_mismatch_total": 1,
        "exchange_reference_mismatch_total": 3,
        'warmup_skip_total{symbol="BTC"}': 1,
        'backpressure_total{symbol="BTC"}': 1,
        'fail_safe_route_total{symbol="BTC"}': 1,
        'fail_safe_switch_total{reason="crit"}': 1,
        "parquet_gap_detected_ms": 60001,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_million_symbols_are_bounded(canary: Canary) -> None:
    event = {"event": "warmup_skip", "ts": NOW}
    canary.feed(*[event | {"symbol": f"S{number}"} for number in range(20_000)])
    found = [name for name in canary.read() if name.startswith("warmup_skip_total")]
    assert len(found) == 501
    assert canary.read()['warmup_skip_total{symbol="other"}'] == 19_500
