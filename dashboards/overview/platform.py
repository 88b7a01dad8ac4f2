"""The room of those who watch: exporters, Prometheus, Alertmanager and the control plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grafanalib import core as grafana

from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions
from rollguard.dashboards.kit.colours import (
    BREACHED,
    FIRES_AT_ANY,
    HEALTHY,
    HELD,
    NOTHING,
    YES_IS_GOOD,
    rising,
    steps,
)
from rollguard.dashboards.kit.guard_panels import guard_panel
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, bars, lines, query, stat
from rollguard.dashboards.kit.units import BYTES, NUMBER, PER_SECOND, SECONDS
from rollguard.dashboards.kit.views import GuardView
from rollguard.links import PLATFORM

_BY = '{integration=~"webhook|slack|email"}'


def platform_dashboard(alerts: Sequence[GuardView], runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of the platform.

    Args:
        alerts: the platform's alerts that belong to no rollout.
        runbooks: base URL of the runbooks.
    """
    sections = [
        Section("", [*_answers(), *_overview()]),
        Section("Control plane", list(_control_plane())),
        Section("Exporters", list(_exporters())),
        Section("Prometheus", list(_prometheus())),
        Section("Alertmanager", list(_alertmanager())),
        Section("Alerts of the platform", [guard_panel(alert, "") for alert in alerts], folded=True),
    ]
    return dashboard(
        PLATFORM,
        "Platform",
        "Does everything that a rollback needs work: measuring, alerting, deciding, writing?",
        sections,
        tags=["platform"],
        annotations=transitions('rollout!=""'),
        runbooks=runbooks,
    )


def _answers() -> Iterator[Panel]:
    for title, job, what in (
        (
            "Control plane",
            "rollguard",
            "Down: nothing is rolled back; flags keep their last state. Start it again.",
        ),
        ("Prometheus", "prometheus", "Down: no guard is evaluated."),
        ("Alertmanager", "alertmanager", "Down: the control plane knows only what it last heard."),
    ):
        yield stat(
            title,
            f"Whether it answers. {what}",
            query(f'min(up{{job="{job}"}})'),
            unit="none",
            thresholds=steps(BREACHED, (1, HEALTHY)),
            mappings=YES_IS_GOOD,
        )
    yield stat(
        "Ledger can be written",
        "Whether a decision would reach the disk. No: free some space, or mend the database; until then"
        " nothing is decided.",
        query("min(rollguard_ledger_writable)"),
        unit="none",
        thresholds=steps(BREACHED, (1, HEALTHY)),
        mappings=YES_IS_GOOD,
    )
    yield stat(
        "Since the heartbeat",
        "Time since the alert that always fires last arrived. Long: alerts do not get through, though no one"
        " says so.",
        query("time() - max(rollguard_watchdog_last_timestamp_seconds > 0)"),
        unit=SECONDS,
        thresholds=rising(90, 120),
        no_value="none yet",
    )
    yield stat(
        "Targets down",
        "Scraped addresses that do not answer. Not 0: the table of targets in Prometheus says which.",
        query("count(up == 0) or vector(0)"),
        unit=NUMBER,
        thresholds=rising(1),
    )


def _overview() -> Iterator[Panel]:
    yield bars(
        "Age of the newest event",
        "Time since the newest event of each exporter. Old: its application is silent, or its log is not"
        " read.",
        query(
            "sort_desc(time() - max by (job) (rollguard_exporter_last_event_timestamp_seconds))",
            "{{job}}",
            instant=True,
        ),
        unit=SECONDS,
        thresholds=rising(60, 120),
        most=180,
    )
    yield lines(
        "Notifications",
        "What came from Alertmanager and what was refused. Refused for storage: see the ledger; for its"
        " token: is it the same in both files?",
        [
            query("sum(rate(rollguard_notifications_total[$__rate_interval]))", "taken"),
            query(
                "sum by (reason) (rate(rollguard_notifications_rejected_total[$__rate_interval]))",
                "refused: {{reason}}",
            ),
            query("sum(rate(rollguard_alerts_broken_total[$__rate_interval]))", "alerts that cannot be read"),
            query("sum(rate(rollguard_alerts_unknown_total[$__rate_interval]))", "alerts of no rollout"),
        ],
        unit=PER_SECOND,
        size=(16, 8),
        least=0,
    )


def _control_plane() -> Iterator[Panel]:
    yield lines(
        "Notification to decision",
        "From a notification's arrival to the decision on disk and in the flag, and to the last target read"
        " back; 99 of 100 are faster. Slow: look at the disk of the ledger.",
        [
            query(_quantile("rollguard_decision_duration_seconds"), "decision"),
            query(_quantile("rollguard_flip_duration_seconds"), "last target"),
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (1, BREACHED)),
        least=0,
    )
    yield lines(
        "Polls of Alertmanager and Prometheus",
        "How often the control plane asks Alertmanager what fires, so that a lost notification is found, and"
        " Prometheus how the guards fare. Failures: are their addresses right?",
        [
            query(
                f"sum by (result) (rate(rollguard_{what}_total[$__rate_interval]))", f"{name}: {{{{result}}}}"
            )
            for what, name in (("reconcile_polls", "Alertmanager"), ("watch_turns", "Prometheus"))
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Since the last good poll",
        "Time since Alertmanager and Prometheus last answered. It grows: nothing advances, and only"
        " notifications roll back.",
        [
            query(f"time() - max(rollguard_{what}_last_success_timestamp_seconds > 0)", name)
            for what, name in (("reconcile", "Alertmanager"), ("watch", "Prometheus"))
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (30, HELD)),
        least=0,
    )
    yield lines(
        "Refused calls and notices",
        "Calls of webhook and API that were refused, by code, and notices to people, by whether Alertmanager"
        " took them.",
        [
            query(
                "sum by (code) (rate(rollguard_requests_refused_total[$__rate_interval]))",
                "refused: {{code}}",
            ),
            query("sum by (result) (rate(rollguard_notices_total[$__rate_interval]))", "notices: {{result}}"),
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Ledger",
        "Entries of the ledger; it only grows. A fall: the ledger was replaced; run `rollguard verify`.",
        [query("max(rollguard_ledger_entries)", "entries")],
        unit=NUMBER,
        least=0,
    )
    yield lines(
        "Ledger readable and writable",
        "1 while the ledger can be read and written. 0: nothing is decided until it can.",
        [
            query("min(rollguard_ledger_readable)", "readable"),
            query("min(rollguard_ledger_writable)", "writable"),
        ],
        unit="none",
        thresholds=steps(BREACHED, (1, NOTHING)),
        least=0,
        most=1,
    )
    yield lines(
        "Since the ledger's last probe",
        "Time since the ledger last answered a probe, one every 3 s, whether it could be used or not."
        " It grows: its disk or database hangs, rather than refuses.",
        [query("time() - min(rollguard_ledger_last_probe_timestamp_seconds > 0)", "last probe")],
        unit=SECONDS,
        least=0,
    )
    yield lines(
        "Targets behind for",
        "How long a target does not show what was decided. It grows: `rollguard status` says what refuses.",
        [
            query(
                "(time() - max by (rollout, target) (rollguard_target_pending_since_timestamp_seconds))"
                " or max by (rollout, target) (rollguard_target_pending)",
                "{{rollout}}: {{target}}",
            )
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (60, BREACHED)),
        least=0,
        no_value="no targets",
    )
    yield lines(
        "Hung targets",
        "1 while a step of a target has not ended for over 5 s. `rollguard status` says since when.",
        [query("max by (rollout, target) (rollguard_target_hanging)", "{{rollout}}: {{target}}")],
        unit=NUMBER,
        thresholds=steps(NOTHING, (1, BREACHED)),
        least=0,
        most=1,
        no_value="no targets",
    )


def _exporters() -> Iterator[Panel]:
    yield lines(
        "Events taken in",
        "Events that each exporter accepted. None: is the application writing, and to that file?",
        [
            query(
                "sum by (job, event) (rate(rollguard_exporter_events_total[$__rate_interval]))",
                "{{job}}: {{event}}",
            )
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Events passed over",
        "Lines and events that were refused, by reason; the exporter's log has one example of each.",
        [
            query(
                "sum by (job, reason) (rate(rollguard_exporter_events_rejected_total[$__rate_interval]))",
                "{{job}}: {{reason}}",
            )
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Behind the source",
        "Time since each source was read to its end. It grows: the source is slow or gone, or there is too"
        " much of it.",
        [query("max by (job, source) (rollguard_exporter_lag_seconds)", "{{job}}: {{source}}")],
        unit=SECONDS,
        least=0,
    )
    yield lines(
        "Not yet read",
        "What lies in a source and is not yet read, of files in bytes.",
        [query("max by (job, source) (rollguard_exporter_lag_bytes)", "{{job}}: {{source}}")],
        unit=BYTES,
        least=0,
    )
    yield lines(
        "Sources that can be read",
        "1 where a source can be read. 0: is the path, the address or the password right?",
        [query("min by (job, source) (rollguard_exporter_up)", "{{job}}: {{source}}")],
        unit="none",
        thresholds=steps(BREACHED, (1, NOTHING)),
        least=0,
        most=1,
    )
    yield lines(
        "Age of the checkpoint",
        "What a restart would have to read again. It grows: the folder of the checkpoint cannot be written.",
        [query("time() - max by (job) (rollguard_exporter_checkpoint_timestamp_seconds)", "{{job}}")],
        unit=SECONDS,
        least=0,
    )
    yield lines(
        "Time of a scrape",
        "What collecting the metrics takes in the exporter, and until Prometheus has them.",
        [
            query("max by (job) (rollguard_exporter_scrape_duration_seconds)", "{{job}}: collect"),
            query("max by (job) (scrape_duration_seconds)", "{{job}}: scrape"),
        ],
        unit=SECONDS,
        least=0,
    )
    yield lines(
        "Samples of a scrape",
        "How many samples each job gives. A sudden rise: a label with too many values.",
        [query("sum by (job) (scrape_samples_scraped)", "{{job}}")],
        unit=NUMBER,
        least=0,
    )


def _prometheus() -> Iterator[Panel]:
    yield lines(
        "Rules that fail",
        "Evaluations that failed, by group. A rule in error neither fires nor is silent: see the rules in"
        " Prometheus.",
        [
            query(
                "sum by (rule_group) (rate(prometheus_rule_evaluation_failures_total[$__rate_interval]))",
                "{{rule_group}}",
            )
        ],
        unit=PER_SECOND,
        thresholds=steps(NOTHING, (FIRES_AT_ANY, BREACHED)),
        least=0,
    )
    yield lines(
        "Time of an evaluation",
        "How long each group of rules takes. Near its interval: evaluations are missed.",
        [query("max by (rule_group) (prometheus_rule_group_last_duration_seconds)", "{{rule_group}}")],
        unit=SECONDS,
        least=0,
    )
    yield lines(
        "Evaluations missed",
        "Evaluations that did not take place since the one before was not done. Not 0: Prometheus has too"
        " much to do.",
        [query("sum(rate(prometheus_rule_group_iterations_missed_total[$__rate_interval]))", "missed")],
        unit=PER_SECOND,
        thresholds=steps(NOTHING, (FIRES_AT_ANY, BREACHED)),
        least=0,
    )


def _alertmanager() -> Iterator[Panel]:
    yield lines(
        "Notifications sent",
        "What Alertmanager delivered, by the way it takes; webhook is the way to the control plane.",
        [
            query(
                f"sum by (integration) (rate(alertmanager_notifications_total{_BY}[$__rate_interval]))",
                "{{integration}}",
            )
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Notifications that failed",
        "What Alertmanager could not deliver. Its log says why.",
        [
            query(
                "sum by (integration)"
                f" (rate(alertmanager_notifications_failed_total{_BY}[$__rate_interval]))",
                "{{integration}}",
            )
        ],
        unit=PER_SECOND,
        thresholds=steps(NOTHING, (FIRES_AT_ANY, BREACHED)),
        least=0,
    )
    yield lines(
        "Alerts that Alertmanager holds",
        "Active and suppressed alerts. Suppressed: silenced, or inhibited by another one.",
        [query("sum by (state) (alertmanager_alerts)", "{{state}}")],
        unit=NUMBER,
        least=0,
    )


def _quantile(histogram: str) -> str:
    return f"histogram_quantile(0.99, sum by (le) (rate({histogram}_bucket[$__rate_interval])))"
