"""What exporters say they offer is what the rollouts, alerts and dashboards may ask for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from rollguard import durations
from rollguard.errors import FileProblemsError
from rollguard.exporters.exported_metrics import exported_metrics
from rollguard.exporters.features.declaration import (
    Declaration,
    DeclaredMetric,
    load_declaration,
    shipped_declaration,
)
from rollguard.metric import Metric
from rollguard.server import metric_names
from rollguard.spec.exporter import Exporter
from rollguard.spec.rollout import Rollout
from tests.factories import SHIPPED, shipped_rollout

CATALOGUE = {
    "canary": """
        trades_opened_total{route} trades_won_total{route} winrate_rolling{route}
        fill_rate_rolling{route} avg_markout_100ms{route} avg_markout_500ms{route}
        avg_markout_1000ms{route} cancel_to_fill_ratio{route} winrate_baseline_active winrate_canary
        sample_canary rolling_precision brier_online brier_baseline_active ece_online
        psi_feature{feature} ks_feature{feature} model_score_distribution{split,stat}
        shadow_score_distribution{split,stat} tau_entry_current{model} tau_hold_current{model}
        trades_per_hour trades_per_hour_prev_release_p95 exec_ladder_aggressiveness_total{bucket}
        onnx_parity_fail_total parquet_schema_version_mismatch_total model_active_id{model}
        model_shadow_id{model} shadow_signals_evaluated_total shadow_signals_approved_total
        warmup_skip_total{symbol} backpressure_total{symbol} fail_safe_switch_total{reason}
        fail_safe_route_total{symbol} parquet_gap_detected_ms exchange_reference_mismatch_total
    """,
    "screener": """
        se_scan_symbols se_scan_score{stat} se_scan_ready se_scans_total se_universe_symbols
        se_coverage_ratio se_ready_ratio se_symbol_duration_seconds{phase} se_symbols_total
        se_symbol_errors_total se_symbol_no_data_total se_worker_crashes_total
        se_rating_count{rating} se_gate_failure_ratio{gate} se_flagged_ratio se_pattern_types
        se_top50_overlap_ratio se_top50_shift_points se_score_drift_psi
    """,
    "validation": """
        signals_total{signal,check,result,reason} signal_divergence_ratio{signal} signal_age_seconds
        signals_stale_passed_total signal_false_positive_total{check}
        executions_total{strategy,result} execution_slippage_ratio execution_duration_seconds
        signal_processing_duration_seconds signal_processing_errors_total signal_risk_extreme_total
        broker_api_consecutive_failures_max broker_api_duration_seconds db_duration_seconds
    """,
    "forecast": """
        forecast_divergence_ratio{symbol,horizon} forecast_divergence_ratio_avg
        forecast_divergence_ratio_max forecast_rmse{symbol,horizon,split}
        forecast_rmse_baseline{symbol,horizon} forecast_rmse_legacy{symbol,horizon}
        forecast_overfitting_detections forecast_overfitting_days forecasts_total{result}
        forecast_calibrations_total{result} forecast_db_query_duration_seconds
        forecast_db_query_baseline_seconds forecast_db_up forecast_critical_errors_total
    """,
}
OPTIONS = {
    "canary": {"events": "e"},
    "screener": {"log": "l", "database": "sqlite:///d"},
    "validation": {"events": "e"},
    "forecast": {"database": "sqlite:///d", "log": "l"},
    "features": {"events": "e"},
}
FEATURES = {
    "confidence-calibration": """
        calibration_error calibration_trades risk_fraction risk_fraction_baseline
    """,
    "drawdown-kelly": """
        kelly_scale_factor drawdown_ratio position_size_ratio
    """,
    "atr-brackets": """
        atr_accuracy_ratio bracket_success_ratio r_multiple stop_loss_hits_total
        stop_loss_hits_baseline
    """,
    "adaptive-weights": """
        model_accuracy_ratio{model} brier_score ensemble_weight{model}
    """,
    "regime-awareness": """
        regime_accuracy_ratio regime_transition_delay_seconds regime_performance{regime}
        regime_performance_baseline{regime}
    """,
    "gpu-lifecycle": """
        model_load_duration_seconds gpu_memory_used_ratio inference_duration_seconds
    """,
}
ALL_SIX = """
        uptime_ratio uptime_long_ratio request_duration_seconds{variant} request_duration_baseline_seconds
        request_errors_total{variant} requests_total{variant} data_quality_ratio
        risk_violations_total kelly_cap_exceeded_total data_contract_violations_total
        pipeline_duration_seconds decision_duration_seconds market_data_age_seconds
        daily_success_ratio orders_without_brackets_total api_budget_used_ratio
    """
CONTROL_PLANE = "mode_switch_total rollback_total{reason} rollout_stage_entered_timestamp_seconds"


def written(metrics: Iterable[Metric]) -> set[str]:
    """Names with their labels, as the catalogue writes them."""
    return {one.name + (f"{{{','.join(one.labels)}}}" if one.labels else "") for one in metrics}


def rollout(kind: str, name: str = "model-canary", **options: object) -> Rollout:
    shipped = shipped_rollout()
    exporter = Exporter.model_validate({kind: OPTIONS[kind] | options})
    scrape = shipped.scrape.model_copy(update={"exporter": exporter})
    return shipped.model_copy(update={"rollout": name, "scrape": scrape})


@pytest.mark.parametrize("kind", CATALOGUE)
def test_the_catalogues_metrics_are_offered(kind: str) -> None:
    assert sorted(set(CATALOGUE[kind].split()) - written(exported_metrics(rollout(kind)))) == []


def test_the_control_planes_metrics_of_the_catalogue_are_offered() -> None:
    assert set(CONTROL_PLANE.split()) <= written(metric_names.CONTROL_PLANE)


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_offered_its_own_metrics_and_those_of_all_six(name: str) -> None:
    expected = {*FEATURES[name].split(), *ALL_SIX.split()}
    others = {metric for other in FEATURES if other != name for metric in FEATURES[other].split()}
    found = written(exported_metrics(rollout("features", name)))
    assert expected <= found
    assert not found & others


@pytest.mark.parametrize("kind", OPTIONS)
def test_names_are_unique_and_say_their_type(kind: str) -> None:
    found = exported_metrics(rollout(kind, "gpu-lifecycle"))
    assert len({metric.name for metric in found}) == len(found)
    for metric in found:
        assert (metric.type == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.help.endswith("."), metric.name
        assert "rollout" not in metric.labels


def test_nothing_is_known_without_an_exporter() -> None:
    shipped = shipped_rollout()
    bare = shipped.model_copy(update={"scrape": shipped.scrape.model_copy(update={"exporter": None})})
    assert exported_metrics(bare) == ()


def test_what_has_no_source_is_not_offered() -> None:
    screener = {metric.name for metric in exported_metrics(rollout("screener", database=None))}
    forecast = {metric.name for metric in exported_metrics(rollout("forecast", log=None))}
    assert "se_scans_total" in screener
    assert "se_rating_count" not in screener
    assert "forecast_critical_errors_total" not in forecast


def test_what_is_counted_by_arm_is_offered_with_its_labels_and_its_windows(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("""
rollouts: [shop]
metrics:
  - {name: cart_assigned_total, help: Carts., aggregate: assigned, field: carts}
  - {name: cart_outcomes_total, help: Carts., aggregate: outcomes, field: lost, of: carts}
  - {name: cart_value_outcomes_total, help: Values., aggregate: outcomes, field: value, buckets: [1, 2]}
  - {name: carts_total, help: Carts., aggregate: tally, field: cart_ok, labels: {lane: [a]}}
""")
    found = exported_metrics(rollout("features", "shop", metrics="own.yaml"), tmp_path)
    assert written(found) == {
        "cart_assigned_total{arm,assigned}",
        "cart_outcomes_total{arm,assigned,outcome}",
        "cart_outcomes_window_total{arm,assigned,outcome}",
        "cart_value_outcomes_total{arm,assigned,outcome}",
        "cart_value_outcomes_window_total{arm,assigned,outcome}",
        "carts_total{lane,outcome}",
    }


def test_a_declaration_of_ones_own_is_offered_in_place_of_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("""
rollouts: [shop]
metrics:
  - {name: carts_total, help: Carts., aggregate: counter, field: carts}
  - name: wait_seconds
    help: Wait.
    aggregate: histogram
    buckets: [1, 2]
    unit: seconds
    labels: {lane: [a]}
""")
    found = exported_metrics(rollout("features", "shop", metrics="own.yaml"), tmp_path)
    assert [(metric.name, metric.type, metric.labels, metric.unit) for metric in found] == [
        ("carts_total", "counter", (), ""),
        ("wait_seconds", "histogram", ("lane",), "seconds"),
    ]
    assert exported_metrics(rollout("features", "other", metrics="own.yaml"), tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{name: a, help: A., aggregate: ratio}", "of goes with aggregate ratio"),
        ("{name: a_total, help: A., aggregate: outcomes}", "outcomes ends in _outcomes_total"),
        ("{name: a_total, help: A., aggregate: assigned}", "assigned ends in _assigned_total"),
        ("{name: a, help: A., aggregate: tally}", "a counter ends in _total"),
        (
            "{name: a_outcomes_total, help: A., aggregate: outcomes, of: b, buckets: [1]}",
            "either of or buckets",
        ),
        ("{name: a_outcomes_total, help: A., aggregate: outcomes, buckets: [2, 1]}", "ascending"),
        (f"{{name: a_outcomes_total, help: A., aggregate: outcomes, buckets: {[*range(21)]}}}", "at most 20"),
        ("{name: a_outcomes_total, help: A., aggregate: outcomes, labels: {b: []}}", "labels do not go with"),
        ("{name: a_outcomes_total, help: A., aggregate: outcomes, min_sample: 2}", "min_sample goes with"),
        (
            "{name: a_total, help: A., aggregate: tally, labels: {outcome: []}}",
            "outcome is not a metric's own",
        ),
        ("{name: a_assigned_total, help: A., aggregate: assigned, of: b}", "of goes with aggregate ratio"),
        (
            "{name: a_total, help: A., aggregate: tally, buckets: [1]}",
            "buckets goes with aggregate histogram",
        ),
        ("{name: a, help: A., quantile: 0.5}", "quantile goes with aggregate quantile"),
        ("{name: a, help: A., aggregate: histogram, buckets: [2, 1]}", "ascending"),
        ("{name: a_total, help: A.}", "a counter ends in _total"),
        ("{name: a, help: A., aggregate: counter}", "a counter ends in _total"),
        ("{name: a, help: A., labels: {le: []}}", "le is not a metric's own"),
        ("{name: a, help: A., labels: {rollout: []}}", "rollout is not a metric's own"),
        ("{name: a, help: A., rollouts: [other]}", "other, which is not among"),
        ("{name: a, help: A., window: 90}", "duration"),
        ("{name: a, help: A., windw: 1h}", "Did you mean window"),
        ("{name: a-b, help: A.}", "metrics[0].name"),
        ("{name: a_total, help: A., aggregate: counter, min_sample: 5}", "a counter has none"),
        (
            "{name: a_samples, help: A.}\n  - {name: a, help: A., min_sample: 5}",
            "two metrics are called a_samples",
        ),
    ],
)
def test_a_broken_declaration_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"rollouts: [shop]\nmetrics:\n  - {text}\n")
    with pytest.raises(FileProblemsError) as caught:
        load_declaration(path)
    assert message in str(caught.value)
    assert f"{path}:" in str(caught.value)


def test_two_metrics_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("rollouts: [shop]\nmetrics:\n  - {name: a, help: A.}\n  - {name: a, help: B.}\n")
    with pytest.raises(FileProblemsError, match="two metrics are called a"):
        load_declaration(path)


def test_the_shipped_declaration_lists_the_six() -> None:
    declaration: Declaration = shipped_declaration()
    assert list(declaration.rollouts) == list(FEATURES)


def test_the_page_lists_the_shipped_metrics_and_what_each_is_made_of() -> None:
    page = (SHIPPED.parents[1] / "docs" / "features.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w -]+) \| `([^`]+)` \| (\w+) of `(\w+)`(.*) \|$", page, re.MULTILINE)
    assert rows == [row_of(metric) for metric in shipped_declaration().metrics]


def row_of(metric: DeclaredMetric) -> tuple[str, ...]:
    (name,) = written([metric.described()])
    rest = f" over {durations.render(metric.window)}" if metric.type == "gauge" else ""
    rest += f", of at least {metric.min_sample}" if metric.min_sample > 1 else ""
    return ", ".join(metric.rollouts or ["all six"]), name, metric.aggregate, metric.key, rest
