"""How close a guard is to firing, as recording rules."""

from __future__ import annotations

from pathlib import Path

from generators.closeness import closeness_file
from generators.rules import rule_file
from generators.timing import Timing
from rollguard.loading import load_rollout

SHIPPED = Path(__file__).parents[2] / "rollouts" / "model-canary.yaml"


def test_windows_under_a_second_keep_their_length() -> None:
    rollout, timing = load_rollout(SHIPPED), Timing(75.0)
    found = closeness_file(rollout, rule_file(rollout, timing), timing)
    written = " ".join(rule["expr"] for group in found["groups"] for rule in group["rules"])
    assert "[801ms]" in written  # and the millisecond past its edge
    assert "[0s]" not in written
