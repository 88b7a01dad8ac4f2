"""How often evidence takes a healthy release back, and how soon a worse one: simulated rollouts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rollguard.exporters.measures import bets, betting
from rollguard.exporters.measures.betting import Array, Increments


def simulated(
    rollouts: int, hours: float, rate: float, bad: float, drop: float = 0.0, *, change: float = 0.0,
    share: float = 0.1, realised: bool = False, step: float = 60.0, seed: int = 1,
) -> tuple[Array, Array]:  # fmt: skip
    """Return when each rollout was rolled back at 1 in 100, minutes, and after how many canary events.

    Args:
        rollouts: how many.
        hours: how long each lasts.
        rate: canary events a minute.
        bad: chance of a bad outcome.
        drop: how much greater it is in the canary, from `change` (minutes) on.
        change: when it becomes worse.
        share: of the canary.
        realised: whether nobody knows the share.
        step: seconds between two looks.
        seed: of chance.
    """
    rng, bet = np.random.default_rng(seed), bets.proportion()
    state, off = betting.begin(bet, (rollouts,)), np.full(rollouts, np.inf)
    events, after = np.zeros(rollouts), np.full(rollouts, np.inf)
    every = rate / share * step / 60
    for look in range(1, int(hours * 3600 / step) + 1):
        minute = look * step / 60
        worse = bad + (drop if minute > change else 0.0)
        chances = np.array(
            [[share * (1 - worse), share * worse], [(1 - share) * (1 - bad), (1 - share) * bad]]
        )
        counts = rng.poisson(every * chances, (rollouts, 2, 2)).astype(float)
        seen = Increments(counts[:, :1], counts[:, 1:], np.array([np.nan if realised else share]))
        state = betting.update(bet, state, seen, step)
        events += counts[:, 0].sum(axis=-1)
        new = (state.log_e >= math.log(100)) & np.isinf(off)
        off[new], after[new] = minute, events[new]
        if np.isfinite(off).all():
            break
    return off, after


@pytest.mark.parametrize(("rate", "bad", "realised"), [(5, 0.45, True), (20, 0.02, False)])
def test_a_healthy_release_is_seldom_rolled_back(rate: float, bad: float, realised: bool) -> None:
    off, _ = simulated(1000, 36, rate, bad, realised=realised, step=120.0)
    assert np.isfinite(off).mean() <= 0.013


@pytest.mark.parametrize(
    ("drop", "median", "ninth"), [(0.05, 1350, 2600), (0.10, 360, 670), (0.20, 105, 180)]
)
def test_a_worse_release_is_found_after_few_events(drop: float, median: float, ninth: float) -> None:
    _, after = simulated(200, 72, 5, 0.45, drop, step=30.0)
    assert np.quantile(after, 0.5) <= median
    assert np.quantile(after, 0.9) <= ninth


@pytest.mark.parametrize(("drop", "minutes"), [(0.10, 135), (0.20, 40)])
def test_a_late_defect_is_found_soon(drop: float, minutes: float) -> None:
    off, _ = simulated(200, 36, 5, 0.45, drop, change=1440)
    found = off[off > 1440] - 1440
    assert np.median(found) <= minutes
    assert np.isfinite(found).all()


def test_errors_that_become_ten_times_as_frequent_are_found_in_ten_minutes() -> None:
    off, _ = simulated(200, 3, 12.5, 0.01, 0.09, step=15.0)
    assert np.median(off) <= 10
