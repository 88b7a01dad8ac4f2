"""The shipped model canary lets healthy releases live, and takes a much worse one back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2

from bench.healthy import shipped, simulate
from rollguard.exporters.features.declaration import shipped_declaration
from rollguard.exporters.measures.distances import Array, population_stability_index
from rollguard.exporters.screener.baseline import MIN_SAMPLE

DAYS = 4
ROLLOUTS = 400
FEATURES = {
    "atr_accuracy_ratio": (0.70, 0.60),
    "bracket_success_ratio": (0.60, 0.50),
    "model_accuracy_ratio": (0.60, 0.55),
    "regime_accuracy_ratio": (0.80, 0.70),
    "position_size_ratio": (0.70, 0.50),
    "risk_fraction": (-1.0, -1.2),
    "brier_score": (-0.3, -0.4),
    "daily_success_ratio": (0.999, 0.99),
}
"""Of a healthy feature: the mean of a value, and the guard's limit; higher is better."""

SPREADS = {"position_size_ratio": 0.35, "risk_fraction": 0.78, "brier_score": 0.45}
"""Standard deviation of a value that is not a yes or no; of risk_fraction, that of its ratio."""


SLIPPAGE = 0.02
"""Of the wins of a healthy canary, which alone trades on the real exchange."""


def test_a_healthy_release_stays_and_comes_to_full() -> None:
    found = simulate(shipped(), 50, SLIPPAGE, 200)
    assert found.rolled_back <= 0.025  # 1 %, and the noise of 200 rollouts
    assert found.in_full >= 0.97


def test_the_documents_difference_was_slippage_from_few_trades_on() -> None:
    assert simulate(shipped()._replace(least=1200), 50, SLIPPAGE, 100).rolled_back > 0.05


def test_one_five_points_worse_is_not_full_within_a_day() -> None:
    assert simulate(shipped(), 50, 0.05, 100, days=1.0).in_full == 0


def test_one_twenty_points_worse_falls_in_its_first_stage() -> None:
    assert np.median(simulate(shipped(), 50, 0.2, 100, days=0.25).fell) <= 90


def ever_below(values: Array, limit: float, least: int, most: int) -> float:
    """Return the share of rows whose mean of the newest values is ever below a limit."""
    sums = np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)
    ends = np.arange(least, values.shape[1] + 1)
    starts = np.maximum(ends - most, 0)
    means = (sums[:, ends] - sums[:, starts]) / (ends - starts)
    shown = ends - starts >= least
    return float(((means < limit) & shown).any(axis=1).mean())


def fallen(name: str, a_day: int, least: int | None = None, days: float | None = None) -> float:
    """Return the share of rollouts in which chance alone takes a feature below the limit of its rollback."""
    metric = next(one for one in shipped_declaration().metrics if one.name == name)
    mean, limit = FEATURES[name]
    rng = np.random.default_rng(4)
    shape = (ROLLOUTS, DAYS * a_day)
    spread = SPREADS.get(name)
    values = rng.normal(mean, spread, shape) if spread else (rng.random(shape) < mean).astype(float)
    most = round(a_day * (days or metric.window / 86_400))
    return ever_below(values, limit, least or metric.min_sample, most)


@pytest.mark.parametrize("a_day", [50, 100, 200, 500])
@pytest.mark.parametrize("name", FEATURES)
def test_chance_takes_no_healthy_feature_back(name: str, a_day: int) -> None:
    assert fallen(name, a_day) <= 0.015  # 1 %, and the noise of 400 rollouts


@pytest.mark.parametrize("name", ["atr_accuracy_ratio", "bracket_success_ratio", "model_accuracy_ratio"])
def test_twenty_values_of_a_day_were_too_few(name: str) -> None:
    assert fallen(name, 50, least=20, days=1) > 0.2


def test_one_failed_run_was_a_hold() -> None:
    assert fallen("daily_success_ratio", 50, least=1, days=1) > 0.1


def drifted(scores: int, scans: int = 20_000) -> float:
    """Return the share of a screener's scans that chance alone takes over the limit of its drift."""
    rng = np.random.default_rng(4)
    shares = np.full(10, 0.1)
    counts = rng.multinomial(scores, shares, size=(scans, 2))
    return float(np.mean([population_stability_index(*pair) > 0.30 for pair in counts]))


def test_chance_takes_no_healthy_scan_for_drift() -> None:
    assert chi2.sf(0.30 / (2 / MIN_SAMPLE), 9) * 24 * 365 <= 0.01
    assert drifted(MIN_SAMPLE) == 0
    assert drifted(100) > 0.05
