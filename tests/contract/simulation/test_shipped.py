"""What ships lets a healthy release through, and no bad one: whole rollouts, by the real decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rollguard.cli.main import cli
from tests.factories import ROOT

SHIPPED = sorted((ROOT / "rollouts").glob("*.yaml"))

pytestmark = pytest.mark.slow


def simulated(path: Path, *options: str) -> list[dict[str, Any]]:
    """Return what becomes of each kind of release."""
    done = CliRunner().invoke(cli, ["simulate", str(path), "--json", *options])
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)["scenarios"]
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_healthy_release_gets_through(path: Path) -> None:
    (healthy,) = simulated(path, "--healthy", "--rollouts", "400")
    assert healthy["rolled_back"] <= 0.01
    assert healthy["holds_a_day"] <= 0.1
    assert healthy["full_in_time"] >= 0.98


@pytest.mark.parametrize("begins", ["0s", "6h"])
def test_a_candidate_that_wins_5_points_less_seldom_comes_to_everybody(begins: str) -> None:
    path = ROOT / "rollouts" / "model-canary.yaml"
    _, worse = simulated(path, "--worse", "5", "--begins", begins, "--rollouts", "8000")
    assert worse["full"] <= 0.01
