"""The trading features now: which are on, are they healthy, what do they cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grafanalib import core as grafana

from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions, variable
from rollguard.dashboards.kit.colours import (
    BASELINE,
    BREACHED,
    CLOSE,
    FIRES_AT_ANY,
    HEALTHY,
    NOTHING,
    rising,
    steps,
)
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, fixed, lines, override, query, stat, timeline
from rollguard.dashboards.kit.states import FLAG_STATE_WORDS, flag_state
from rollguard.dashboards.kit.units import NUMBER, PER_SECOND, PERCENT, SECONDS, SHARE
from rollguard.links import of_system

ITS = 'rollout=~"$rollout"'
NAMED = "{{rollout}}"
_DASHED = {"custom.lineStyle": {"fill": "dash", "dash": [8, 6]}}


def real_time_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of what the features do now."""
    return dashboard(
        of_system("features"),
        "Trading features: real time",
        "Which features are on and for how much, whether they are healthy, and what they cost.",
        [
            Section("", [*_answers(), *_shares()]),
            Section("Health", list(_health())),
            Section("Latency and throughput, exposed against unexposed", list(_traffic())),
            Section("Risk and position sizes", list(_risk())),
            Section("What each feature measures", list(_measures())),
        ],
        tags=["system"],
        variables=variables(),
        annotations=transitions(ITS),
        runbooks=runbooks,
        start="now-1h",
    )


def variables() -> Sequence[grafana.Template]:
    """Return what a person chooses: which features are shown."""
    return [variable("rollout", "Feature", "label_values(requests_total, rollout)")]


def _answers() -> Iterator[Panel]:
    yield stat(
        "Lowest uptime",
        "Of the last five minutes, over the chosen features. Under 99 % it is rolled back.",
        query(f"min(uptime_ratio{{{ITS}}})"),
        unit=SHARE,
        thresholds=steps(BREACHED, (0.99, CLOSE), (0.999, HEALTHY)),
    )
    yield stat(
        "Worst data quality",
        "Newest share of the data that passed its checks. Under 95 % it is rolled back.",
        query(f"min(data_quality_ratio{{{ITS}}})"),
        unit=SHARE,
        thresholds=steps(BREACHED, (0.95, HEALTHY)),
    )
    yield stat(
        "Highest error rate",
        "Share of the requests of five minutes that failed. Over 5 % it is rolled back.",
        query(f"max({errors_of('rollout')})"),
        unit=SHARE,
        thresholds=rising(0.02, 0.05),
    )
    yield stat(
        "API budget used",
        "Newest share of the budget. Near 100 %: requests are refused soon; slow the feature down.",
        query(f"max(api_budget_used_ratio{{{ITS}}})"),
        unit=SHARE,
        thresholds=rising(0.8, 0.95),
    )
    yield stat(
        "Oldest market data",
        "Newest age. From 5 minutes on it holds.",
        query(f"max(market_data_age_seconds{{{ITS}}})"),
        unit=SECONDS,
        thresholds=rising(120, 300),
    )
    yield stat(
        "Violations today",
        "Of risk limits, the Kelly cap and data contracts. Any: it is rolled back.",
        query(
            f"sum(increase(risk_violations_total{{{ITS}}}[1d])) +"
            f" sum(increase(kelly_cap_exceeded_total{{{ITS}}}[1d])) +"
            f" sum(increase(data_contract_violations_total{{{ITS}}}[1d]))"
        ),
        unit=NUMBER,
        thresholds=rising(FIRES_AT_ANY),
    )


def _shares() -> Iterator[Panel]:
    return shares_and_states(
        "Rollout percentages", "Share of the users that each feature has. Falls to 0: it was rolled back."
    )


def shares_and_states(title: str, description: str) -> Iterator[Panel]:
    """Yield the share of users of each feature, and the state of its flag.

    Args:
        title: of the shares.
        description: of the shares.
    """
    yield lines(
        title,
        description,
        [query(f"max by (rollout) (rollout_percent{{{ITS}}})", NAMED)],
        unit=PERCENT,
        size=(8, 8),
        least=0,
        most=100,
    )
    yield timeline(
        "Flag states",
        "State of each feature's flag, and when it changed.",
        [query(flag_state(ITS), NAMED)],
        mappings=FLAG_STATE_WORDS,
    )


def _health() -> Iterator[Panel]:
    yield lines(
        "Uptime",
        "Share of the checks of five minutes that found the feature up.",
        [query(f"uptime_ratio{{{ITS}}}", NAMED)],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.99, NOTHING)),
        most=1,
    )
    yield lines(
        "Data quality",
        "Share of the data that passed its checks.",
        [query(f"data_quality_ratio{{{ITS}}}", NAMED)],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.95, NOTHING)),
        most=1,
    )
    yield lines(
        "API budget",
        "Share of the API budget that is used.",
        [query(f"api_budget_used_ratio{{{ITS}}}", NAMED)],
        unit=SHARE,
        least=0,
    )
    yield lines(
        "Age of the market data",
        "From 5 minutes on it holds: is the feed up?",
        [query(f"market_data_age_seconds{{{ITS}}}", NAMED)],
        unit=SECONDS,
        thresholds=steps(NOTHING, (300, BREACHED)),
        least=0,
    )
    yield lines(
        "Decision time",
        "95th percentile of a quarter of an hour. From 2 s on it holds.",
        [query(f"decision_duration_seconds{{{ITS}}}", NAMED)],
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
                f" (rate(pipeline_duration_seconds_bucket{{{ITS}}}[6h])))",
                NAMED,
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
                f" (rate(request_duration_seconds_bucket{{{ITS}}}[$__rate_interval])))",
                "{{rollout}} {{variant}}",
            ),
            query(f"request_duration_baseline_seconds{{{ITS}}}", "{{rollout}} before"),
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
                f"sum by ({by}) (rate(requests_total{{{ITS}}}[$__rate_interval]))", "{{rollout}} {{variant}}"
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
            query(f"drawdown_ratio{{{ITS}}}", "drawdown"),
            query(f"kelly_scale_factor{{{ITS}}}", "Kelly scale"),
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
        [query(f"position_size_ratio{{{ITS}}}", "position size")],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.5, NOTHING)),
        least=0,
    )
    yield lines(
        "Risk fraction",
        "Risk that is taken, against that of raw confidence (dashed). 20 % over it rolls back.",
        [
            query(f"risk_fraction{{{ITS}}}", "with the feature"),
            query(f"risk_fraction_baseline{{{ITS}}}", "raw confidence"),
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
                f"sum by (rollout) (increase({name}_total{{{ITS}}}[$__rate_interval]))",
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
            query(f"calibration_error{{{ITS}}}", "error"),
            query(f"calibration_trades{{{ITS}}}", "trades"),
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
            query(f"atr_accuracy_ratio{{{ITS}}}", "accuracy"),
            query(f"bracket_success_ratio{{{ITS}}}", "success"),
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
            query(f"r_multiple{{{ITS}}}", "R multiple"),
            query(f"r_multiple_deviation{{{ITS}}}", "deviation"),
            query(f"increase(stop_loss_hits_total{{{ITS}}}[1d])", "stop losses"),
            query(f"stop_loss_hits_baseline{{{ITS}}}", "stop losses, baseline"),
        ],
        unit=NUMBER,
        overrides=[override("^stop losses", {"custom.axisPlacement": "right"}, pattern=True)],
    )
    yield lines(
        "Adaptive weights",
        "Accuracy of each model (under 0.55 rolls back) and the Brier score (over 0.4 does).",
        [
            query(f"model_accuracy_ratio{{{ITS}}}", "accuracy {{model}}"),
            query(f"brier_score{{{ITS}}}", "Brier"),
        ],
        unit=SHARE,
        overrides=[override("Brier", {"unit": "none", "custom.axisPlacement": "right"})],
        least=0,
    )
    yield lines(
        "Ensemble weights",
        "Weight of each model. To and fro within a day: its deviation over 0.1 holds.",
        [query(f"ensemble_weight{{{ITS}}}", "{{model}}")],
        unit=SHARE,
        stacked=True,
        least=0,
    )
    yield lines(
        "Regimes",
        "Accuracy of the detection (under 0.7 rolls back), and how late it is (right; over 10 minutes does).",
        [
            query(f"regime_accuracy_ratio{{{ITS}}}", "accuracy"),
            query(f"regime_transition_delay_seconds{{{ITS}}}", "delay"),
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
            query(f"regime_performance{{{ITS}}}", "{{regime}}"),
            query(f"regime_performance_baseline{{{ITS}}}", "{{regime}} before"),
        ],
        unit=NUMBER,
        overrides=[override(" before$", _DASHED, pattern=True)],
    )
    yield lines(
        "GPU and models",
        "Time to load a model (over 60 s rolls back), time of an inference (over 5 s), and memory in use"
        " (right; over 95 %).",
        [
            query(f"model_load_duration_seconds{{{ITS}}}", "load"),
            query(f"inference_duration_seconds{{{ITS}}}", "inference"),
            query(f"gpu_memory_used_ratio{{{ITS}}}", "memory"),
        ],
        unit=SECONDS,
        overrides=[override("memory", {"unit": SHARE, "custom.axisPlacement": "right"})],
        least=0,
    )


def errors_of(labels: str) -> str:
    """Return PromQL of the share of requests that failed, 0-1, for each value of some labels."""
    failed = f"sum by ({labels}) (rate(request_errors_total{{{ITS}}}[5m]))"
    return f"{failed} / sum by ({labels}) (rate(requests_total{{{ITS}}}[5m]))"
