"""`rollguard budget`: what it shows, as text and as JSON, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from rollguard.cli.main import cli
from tests.factories import ROOT

SHIPPED = ROOT / "rollouts" / "model-canary.yaml"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["budget", *map(str, arguments)], standalone_mode=True)


def hurried(folder: Path) -> Path:
    """Return the shipped rollout with a limit that its guards cannot keep."""
    path = folder / SHIPPED.name
    text = SHIPPED.read_text(encoding="utf-8")
    path.write_text(text.replace("within: 2m", "within: 20s"), encoding="utf-8")
    return path


def test_what_ships_keeps_to_its_limits() -> None:
    result = run("--rollouts", ROOT / "rollouts")
    assert result.exit_code == 0, result.output


def test_a_rollback_over_its_limit_is_found_with_advice(tmp_path: Path) -> None:
    result = run("--rollouts", hurried(tmp_path))
    assert result.exit_code == 1
    assert "guard ExecutionDegradation takes 32.2s" in result.output


def test_json_has_every_step(tmp_path: Path) -> None:
    result = run("--rollouts", hurried(tmp_path), "--json")
    guards = {guard["guard"]: guard for guard in json.loads(result.output)["model-canary"]["guards"]}
    assert guards["DriftDetected"]["over"] is True
    assert [step["name"] for step in guards["DriftDetected"]["steps"]][:2] == ["scrape", "evaluation"]
    assert guards["DriftDetected"]["window"] == 1800
