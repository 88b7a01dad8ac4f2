"""How likely a healthy release is beyond a limit: by single counts, or by normal numbers."""

from __future__ import annotations

import pytest

from rollguard.simulation import likelihoods
from rollguard.simulation.likelihoods import greater_share, more_events


@pytest.mark.parametrize("limit", [899_000, 900_000, 902_000])
def test_many_events_are_as_likely_as_counted_through(monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
    counted = more_events(900_000, limit)
    monkeypatch.setattr(likelihoods, "_MOST_COUNTED", 1e5)
    assert more_events(900_000, limit) == pytest.approx(counted, abs=1e-3)


@pytest.mark.parametrize("limit", [0.0098, 0.01, 0.0102, 0.5])
def test_a_share_of_many_events_is_as_likely_as_counted_through(
    monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    counted = greater_share(5_000, 495_000, limit, 100)
    monkeypatch.setattr(likelihoods, "_MOST_COUNTED", 1e5)
    assert greater_share(5_000, 495_000, limit, 100) == pytest.approx(counted, abs=5e-3)


def test_the_events_of_a_large_site_take_no_memory() -> None:
    assert more_events(1e15, 0) == 1
    assert greater_share(1e13, 1e15, 0.05, 200) == 0
