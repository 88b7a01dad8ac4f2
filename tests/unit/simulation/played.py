"""Small rollouts to play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rollguard.spec.rollout import Rollout

RISES: Mapping[str, Any] = {
    "use": "increases",
    "with": {"metric": "failures_total", "window": "10m"},
    "severity": "warning",
}
WORSE: Mapping[str, Any] = {
    "alert": "Worse", "use": "compare", "severity": "critical", "action": "rollback",
    "with": {"bad": 'requests_total{code="500"}', "total": "requests_total", "cluster": "none"},
    "stages": ["canary", "half"],
}  # fmt: skip
STAGES = (
    {"name": "canary", "percent": 10, "hold": "1h"},
    {"name": "half", "percent": 50, "hold": "1h"},
    {"name": "full", "percent": 100, "hold": "1h"},
)


def rollout(
    traffic: Mapping[str, Any],
    *guards: Mapping[str, Any],
    interval: str = "1m",
    stages: Sequence[Mapping[str, Any]] = STAGES,
    **more: Any,
) -> Rollout:
    return Rollout.model_validate(
        {
            "rollout": "shop", "title": "Shop", "owner": "web",
            "scrape": {"job": "shop", "targets": ["127.0.0.1:9999"], "interval": interval},
            "flag": {"key": "s", "variants": {"new": True, "old": False}, "serve": "new", "fallback": "old"},
            "stages": list(stages), "guards": list(guards), "traffic": dict(traffic), **more,
        },
        by_alias=True,
        by_name=False,
    )  # fmt: skip
