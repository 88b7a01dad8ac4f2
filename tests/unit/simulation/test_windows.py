"""What a range of samples gives, against the samples one by one."""

from __future__ import annotations

import numpy as np
import pytest

from rollguard.simulation.windows import Increase, Lasting, Over


def test_an_increase_is_that_of_the_window_alone() -> None:
    gained = np.random.default_rng(1).poisson(3.0, (40, 5)).astype(float)
    increase = Increase(5, 300.0, 60.0)
    found = np.concatenate([increase.add(gained[at : at + 4]) for at in range(0, 40, 4)])
    for now in range(40):
        whole = gained[max(0, now - 4) : now + 1].sum(axis=0)
        assert found[now] == pytest.approx(whole, rel=1e-5)


def test_an_increase_reaches_a_millisecond_beyond_its_window() -> None:
    increase = Increase(1, 120.0, 60.0)
    assert increase.add(np.full((2, 1), 3.0))[-1] == 6.0  # a counter that began at zero is not extrapolated
    assert increase.add(np.full((2, 1), 3.0))[-1] == pytest.approx(6 * 120.001 / 120.0, rel=1e-12)


@pytest.mark.parametrize(
    ("aggregate", "function"),
    [("average", np.nanmean), ("maximum", np.nanmax), ("minimum", np.nanmin), ("deviation", np.nanstd)],
)
def test_an_aggregate_is_that_of_the_samples_that_are_there(aggregate: str, function: np.ufunc) -> None:
    values = np.random.default_rng(2).normal(5.0, 1.0, (50, 3))
    values[::7] = np.nan
    over = Over(3, aggregate, 240.0, 60.0)
    found = np.concatenate([over.add(values[at : at + 2]) for at in range(0, 50, 2)])
    for now in range(1, 50):
        assert found[now] == pytest.approx(function(values[max(0, now - 4) : now + 1], axis=0), rel=1e-6)


def test_an_alert_fires_once_its_condition_has_lasted() -> None:
    lasting = Lasting(2, 120.0)
    truth = np.array([[True, True], [True, False], [True, True]])
    fired, pending = lasting.add(truth, np.array([60.0, 120.0, 180.0]))
    assert fired.tolist() == [True, False]
    assert pending.tolist() == [True, True]
    fired, pending = lasting.add(np.zeros((1, 2), dtype=bool), np.array([240.0]))
    assert not fired.any()
    assert not pending.any()
