"""Rollouts that share a scrape job whose series come with their label rollout."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollguard.cli.local.stack import Settings, Stack
from rollguard.errors import FileProblemsError
from rollguard.generators.rules.platform import platform_rules
from rollguard.generators.scrape import Addresses, prometheus_config
from rollguard.spec.exporter import Exporter
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout

TEXT = """rollout: {name}
title: A feature
owner: somebody
scrape:
  job: features
  targets: ["127.0.0.1:9845"]
  labelled: true
  exporter: {{features: {{events: var/features.jsonl}}}}
flag: {{key: {name}, variants: {{"on": true, "off": false}}, serve: "on", fallback: "off"}}
stages: [{{name: all, percent: 100}}]
guards:
  - alert: DataQualityLow
    use: threshold
    with: {{metric: data_quality_ratio, below: 0.95}}
    severity: critical
    action: rollback
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("first", "second"):
        (tmp_path / f"{name}.yaml").write_text(TEXT.format(name=name))
    return tmp_path


@pytest.fixture
def rollouts(folder: Path) -> list[Rollout]:
    return load_rollouts(folder)


def test_the_job_has_its_targets_once_and_keeps_their_labels(rollouts: list[Rollout]) -> None:
    jobs = prometheus_config(rollouts, 1, Addresses())["scrape_configs"]
    assert [job for job in jobs if job["job_name"] == "features"] == [
        {
            "job_name": "features",
            "scrape_interval": "15s",
            "honor_labels": True,
            "static_configs": [{"targets": ["127.0.0.1:9845"]}],
        }
    ]


def test_each_rollout_is_held_when_the_shared_exporter_is_down(rollouts: list[Rollout]) -> None:
    rules = [rule for group in platform_rules(rollouts, 1)["groups"] for rule in group["rules"]]
    down = [rule for rule in rules if rule["alert"] == "RollguardExporterDown"]
    assert [rule["labels"]["rollout"] for rule in down] == ["first", "second"]
    assert {rule["expr"] for rule in down} == {'up{job="features"} == 0'}


def test_one_exporter_is_started_for_the_job(rollouts: list[Rollout], tmp_path: Path) -> None:
    stack = Stack(Settings(rollouts, tmp_path / "run", free_ports=True))
    assert [child.name for child in stack.exporters] == ["exporter of features"]
    targets = {rollout.scrape.targets for rollout in stack.rollouts}
    assert len(targets) == 1


def test_prometheus_keeps_its_samples_for_twice_the_longest_hold(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        TEXT.format(name="one").replace("percent: 100", "percent: 100, hold: 30d")
    )
    stack = Stack(Settings(load_rollouts(tmp_path / "one.yaml"), tmp_path / "run", free_ports=True))
    assert "--storage.tsdb.retention.time=60d" in stack.prometheus.command


@pytest.mark.parametrize(
    ("old", "new", "key", "line"),
    [
        ("var/features.jsonl", "var/other.jsonl", "scrape.exporter", 8),
        ("127.0.0.1:9845", "127.0.0.1:9846", "scrape.targets", 6),
        ("labelled: true", "labelled: false", "scrape.labelled", 7),
        ("  labelled: true", "  labelled: true\n  interval: 1m", "scrape.interval", 8),
    ],
)
def test_a_conflict_is_refused_with_its_line(folder: Path, old: str, new: str, key: str, line: int) -> None:
    second = folder / "second.yaml"
    second.write_text(second.read_text().replace(old, new))
    with pytest.raises(FileProblemsError) as caught:
        load_rollouts(folder)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.key) == (second, line, key)
    assert "first.yaml, which names the job features too" in problem.message


def test_rollouts_of_one_job_that_are_labelled_by_prometheus_may_differ(folder: Path) -> None:
    for name, port in (("first", 9845), ("second", 9846)):
        text = TEXT.format(name=name).replace("  labelled: true\n", "").replace("9845", str(port))
        (folder / f"{name}.yaml").write_text(text)
    jobs = prometheus_config(load_rollouts(folder), 1, Addresses())["scrape_configs"]
    labels = [config["labels"] for config in jobs[0]["static_configs"]]
    assert labels == [{"rollout": "first"}, {"rollout": "second"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("exporter: {}", "exactly one kind"),
        ("exporter: {features: {events: a}, canary: {events: b}}", "exactly one kind"),
        ("exporter: {forecast: {database: 'postgresql://me:secret@db/x'}}", "without a password"),
        ("exporter: {forecast: {database: 'mysql://db/x'}}", "a URL of sqlite or postgresql"),
    ],
)
def test_an_exporter_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    lines = TEXT.format(name="first").replace("exporter: {features: {events: var/features.jsonl}}", text)
    (tmp_path / "first.yaml").write_text(lines)
    with pytest.raises(FileProblemsError, match=message):
        load_rollouts(tmp_path)


def test_options_of_an_exporter_become_those_of_its_command(rollouts: list[Rollout], tmp_path: Path) -> None:
    options = {
        "database": "sqlite:///var/scans.db",
        "log": "log/*.log",
        "baseline": "missing.json",
        "universe": 9,
    }
    scrape = rollouts[0].scrape.model_copy(
        update={"exporter": Exporter.model_validate({"screener": options}), "labelled": False}
    )
    rollout = rollouts[0].model_copy(update={"scrape": scrape})
    stack = Stack(Settings([rollout], tmp_path / "run", tmp_path))
    (child,) = stack.exporters
    assert child.command[3:] == [
        *("export", "screener", "--listen", "127.0.0.1:9845", "--log", str(tmp_path / "log/*.log")),
        *("--database", f"sqlite:///{tmp_path}/var/scans.db", "--universe", "9"),
    ]
    (note,) = stack.notes
    assert "missing.json is missing" in note
