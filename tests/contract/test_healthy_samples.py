"""What the exporters show of healthy samples fires no guard of any rollout: names, labels and units fit."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from demo import samples
from rollguard import binaries
from rollguard.cli import cli
from rollguard.loading import load_rollouts
from rollguard.spec import Rollout

ROOT = Path(__file__).parents[2]
ROLLOUTS = {rollout.name: rollout for rollout in load_rollouts(ROOT / "rollouts") if rollout.scrape.exporter}
SECONDS = {"canary": 1400, "validation": 120, "features": 120, "screener": 3600, "forecast": 3600}
"""Time of the samples by exporter, in which its counters came to what they show."""

FORECASTS = 30.0
"""Forecasts within that time: the exporter counts those that come while it watches."""

STEPS = 400
"""Minutes: longer than the longest window of a rate."""


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each exporter shows of the samples."""
    folder = tmp_path_factory.mktemp("samples")
    samples.write(folder, time.time())
    runs = {
        command.split()[0]: CliRunner().invoke(cli, ["export", *shlex.split(command), "--once"])
        for command in samples.commands(folder)
    }
    return {name: run.stdout for name, run in runs.items()}


def series(rollout: Rollout, text: str) -> Iterator[dict[str, str]]:
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
    stage = f'{{rollout="{rollout.name}",rollout_stage="{rollout.stages[1].name}"}}'
    yield {"series": f"rollout_stage{stage}", "values": f"1x{STEPS}"}
    yield {"series": f"rollout_stage_entered_timestamp_seconds{stage}", "values": f"0x{STEPS}"}


def value_of(sample: Sample) -> float:
    made = sample.name == "forecasts_total" and sample.labels["result"] == "success"
    return FORECASTS if made else float(sample.value)


def named(sample: Sample, rollout: Rollout) -> str:
    labels = {**sample.labels, "rollout": rollout.name, "job": rollout.scrape.job}
    return f"{sample.name}{{{','.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"


@pytest.mark.parametrize("name", ROLLOUTS)
def test_healthy_samples_fire_no_guard(
    name: str, shown: dict[str, str], tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    rollout = ROLLOUTS[name]
    assert rollout.scrape.exporter is not None
    test = {
        "interval": "1m",
        "input_series": list(series(rollout, shown[rollout.scrape.exporter.kind])),
        "promql_expr_test": [
            {"expr": 'ALERTS{alertstate="firing"}', "eval_time": f"{STEPS}m", "exp_samples": []}
        ],
    }
    rules = ROOT / "alerts" / "generated" / "rules" / f"{name}.rules.yml"
    document = {"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [test]}
    (tmp_path / "healthy.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [need_binary(binaries.PROMTOOL), "test", "rules", str(tmp_path / "healthy.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    assert sorted(set(re.findall(r'guard="([^"]+)"', told))) == []
    assert done.returncode == 0, told
