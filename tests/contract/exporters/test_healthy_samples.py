"""What the exporters show of healthy samples fires no guard and meets the criteria: names and units fit."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from demo import samples
from rollguard.cli.main import cli
from rollguard.exporters.evidence.evaluator import GuardState, Look
from rollguard.exporters.evidence.judged import judged
from rollguard.generators.tools import binaries
from rollguard.monitoring.prometheus import Sample as Looked
from rollguard.monitoring.queries import measured, within
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout
from rollguard.spec.series import Series
from tests.factories import ROOT

ROLLOUTS = {rollout.name: rollout for rollout in load_rollouts(ROOT / "rollouts") if rollout.scrape.exporter}
_FIRST = {one.scrape.exporter.kind: name for name, one in reversed(ROLLOUTS.items()) if one.scrape.exporter}
_EACH = [
    pytest.param(name, marks=[] if name in _FIRST.values() else pytest.mark.slow, id=name)
    for name in ROLLOUTS
]
"""One rollout of each exporter; the other trading features are alike, and long jobs."""
SECONDS = {"canary": 1400, "validation": 120, "features": 120, "screener": 3600, "forecast": 3600}
"""Time of the samples by exporter, in which its counters came to what they show."""

FORECASTS = 30.0
"""Forecasts within that time: the exporter counts those that come while it watches."""

STEPS = 400
"""Minutes: longer than the longest window of a rate."""


UNMET: Mapping[str, str] = {
    "switched off while preflight": "in the samples the engine is on",
    "every worker says so": "in the samples the engine is on",
    "stable queries": "the baseline is of more queries than one look at the samples asks",
}
"""Criteria that do not hold of the samples, and why."""

WITHOUT_SAMPLE: Mapping[str, str] = {
    "no parity failure": "none is none, of however few",
    "canary wins": "another criterion says from how many trades on it counts",
}
"""Criteria of the canary that few events meet, and why."""

FEW_EVENTS = 100
"""Of the canary: some signals, and less than any minimal sample."""


def exported(folder: Path) -> dict[str, str]:
    """Return what each exporter shows of the samples in a folder."""
    runs = {
        command.split()[0]: CliRunner().invoke(cli, ["export", *shlex.split(command), "--once"])
        for command in samples.commands(folder)
    }
    return {name: run.stdout for name, run in runs.items()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples."""
    folder = tmp_path_factory.mktemp("samples")
    samples.write(folder, time.time())
    return folder


@pytest.fixture(scope="module")
def shown(written: Path) -> dict[str, str]:
    """What each exporter shows of them."""
    return exported(written)


def series(rollout: Rollout, text: str, stage: str) -> Iterator[dict[str, str]]:
    """Yield the series of a rollout as promtool takes them, counters growing as fast as in the samples."""
    assert rollout.scrape.exporter is not None
    seconds = SECONDS[rollout.scrape.exporter.kind]
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("rollout", rollout.name) == rollout.name:
                grows = family.type in {"counter", "histogram"}
                value = value_of(sample)
                values = f"0+{value * 60 / seconds!r}x{STEPS}" if grows else f"{value!r}x{STEPS}"
                yield {"series": named(sample, rollout), "values": values}
    yield from evidence(rollout, text)
    entered = f'{{rollout="{rollout.name}",rollout_stage="{stage}"}}'
    yield {"series": f"rollout_stage{entered}", "values": f"1x{STEPS}"}
    yield {"series": f"rollout_stage_entered_timestamp_seconds{entered}", "values": f"0x{STEPS}"}


def evidence(rollout: Rollout, text: str) -> Iterator[dict[str, str]]:
    """Yield what the evaluator shows of a rollout's guards by evidence, once it has judged the samples."""
    guards = [(one, GuardState()) for one in judged(rollout)]
    shown = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    for one, state in guards:
        read = {str(series): list(selected(series, shown, rollout.name)) for series in one.selected.values()}
        before = {name: [Looked(sample.labels, 0.0) for sample in found] for name, found in read.items()}
        state.look(one, Look(1000.0, 1, before))
        state.look(one, Look(1060.0, 1, read))
        about = f'rollout="{rollout.name}",guard="{one.guard}"'
        if (log_e := state.log_e(one)) is not None:
            yield {"series": f'rollguard_log_evalue{{{about},run="1"}}', "values": f"{log_e}x{STEPS}"}
        if math.isfinite(upper := state.effect(one)[2]):
            yield {"series": f'rollguard_effect{{{about},bound="upper"}}', "values": f"{upper}x{STEPS}"}


def selected(series: Series, shown: list[Sample], name: str) -> Iterator[Looked]:
    for sample in shown:
        labels = {"rollout": name, **sample.labels}
        if sample.name == series.name and series.selects(labels):
            yield Looked(labels, sample.value)


def value_of(sample: Sample) -> float:
    made = sample.name == "forecasts_total" and sample.labels["result"] == "success"
    return FORECASTS if made else float(sample.value)


def named(sample: Sample, rollout: Rollout) -> str:
    labels = {**sample.labels, "rollout": rollout.name, "job": rollout.scrape.job}
    return f"{sample.name}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"


def told(
    rollout: Rollout,
    text: str,
    expectations: list[dict[str, Any]],
    folder: Path,
    promtool: str,
    *,
    stage: str | None = None,
) -> tuple[int, str]:
    """Return how promtool ends, and what it says, where it holds expectations against what was shown."""
    test = {
        "interval": "1m",
        "input_series": list(series(rollout, text, stage or rollout.stages[1].name)),
        "promql_expr_test": [
            {"eval_time": f"{STEPS}m", "exp_samples": [], **expected} for expected in expectations
        ],
    }
    rules = ROOT / "alerts" / "generated" / "rules" / f"{rollout.name}.rules.yml"
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    (folder / "healthy.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [promtool, "test", "rules", str(folder / "healthy.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", _EACH)
def test_healthy_samples_fire_no_guard(
    name: str, shown: dict[str, str], tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    rollout, promtool = ROLLOUTS[name], need_binary(binaries.PROMTOOL)
    assert rollout.scrape.exporter is not None
    firing = {"expr": 'ALERTS{alertstate="firing"}'}
    code, said = told(rollout, shown[rollout.scrape.exporter.kind], [firing], tmp_path, promtool)
    assert sorted(set(re.findall(r'guard="([^"]+)"', said))) == []
    assert code == 0, said


# The last stage


def last_stage(written: Path, folder: Path) -> None:
    """Write samples of a release that everybody has, for weeks: nobody is left to compare it with."""
    shutil.copytree(written, folder)
    for name, change in LAST.items():
        events = map(json.loads, (written / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
        lines = (json.dumps(changed) for event in events for changed in change(event))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def canary_at_last(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an event of full: the candidate is in slot active, another model in none, nothing on paper."""
    full = {"route": "full"} if "route" in event else {"served": "candidate"} if "served" in event else {}
    if event.get("slot") != "shadow" and event["event"] != "shadow_signal":
        yield event | full | ({"stage": "full"} if event["event"] == "stage" else {})


def validation_at_last(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an event of hardened, which executes by one strategy."""
    yield event | ({"strategy": "progressive"} if "strategy" in event else {})


def features_at_last(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a measurement of the exposed; what was before the feature was measured then."""
    before = {key: event.pop(key) for key in BEFORE_THE_FEATURE}
    if event["ts"] < time.time() - 100:
        labels = {key: event[key] for key in ("rollout", "regime")}
        yield {"ts": event["ts"] - WEEKS_SECONDS, **labels, **before}
    yield event | {"variant": "exposed"}


BEFORE_THE_FEATURE = (
    "request_duration_baseline_seconds",
    "stop_loss_hits_baseline",
    "regime_performance_baseline",
)
WEEKS_SECONDS = 60 * 86400.0
LAST: Mapping[str, Callable[[dict[str, Any]], Iterator[dict[str, Any]]]] = {
    "canary": canary_at_last,
    "validation": validation_at_last,
    "features": features_at_last,
}
"""Of the exporters whose series differ in the last stage: what an event is like then."""


@pytest.fixture(scope="module")
def shown_at_last(written: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each exporter shows in the last stage."""
    folder = tmp_path_factory.mktemp("last") / "samples"
    last_stage(written, folder)
    return exported(folder)


@pytest.mark.parametrize("enabled", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", _EACH)
def test_nothing_is_missed_in_the_last_stage_that_can_no_longer_be_measured(
    name: str,
    enabled: bool,
    shown_at_last: dict[str, str],
    tmp_path: Path,
    need_binary: Callable[[binaries.Binary], str],
) -> None:
    rollout, promtool = ROLLOUTS[name], need_binary(binaries.PROMTOOL)
    assert rollout.scrape.exporter is not None
    text = shown_at_last[rollout.scrape.exporter.kind]
    stage = "enabled" if enabled else rollout.stages[-1].name
    firing = {"expr": 'ALERTS{alertstate=~"firing|pending"}'}
    code, said = told(rollout, text, [firing], tmp_path, promtool, stage=stage)
    assert sorted(set(re.findall(r'guard="([^"]+)"', said))) == []
    assert code == 0, said


# Criteria


def failing(rollout: Rollout, text: str, folder: Path, promtool: str) -> set[str]:
    """Return the criteria of a rollout that do not hold; each is asked as the control plane asks it."""
    asked = [
        {
            "expr": f'label_replace(count({within(one.expr, rollout.name)}), "name", "{one.name}", "", "")',
            "exp_samples": [{"labels": f'{{name="{one.name}"}}', "value": 1}],
        }
        for one in rollout.advance
    ]
    code, said = told(rollout, text, asked, folder, promtool)
    found = {one.name for one in rollout.advance if f'exp: {{name="{one.name}"}}' in said}
    assert bool(found) == bool(code), said
    return found


@pytest.mark.parametrize("name", [one for one in _EACH if ROLLOUTS[str(one.id)].advance])
def test_healthy_samples_meet_every_criterion(
    name: str, shown: dict[str, str], tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    rollout, promtool = ROLLOUTS[name], need_binary(binaries.PROMTOOL)
    assert rollout.scrape.exporter is not None
    unmet = failing(rollout, shown[rollout.scrape.exporter.kind], tmp_path, promtool)
    assert unmet == {one.name for one in rollout.advance if one.name in UNMET}


@pytest.mark.parametrize("name", [name for name, rollout in ROLLOUTS.items() if rollout.fail])
def test_healthy_samples_fail_no_stage(
    name: str, shown: dict[str, str], tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    rollout, promtool = ROLLOUTS[name], need_binary(binaries.PROMTOOL)
    assert rollout.scrape.exporter is not None
    text = shown[rollout.scrape.exporter.kind]
    none = [{"expr": within(one.expr, rollout.name)} for one in rollout.fail]
    code, said = told(rollout, text, none, tmp_path, promtool)
    assert code == 0, said
    some = [{"expr": f"count({measured(within(one.expr, rollout.name))})"} for one in rollout.fail]
    _, said = told(rollout, text, some, tmp_path, promtool)
    assert said.count("got:") == len(some), said


def test_few_samples_meet_no_criterion_that_judges_them(
    written: Path, tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    few = tmp_path / "few"
    shutil.copytree(written, few)
    events = (few / "canary.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (few / "canary.jsonl").write_text("".join(events[:FEW_EVENTS]), encoding="utf-8")
    rollout = ROLLOUTS["model-canary"]
    unmet = failing(rollout, exported(few)["canary"], tmp_path, need_binary(binaries.PROMTOOL))
    assert unmet == {one.name for one in rollout.advance} - set(WITHOUT_SAMPLE)
