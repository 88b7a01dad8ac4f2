"""Rollouts, alerts and states for tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rollguard.monitoring.alerts import GuardAlert
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Guard, Rollout
from rollguard.state import State
from tests.unit.clock import NOW

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "rollouts" / "model-canary.yaml"
"""The rollout file that most tests take."""


@cache
def shipped_rollout(name: str = "model-canary") -> Rollout:
    """Return a rollout that ships."""
    return load_rollout(ROOT / "rollouts" / f"{name}.yaml")


def with_guards(rollout: Rollout, *given: Mapping[str, Any]) -> Rollout:
    """Return a rollout with other guards; each holds by a threshold unless its keys say otherwise."""
    common = {"alert": "Some", "use": "threshold", "severity": "info", "action": "hold"}
    guards = tuple(Guard.model_validate({**common, **keys}) for keys in given)
    return rollout.model_copy(update={"guards": guards})


def guard_alert(guard: str = "DriftDetected", *, rollout: str = "model-canary", **changes: Any) -> GuardAlert:
    """Return a guard's alert, firing since now unless changed."""
    known: dict[str, Any] = {"rollout": rollout, "guard": guard, "firing": True, "starts_at": NOW}
    return GuardAlert(**{**known, "fingerprint": guard, "labels": {}, "annotations": {}, **changes})


def rolling_out(rollout: str = "model-canary", stage: str = "canary", **changes: Any) -> State:
    """Return the state of a rollout's first run in a stage."""
    return State(rollout, "ROLLING_OUT", stage, **{"run": 1, "seq": 1, **changes})
