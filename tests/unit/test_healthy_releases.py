"""The shipped model canary lets healthy releases live, and takes a much worse one back."""

from __future__ import annotations

import pytest

from bench.healthy import shipped, simulate


@pytest.mark.parametrize("per_minute", [10, 50, 200])
def test_a_healthy_release_stays(per_minute: float) -> None:
    share, _, _ = simulate(shipped(), per_minute, 0.0, 400)
    assert share <= 0.05


def test_one_ten_points_worse_falls_within_the_plan() -> None:
    share, hours, _ = simulate(shipped(), 50, 0.1, 200)
    assert share == 1.0
    assert hours < 12


def test_five_hundred_trades_were_too_few() -> None:
    share, _, _ = simulate(shipped()._replace(least=500), 50, 0.0, 400)
    assert share > 0.05
