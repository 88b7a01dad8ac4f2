"""What a rollout's flag is called on dashboards, as Prometheus reckons it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from rollguard.dashboards.kit.states import FLAG_STATE_WORDS, FLAG_STATES, firing, flag_state
from rollguard.generators.tools import binaries

CASES = {
    "off": ("DISABLED", 0, 0, "disabled"),
    "in-a-stage": ("ROLLING_OUT", 0, 0, "rolling out"),
    "held-by-two": ("ROLLING_OUT", 0, 2, "held"),
    "paused": ("ROLLING_OUT", 1, 0, "paused"),
    "paused-and-held": ("ROLLING_OUT", 1, 1, "paused"),
    "on": ("ENABLED", 0, 0, "enabled"),
    "on-and-paused": ("ENABLED", 1, 0, "enabled"),
    "back": ("ROLLBACK", 0, 0, "rolled back"),
}
"""By rollout: state, whether it is paused, how many guards hold it, and the word for all that."""


def series() -> Iterator[dict[str, str]]:
    for rollout, (current, paused, held, _) in CASES.items():
        for state in FLAG_STATES:
            labels = f'{{rollout="{rollout}",state="{state}"}}'
            yield {"series": f"rollout_flag_state{labels}", "values": str(int(state == current))}
        yield {"series": f'rollout_paused{{rollout="{rollout}"}}', "values": str(paused)}
        yield {"series": f'rollout_held{{rollout="{rollout}"}}', "values": str(held)}


def test_a_flag_is_called_what_it_is(tmp_path: Path, need_binary: Callable[[binaries.Binary], str]) -> None:
    numbers = {one["text"]: int(number) for number, one in FLAG_STATE_WORDS[0]["options"].items()}
    expected = [
        {"labels": f'{{rollout="{rollout}"}}', "value": numbers[word]}
        for rollout, (*_, word) in CASES.items()
    ]
    asked = {"expr": flag_state('rollout!=""'), "eval_time": "0m", "exp_samples": expected}
    holds(asked, list(series()), tmp_path, need_binary(binaries.PROMTOOL))


def test_guards_fire_of_rollouts_that_run_and_the_platform_always(
    tmp_path: Path, need_binary: Callable[[binaries.Binary], str]
) -> None:
    fires = 'ALERTS{{rollout="{}",guard="{}",alertstate="firing"}}'
    alerts = [fires.format(name, guard) for name in CASES for guard in ("Errors", "RollguardExporterDown")]
    shown = [alert for alert in alerts if "Rollguard" in alert or not ('"off"' in alert or '"back"' in alert)]
    asked = {
        "expr": firing('rollout!=""'),
        "eval_time": "0m",
        "exp_samples": [{"labels": alert, "value": 1} for alert in shown],
    }
    known = [*series(), *({"series": alert, "values": "1"} for alert in alerts)]
    holds(asked, known, tmp_path, need_binary(binaries.PROMTOOL))


def holds(asked: dict[str, Any], known: list[dict[str, str]], folder: Path, promtool: str) -> None:
    """Hold an expression against what is expected of it."""
    test = {"interval": "1m", "input_series": known, "promql_expr_test": [asked]}
    (folder / "states.yml").write_text(yaml.safe_dump({"tests": [test]}), encoding="utf-8")
    command = [promtool, "test", "rules", str(folder / "states.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
