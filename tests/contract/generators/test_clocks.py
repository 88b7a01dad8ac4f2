"""Rules of rollouts with a clock, in a real promtool: closed hours arm nothing, and miss nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from rollguard.generators.rules.alerting import rule_file
from rollguard.generators.rules.timing import Timing
from rollguard.generators.tools import binaries
from rollguard.spec.calendars import instant_seconds
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Rollout
from tests.factories import shipped_rollout

STEP = 600
DAY = 86_400 // STEP
TUESDAY = instant_seconds("2026-06-02T00:00:00+00:00")
Series: TypeAlias = Mapping[str, list[float | None]]
Fires: TypeAlias = Callable[[Rollout, Series, int], set[str]]


@pytest.fixture
def fires(need_binary: Callable[[binaries.Binary], str], tmp_path: Path) -> Fires:
    """Return a function that tells which guards fired within a time, by promtool."""

    def of(rollout: Rollout, series: Series, steps: int) -> set[str]:
        rules = rule_file(rollout, Timing(1.0, rollout.scrape.interval))
        (tmp_path / "rules.yml").write_text(json.dumps(rules), encoding="utf-8")
        asked = f'count_over_time(ALERTS{{alertstate="firing"}}[{steps * STEP}s])'
        group = {
            "interval": f"{STEP}s",
            "input_series": [
                {"series": name, "values": " ".join("_" if one is None else f"{one:g}" for one in values)}
                for name, values in series.items()
            ],
            "promql_expr_test": [
                {"expr": f"count by (guard) ({asked})", "eval_time": f"{steps * STEP}s", "exp_samples": []}
            ],
        }
        test = {"rule_files": ["rules.yml"], "evaluation_interval": f"{STEP}s", "tests": [group]}
        (tmp_path / "test.yml").write_text(json.dumps(test), encoding="utf-8")
        command = [need_binary(binaries.PROMTOOL), "test", "rules", str(tmp_path / "test.yml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert ", err: " not in said
        assert (done.returncode == 0) == ('guard="' not in said)
        return {guard.name for guard in all_guards(rollout) if f'guard="{guard.name}"' in said}

    return of


def clocked(rollout: Rollout, moments: list[int]) -> dict[str, list[float | None]]:
    """Return what the control plane says of a rollout's clocks."""
    clocks = {"": rollout.clock, **{guard.name: guard.clock for guard in rollout.guards}}
    return {
        f'rollout_open{{rollout="{rollout.name}"{f",guard={json.dumps(name)}" if name else ""}}}': [
            float(clock.open_at(moment)) for moment in moments
        ]
        for name, clock in clocks.items()
        if clock
    }


def said(rollout: Rollout, stage: str, steps: int) -> dict[str, list[float | None]]:
    return {f'rollout_stage{{rollout="{rollout.name}",rollout_stage="{stage}"}}': [1.0] * (steps + 1)}


# The ensemble: rows of Monday to Friday, and what the exporter shows of them


def forecasts(moments: list[int]) -> Iterator[tuple[str, list[float | None]]]:
    """Yield healthy series: the day's rows come at 18:00 UTC, Monday to Friday, and show for the next day."""
    hours = [(moment - TUESDAY) // 3600 % 168 for moment in moments]
    of_days = {
        "forecast_divergence_ratio_avg": 0.05,
        "forecast_divergence_ratio_max": 0.1,
        "forecast_overfitting_detections": 0.0,
    }
    for name, value in of_days.items():
        yield name, [value if hour < 120 or hour >= 162 else None for hour in hours]
    weeks = [(moment - TUESDAY) // 604_800 + 1 for moment in moments]
    runs = [min((hour + 6) // 24, 4) + (hour >= 162) for hour in hours]
    made = [90.0 * (5 * week + run) for week, run in zip(weeks, runs, strict=True)]
    yield 'forecasts_total{result="success"}', [*made]
    always = {
        'forecasts_total{result="failure"}': 0.0,
        "forecast_db_query_duration_seconds": 0.1,
        "forecast_db_up": 1.0,
        "forecast_critical_errors_total": 0.0,
    }
    for symbol in ("AAPL", "MSFT", "SPY"):
        cell = f'symbol="{symbol}",horizon="1D"}}'
        always |= {f'forecast_rmse{{split="test",{cell}': 1.0, f"forecast_rmse_baseline{{{cell}": 1.0}
    for name, value in always.items():
        yield name, [value] * len(moments)


def own(rollout: Rollout, name: str) -> str:
    metric, _, labels = name.partition("{")
    return f'{metric}{{rollout="{rollout.name}"{"," if labels else "}"}{labels}'


@pytest.fixture(scope="module")
def week() -> tuple[Rollout, list[int], dict[str, list[float | None]]]:
    rollout = shipped_rollout("ensemble-forecast")
    moments = [TUESDAY + STEP * step for step in range(-DAY, 8 * DAY + 1)]
    series = {own(rollout, name): values for name, values in forecasts(moments)}
    return rollout, moments, series | said(rollout, "canary", len(moments) - 1)


def test_the_ensembles_canary_passes_over_a_weekend(fires: Fires, week: Any) -> None:
    rollout, moments, series = week
    assert fires(rollout, {**series, **clocked(rollout, moments)}, len(moments) - 1) == set()


def test_without_its_clock_the_weekend_would_be_missing_data(fires: Fires, week: Any) -> None:
    rollout, moments, series = week
    found = fires(rollout.model_copy(update={"clock": None}), series, len(moments) - 1)
    assert {"ForecastDivergenceHighNoData", "ForecastFailuresNoData-no-traffic"} <= found


def test_on_a_day_on_which_its_clock_runs_missing_data_are_missed(fires: Fires, week: Any) -> None:
    rollout, moments, series = week
    name = own(rollout, "forecast_divergence_ratio_avg")
    gone = {**series, name: [value if step < 2 * DAY else None for step, value in enumerate(series[name])]}
    assert "ForecastDivergenceHighNoData" in fires(rollout, {**gone, **clocked(rollout, moments)}, 3 * DAY)


# The market


@pytest.mark.parametrize(
    ("begin", "hours", "expected"),
    [
        ("2026-12-04T16:30:00-05:00", 60, set()),  # a Friday's evening, and a weekend
        ("2026-12-24T16:30:00-05:00", 20, set()),  # Christmas
        ("2027-03-12T16:30:00-05:00", 64, set()),  # the clocks go forward on the 14th
        ("2026-12-04T10:00:00-05:00", 2, {"MarketDataStale"}),
        ("2027-03-15T10:00:00-04:00", 2, {"MarketDataStale"}),
    ],
)
def test_old_market_data_are_told_while_the_market_is_open(
    fires: Fires, begin: str, hours: int, expected: set[str]
) -> None:
    shipped = shipped_rollout("gpu-lifecycle")
    guard = next(guard for guard in shipped.guards if guard.alert == "MarketDataStale")
    rollout = shipped.model_copy(update={"guards": (guard,)})
    moments = [instant_seconds(begin) + STEP * step for step in range(hours * 3600 // STEP + 1)]
    steps = len(moments) - 1
    told = {**said(rollout, rollout.stages[0].name, steps), **clocked(rollout, moments)}
    stale: list[float | None] = [3600.0] * len(moments)
    assert fires(rollout, {**told, own(rollout, "market_data_age_seconds"): stale}, steps) == expected
    assert fires(rollout, told, steps) == {f"{name}NoData" for name in expected}


# Outside of a run


@pytest.mark.parametrize(("stage", "missed"), [("disabled", False), ("rollback", False), ("canary", True)])
def test_outside_of_a_run_no_data_are_missed(fires: Fires, stage: str, missed: bool) -> None:
    rollout = shipped_rollout()
    found = fires(rollout, said(rollout, stage, 12), 12)
    assert bool(found) == missed
    assert all("NoData" in name for name in found)


def test_a_run_that_begins_has_as_long_as_a_series_may_be_missing(
    need_binary: Callable[[binaries.Binary], str], tmp_path: Path
) -> None:
    rollout = shipped_rollout()
    rules = rule_file(rollout, Timing(1.0, rollout.scrape.interval))
    (tmp_path / "rules.yml").write_text(json.dumps(rules), encoding="utf-8")
    stage = f'rollout_stage{{rollout="{rollout.name}",rollout_stage='
    alert = 'count(ALERTS{guard="DriftDetectedNoData",alertstate="firing"})'
    group = {
        "interval": "15s",
        "input_series": [
            {"series": f'{stage}"disabled"}}', "values": "1x19 0x60"},  # it starts in the fifth minute
            {"series": f'{stage}"shadow"}}', "values": "0x19 1x60"},
        ],
        "promql_expr_test": [
            {"expr": alert, "eval_time": "10m45s", "exp_samples": []},
            {"expr": alert, "eval_time": "11m15s", "exp_samples": [{"labels": "{}", "value": 1}]},
        ],
    }
    test = {"rule_files": ["rules.yml"], "evaluation_interval": "15s", "tests": [group]}
    (tmp_path / "test.yml").write_text(json.dumps(test), encoding="utf-8")
    command = [need_binary(binaries.PROMTOOL), "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
