"""What is drawn has the rates, shares and spreads that its law says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rollguard.simulation.laws import Moment, NormalGauge, Stream
from rollguard.spec.traffic import Law

ROWS = 4000


def moment(*, share: float = 0.25, worse: float = 0.0, at: float = 0.0, parts: int = 1) -> Moment:
    every = np.ones(ROWS)
    return Moment(at, 60.0, parts, share * every, worse * every, every.astype(bool))


def drawn(law: Law, now: Moment, *, edges: tuple[float, ...] | None = None, looks: int = 5) -> np.ndarray:
    stream = Stream(law, ROWS, np.random.default_rng(1), edges)
    stream.fine = now.parts > 1
    found = []
    for _ in range(looks):
        stream.draw(now)
        found.append(stream.counts.sum(axis=0))
    return np.array(found)


def test_events_go_to_both_arms_by_their_share_and_are_bad_as_often_as_it_says() -> None:
    counts = drawn(Law(per_minute=20, bad=0.1), moment(worse=0.05, parts=4)).mean(axis=(0, 3))
    assert counts == pytest.approx(np.array([[13.5, 1.5], [4.25, 0.75]]), rel=0.03)


def test_outcomes_of_a_minute_correlate_as_much_as_it_says_in_both_arms() -> None:
    counts = drawn(Law(per_minute=4000, bad=0.2, correlation=0.3), moment(share=0.5), looks=2)
    shares = counts[:, :, 1] / counts.sum(axis=2)
    assert shares.mean() == pytest.approx(0.2, abs=0.01)
    assert shares.var() == pytest.approx(0.3 * 0.2 * 0.8, rel=0.1)
    assert np.corrcoef(shares[0, 0], shares[0, 1])[0, 1] > 0.99


def test_what_minutes_share_is_forgotten_with_time() -> None:
    law = Law.model_validate({"per_minute": 4000, "bad": 0.2, "correlation": 0.3, "memory": "10m"})
    shares = drawn(law, moment(), looks=3)[:, 0, 1]
    near, far = (np.corrcoef(shares[0], shares[later])[0, 1] for later in (1, 2))
    assert 0.5 < far < near < 0.95


def test_the_share_of_bad_events_swings_over_the_day() -> None:
    law = Law(per_minute=100, bad=0.2, swing=0.1)
    high, low = (drawn(law, moment(at=hour * 3600.0))[:, 0, 1].mean() for hour in (6, 18))
    assert high / 75 == pytest.approx(0.3, abs=0.01)
    assert low / 75 == pytest.approx(0.1, abs=0.01)


def test_latencies_have_the_median_and_percentile_and_get_longer() -> None:
    law = Law(per_minute=100, median=0.2, p95=0.8)
    counts = drawn(law, moment(worse=0.5), edges=(0.2, 0.3, 0.8, 1.2)).mean(axis=(0, 3))
    old, new = (arm.cumsum() / arm.sum() for arm in counts)
    assert (old[0], old[2]) == pytest.approx((0.5, 0.95), abs=0.01)
    assert (new[1], new[3]) == pytest.approx((0.5, 0.95), abs=0.01)


def test_values_get_worse_by_standard_deviations() -> None:
    law = Law(per_minute=100, mean=3.0, deviation=2.0)
    counts = drawn(law, moment(worse=1.0), edges=(1.0, 3.0)).mean(axis=(0, 3))
    old, new = (arm.cumsum() / arm.sum() for arm in counts)
    assert (old[1], new[0]) == pytest.approx((0.5, 0.5), abs=0.01)


def test_a_gauge_wanders_about_its_mean() -> None:
    law = Law.model_validate({"mean": 5.0, "deviation": 2.0, "memory": "20m"})
    gauge = NormalGauge(law, ROWS, np.random.default_rng(1))
    gauge.draw(moment(parts=2))
    first, second = gauge.values
    assert (first.mean(), first.std()) == pytest.approx((5.0, 2.0), abs=0.1)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(math.exp(-30 / 1200), abs=0.01)
