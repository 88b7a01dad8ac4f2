"""The trading features fall by what happens to the exposed, and never by what happens to the others."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from rollguard.generators.rules.alerting import rule_file
from rollguard.generators.rules.timing import Timing
from rollguard.generators.tools import binaries
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout
from tests.factories import ROOT

FEATURES = [
    rollout
    for rollout in load_rollouts(ROOT / "rollouts")
    if any(guard.alert == "FeatureErrorRateHigh" for guard in rollout.guards)
]
EACH = [
    pytest.param(rollout, marks=pytest.mark.slow if number else [], id=rollout.name)
    for number, rollout in enumerate(FEATURES)
]
"""The first of them; the others are alike, and long jobs."""

ERRORS, BREAKER, LATENCY = "FeatureErrorRateHigh", "FeatureCircuitBreaker", "FeatureLatencyRise"
ALERTS = (ERRORS, BREAKER, LATENCY)
HEALTHY = 130
"""Minutes of health before a defect, longer than any of the windows."""

LONG = 80
"""Minutes that a test goes on after a defect's beginning."""


@dataclass(frozen=True)
class Traffic:
    """Requests of one variant: all of them healthy for a while, then all of them with a defect.

    Args:
        variant: exposed or unexposed.
        per_minute: requests.
        healthy: minutes before the defect; none: it never comes.
        fail: whether they fail then; else they become slow.
    """

    variant: str
    per_minute: float
    healthy: int | None
    fail: bool = True

    def series(self, rollout: str) -> list[dict[str, str]]:
        """Return its counters in promtool's notation, a sample every 15 s."""
        step, total = self.per_minute / 4, (HEALTHY + LONG) * 4
        before = total if self.healthy is None else self.healthy * 4
        late = f"0x{before} {step}+{step}x{total - before}"
        every = f"0+{step}x{total + 1}"
        quick = every if self.fail else f"0+{step}x{before} {step * before}x{total - before}"
        labels = f'rollout="{rollout}",variant="{self.variant}"'
        buckets = {"0.1": quick, "0.5": every, "+Inf": every}
        return [
            {"series": f"requests_total{{{labels}}}", "values": every},
            {"series": f"request_errors_total{{{labels}}}", "values": late if self.fail else f"0x{total}"},
            {"series": f"request_duration_seconds_count{{{labels}}}", "values": every},
            *(
                {"series": f'request_duration_seconds_bucket{{{labels},le="{bound}"}}', "values": values}
                for bound, values in buckets.items()
            ),
        ]


def fallen(rollout: Rollout, folder: Path, traffic: list[Traffic], looks: dict[int, set[str]]) -> None:
    """Assert which of the three alerts would have rolled back at the latest at some minutes, by promtool."""
    rules = folder / "rules.yml"
    found = rule_file(rollout, Timing(1.0, rollout.scrape.interval))["groups"]
    judged = [rule for group in found for rule in group["rules"] if rule.get("alert") in ALERTS]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "exposed", "rules": judged}]}))
    baseline = f'request_duration_baseline_seconds{{rollout="{rollout.name}"}}'
    inputs = [
        {"series": baseline, "values": f"0.1x{(HEALTHY + LONG) * 4}"},
        *(line for one in traffic for line in one.series(rollout.name)),
    ]
    firing = f'ALERTS{{alertstate="firing",action="rollback",alertname=~"{"|".join(ALERTS)}"}}'
    questions = [
        {
            "expr": f"count by (alertname) (max_over_time({firing}[10h])) > bool 0",
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
        }
        for minute, names in looks.items()
    ]
    file = folder / "exposed.test.yml"
    group = {"interval": "15s", "input_series": inputs, "promql_expr_test": questions}
    content = {"rule_files": [str(rules)], "evaluation_interval": "15s", "tests": [group]}
    file.write_text(yaml.safe_dump(content, width=10**6))
    done = subprocess.run(
        [str(binaries.find(binaries.PROMTOOL)), "test", "rules", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rollout", EACH)
class TestAtFivePercentOfAHundredRequestsAMinute:
    def test_it_falls_when_every_exposed_request_fails(self, rollout: Rollout, tmp_path: Path) -> None:
        traffic = [Traffic("exposed", 5, HEALTHY), Traffic("unexposed", 95, None)]
        looks = {1: set(), 2: {BREAKER}, 8: {BREAKER}, 9: {BREAKER, ERRORS}}
        fallen(rollout, tmp_path, traffic, {HEALTHY + minute: names for minute, names in looks.items()})

    def test_it_falls_when_they_fail_from_the_start(self, rollout: Rollout, tmp_path: Path) -> None:
        traffic = [Traffic("exposed", 5, 0), Traffic("unexposed", 95, None)]
        fallen(rollout, tmp_path, traffic, {3: set(), 4: {BREAKER}, 44: {BREAKER}, 46: {BREAKER, ERRORS}})

    def test_it_falls_when_every_exposed_request_is_slow(self, rollout: Rollout, tmp_path: Path) -> None:
        traffic = [Traffic("exposed", 5, HEALTHY, fail=False), Traffic("unexposed", 95, None, fail=False)]
        fallen(rollout, tmp_path, traffic, {HEALTHY + 15: set(), HEALTHY + 18: {LATENCY}})

    def test_it_falls_when_they_are_slow_from_the_start(self, rollout: Rollout, tmp_path: Path) -> None:
        traffic = [Traffic("exposed", 5, 0, fail=False), Traffic("unexposed", 95, None, fail=False)]
        fallen(rollout, tmp_path, traffic, {69: set(), 71: {LATENCY}})

    @pytest.mark.parametrize("fail", [True, False], ids=["fail", "are slow"])
    def test_it_stays_when_only_the_others_do(self, fail: bool, rollout: Rollout, tmp_path: Path) -> None:
        traffic = [Traffic("exposed", 5, None, fail=fail), Traffic("unexposed", 95, 0, fail=fail)]
        fallen(rollout, tmp_path, traffic, {HEALTHY + LONG: set()})


@pytest.mark.parametrize("rollout", EACH)
class TestAtFivePercentOfTenRequestsAMinute:
    def test_only_the_breaker_falls_late(self, rollout: Rollout, tmp_path: Path) -> None:
        traffic = [Traffic("exposed", 0.5, 0), Traffic("unexposed", 9.5, None)]
        fallen(rollout, tmp_path, traffic, {39: set(), 41: {BREAKER}, LONG: {BREAKER}})

    def test_after_hours_of_health_it_falls_sooner(self, rollout: Rollout, tmp_path: Path) -> None:
        traffic = [Traffic("exposed", 0.5, HEALTHY), Traffic("unexposed", 9.5, None)]
        fallen(rollout, tmp_path, traffic, {HEALTHY + 14: set(), HEALTHY + 17: {BREAKER}})
