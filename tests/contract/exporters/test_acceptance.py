"""What evidence promises, on many laws: long jobs, but for one of each kind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from bench.decisions import HEALTHY, LAWS, Law, ours, outcomes
from rollguard.exporters.measures import bets, betting, dispersion
from rollguard.exporters.measures.betting import Array, Increments

HOURS_36 = 36 * 60
NEEDED = math.log(100)
_WINS = LAWS[0]


def _student(x: float) -> float:
    """Return the distribution function of Student's t with 3 degrees of freedom."""
    scaled = x / math.sqrt(3)
    return 0.5 + (scaled / (1 + scaled**2) + math.atan(scaled)) / math.pi


def _heavy_tails() -> Law:
    values = LAWS[-1].values
    edges = [-math.inf, *((low + high) / 2 for low, high in pairwise(values)), math.inf]
    parts = [_student(edge) if math.isfinite(edge) else float(edge > 0) for edge in edges]
    chances = tuple(high - low for low, high in pairwise(parts))
    return Law("heavy tails", values=values, chances=chances)


_HEALTHY = [
    replace(law, name=f"{law.name}, {rate} a minute", rate=rate)
    for law in (*LAWS, _heavy_tails())
    for rate in (1, 5, 20)
]


@pytest.mark.slow
@pytest.mark.parametrize("law", _HEALTHY, ids=lambda law: law.name)
def test_of_5000_healthy_releases_at_most_66_are_rolled_back_in_36_hours(law: Law) -> None:
    off = [ours(law, *outcomes(law, 500, HOURS_36, HEALTHY, seed)) for seed in range(10)]
    assert (np.concatenate(off) >= 0).sum() <= 66


# Clusters that nobody declared


def _by_minute(
    rollouts: int, minutes: int, within: float, canary: float, baseline: float
) -> tuple[Array, Array]:
    """Return when each rollout was rolled back, and when it was held for its clusters, minutes.

    Args:
        rollouts: how many.
        minutes: how long.
        within: the intraclass correlation of a minute's outcomes of ten groups, one of them the canary's.
        canary: its chance of a bad outcome.
        baseline: that of the others.
    """
    rng, bet, values = np.random.default_rng(1), bets.proportion(), np.array([0.0, 1.0])
    state, spread = betting.begin(bet, (rollouts,)), dispersion.begin(2, (rollouts,))
    off, held = np.full(rollouts, np.inf), np.full(rollouts, np.inf)
    mean = np.array([canary, *[baseline] * 9])
    for minute in range(1, minutes + 1):
        chance = (
            rng.beta(mean * (1 / within - 1), (1 - mean) * (1 / within - 1), (rollouts, 10))
            if within
            else mean
        )
        count = rng.poisson(20, (rollouts, 10))
        bad = rng.binomial(count, chance)
        both = np.stack([count - bad, bad], axis=-1).astype(float)
        new, old = both[:, :1], both[:, 1:].sum(axis=1, keepdims=True)
        state = betting.update(bet, state, Increments(new, old, np.array([0.1])), 60.0)
        spread = dispersion.add(spread, new, old, values)
        held[dispersion.clustered(spread) & np.isinf(held)] = minute
        fires = dispersion.cautious(state.log_e, spread) >= NEEDED
        off[fires & np.isinf(off) & np.isinf(held)] = minute
    return off, held


@pytest.mark.parametrize(
    ("rollouts", "most"), [(300, 0.02), pytest.param(5000, 0.01, marks=pytest.mark.slow)]
)
def test_clusters_that_nobody_declared_hold_and_seldom_roll_back(rollouts: int, most: float) -> None:
    off, held = _by_minute(rollouts, 400, within=0.05, canary=0.45, baseline=0.45)
    assert np.isfinite(off).mean() <= most
    assert np.isfinite(np.minimum(off, held)).mean() >= 0.95


def test_a_variant_whose_errors_are_three_times_as_frequent_is_no_cluster() -> None:
    off, held = _by_minute(100, 300, within=0, canary=0.03, baseline=0.01)
    assert np.isfinite(off).all()
    assert np.isinf(held).all()


# Latency


def _exceeded_after(sigma: float, slower: float, share: float, seed: int, rollouts: int = 200) -> Array:
    """Return after how many requests of the canary its latency, log-normal, is found to be so much longer."""
    rng, bet = np.random.default_rng(seed), bets.slower(12)
    edges = np.exp(np.linspace(-1.5 * sigma, 3 * sigma, 11))  # as buckets of a histogram have them
    learned = np.zeros((rollouts, 12))
    state, after, requests = (
        betting.begin(bet, (rollouts,), learned),
        np.full(rollouts, np.inf),
        np.zeros(rollouts),
    )
    for _ in range(400):
        arms = rng.random((rollouts, 40)) < share
        taken = np.exp(sigma * rng.standard_normal((rollouts, 40))) * np.where(arms, slower, 1)
        where = np.searchsorted(edges, taken)
        counts = np.stack(
            [
                [np.bincount(row[arm], minlength=12) for row, arm in zip(where, chosen, strict=True)]
                for chosen in (arms, ~arms)
            ]
        )
        state = betting.update(
            bet, state, Increments(counts[0][:, None], counts[1][:, None], np.array([share])), 15.0
        )
        requests += arms.sum(axis=1)
        after[(state.log_e >= NEEDED) & np.isinf(after)] = requests[(state.log_e >= NEEDED) & np.isinf(after)]
        if np.isfinite(after).all():
            break
    return after


def test_latency_one_and_a_half_times_as_long_is_found_after_100_requests() -> None:
    assert np.median(_exceeded_after(0.5, 1.5, 0.25, seed=1)) <= 100


# Features, which change slowly and which both variants share


def _rows(features: int, rollouts: int, tau: float, shift: float) -> Iterator[Increments]:
    """Yield each minute's 20 rows by decile; a quarter are the canary's, whose first feature is shifted."""
    rng = np.random.default_rng(1)
    edges = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])
    rho = math.exp(-1 / (20 * tau))
    x = rng.standard_normal((rollouts, features))
    while True:
        counts = np.zeros((2, rollouts, features, 10))
        for _ in range(20):
            x = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(x.shape)
            canary = rng.random(rollouts) < 0.25
            shown = x.copy()
            shown[:, 0] += shift * canary
            decile = np.searchsorted(edges, shown)[..., None] == np.arange(10)
            counts += decile * np.stack([canary, ~canary])[:, :, None, None]
        yield Increments(counts[0][:, :, None], counts[1][:, :, None], np.array([0.25]))


def _moved_at(features: int, rollouts: int, minutes: int, *, tau: float, shift: float = 0.0) -> Array:
    """Return the minute at which the mean of the features' evidence says that they moved."""
    bet, off = bets.moved(10), np.full(rollouts, np.inf)
    state = betting.begin(bet, (rollouts, features))
    for minute, seen in zip(range(minutes), _rows(features, rollouts, tau, shift), strict=False):
        state = betting.update(bet, state, seen, 60.0)
        of_all = np.logaddexp.reduce(state.log_e, axis=-1) - math.log(features)
        off[(of_all >= NEEDED) & np.isinf(off)] = minute + 1
        if np.isfinite(off).all():
            break
    return off


@pytest.mark.parametrize(("features", "minutes"), [(1, 12), (20, 18)])
def test_a_feature_that_is_shifted_by_half_its_deviation_is_found_soon(features: int, minutes: int) -> None:
    assert np.median(_moved_at(features, 100, 120, tau=15, shift=0.5)) <= minutes


@pytest.mark.slow
@pytest.mark.parametrize("tau", [1.0, 15.0, 60.0])
def test_features_that_change_slowly_have_not_moved_in_36_hours(tau: float) -> None:
    assert np.isfinite(_moved_at(20, 400, HOURS_36, tau=tau)).sum() <= 4
