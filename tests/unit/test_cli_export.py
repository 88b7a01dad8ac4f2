"""`rollguard export`: what is said by options, by a rollout file, and by --help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollguard.cli import cli
from rollguard.yamlfile import dump, parse

SHIPPED = Path(__file__).parents[2] / "rollouts" / "model-canary.yaml"
TRADE = {"event": "trade_opened", "ts": 1.7e9, "route": "canary"}
EXPORTERS = ("canary", "screener", "validation", "forecast", "features")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, arguments)])


def rollout(folder: Path, exporter: dict[str, object] | None) -> Path:
    document = dict(parse(Path(), SHIPPED.read_text(encoding="utf-8")).data)
    scrape = {"job": "x", "targets": ["127.0.0.1:9841"]} | ({"exporter": exporter} if exporter else {})
    path = folder / "model-canary.yaml"
    path.write_text(dump(document | {"scrape": scrape}), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.jsonl").write_text(json.dumps(TRADE) + "\n")
    return tmp_path


def test_a_rollout_file_says_what_is_read(folder: Path) -> None:
    found = run("canary", "--once", "--rollout", rollout(folder, {"canary": {"events": "events.jsonl"}}))
    assert found.exit_code == 0, found.output
    assert 'trades_opened_total{route="canary"} 1.0\n' in found.output


def test_an_option_outweighs_the_rollout_file(folder: Path) -> None:
    path = rollout(folder, {"canary": {"events": "missing.jsonl"}})
    found = run("canary", "--once", "--rollout", path, "--events", "events.jsonl")
    assert 'trades_opened_total{route="canary"} 1.0\n' in found.output


def test_a_file_that_is_still_to_be_made_is_told_and_left_out(folder: Path) -> None:
    path = rollout(folder, {"canary": {"events": "events.jsonl", "reference": "r.json"}})
    found = run("canary", "--once", "--rollout", path)
    assert found.exit_code == 0
    assert "note: r.json is missing: drift is not measured" in found.output


@pytest.mark.parametrize("exporter", [None, {"validation": {"events": "e"}}])
def test_a_rollout_of_another_exporter_is_refused(folder: Path, exporter: dict[str, object] | None) -> None:
    found = run("canary", "--once", "--rollout", rollout(folder, exporter))
    assert found.exit_code == 2
    assert "has no scrape.exporter.canary." in found.output


@pytest.mark.parametrize("name", EXPORTERS)
def test_help_says_what_is_read_what_is_shown_and_gives_examples(name: str) -> None:
    found = run(name, "--help").output
    for text in ("Watch ", "docs/", "--rollout", "--listen", "--checkpoint", "--once", "Examples:"):
        assert text in found
    assert f"rollguard export {name} --rollout rollouts/" in found


def test_the_group_lists_all_five() -> None:
    found = run("--help").output
    for name in EXPORTERS:
        assert f"  {name} " in found
