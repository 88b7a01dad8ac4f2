"""`rollguard export`: what is said by options, by a rollout file, and by --help."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollguard.cli import export
from rollguard.cli.local import exporters
from rollguard.cli.local.stack import Settings, Stack, addresses
from rollguard.cli.main import cli
from rollguard.exporters.screener.exporter import Screener
from rollguard.generators.tools import binaries
from rollguard.spec.exporter import Exporter
from rollguard.spec.loading import load_rollout, load_rollouts
from rollguard.yamlfile import dump, parse
from tests.factories import SHIPPED, shipped_rollout

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


def test_the_rollout_file_knows_the_percents_of_stages_and_the_bins(folder: Path) -> None:
    bins = {"pnl": [-1, 1.5]}
    path = rollout(folder, {"canary": {"events": "events.jsonl", "bins": bins}})
    for options in (("--rollout", path), ("--events", "events.jsonl", "--stages", path)):
        found = run("canary", "--once", *options)
        assert 'trade_outcomes_total{arm="canary",assigned="25",outcome="won"} 0.0\n' in found.output
        edges = re.findall(
            r'trade_pnl_outcomes_total{arm="canary",assigned="0",outcome="(.*)"}', found.output
        )
        assert edges == ["-1.0", "1.5", "+Inf"]
    assert "assigned=" not in run("canary", "--once", "--events", "events.jsonl").output


def test_a_canary_is_one_rollouts(folder: Path) -> None:
    path = rollout(folder, {"canary": {"events": "events.jsonl"}})
    found = run("canary", "--once", "--rollout", path, "--stages", path, "--stages", path)
    assert found.exit_code == 2
    assert "--stages names several rollouts" in found.output


def test_up_lets_exporters_know_the_stages_of_all_that_they_measure(
    tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    for binary in (binaries.PROMETHEUS, binaries.ALERTMANAGER):
        need_binary(binary)
    shipped = load_rollouts(SHIPPED.parent)
    noted = [one for one in shipped if one.name in {"model-canary", "gpu-lifecycle"}]
    stack = Stack(Settings([one for one in shipped if one not in noted], tmp_path, tmp_path, noted=noted))
    stack.prepare()
    named = {}
    for child in stack.exporters:
        command = child.command
        files = [Path(given) for option, given in pairwise(command) if option == "--stages"]
        named[command[command.index("export") + 1]] = sorted(load_rollout(file).name for file in files)
    assert named["canary"] == ["model-canary"]
    assert len(named["features"]) == 6
    assert "gpu-lifecycle" in named["features"]
    assert named["screener"] == named["validation"] == []


def test_a_file_that_is_still_to_be_made_is_told_and_left_out(folder: Path) -> None:
    path = rollout(folder, {"canary": {"events": "events.jsonl", "reference": "r.json"}})
    found = run("canary", "--once", "--rollout", path)
    assert found.exit_code == 0
    assert "note: r.json is missing: drift is not measured" in found.output


def test_a_baseline_that_is_missing_is_told_with_the_whole_command(folder: Path) -> None:
    (folder / "celery.log").write_text("")
    screener = {"log": "celery*.log", "database": "sqlite:///scans.db", "baseline": "b.json"}
    told: list[str] = []
    dict(exporters.options(Exporter.model_validate({"screener": screener}), folder, float, told.append))
    command = "rollguard baseline save --log 'celery*.log' --database sqlite:///scans.db --out b.json"
    assert told == [f"{folder}/b.json is missing: score drift is not measured. Make it: {command}"]


@pytest.mark.parametrize(("value", "unset"), [(None, "DB_OF_TEST"), ("", "DB_OF_TEST"), ("sqlite:///x", "")])
def test_a_variable_that_is_not_set_is_known_before_the_start(
    monkeypatch: pytest.MonkeyPatch, value: str | None, unset: str
) -> None:
    monkeypatch.delenv("DB_OF_TEST", raising=False)
    if value is not None:
        monkeypatch.setenv("DB_OF_TEST", value)
    exporter = Exporter.model_validate({"forecast": {"database": "${DB_OF_TEST}"}})
    assert exporters.unset_variable(exporter) == unset
    assert exporters.unset_variable(Exporter.model_validate({"canary": {"events": "e"}})) == ""


def test_up_starts_no_exporter_whose_database_nobody_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    for binary in (binaries.PROMETHEUS, binaries.ALERTMANAGER):
        need_binary(binary)
    monkeypatch.delenv("FORECAST_DATABASE_URL", raising=False)
    stack = Stack(Settings([load_rollout(SHIPPED.parent / "ensemble-forecast.yaml")], tmp_path, tmp_path))
    assert list(stack.exporters) == []
    (note,) = stack.notes
    assert (
        note == "ensemble-forecast is not measured: the environment variable FORECAST_DATABASE_URL is not set"
    )
    assert not any("/metrics" in line for line in addresses(stack))


def test_up_aligns_the_addresses_of_rollouts_with_long_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    for binary in (binaries.PROMETHEUS, binaries.ALERTMANAGER):
        need_binary(binary)
    monkeypatch.setenv("FORECAST_DATABASE_URL", "postgresql://localhost/forecasts")
    stack = Stack(Settings([load_rollout(SHIPPED.parent / "ensemble-forecast.yaml")], tmp_path, tmp_path))
    found = [line.index("http") for line in addresses(stack) if line.startswith("  ")]
    assert len(found) == 4
    assert len(set(found)) == 1


@pytest.mark.parametrize(("folder", "given"), [(".rollguard", False), ("../the state", True)])
def test_the_next_command_names_the_token_where_a_client_would_not_find_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    need_binary: Callable[[binaries.Binary], str],
    folder: str,
    given: bool,
) -> None:
    for binary in (binaries.PROMETHEUS, binaries.ALERTMANAGER):
        need_binary(binary)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    *_, last = addresses(Stack(Settings([shipped_rollout()], Path(folder))))
    option = f" --token-file '{tmp_path / 'the state' / 'token'}'" if given else ""
    assert last == f"next: rollguard start model-canary{option}; Ctrl-C stops everything"


@pytest.mark.parametrize(
    ("log", "checkpoint"),
    [
        ("var/celery.log", "var/celery.log.rollguard-checkpoint"),
        ("var/celery-*.log", "var/screener.rollguard-checkpoint"),
        ("var/*/celery.log", "screener.rollguard-checkpoint"),
    ],
)
def test_a_checkpoint_lies_beside_what_is_read(log: str, checkpoint: str) -> None:
    assert export._default_checkpoint(Screener(log)) == Path(checkpoint)


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
