"""The room of an ensemble of forecasts: the panels that its document names, title for title."""

from __future__ import annotations

from collections.abc import Iterator

from grafanalib import core as grafana

from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions, variable
from rollguard.dashboards.kit.colours import (
    BASELINE,
    BREACHED,
    CLOSE,
    FIRES_AT_ANY,
    HEALTHY,
    HELD,
    NOTHING,
    YES_IS_GOOD,
    falling,
    rising,
    steps,
)
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, fixed, lines, override, query, stat
from rollguard.dashboards.kit.units import NUMBER, SECONDS, SHARE
from rollguard.links import of_system

_ITS = 'rollout="$rollout"'
_CELL = f'{_ITS},symbol=~"$symbol",horizon=~"$horizon"'
_NAMED = "{{symbol}} {{horizon}}"


def forecast_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of every rollout whose exporter measures an ensemble of forecasts."""
    return dashboard(
        of_system("forecast"),
        "Ensemble forecast",
        "Whether the ensemble of two models forecasts as well as it did when the stage began, and as the four"
        " before it.",
        [
            Section("", [*_answers(), *_errors()]),
            Section("By symbol", list(_symbols())),
            Section("Jobs and database", list(_jobs())),
        ],
        tags=["system"],
        variables=[
            variable("rollout", "Rollout", "label_values(forecast_db_up, rollout)", several=False),
            variable("symbol", "Symbol", f"label_values(forecast_rmse{{{_ITS}}}, symbol)"),
            variable("horizon", "Horizon", f"label_values(forecast_rmse{{{_ITS}}}, horizon)"),
        ],
        annotations=transitions(_ITS),
        runbooks=runbooks,
        start="now-7d",
    )


def _answers() -> Iterator[Panel]:
    yield stat(
        "Mean divergence",
        "Of the day. Over 15 % it holds, over 30 % it rolls back.",
        query(f"max(forecast_divergence_ratio_avg{{{_ITS}}})"),
        unit=SHARE,
        thresholds=rising(0.15, 0.3),
    )
    yield stat(
        "Largest divergence",
        "Of the day. Over 20 % it holds, over 30 % it rolls back.",
        query(f"max(forecast_divergence_ratio_max{{{_ITS}}})"),
        unit=SHARE,
        thresholds=rising(0.2, 0.3),
    )
    yield stat(
        "Overfitting today",
        "Windows of the day that overfit. Over 1 it holds, over 2 it rolls back.",
        query(f"max(forecast_overfitting_detections{{{_ITS}}})"),
        unit=NUMBER,
        thresholds=rising(1.001, 2.001),
    )
    yield stat(
        "Forecasts that succeed",
        "Share of the last day. Under 95 % it holds, under 90 % it rolls back.",
        query(_success("forecasts_total")),
        unit=SHARE,
        thresholds=falling(0.9, 0.95),
    )
    yield stat(
        "Database",
        "Whether the table of validations can be read and makes sense. No: it is rolled back.",
        query(f"min(forecast_db_up{{{_ITS}}})"),
        unit="none",
        thresholds=steps(BREACHED, (1, HEALTHY)),
        mappings=YES_IS_GOOD,
    )
    yield stat(
        "Critical errors",
        "Critical lines in the log of the last day. Any: it is rolled back; read the log.",
        query(f"sum(increase(forecast_critical_errors_total{{{_ITS}}}[1d]))"),
        unit=NUMBER,
        thresholds=rising(FIRES_AT_ANY),
    )


def _errors() -> Iterator[Panel]:
    yield lines(
        "Divergence trend (val_rmse vs test_rmse)",
        "Error in the validation and in the test. The test leaving the validation behind: the models"
        " overfit.",
        [
            query(f"avg by (split) (forecast_rmse{{{_CELL}}})", "RMSE {{split}}"),
            query(f"forecast_divergence_ratio_avg{{{_ITS}}}", "mean divergence"),
            query(f"forecast_divergence_ratio_max{{{_ITS}}}", "largest divergence"),
        ],
        unit=NUMBER,
        size=(12, 8),
        thresholds=steps(NOTHING, (0.15, CLOSE), (0.3, BREACHED)),
        drawn="dashed",
        overrides=[override("divergence$", {"unit": SHARE, "custom.axisPlacement": "right"}, pattern=True)],
    )
    yield lines(
        "Overfitting detection",
        "Windows of the day that overfit, and days in a row with one. Three days in a row fail the stage.",
        [
            query(f"forecast_overfitting_detections{{{_ITS}}}", "windows of the day"),
            query(f"forecast_overfitting_days{{{_ITS}}}", "days in a row"),
        ],
        unit=NUMBER,
        thresholds=steps(NOTHING, (1, CLOSE), (2, BREACHED)),
        size=(12, 8),
        least=0,
    )
    yield lines(
        "RMSE improvement (2-model vs 4-model)",
        "How much smaller the test error is than that of the four models before; under 0 it is larger. Below"
        " for long: the old ensemble was better.",
        [
            query(
                f'1 - forecast_rmse{{{_CELL},split="test"}} / on (rollout, symbol, horizon)'
                f" forecast_rmse_legacy{{{_CELL}}}",
                _NAMED,
            )
        ],
        unit=SHARE,
        thresholds=steps(HELD, (0, NOTHING)),
        size=(12, 8),
    )
    yield lines(
        "Calibration success rate",
        "Share of the calibrations of a day that were done. Falling: read the log of the job.",
        [query(_success("forecast_calibrations_total"), "calibrations")],
        unit=SHARE,
        size=(12, 8),
        most=1,
    )


def _symbols() -> Iterator[Panel]:
    yield lines(
        "Model performance by symbol",
        "Test error of each symbol and horizon, and its baseline from the beginning of the stage. Beyond 8 %"
        " of it, the rollout is held.",
        [
            query(f'forecast_rmse{{{_CELL},split="test"}}', _NAMED),
            query(f"forecast_rmse_baseline{{{_CELL}}}", f"baseline of {_NAMED}"),
        ],
        unit=NUMBER,
        size=(12, 8),
        overrides=[
            override("^baseline", {"custom.lineStyle": {"fill": "dash", "dash": [8, 6]}}, pattern=True)
        ],
        least=0,
    )
    yield lines(
        "Divergence by symbol",
        "Newest divergence of each symbol and horizon. One alone: look at its data before the model.",
        [query(f"forecast_divergence_ratio{{{_CELL}}}", _NAMED)],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.2, CLOSE), (0.3, BREACHED)),
        size=(12, 8),
    )


def _jobs() -> Iterator[Panel]:
    yield lines(
        "Forecasts",
        "Forecasts made and failed. A failure: people are told; many: it is held, then rolled back.",
        [query(f"sum by (result) (increase(forecasts_total{{{_ITS}}}[$__rate_interval]))", "{{result}}")],
        unit=NUMBER,
        bars=True,
        stacked=True,
        least=0,
    )
    yield lines(
        "Time of the query",
        "Time of the last query of the validations against the first ones. Over 1 s it holds: is the index"
        " there?",
        [
            query(f"forecast_db_query_duration_seconds{{{_ITS}}}", "last query"),
            query(f"forecast_db_query_baseline_seconds{{{_ITS}}}", "baseline"),
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (1, CLOSE), (2, BREACHED)),
        drawn="dashed",
        overrides=[
            override(
                "baseline", {"color": fixed(BASELINE), "custom.lineStyle": {"fill": "dash", "dash": [8, 6]}}
            )
        ],
        least=0,
    )


def _success(counter: str) -> str:
    return f'sum(increase({counter}{{{_ITS},result="success"}}[1d])) / sum(increase({counter}{{{_ITS}}}[1d]))'
