"""The two rooms of the trading features: what is now, and how it came."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grafanalib import core as grafana

from dashboards.addresses import of_system
from dashboards.colours import (
    BASELINE,
    BREACHED,
    CLOSE,
    FIRES_AT_ANY,
    GUARD_STATES,
    HELD,
    NOTHING,
    rising,
    steps,
)
from dashboards.frame import RUNBOOKS, dashboard, transitions, variable
from dashboards.layout import Section
from dashboards.panels import Panel, fixed, lines, override, query, stat, timeline
from dashboards.states import FLAG_STATE_WORDS, flag_state, guards_over_time
from dashboards.units import NUMBER, PER_SECOND, PERCENT, SECONDS, SHARE

_ITS = 'rollout=~"$rollout"'
_NAMED = "{{rollout}}"
_DASHED = {"custom.lineStyle": {"fill": "dash", "dash": [8, 6]}}


def real_time_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of what the features do now."""
    return dashboard(
        of_system("features"),
        "Trading features: real time",
        "Which features are on and for how much, whether they are healthy, and what they cost.",
        [
            Section("", [*_answers(), *_flags()]),
            Section("Health", list(_health())),
            Section("Latency and throughput, exposed against unexposed", list(_traffic())),
            Section("Risk and position sizes", list(_risk())),
            Section("What each feature measures", list(_measures())),
        ],
        tags=["system"],
        variables=_variables(),
        annotations=transitions(_ITS),
        runbooks=runbooks,
        start="now-1h",
    )


def history_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of how the features came to where they are."""
    return dashboard(
        of_system("features_history"),
        "Trading features: history",
        "How the features did over the days, how they progressed, what was rolled back, and who was"
        " affected.",
        [
            Section("Progression", list(_progression())),
            Section("Performance", list(_performance())),
            Section("Errors and rollbacks", list(_errors())),
            Section("User impact", list(_impact())),
        ],
        tags=["system"],
        variables=_variables(),
        annotations=transitions(_ITS),
        runbooks=runbooks,
        start="now-7d",
    )


def _variables() -> Sequence[grafana.Template]:
    return [variable("rollout", "Feature", "label_values(requests_total, rollout)")]


def _answers() -> Iterator[Panel]:
    yield stat(
        "Lowest uptime",
        "Of the last five minutes, over the chosen features. Under 99 % it is rolled back.",
        query(f"min(uptime_ratio{{{_ITS}}})"),
        unit=SHARE,
        thresholds=steps(BREACHED, (0.99, CLOSE), (0.999, "green")),
    )
    yield stat(
        "Worst data quality",
        "Newest share of the data that passed its checks. Under 95 % it is rolled back.",
        query(f"min(data_quality_ratio{{{_ITS}}})"),
        unit=SHARE,
        thresholds=steps(BREACHED, (0.95, "green")),
    )
    yield stat(
        "Highest error rate",
        "Share of the requests of five minutes that failed. Over 5 % it is rolled back.",
        query(f"max({_errors_of('rollout')})"),
        unit=SHARE,
        thresholds=rising(0.02, 0.05),
    )
    yield stat(
        "API budget used",
        "Newest share of the budget. Near 100 %: requests are refused soon; slow the feature down.",
        query(f"max(api_budget_used_ratio{{{_ITS}}})"),
        unit=SHARE,
        thresholds=rising(0.8, 0.95),
    )
    yield stat(
        "Oldest market data",
        "Newest age. From 5 minutes on it holds.",
        query(f"max(market_data_age_seconds{{{_ITS}}})"),
        unit=SECONDS,
        thresholds=rising(120, 300),
    )
    yield stat(
        "Violations today",
        "Of risk limits, the Kelly cap and data contracts. Any: it is rolled back.",
        query(
            f"sum(increase(risk_violations_total{{{_ITS}}}[1d])) +"
            f" sum(increase(kelly_cap_exceeded_total{{{_ITS}}}[1d])) +"
            f" sum(increase(data_contract_violations_total{{{_ITS}}}[1d]))"
        ),
        unit=NUMBER,
        thresholds=rising(FIRES_AT_ANY),
    )


def _flags() -> Iterator[Panel]:
    yield lines(
        "Rollout percentages",
        "Share of the users that each feature has. Falls to 0: it was rolled back.",
        [query(f"max by (rollout) (rollout_percent{{{_ITS}}})", _NAMED)],
        unit=PERCENT,
        size=(8, 8),
        least=0,
        most=100,
    )
    yield timeline(
        "Flag states",
        "State of each feature's flag.",
        [query(flag_state(_ITS), _NAMED)],
        mappings=FLAG_STATE_WORDS,
    )


def _health() -> Iterator[Panel]:
    yield lines(
        "Uptime",
        "Share of the checks of five minutes that found the feature up.",
        [query(f"uptime_ratio{{{_ITS}}}", _NAMED)],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.99, NOTHING)),
        most=1,
    )
    yield lines(
        "Data quality",
        "Share of the data that passed its checks.",
        [query(f"data_quality_ratio{{{_ITS}}}", _NAMED)],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.95, NOTHING)),
        most=1,
    )
    yield lines(
        "API budget",
        "Share of the API budget that is used.",
        [query(f"api_budget_used_ratio{{{_ITS}}}", _NAMED)],
        unit=SHARE,
        least=0,
    )
    yield lines(
        "Age of the market data",
        "From 5 minutes on it holds: is the feed up?",
        [query(f"market_data_age_seconds{{{_ITS}}}", _NAMED)],
        unit=SECONDS,
        thresholds=steps(NOTHING, (300, BREACHED)),
        least=0,
    )
    yield lines(
        "Decision time",
        "95th percentile of a quarter of an hour. From 2 s on it holds.",
        [query(f"decision_duration_seconds{{{_ITS}}}", _NAMED)],
        unit=SECONDS,
        thresholds=steps(NOTHING, (2, BREACHED)),
        least=0,
    )
    yield lines(
        "Pipeline time",
        "95th percentile of six hours. Over 25 minutes it holds.",
        [
            query(
                "histogram_quantile(0.95, sum by (le, rollout)"
                f" (rate(pipeline_duration_seconds_bucket{{{_ITS}}}[6h])))",
                _NAMED,
            )
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (1500, BREACHED)),
        least=0,
    )


def _traffic() -> Iterator[Panel]:
    by = "rollout, variant"
    yield lines(
        "Latency",
        "95th percentile of the time of a request, of those who have the feature and those who have not, and"
        " before the feature. 1.5 times of it for ten minutes rolls back.",
        [
            query(
                f"histogram_quantile(0.95, sum by (le, {by})"
                f" (rate(request_duration_seconds_bucket{{{_ITS}}}[$__rate_interval])))",
                "{{rollout}} {{variant}}",
            ),
            query(f"request_duration_baseline_seconds{{{_ITS}}}", "{{rollout}} before"),
        ],
        unit=SECONDS,
        size=(12, 8),
        overrides=[override(" before$", _DASHED, pattern=True)],
        least=0,
    )
    yield lines(
        "Throughput",
        "Requests, of those who have the feature and those who have not.",
        [
            query(
                f"sum by ({by}) (rate(requests_total{{{_ITS}}}[$__rate_interval]))", "{{rollout}} {{variant}}"
            )
        ],
        unit=PER_SECOND,
        size=(12, 8),
        least=0,
    )


def _risk() -> Iterator[Panel]:
    yield lines(
        "Drawdown and Kelly scale",
        "Drawdown (over 7 % rolls back) and scale of the stakes (right; under 0.2 rolls back).",
        [
            query(f"drawdown_ratio{{{_ITS}}}", "drawdown"),
            query(f"kelly_scale_factor{{{_ITS}}}", "Kelly scale"),
        ],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.05, CLOSE), (0.07, BREACHED)),
        drawn="dashed",
        overrides=[override("Kelly scale", {"custom.axisPlacement": "right", "unit": "none"})],
        least=0,
    )
    yield lines(
        "Position sizes",
        "Position sizes against those without the feature; under half of them it is rolled back.",
        [query(f"position_size_ratio{{{_ITS}}}", "position size")],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.5, NOTHING)),
        least=0,
    )
    yield lines(
        "Risk fraction",
        "Risk that is taken, against that of raw confidence (dashed). 20 % over it rolls back.",
        [
            query(f"risk_fraction{{{_ITS}}}", "with the feature"),
            query(f"risk_fraction_baseline{{{_ITS}}}", "raw confidence"),
        ],
        unit=SHARE,
        overrides=[override("raw confidence", {**_DASHED, "color": fixed(BASELINE)})],
        least=0,
    )
    yield lines(
        "Violations",
        "Of risk limits, the Kelly cap, data contracts, and orders without brackets. Any: stop and look.",
        [
            query(
                f"sum by (rollout) (increase({name}_total{{{_ITS}}}[$__rate_interval]))",
                f"{{{{rollout}}}}: {words}",
            )
            for name, words in (
                ("risk_violations", "risk limit"),
                ("kelly_cap_exceeded", "Kelly cap"),
                ("data_contract_violations", "data contract"),
                ("orders_without_brackets", "no brackets"),
            )
        ],
        unit=NUMBER,
        thresholds=steps(NOTHING, (FIRES_AT_ANY, BREACHED)),
        bars=True,
        least=0,
    )


def _measures() -> Iterator[Panel]:
    yield lines(
        "Confidence calibration",
        "Error of the calibrated confidence (0.1 holds, 0.15 rolls back) and the trades it rests on (right;"
        " 50 to go on).",
        [
            query(f"calibration_error{{{_ITS}}}", "error"),
            query(f"calibration_trades{{{_ITS}}}", "trades"),
        ],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.1, CLOSE), (0.15, BREACHED)),
        overrides=[
            override("trades", {"unit": "short", "custom.axisPlacement": "right", "color": fixed(BASELINE)})
        ],
        least=0,
    )
    yield lines(
        "ATR brackets",
        "Accuracy of the ATR and success of the brackets; accuracy under 0.6 or success under 0.5 rolls"
        " back.",
        [
            query(f"atr_accuracy_ratio{{{_ITS}}}", "accuracy"),
            query(f"bracket_success_ratio{{{_ITS}}}", "success"),
        ],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.5, CLOSE), (0.6, NOTHING)),
        most=1,
    )
    yield lines(
        "R multiples and stop losses",
        "R multiple of the trades and its deviation (over 1 holds); stop losses of a day against their"
        " baseline (right).",
        [
            query(f"r_multiple{{{_ITS}}}", "R multiple"),
            query(f"r_multiple_deviation{{{_ITS}}}", "deviation"),
            query(f"increase(stop_loss_hits_total{{{_ITS}}}[1d])", "stop losses"),
            query(f"stop_loss_hits_baseline{{{_ITS}}}", "stop losses, baseline"),
        ],
        unit=NUMBER,
        overrides=[override("^stop losses", {"custom.axisPlacement": "right"}, pattern=True)],
    )
    yield lines(
        "Adaptive weights",
        "Accuracy of each model (under 0.55 rolls back) and the Brier score (over 0.4 does).",
        [
            query(f"model_accuracy_ratio{{{_ITS}}}", "accuracy {{model}}"),
            query(f"brier_score{{{_ITS}}}", "Brier"),
        ],
        unit=SHARE,
        overrides=[override("Brier", {"unit": "none", "custom.axisPlacement": "right"})],
        least=0,
    )
    yield lines(
        "Ensemble weights",
        "Weight of each model. To and fro within a day: its deviation over 0.1 holds.",
        [query(f"ensemble_weight{{{_ITS}}}", "{{model}}")],
        unit=SHARE,
        stacked=True,
        least=0,
    )
    yield lines(
        "Regimes",
        "Accuracy of the detection (under 0.7 rolls back), and how late it is (right; over 10 minutes does).",
        [
            query(f"regime_accuracy_ratio{{{_ITS}}}", "accuracy"),
            query(f"regime_transition_delay_seconds{{{_ITS}}}", "delay"),
        ],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.7, CLOSE), (0.8, NOTHING)),
        drawn="dashed",
        overrides=[override("delay", {"unit": SECONDS, "custom.axisPlacement": "right"})],
        least=0,
    )
    yield lines(
        "Performance by regime",
        "Performance in each regime against its baseline (dashed). Under it in any regime: rolled back.",
        [
            query(f"regime_performance{{{_ITS}}}", "{{regime}}"),
            query(f"regime_performance_baseline{{{_ITS}}}", "{{regime}} before"),
        ],
        unit=NUMBER,
        overrides=[override(" before$", _DASHED, pattern=True)],
    )
    yield lines(
        "GPU and models",
        "Time to load a model (over 60 s rolls back), time of an inference (over 5 s), and memory in use"
        " (right; over 95 %).",
        [
            query(f"model_load_duration_seconds{{{_ITS}}}", "load"),
            query(f"inference_duration_seconds{{{_ITS}}}", "inference"),
            query(f"gpu_memory_used_ratio{{{_ITS}}}", "memory"),
        ],
        unit=SECONDS,
        overrides=[override("memory", {"unit": SHARE, "custom.axisPlacement": "right"})],
        least=0,
    )


def _progression() -> Iterator[Panel]:
    yield lines(
        "Rollout progression",
        "Share of the users that each feature had.",
        [query(f"max by (rollout) (rollout_percent{{{_ITS}}})", _NAMED)],
        unit=PERCENT,
        size=(8, 8),
        least=0,
        most=100,
    )
    yield timeline(
        "Flag states",
        "State of each feature's flag, and when it changed.",
        [query(flag_state(_ITS), _NAMED)],
        mappings=FLAG_STATE_WORDS,
    )


def _performance() -> Iterator[Panel]:
    yield lines(
        "Daily success",
        "Share of the day's runs that succeeded. Under 99 % it holds.",
        [query(f"daily_success_ratio{{{_ITS}}}", _NAMED)],
        unit=SHARE,
        thresholds=steps(HELD, (0.99, NOTHING)),
        most=1,
    )
    yield lines(
        "Latency against before",
        "95th percentile over an hour, divided by that before the feature. 1.5 rolls back where it lasts.",
        [
            query(
                "histogram_quantile(0.95, sum by (le, rollout)"
                f" (rate(request_duration_seconds_bucket{{{_ITS}}}[1h]))) / on (rollout) max by (rollout)"
                f" (request_duration_baseline_seconds{{{_ITS}}})",
                _NAMED,
            )
        ],
        unit=NUMBER,
        thresholds=steps(NOTHING, (1.2, CLOSE), (1.5, BREACHED)),
        least=0,
    )
    yield lines(
        "Uptime of an hour",
        "Mean uptime over an hour. The objective is 99.9 %.",
        [query(f"avg_over_time(uptime_ratio{{{_ITS}}}[1h])", _NAMED)],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.99, CLOSE), (0.999, NOTHING)),
        most=1,
    )


def _errors() -> Iterator[Panel]:
    yield lines(
        "Error rates",
        "Share of the requests that failed. Over 5 % for five minutes it is rolled back.",
        [query(_errors_of("rollout"), _NAMED)],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.05, BREACHED)),
        least=0,
    )
    yield lines(
        "Rollbacks",
        "Rollbacks by feature and by the guard that asked for them.",
        [
            query(
                f"sum by (rollout, reason) (increase(rollback_total{{{_ITS}}}[$__rate_interval]))",
                "{{rollout}}: {{reason}}",
            )
        ],
        unit=NUMBER,
        bars=True,
        least=0,
    )
    yield timeline(
        "Guards",
        "Which guards came close or fired.",
        [query(guards_over_time(_ITS), "{{guard}}")],
        mappings=GUARD_STATES,
        size=(8, 7),
    )


def _impact() -> Iterator[Panel]:
    yield lines(
        "Errors, exposed against unexposed",
        "Share of the requests that failed, of those who have the feature and those who have not.",
        [query(_errors_of("rollout, variant"), "{{rollout}} {{variant}}")],
        unit=SHARE,
        size=(12, 8),
        least=0,
    )
    yield lines(
        "Share of requests with the feature",
        "How much of the traffic the feature really had; it should follow the rollout's percentage.",
        [
            query(
                f'sum by (rollout) (rate(requests_total{{{_ITS},variant="exposed"}}[$__rate_interval])) / sum'
                f" by (rollout) (rate(requests_total{{{_ITS}}}[$__rate_interval]))",
                _NAMED,
            )
        ],
        unit=SHARE,
        size=(12, 8),
        least=0,
        most=1,
    )


def _errors_of(labels: str) -> str:
    failed = f"sum by ({labels}) (rate(request_errors_total{{{_ITS}}}[5m]))"
    return f"{failed} / sum by ({labels}) (rate(requests_total{{{_ITS}}}[5m]))"
