"""How close a guard is to firing, as recording rules."""

from __future__ import annotations

from rollguard.generators.rules.alerting import rule_file
from rollguard.generators.rules.headroom import headroom_file
from rollguard.generators.rules.timing import Timing
from tests.factories import shipped_rollout


def test_windows_under_a_second_keep_their_length() -> None:
    rollout, timing = shipped_rollout(), Timing(75.0)
    found = headroom_file(rollout, rule_file(rollout, timing), timing)
    written = " ".join(rule["expr"] for group in found["groups"] for rule in group["rules"])
    assert "[801ms]" in written  # and the millisecond past its edge
    assert "[0s]" not in written
