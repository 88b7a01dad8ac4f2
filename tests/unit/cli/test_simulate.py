"""`rollguard simulate`: its table, JSON and chart, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest
from click.testing import CliRunner, Result

from rollguard.cli.main import cli
from rollguard.yamlfile import dump
from tests.unit.simulation.played import RISES, STAGES, WORSE, rollout

TRAFFIC = {"requests_total": {"per_minute": 60, "bad": 0.02}}
ODD = {"alert": "Fails", **RISES, "action": "hold"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, arguments)], standalone_mode=True)


def written(folder: Path, **changes: Any) -> Path:
    content = rollout(TRAFFIC, WORSE, ODD).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    stages = [{**stage, "hold": "20m"} for stage in STAGES]
    path = folder / "shop.yaml"
    path.write_text(dump({**content, "stages": stages, **changes}), encoding="utf-8")
    return path


def test_it_plays_healthy_and_worse_releases_and_draws_them(tmp_path: Path) -> None:
    chart = tmp_path / "shop.svg"
    given = ["--rollouts", 20, "--hours", 1, "--worse", 20, "--begins", "0s"]
    result = run(written(tmp_path), *given, "--svg", chart)
    assert result.exit_code == 0, result.output
    assert "shop: 20 rollouts of 1h" in result.output
    rows = [line.split("  ")[0] for line in result.output.splitlines()]
    assert rows[1:4] == ["release", "healthy", "20 points worse at once"]
    assert "Fails is not simulated: no law for failures_total; taken as healthy." in result.output
    drawn = Xml.fromstring(chart.read_text(encoding="utf-8"))
    texts = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "20 points worse at once, taken back" in texts


def test_json_has_everything_and_a_seed_gives_the_same_again(tmp_path: Path) -> None:
    given = [written(tmp_path), "--rollouts", 20, "--hours", 1, "--worse", 10, "--begins", "5m", "--json"]
    first, second = run(*given), run(*given)
    assert first.output == second.output
    found = json.loads(first.output)
    assert found["plan_seconds"] == 2400
    assert found["not_simulated"] == {"Fails": "no law for failures_total"}
    healthy, worse = found["scenarios"]
    assert (healthy["worse"], worse["worse"], worse["begins_seconds"]) == (0, 0.1, 300)
    assert (healthy["rollouts"], healthy["full"], healthy["enabled"]) == (20, 1.0, 1.0)
    assert worse["rolled_back"] > 0.5
    assert worse["guards"] == {"Worse": round(20 * worse["rolled_back"])}
    assert json.loads(run(*given, "--seed", 2).output)["scenarios"][1] != worse


def test_many_are_played_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rollguard.cli.simulate._FEW_SECONDS", 0.0)
    result = run(written(tmp_path), "--rollouts", 8, "--hours", 0.5, "--healthy", "--json")
    (healthy,) = json.loads(result.output)["scenarios"]
    assert (healthy["rollouts"], healthy["rolled_back"]) == (8, 0.0)


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        (
            {"requests_total": {"per_minute": 60, "bda": 0.02}},
            "traffic.requests_total.bda is not a known key",
        ),
        (
            {"requests_total": {"per_minute": 60, "bad": 2}},
            "traffic.requests_total.bad is 2, expected 1 or less",
        ),
        ({"requests_total": {"bad": 0.02}}, "expected exactly one of like, good_of"),
        ({"requests_total": {"per_minute": 6, "median": 1}}, "expected median and p95 together"),
        ({"requests_total": {"per_minute": 6, "median": 1, "p95": 1}}, "expected p95 above median"),
        (
            {"requests_total": {"per_minute": 6, "bad": 0.1, "mean": 1, "deviation": 2}},
            "one of bad, median and",
        ),
        ({"level": {"mean": 6, "correlation": 0.1}}, "expected no correlation beside mean"),
        ({"a-b": {"mean": 6}}, "expected one metric such as"),
        (
            {"requests_total": {"per_minute": 6}, "wins": {"good_of": "request_total"}},
            "traffic.wins.good_of is request_total, expected a counter of traffic: requests_total.\n"
            "  Did you mean requests_total?",
        ),
    ],
)
def test_a_law_that_is_none_is_refused_with_its_place(tmp_path: Path, traffic: Any, said: str) -> None:
    path = written(tmp_path, traffic=traffic)
    result = CliRunner().invoke(cli, ["check", "--rollouts", str(path), "--json"])
    found = json.loads(result.output)["findings"]
    texts = [f"{one['key']} {one['message']}\n  {one['hint']}" for one in found]
    assert any(said in text for text in texts), texts
    assert all(one["line"] for one in found)


def test_a_rollout_falls_with_one_that_it_requires(tmp_path: Path) -> None:
    fragile = {
        "rollout": "base",
        "flag": {"key": "base", "variants": {"a": 1, "b": 2}, "serve": "a", "fallback": "b"},
    }
    laws = {"failures_total": {"per_minute": 0.2}}
    guard = {**ODD, "action": "rollback"}
    written(tmp_path, **fragile, guards=[guard], traffic=laws).rename(tmp_path / "base.yaml")
    path = written(tmp_path, requires=["base", "absent"])
    found = json.loads(run(path, "--rollouts", 20, "--hours", 1, "--healthy", "--json").output)
    assert found["scenarios"][0]["guards"] == {"requires base, which was rolled back by guard": 20}
    assert found["not_simulated"]["absent"] == "it has no file in this folder"


def test_what_is_no_rollout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "is no file, and no rollout of the folder" in str(run("shop").exception)
    assert "--healthy leaves no room" in run(written(tmp_path), "--healthy", "--worse", 5).output


def test_traffic_changes_no_rule() -> None:
    assert rollout(TRAFFIC, WORSE).digest() == rollout({}, WORSE).digest()
    assert rollout(TRAFFIC, WORSE).definition() == rollout({}, WORSE).definition()
