"""The trading features over the days: how they came to where they are."""

from __future__ import annotations

from collections.abc import Iterator

from grafanalib import core as grafana

from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions
from rollguard.dashboards.kit.colours import BREACHED, CLOSE, GUARD_STATES, HELD, NOTHING, steps
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, lines, query, timeline
from rollguard.dashboards.kit.states import guards_over_time
from rollguard.dashboards.kit.units import NUMBER, SHARE
from rollguard.dashboards.systems.features import ITS, NAMED, errors_of, shares_and_states, variables
from rollguard.links import of_system


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
        variables=variables(),
        annotations=transitions(ITS),
        runbooks=runbooks,
        start="now-7d",
    )


def _progression() -> Iterator[Panel]:
    return shares_and_states("Rollout progression", "Share of the users that each feature had.")


def _performance() -> Iterator[Panel]:
    yield lines(
        "Daily success",
        "Share of the week's runs that succeeded. Under 99 % it holds.",
        [query(f"daily_success_ratio{{{ITS}}}", NAMED)],
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
                f" (rate(request_duration_seconds_bucket{{{ITS}}}[1h]))) / on (rollout) max by (rollout)"
                f" (request_duration_baseline_seconds{{{ITS}}})",
                NAMED,
            )
        ],
        unit=NUMBER,
        thresholds=steps(NOTHING, (1.2, CLOSE), (1.5, BREACHED)),
        least=0,
    )
    yield lines(
        "Uptime of an hour",
        "Mean uptime over an hour. The objective is 99.9 %.",
        [query(f"avg_over_time(uptime_ratio{{{ITS}}}[1h])", NAMED)],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.99, CLOSE), (0.999, NOTHING)),
        most=1,
    )


def _errors() -> Iterator[Panel]:
    yield lines(
        "Error rates",
        "Share of the requests that failed. Over 5 % for five minutes it is rolled back.",
        [query(errors_of("rollout"), NAMED)],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.05, BREACHED)),
        least=0,
    )
    yield lines(
        "Rollbacks",
        "Rollbacks by feature and by the guard that asked for them.",
        [
            query(
                f"sum by (rollout, reason) (increase(rollback_total{{{ITS}}}[$__rate_interval]))",
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
        [query(guards_over_time(ITS), "{{guard}}")],
        mappings=GUARD_STATES,
        size=(8, 7),
    )


def _impact() -> Iterator[Panel]:
    yield lines(
        "Errors, exposed against unexposed",
        "Share of the requests that failed, of those who have the feature and those who have not.",
        [query(errors_of("rollout, variant"), "{{rollout}} {{variant}}")],
        unit=SHARE,
        size=(12, 8),
        least=0,
    )
    yield lines(
        "Share of requests with the feature",
        "How much of the traffic the feature really had; it should follow the rollout's percentage.",
        [
            query(
                f'sum by (rollout) (rate(requests_total{{{ITS},variant="exposed"}}[$__rate_interval])) / sum'
                f" by (rollout) (rate(requests_total{{{ITS}}}[$__rate_interval]))",
                NAMED,
            )
        ],
        unit=SHARE,
        size=(12, 8),
        least=0,
        most=1,
    )
