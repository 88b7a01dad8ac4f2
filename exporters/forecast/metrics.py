"""The metrics of an ensemble of forecasting models, named as its rollout and its dashboards name them."""

from __future__ import annotations

from rollguard.metric import Metric

_CELL = ("symbol", "horizon")

DIVERGENCE = Metric(
    "forecast_divergence_ratio",
    "gauge",
    "Newest divergence of the test error.",
    _CELL,
    "ratio",
)
DIVERGENCE_AVG = Metric(
    "forecast_divergence_ratio_avg",
    "gauge",
    "Mean divergence of the day in the stage.",
    (),
    "ratio",
)
DIVERGENCE_MAX = Metric(
    "forecast_divergence_ratio_max",
    "gauge",
    "Largest divergence of the day in the stage.",
    (),
    "ratio",
)
RMSE = Metric("forecast_rmse", "gauge", "Newest root mean square error.", (*_CELL, "split"))
RMSE_BASELINE = Metric(
    "forecast_rmse_baseline", "gauge", "Test error of this ensemble when the stage began.", _CELL
)
RMSE_LEGACY = Metric("forecast_rmse_legacy", "gauge", "Newest test error of the ensemble before it.", _CELL)
OVERFITTING = Metric("forecast_overfitting_detections", "gauge", "Windows of the day that overfit.")
OVERFITTING_DAYS = Metric(
    "forecast_overfitting_days", "gauge", "Days in a row, up to now, with a window that overfits.", (), "days"
)
FORECASTS = Metric("forecasts_total", "counter", "Forecasts made or failed.", ("result",))
CALIBRATIONS = Metric("forecast_calibrations_total", "counter", "Calibrations done or failed.", ("result",))
QUERY_DURATION = Metric(
    "forecast_db_query_duration_seconds",
    "gauge",
    "Time of the last query.",
    (),
    "seconds",
)
QUERY_BASELINE = Metric(
    "forecast_db_query_baseline_seconds", "gauge", "Median time of the first queries.", (), "seconds"
)
DATABASE_UP = Metric("forecast_db_up", "gauge", "Whether the validation table can be read and makes sense.")
DATABASE_LOOKS = Metric(
    "forecast_db_looks_total",
    "counter",
    "Looks at the validation table; error where it could not be read, or made no sense.",
    ("outcome",),
)
CRITICAL_ERRORS = Metric(
    "forecast_critical_errors_total", "counter", "Lines of level CRITICAL in the forecast job's log."
)

FROM_VALIDATION = (
    DIVERGENCE,
    DIVERGENCE_AVG,
    DIVERGENCE_MAX,
    RMSE,
    RMSE_BASELINE,
    RMSE_LEGACY,
    OVERFITTING,
    OVERFITTING_DAYS,
    QUERY_DURATION,
    QUERY_BASELINE,
    DATABASE_UP,
)
METRICS = (*FROM_VALIDATION, FORECASTS, CALIBRATIONS, DATABASE_LOOKS, CRITICAL_ERRORS)
