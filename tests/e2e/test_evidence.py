"""From a service's own counters to a flag that is off by evidence; a healthy release gets through."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollguard.cli.local.stack import Settings, Stack
from rollguard.client import RefusedByServerError
from rollguard.spec.loading import load_rollout
from tests.contract.shop import Service
from tests.polling import eventually

SCALE = 60.0
FILE = """
rollout: shop
title: Another checkout
owner: shop
scrape: {{job: shop, targets: ["{target}"], interval: 15s}}
flag: {{key: shop, variants: {{"new": true, "old": false}}, serve: "new", fallback: "old"}}
rollback: {{cooldown: 0s}}
stages:
  - {{name: canary, percent: 50, hold: 3m}}
  - {{name: full, percent: 100}}
guards:
  - alert: ErrorsWorse
    use: compare
    with:
      bad: requests_total{{code="500"}}
      total: requests_total
      canary: version="2"
      baseline: version="1"
      cluster: none
    stages: [canary]
    severity: critical
    action: rollback
advance:
  - {{name: no more errors, stages: [canary], not_worse: ErrorsWorse, margin: 0.02}}
"""


class Versions(Service):
    """Answers requests of both versions: each scrape counts ten more of each."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys([("1", "200"), ("1", "500"), ("2", "200"), ("2", "500")], 0)
        self.broken = False
        super().__init__()

    def page(self) -> str:
        """Return what is scraped now."""
        self.counts["1", "200"] += 10
        self.counts["2", "500" if self.broken else "200"] += 10
        lines = ["# TYPE requests_total counter"]
        for (version, code), value in self.counts.items():
            lines.append(f'requests_total{{version="{version}",code="{code}"}} {value}')
        return "\n".join(lines) + "\n"


@pytest.fixture
def service() -> Iterator[Versions]:
    service = Versions()
    yield service
    service.close()


@pytest.fixture
def stack(service: Versions, tmp_path: Path) -> Stack:
    path = tmp_path / "shop.yaml"
    path.write_text(FILE.format(target=service.address))
    settings = Settings([load_rollout(path)], tmp_path / "stack", root=tmp_path, scale=SCALE, free_ports=True)
    return Stack(settings)


def entries(stack: Stack) -> list[dict[str, Any]]:
    with stack.client() as client:
        return list(client.history())


def waits(stack: Stack) -> str:
    """Return what the rollout waits for, in words."""
    with stack.client() as client:
        return str(client.get("rollouts/shop"))


def operate(stack: Stack, what: str) -> None:
    with stack.client() as client:
        client.post(f"rollouts/shop/{what}", {"actor": "ann"})


def starts(stack: Stack) -> bool:
    """Start a run, unless a guard still fires that would take it back at once."""
    try:
        operate(stack, "start")
    except RefusedByServerError:
        return False
    return True


def test_a_worse_release_is_rolled_back_by_evidence_and_the_mended_one_reaches_full(
    stack: Stack, service: Versions
) -> None:
    with stack.running():
        operate(stack, "start")
        service.broken = True
        rollback = eventually(
            lambda: next((entry for entry in entries(stack) if entry["kind"] == "rollback"), None),
            "the rollback",
        )
        assert rollback["guard"] == "ErrorsWorse"
        told = rollback["evidence"]["annotations"]["description"]
        assert re.match(r"\d.*% against 0%, of \d+ and \d+ outcomes: the new variant is worse", told)
        service.broken = False
        operate(stack, "acknowledge")
        eventually(lambda: starts(stack), "the end of the former run's evidence")
        eventually(lambda: "no more errors: about" in waits(stack), "what the proof still needs")
        eventually(lambda: entries(stack)[-1]["to_status"] == "ENABLED", "the healthy release", seconds=60)
        assert [entry["kind"] for entry in entries(stack)].count("rollback") == 1
