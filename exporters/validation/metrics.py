"""The metrics of a validation of signals and their executions, named as its rollout names them."""

from __future__ import annotations

from rollguard.metric import Metric

SIGNALS = Metric("signals_total", "counter", "Signals judged.", ("signal", "check", "result", "reason"))
DIVERGENCE = Metric(
    "signal_divergence_ratio",
    "histogram",
    "Distance of the price from the signal's, whatever its direction.",
    ("signal",),
    "ratio",
)
AGE = Metric("signal_age_seconds", "histogram", "Age of a signal when it was judged.", (), "seconds")
STALE_PASSED = Metric(
    "signals_stale_passed_total", "counter", "Signals over 60 s old that passed the condition check."
)
FALSE_POSITIVES = Metric(
    "signal_false_positive_total", "counter", "Rejections that a review found to be wrong.", ("check",)
)
REVIEWS = Metric(
    "signal_reviews_total",
    "counter",
    "Reviews of rejections; ok where the rejection was right.",
    ("check", "outcome"),
)
EXECUTIONS = Metric("executions_total", "counter", "Executions that ended.", ("strategy", "result"))
SLIPPAGE = Metric(
    "execution_slippage_ratio",
    "histogram",
    "Slippage of a fill; a better price is 0.",
    (),
    "ratio",
)
EXECUTION_DURATION = Metric("execution_duration_seconds", "histogram", "Time of an execution.", (), "seconds")
PROCESSING_DURATION = Metric(
    "signal_processing_duration_seconds",
    "histogram",
    "Time from a signal's arrival to its decision.",
    (),
    "seconds",
)
PROCESSING_ERRORS = Metric("signal_processing_errors_total", "counter", "Signals that could not be judged.")
RISK_EXTREME = Metric(
    "signal_risk_extreme_total", "counter", "Signals that would have raised the risk by more than half."
)
BROKER_FAILURES = Metric(
    "broker_api_consecutive_failures_max", "gauge", "Longest run of failed broker calls within five minutes."
)
BROKER_CALLS = Metric(
    "broker_api_calls_total", "counter", "Broker calls; error where they failed.", ("outcome",)
)
BROKER_DURATION = Metric("broker_api_duration_seconds", "histogram", "Time of a broker call.", (), "seconds")
DATABASE_DURATION = Metric("db_duration_seconds", "histogram", "Time of a database call.", (), "seconds")

METRICS = (
    SIGNALS,
    DIVERGENCE,
    AGE,
    STALE_PASSED,
    FALSE_POSITIVES,
    REVIEWS,
    EXECUTIONS,
    SLIPPAGE,
    EXECUTION_DURATION,
    PROCESSING_DURATION,
    PROCESSING_ERRORS,
    RISK_EXTREME,
    BROKER_FAILURES,
    BROKER_CALLS,
    BROKER_DURATION,
    DATABASE_DURATION,
)
