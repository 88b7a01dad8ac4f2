"""The room of a model canary: the panels that its document names, title for title, and what lies behind."""

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
    steps,
)
from rollguard.dashboards.kit.layout import Section
from rollguard.dashboards.kit.panels import Panel, fixed, lines, override, query
from rollguard.dashboards.kit.units import NUMBER, PER_SECOND, SHARE
from rollguard.links import of_system

_ITS = 'rollout="$rollout"'
_ROUTE = f'{_ITS},route=~"$route"'
_DASHED = {"custom.lineStyle": {"fill": "dash", "dash": [8, 6]}, "color": fixed(BASELINE)}
_RIGHT = {"custom.axisPlacement": "right"}


def canary_dashboard(runbooks: str = RUNBOOKS) -> grafana.Dashboard:
    """Return the dashboard of every rollout whose exporter measures a model canary."""
    return dashboard(
        of_system("canary"),
        "Model canary",
        "How the candidate trades beside the active model, and whether its scores and inputs can be trusted.",
        [
            Section("", list(_performance())),
            Section("Scores and inputs", list(_scores())),
            Section("Execution and releases", list(_execution())),
            Section("Around the executor", list(_operations()), folded=True),
        ],
        tags=["system"],
        variables=[
            variable("rollout", "Rollout", "label_values(winrate_rolling, rollout)", several=False),
            variable("route", "Route", f"label_values(trades_opened_total{{{_ITS}}}, route)"),
            variable("feature", "Feature", f"label_values(psi_feature{{{_ITS}}}, feature)"),
            variable("symbol", "Symbol", f"label_values(warmup_skip_total{{{_ITS}}}, symbol)"),
        ],
        annotations=transitions(_ITS),
        runbooks=runbooks,
    )


def _performance() -> Iterator[Panel]:
    yield lines(
        "Win Rate by Route",
        "Share of closed trades that won, by route, against the active model. Yellow under 50 %: look at the"
        " guard CanaryWinrateRollback before the next stage.",
        [
            query(f"winrate_rolling{{{_ROUTE}}}", "{{route}}"),
            query(f"winrate_baseline_active{{{_ITS}}}", "active model, since the stage began"),
            query(f"winrate_canary{{{_ITS}}}", "canary, since the stage began"),
            query(f"rolling_precision{{{_ITS}}}", "all routes"),
        ],
        unit=SHARE,
        thresholds=steps(CLOSE, (0.5, NOTHING)),
        size=(12, 8),
        overrides=[override("active model, since the stage began", _DASHED)],
    )
    yield lines(
        "Markout & Fill Rate",
        "Mean markout 1000 ms after the fill (right), which should stay above 0, and share of orders filled,"
        " which should stay above 25 %. Under it: is the spread wider, or are the prices older?",
        [
            query(f"fill_rate_rolling{{{_ROUTE}}}", "fill rate {{route}}"),
            query(f"avg_markout_1000ms{{{_ROUTE}}}", "markout {{route}}"),
        ],
        unit=SHARE,
        thresholds=steps(BREACHED, (0.25, HEALTHY)),
        drawn="dashed",
        size=(12, 8),
        overrides=[
            override("^markout", {**_RIGHT, "unit": "short", "custom.axisCenteredZero": True}, pattern=True)
        ],
    )


def _scores() -> Iterator[Panel]:
    chosen = f'{_ITS},feature=~"$feature"'
    yield lines(
        "Score Distribution (Online)",
        "Mean and standard deviation of the scores of both slots. A deviation that collapses: the model says"
        " the same to everything; do not go on.",
        [
            query(f"model_score_distribution{{{_ITS}}}", "active {{stat}}"),
            query(f"shadow_score_distribution{{{_ITS}}}", "shadow {{stat}}"),
        ],
        unit=SHARE,
    )
    yield lines(
        "Calibration",
        "Brier score of the candidate, which should stay below the active model's, and expected calibration"
        " error, which should stay below 5 %. Over it: recalibrate before the next stage.",
        [
            query(f"ece_online{{{_ITS}}}", "ECE"),
            query(f"brier_online{{{_ITS}}}", "Brier"),
            query(f"brier_baseline_active{{{_ITS}}}", "Brier of the active model"),
        ],
        unit=SHARE,
        thresholds=steps(NOTHING, (0.05, BREACHED)),
        drawn="dashed",
        overrides=[
            override("^Brier", {**_RIGHT, "unit": "short"}, pattern=True),
            override("Brier of the active model", _DASHED),
        ],
    )
    yield lines(
        "Drift PSI / KS",
        "How far the features of the live path are from the reference: PSI over 0.3 or KS over 0.2 rolls"
        " back. High of one feature: is its source delayed or rescaled?",
        [
            query(f"psi_feature{{{chosen}}}", "PSI {{feature}}"),
            query(f"ks_feature{{{chosen}}}", "KS {{feature}}"),
        ],
        unit="none",
        thresholds=steps(NOTHING, (0.2, CLOSE), (0.3, BREACHED)),
        least=0,
    )


def _execution() -> Iterator[Panel]:
    yield lines(
        "Execution Ladder Aggressiveness",
        "Rungs placed by bucket. More of the high bucket: the executor pays more to be filled; compare with"
        " the fill rate.",
        [query(f"sum by (bucket) (rate(exec_ladder_aggressiveness_total{{{_ITS}}}[5m]))", "{{bucket}}")],
        unit=PER_SECOND,
        stacked=True,
        least=0,
    )
    yield lines(
        "Parity & Schema",
        "Disagreements of the exported model with its original, and files of another schema. Any: the release"
        " is not what was tested; it is rolled back or held.",
        [
            query(f"increase(onnx_parity_fail_total{{{_ITS}}}[5m])", "parity failures"),
            query(f"increase(parquet_schema_version_mismatch_total{{{_ITS}}}[5m])", "schema mismatches"),
            query(
                f"increase(exchange_reference_mismatch_total{{{_ITS}}}[5m])", "exchange reference mismatches"
            ),
        ],
        unit=NUMBER,
        thresholds=steps(NOTHING, (FIRES_AT_ANY, BREACHED)),
        bars=True,
        least=0,
    )
    yield lines(
        "Rollouts & Mode Switches",
        "Transitions and rollbacks. One that nobody expected: `rollguard history` says who or what decided.",
        [
            query(f"sum(increase(mode_switch_total{{{_ITS}}}[30m]))", "transitions"),
            query(f"sum by (reason) (increase(rollback_total{{{_ITS}}}[30m]))", "rollback: {{reason}}"),
        ],
        unit=NUMBER,
        bars=True,
        least=0,
    )


def _operations() -> Iterator[Panel]:
    symbol = f'{_ITS},symbol=~"$symbol"'
    yield lines(
        "Trades",
        "Trades opened, closed and won, by route.",
        [
            query(
                f"sum by (route) (rate(trades_{what}_total{{{_ROUTE}}}[$__rate_interval]))",
                f"{what} {{{{route}}}}",
            )
            for what in ("opened", "closed", "won")
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Trades per hour",
        "Trades against the busiest hours of the release before. Over 1.5 times of it, the rollout is held.",
        [
            query(f"trades_per_hour{{{_ITS}}}", "now"),
            query(f"trades_per_hour_prev_release_p95{{{_ITS}}}", "release before, 95th percentile"),
        ],
        unit=NUMBER,
        overrides=[override("release before, 95th percentile", _DASHED)],
        least=0,
    )
    yield lines(
        "Sample since the stage began",
        "What the win rates and the drift rest on. Under 1,200 canary trades, CanaryWinrateRollback waits.",
        [
            query(f"sample_canary{{{_ITS}}}", "canary trades"),
            query(f"sample_baseline_active{{{_ITS}}}", "trades of the active model"),
            query(f"drift_sample{{{_ITS}}}", "rows for drift"),
            query(
                f"min by (rollout) (drift_effective_sample{{{_ITS}}})",
                "independent rows, fewest of a feature",
            ),
        ],
        unit=NUMBER,
        thresholds=steps(HELD, (1200, NOTHING)),
        drawn="dashed",
        least=0,
    )
    yield lines(
        "Markouts",
        "Mean markout 100 ms and 500 ms after the fill. Falling with time: others know more than the model.",
        [query(f"avg_markout_{ms}ms{{{_ROUTE}}}", f"{ms} ms {{{{route}}}}") for ms in (100, 500)],
        unit=NUMBER,
    )
    yield lines(
        "Cancelled per filled order",
        "Cancelled orders for each that was filled. Many: prices run away before the order is there.",
        [query(f"cancel_to_fill_ratio{{{_ROUTE}}}", "{{route}}")],
        unit=NUMBER,
        least=0,
    )
    yield lines(
        "Thresholds in force",
        "Thresholds to enter and to hold; frozen for a day after a ramp. Moved: who changed them?",
        [
            query(f"tau_entry_current{{{_ITS}}}", "entry {{model}}"),
            query(f"tau_hold_current{{{_ITS}}}", "hold {{model}}"),
        ],
        unit=SHARE,
    )
    yield lines(
        "Shadow signals",
        "Signals that the shadow model scored and would have approved.",
        [
            query(f"rate(shadow_signals_evaluated_total{{{_ITS}}}[$__rate_interval])", "scored"),
            query(f"rate(shadow_signals_approved_total{{{_ITS}}}[$__rate_interval])", "approved"),
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Models in the slots",
        "Which model is in which slot. After a rollback, active is the one before.",
        [
            query(f"max by (model) (model_active_id{{{_ITS}}}) == 1", "active: {{model}}"),
            query(f"max by (model) (model_shadow_id{{{_ITS}}}) == 1", "shadow: {{model}}"),
        ],
        unit="none",
        least=0,
        most=1,
    )
    yield lines(
        "Skips, backlog and paper",
        "Ladders not placed while warming up, candidates skipped for a backlog, executions sent to paper, and"
        " why.",
        [
            query(
                f"sum by (symbol) (rate(warmup_skip_total{{{symbol}}}[$__rate_interval]))",
                "warming up {{symbol}}",
            ),
            query(
                f"sum by (symbol) (rate(backpressure_total{{{symbol}}}[$__rate_interval]))",
                "backlog {{symbol}}",
            ),
            query(
                f"sum by (symbol) (rate(fail_safe_route_total{{{symbol}}}[$__rate_interval]))",
                "to paper {{symbol}}",
            ),
            query(
                f"sum by (reason) (rate(fail_safe_switch_total{{{_ITS}}}[$__rate_interval]))",
                "switch: {{reason}}",
            ),
            query(
                f"sum(rate(rollguard_exporter_warmup_events_total{{{_ITS}}}[$__rate_interval]))",
                "not judged yet",
            ),
        ],
        unit=PER_SECOND,
        least=0,
    )
    yield lines(
        "Gaps in the archive",
        "Widest gap that the last scan found. Over a minute, the rollout is held: run the backfill.",
        [query(f"parquet_gap_detected_ms{{{_ITS}}}", "widest gap")],
        unit="ms",
        thresholds=steps(NOTHING, (60000, BREACHED)),
        least=0,
    )
    yield lines(
        "Features unknown to the reference",
        "Values of features that the reference does not have. Any: make the reference anew from this"
        " release's data.",
        [query(f"rate(rollguard_exporter_features_unknown_total{{{_ITS}}}[$__rate_interval])", "values")],
        unit=PER_SECOND,
        least=0,
    )
