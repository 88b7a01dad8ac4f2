"""Rates and means have known answers, and nothing is said of too few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, tmean, tstd

from rollguard.exporters.canary.outcomes import (
    MIN_SAMPLE,
    cancel_to_fill,
    fill_rate,
    mean_markout,
    moments,
    win_rate,
)


def test_rates_have_known_answers() -> None:
    assert win_rate(33, 60) == 0.55
    assert fill_rate(15, 45) == 0.25
    assert cancel_to_fill(45, 15) == 3
    assert cancel_to_fill(20, 0) == math.inf
    assert cancel_to_fill(0, 20) == 0


@pytest.mark.parametrize("rate", [win_rate, fill_rate, cancel_to_fill, mean_markout])
def test_nothing_is_said_one_event_below_the_minimal_sample(rate: type) -> None:
    whole = MIN_SAMPLE if rate in (win_rate, mean_markout) else MIN_SAMPLE - 1
    assert rate(1, whole) is not None
    assert rate(1, whole - 1) is None


@pytest.mark.parametrize("rate", [win_rate, fill_rate, cancel_to_fill, mean_markout])
def test_nothing_is_said_of_nothing_whatever_the_minimal_sample(rate: type) -> None:
    assert rate(0, 0, 0) is None


def test_half_filled_orders_seldom_read_as_degraded_at_the_minimal_sample() -> None:
    below = [filled for filled in range(MIN_SAMPLE + 1) if filled / MIN_SAMPLE < 0.25]
    assert binom.cdf(max(below), MIN_SAMPLE, 0.5) < 0.02


@given(st.lists(st.floats(-1e3, 1e3), min_size=MIN_SAMPLE, max_size=80))
def test_a_markout_is_the_mean_of_scipy(found: list[float]) -> None:
    assert mean_markout(sum(found), len(found)) == pytest.approx(tmean(found), abs=1e-12, rel=1e-12)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=80).filter(lambda found: np.std(found) > 1e-3))
def test_moments_are_those_of_scipy(found: list[float]) -> None:
    values = np.array(found)
    mean, std = moments(len(values), values.sum(), (values * values).sum()) or (math.nan, math.nan)
    assert mean == pytest.approx(tmean(values), abs=1e-12)
    assert std == pytest.approx(tstd(values, ddof=0), abs=1e-12)


def test_numbers_that_are_all_equal_have_hardly_a_deviation() -> None:
    found = moments(7, 0.7, 0.07)
    assert found is not None
    assert found.std < 1e-7
    assert moments(0, 0.0, 0.0) is None
