"""The metrics around a model canary: calibration, thresholds, throughput, registry, data health."""

from __future__ import annotations

from rollguard.metric import Metric

BRIER = Metric("brier_online", "gauge", "Brier score of the candidate's scores against outcomes.")
BRIER_BASELINE = Metric("brier_baseline_active", "gauge", "Brier score of the active model's scores.")
ECE = Metric(
    "ece_online",
    "gauge",
    "Expected calibration error of the candidate over ten bins, less its noise.",
    (),
    "ratio",
)
TAU_ENTRY = Metric("tau_entry_current", "gauge", "Threshold to enter, as in force.", ("model",), "ratio")
TAU_HOLD = Metric("tau_hold_current", "gauge", "Threshold to hold, as in force.", ("model",), "ratio")
TRADES_PER_HOUR = Metric("trades_per_hour", "gauge", "Trades opened per hour over the window.", (), "trades")
TRADES_PER_HOUR_BEFORE = Metric(
    "trades_per_hour_prev_release_p95", "gauge", "95th percentile of it in the release before.", (), "trades"
)
LADDER = Metric(
    "exec_ladder_aggressiveness_total", "counter", "Rungs of execution ladders placed.", ("bucket",)
)
SCHEMA_MISMATCHES = Metric(
    "parquet_schema_version_mismatch_total", "counter", "Parquet files of another schema than the model's."
)
ACTIVE_ID = Metric("model_active_id", "gauge", "1 for the model in slot active.", ("model",))
SHADOW_ID = Metric("model_shadow_id", "gauge", "1 for the model in slot shadow.", ("model",))
SHADOW_EVALUATED = Metric(
    "shadow_signals_evaluated_total", "counter", "Signals that the shadow model scored."
)
SHADOW_APPROVED = Metric(
    "shadow_signals_approved_total", "counter", "Signals that the shadow model would have approved."
)
WARMUP_SKIPS = Metric("warmup_skip_total", "counter", "Ladders not placed while warming up.", ("symbol",))
BACKPRESSURE = Metric("backpressure_total", "counter", "Candidates skipped for a backlog.", ("symbol",))
FAIL_SAFE_SWITCHES = Metric("fail_safe_switch_total", "counter", "Switches to paper.", ("reason",))
FAIL_SAFE_ROUTES = Metric("fail_safe_route_total", "counter", "Executions sent to paper.", ("symbol",))
PARQUET_GAP = Metric(
    "parquet_gap_detected_ms",
    "gauge",
    "Widest gap that the last scan of the archive found.",
    (),
    "milliseconds",
)
EXCHANGE_MISMATCHES = Metric(
    "exchange_reference_mismatch_total", "counter", "Settings that differ from the exchange's reference."
)

METRICS = (
    *(BRIER, BRIER_BASELINE, ECE, TAU_ENTRY, TAU_HOLD, TRADES_PER_HOUR, TRADES_PER_HOUR_BEFORE, LADDER),
    *(SCHEMA_MISMATCHES, ACTIVE_ID, SHADOW_ID, SHADOW_EVALUATED, SHADOW_APPROVED, WARMUP_SKIPS, BACKPRESSURE),
    *(FAIL_SAFE_SWITCHES, FAIL_SAFE_ROUTES, PARQUET_GAP, EXCHANGE_MISMATCHES),
)
