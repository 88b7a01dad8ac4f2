"""The room of a stock screener: scans, speed, scores, ratings, the stability of its ranking."""

from __future__ import annotations

from collections.abc import Iterator

from grafanalib import core as grafana

from rollguard.dashboards.kit.base_dashboard import RUNBOOKS, dashboard, transitions, variable
from rollguard.dashboards.kit.colours import (
    BREACHED,
    CLOSE,
    FIRES_AT_ANY,
    HEALTHY,
    HELD,
    NOTHING,
    Steps,
    falling,
    rising,
    steps,
)
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, lines, query, stat
from rollguard.dashboards.kit.units import NUMBER, SECONDS, SHARE
from rollguard.links import of_system

_ITS = 'rollout="$rollout"'


def screener_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of every rollout whose exporter measures a screener."""
    return dashboard(
        of_system("screener"),
        "Setup engine",
        "Whether scans are complete, quick and plausible, and whether the ranking holds still.",
        [
            Section("", [*_answers(), *_scans()]),
            Section("Scores and ratings", list(_scores())),
            Section("Ranking", list(_ranking())),
        ],
        tags=["system"],
        variables=[variable("rollout", "Rollout", "label_values(se_scans_total, rollout)", several=False)],
        annotations=transitions(_ITS),
        runbooks=runbooks,
        start="now-24h",
    )


def _answers() -> Iterator[Panel]:
    yield _newest(
        "Coverage",
        "Under 80 %: symbols lack data, or a worker died.",
        query(f"max(se_coverage_ratio{{{_ITS}}})"),
        SHARE,
        falling(0.8, 0.9),
    )
    yield _newest(
        "Ready",
        "0, or over 30 %: a gate is broken.",
        query(f"max(se_ready_ratio{{{_ITS}}})"),
        SHARE,
        steps(BREACHED, (FIRES_AT_ANY, HEALTHY), (0.3, BREACHED)),
    )
    yield _newest(
        "Mean score",
        "Outside of 20 to 70 the scores say nothing.",
        query(f'max(se_scan_score{{{_ITS},stat="mean"}})'),
        NUMBER,
        steps(BREACHED, (20, CLOSE), (30, HEALTHY), (60, CLOSE), (70, BREACHED)),
    )
    yield _newest(
        "Patterns",
        "Under 2: the detectors see one thing only.",
        query(f"max(se_pattern_types{{{_ITS}}})"),
        NUMBER,
        falling(2, 3),
    )
    yield _newest(
        "Top 50 kept",
        "Under 60 %: the ranking jumps from scan to scan.",
        query(f"max(se_top50_overlap_ratio{{{_ITS}}})"),
        SHARE,
        falling(0.6, 0.8),
    )
    yield _newest(
        "Score drift",
        "Over 0.3: not the scores of the baseline any more.",
        query(f"max(se_score_drift_psi{{{_ITS}}})"),
        NUMBER,
        rising(0.1, 0.3),
    )


def _newest(title: str, words: str, target: grafana.Target, unit: str, thresholds: Steps) -> Panel:
    return stat(title, f"Of the newest scan. {words}", target, unit=unit, thresholds=thresholds)


def _scans() -> Iterator[Panel]:
    yield lines(
        "Symbols of a scan",
        "Symbols that the last scan scored and found ready, and how many there are. Fewer: read the workers'"
        " log.",
        [
            query(f"se_universe_symbols{{{_ITS}}}", "universe"),
            query(f"se_scan_symbols{{{_ITS}}}", "scored"),
            query(f"se_scan_ready{{{_ITS}}}", "ready"),
        ],
        unit=NUMBER,
        least=0,
    )
    yield lines(
        "Time per symbol",
        "95th percentile by phase; the total should stay under 2 s. Slow: which phase is it?",
        [
            query(
                "histogram_quantile(0.95, sum by (le, phase)"
                f" (rate(se_symbol_duration_seconds_bucket{{{_ITS}}}[$__rate_interval])))",
                "{{phase}}",
            )
        ],
        unit=SECONDS,
        thresholds=steps(NOTHING, (2, BREACHED)),
        least=0,
    )
    yield lines(
        "Symbols with errors",
        "Share of the symbols that ended in an error (1 % holds, 5 % rolls back) or lacked data.",
        [
            query(_share("se_symbol_errors_total"), "errors"),
            query(_share("se_symbol_no_data_total"), "without data"),
        ],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.01, CLOSE), (0.05, BREACHED)),
        least=0,
    )
    yield lines(
        "Scans and workers",
        "Scans, crashes of workers, and starts that found the engine switched off. A scan in preflight: the"
        " flag does not gate.",
        [
            query(f"increase(se_scans_total{{{_ITS}}}[$__rate_interval])", "scans"),
            query(f"increase(se_worker_crashes_total{{{_ITS}}}[$__rate_interval])", "crashes"),
            query(f"increase(se_disabled_starts_total{{{_ITS}}}[$__rate_interval])", "starts while off"),
        ],
        unit=NUMBER,
        bars=True,
        least=0,
    )


def _scores() -> Iterator[Panel]:
    yield lines(
        "Scores of a scan",
        "Smallest, largest, mean and median score. The mean belongs between 30 and 60; outside of 20 to 70 it"
        " holds.",
        [query(f"se_scan_score{{{_ITS}}}", "{{stat}}")],
        unit=NUMBER,
        thresholds=steps(HELD, (20, NOTHING), (70, HELD)),
        drawn="dashed",
        least=0,
        most=100,
    )
    yield lines(
        "Ratings",
        "Symbols by rating: a pyramid with few Strong Buy and many Pass. Turned over: the gates are too lax.",
        [query(f"se_rating_count{{{_ITS}}}", "{{rating}}")],
        unit=NUMBER,
        stacked=True,
        least=0,
    )
    yield lines(
        "Failed checks by gate",
        "Share of each gate in the failed checks. One over 60 %: it decides alone; look at its threshold.",
        [query(f"se_gate_failure_ratio{{{_ITS}}}", "{{gate}}")],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.6, BREACHED)),
        least=0,
    )
    yield lines(
        "Flagged symbols",
        "Share of the symbols that carry an invalidation flag; 10 to 30 % is plausible, 0 or over 60 % is"
        " not.",
        [query(f"se_flagged_ratio{{{_ITS}}}", "flagged")],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.6, BREACHED)),
        least=0,
    )


def _ranking() -> Iterator[Panel]:
    yield lines(
        "Top 50 kept from scan to scan",
        "Share of the top 50 that was there in the scan before. Under 60 %: hold, and compare the two scans.",
        [query(f"se_top50_overlap_ratio{{{_ITS}}}", "kept")],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.6, NOTHING)),
        least=0,
        most=1,
    )
    yield lines(
        "Shift by the engine",
        "Mean change of the composite score of the top 50 between a scan without the engine and one with it;"
        " only such a pair measures it. 5 points and more: hold.",
        [query(f"se_top50_shift_points{{{_ITS}}}", "shift")],
        unit=NUMBER,
        thresholds=steps(NOTHING, (5, BREACHED)),
        no_value="no pair of scans",
    )
    yield lines(
        "Patterns and drift",
        "Different patterns of the newest scan, and its scores' PSI against the saved baseline (right).",
        [query(f"se_pattern_types{{{_ITS}}}", "patterns"), query(f"se_score_drift_psi{{{_ITS}}}", "PSI")],
        unit=NUMBER,
        overrides=[
            {
                "matcher": {"id": "byName", "options": "PSI"},
                "properties": [{"id": "custom.axisPlacement", "value": "right"}],
            }
        ],
        least=0,
    )


def _share(counter: str) -> str:
    whole = f"sum(increase(se_symbols_total{{{_ITS}}}[1h]))"
    return f"sum(increase({counter}{{{_ITS}}}[1h])) / {whole}"
