"""The room of a validation of signals: the four dashboards that its document names, one below the other."""

from __future__ import annotations

from collections.abc import Iterator

from grafanalib import core as grafana

from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions, variable
from rollguard.dashboards.kit.colours import BREACHED, CLOSE, FIRES_AT_ANY, GUARD_STATES, NOTHING, steps
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, lines, query, timeline
from rollguard.dashboards.kit.states import guards_over_time
from rollguard.dashboards.kit.units import NUMBER, PER_SECOND, SECONDS, SHARE
from rollguard.links import of_system

_ITS = 'rollout="$rollout"'


def validation_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of every rollout whose exporter measures a validation of signals."""
    return dashboard(
        of_system("validation"),
        "Signal validation",
        "What the validation rejects, how executions end, and how long everything takes.",
        [
            Section("Real-time validation metrics", list(_validation())),
            Section("Execution success rates", list(_executions())),
            Section("Latency distributions", list(_latencies())),
            Section("Alert history", list(_alerts())),
        ],
        tags=["system"],
        variables=[
            variable("rollout", "Rollout", "label_values(signals_total, rollout)", several=False),
            variable("signal", "Signal", f"label_values(signals_total{{{_ITS}}}, signal)"),
        ],
        annotations=transitions(_ITS),
        runbooks=runbooks,
    )


def _validation() -> Iterator[Panel]:
    signal = f'{_ITS},signal=~"$signal"'
    yield lines(
        "Rejected signals",
        "Share of the signals of the last hour that a check rejected. Over 20 % it holds in most stages:"
        " which reason is it?",
        [
            query(
                f'sum by (check) (increase(signals_total{{{signal},result="fail"}}[1h])) / sum by (check)'
                f" (increase(signals_total{{{signal}}}[1h]))",
                "{{check}}",
            )
        ],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.2, CLOSE), (0.5, BREACHED)),
        least=0,
        most=1,
    )
    yield lines(
        "Reasons of rejections",
        "Rejections by reason. One that rises: is it the market, or a threshold?",
        [
            query(
                "sum by (check, reason)"
                f' (increase(signals_total{{{signal},result="fail",reason!=""}}[$__rate_interval]))',
                "{{check}}: {{reason}}",
            )
        ],
        unit=NUMBER,
        bars=True,
        stacked=True,
        least=0,
    )
    yield lines(
        "Signals judged",
        "Signals by kind and result. None: does the source send any?",
        [
            query(
                f"sum by (signal, result) (rate(signals_total{{{signal}}}[$__rate_interval]))",
                "{{signal}}: {{result}}",
            )
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Divergence of the price",
        "Distance of the market's price from the signal's; 95 of 100 are nearer. Over 2 % (base entry) or 1 %"
        " (pyramid) people are told.",
        [
            query(
                "histogram_quantile(0.95, sum by (le, signal)"
                f" (rate(signal_divergence_ratio_bucket{{{signal}}}[$__rate_interval])))",
                "{{signal}}",
            )
        ],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.01, CLOSE), (0.02, BREACHED)),
        least=0,
    )
    yield lines(
        "Age of signals",
        "Age when they were judged: half are younger than the first line, 95 of 100 than the second. Over 60"
        " s is stale.",
        [
            query(_quantile(share, "signal_age_seconds"), words)
            for share, words in ((0.5, "half"), (0.95, "95 %"))
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (60, BREACHED)),
        least=0,
    )
    yield lines(
        "What must not happen",
        "Stale signals that passed, rejections found to be wrong, signals of extreme risk, signals that could"
        " not be judged.",
        [
            query(f"increase(signals_stale_passed_total{{{_ITS}}}[$__rate_interval])", "stale, passed"),
            query(
                f"sum by (check) (increase(signal_false_positive_total{{{_ITS}}}[$__rate_interval]))",
                "wrongly rejected: {{check}}",
            ),
            query(f"increase(signal_risk_extreme_total{{{_ITS}}}[$__rate_interval])", "extreme risk"),
            query(f"increase(signal_processing_errors_total{{{_ITS}}}[$__rate_interval])", "not judged"),
        ],
        unit=NUMBER,
        thresholds=steps(NOTHING, (FIRES_AT_ANY, BREACHED)),
        bars=True,
        least=0,
    )


def _executions() -> Iterator[Panel]:
    yield lines(
        "Success by strategy",
        "Share of the executions of the last hour that succeeded. Under 95 % it holds: time-outs, or errors"
        " of the broker?",
        [
            query(
                f'sum by (strategy) (increase(executions_total{{{_ITS},result="success"}}[1h])) / sum by'
                f" (strategy) (increase(executions_total{{{_ITS}}}[1h]))",
                "{{strategy}}",
            )
        ],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.95, NOTHING)),
        most=1,
    )
    yield lines(
        "Executions by result",
        "How executions ended. Time-outs over 30 % of an hour hold the rollout.",
        [query(f"sum by (result) (increase(executions_total{{{_ITS}}}[$__rate_interval]))", "{{result}}")],
        unit=NUMBER,
        bars=True,
        stacked=True,
        least=0,
    )
    yield lines(
        "Slippage",
        "Slippage of the fills; 95 of 100 are better than the line, and the mean.",
        [
            query(_quantile(0.95, "execution_slippage_ratio"), "95 %"),
            query(
                f"sum(rate(execution_slippage_ratio_sum{{{_ITS}}}[$__rate_interval])) /"
                f" sum(rate(execution_slippage_ratio_count{{{_ITS}}}[$__rate_interval]))",
                "mean",
            ),
        ],
        unit=SHARE,
        least=0,
    )


_LATENCIES = (
    (
        "Signal",
        "signal_processing_duration",
        "From a signal's arrival to its decision. Over 0.5 s it holds.",
        0.5,
    ),
    ("Execution", "execution_duration", "Time of an execution. Long: the order waits for its price.", None),
    ("Broker", "broker_api_duration", "Time of a call of the broker. Slow: ask for its status.", None),
    ("Database", "db_duration", "Time of a call of the database. Slow: locks, or a missing index?", None),
)


def _latencies() -> Iterator[Panel]:
    for title, metric, words, limit in _LATENCIES:
        yield lines(
            f"{title} latency",
            f"{words} Half are faster than the first line, 95 of 100 than the second, 99 than the third.",
            [
                query(_quantile(share, f"{metric}_seconds"), name)
                for share, name in ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))
            ],
            unit=SECONDS,
            thresholds=steps(NOTHING, (limit, BREACHED)) if limit else None,
            size=(6, 7),
            least=0,
        )


def _alerts() -> Iterator[Panel]:
    yield timeline(
        "Alerts over time",
        "Which guards came close or fired, and when. Open the rollout's own dashboard for the numbers.",
        [query(guards_over_time(_ITS), "{{guard}}")],
        mappings=GUARD_STATES,
    )
    yield lines(
        "Calls of the broker that failed in a row",
        "Longest run of failed calls within five minutes. Over 3 it is rolled back.",
        [query(f"broker_api_consecutive_failures_max{{{_ITS}}}", "in a row")],
        unit=NUMBER,
        thresholds=steps(NOTHING, (3, BREACHED)),
        size=(8, 8),
        least=0,
    )


def _quantile(share: float, histogram: str) -> str:
    return (
        f"histogram_quantile({share:g}, sum by (le) (rate({histogram}_bucket{{{_ITS}}}[$__rate_interval])))"
    )
