"""The standing demo: which release is the candidate after what the configuration did."""

from __future__ import annotations

from typing import Any

import pytest

from demo.standing import Releases


@pytest.mark.parametrize(
    ("modes", "told"),
    [
        (["disabled", "canary", "full"], []),
        (["canary", "full", "disabled"], ["promoted", "defective"]),
        (["canary", "disabled"], ["defective"]),
        (["canary", "disabled", "canary", "disabled"], ["defective", "healthy"]),
    ],
    ids=["a ramp", "the next after one that was fully on", "the next after a rollback", "after two"],
)
def test_the_candidate_follows_from_the_modes(modes: list[str], told: list[str]) -> None:
    seen: list[Any] = []
    healthy: Any = "healthy"
    defective: Any = "defective"
    releases = Releases(healthy, defective, seen.append, lambda: seen.append("promoted"))
    for mode in modes:
        releases.see(mode)
    assert seen == told
