"""The metrics of a stock screener behind a kill switch, named as its rollout and its dashboards name them."""

from __future__ import annotations

from rollguard.metric import Metric

PHASES = ("prep", "detectors", "readiness", "total")
SCORE_STATS = ("min", "max", "mean", "median")
RATINGS = ("StrongBuy", "Buy", "Watch", "Pass")
"""From the rarest to the most frequent, where the pyramid stands."""

SCAN_SYMBOLS = Metric("se_scan_symbols", "gauge", "Symbols that the last scan scored.", (), "symbols")
SCAN_SCORE = Metric("se_scan_score", "gauge", "Distribution of the last scan's scores.", ("stat",), "points")
SCAN_READY = Metric("se_scan_ready", "gauge", "Symbols that the last scan found ready.", (), "symbols")
SCANS = Metric("se_scans_total", "counter", "Scans that the engine took part in.")
UNIVERSE = Metric("se_universe_symbols", "gauge", "Symbols that a scan should score.", (), "symbols")
COVERAGE = Metric("se_coverage_ratio", "gauge", "Share of the universe that was scored.", (), "ratio")
READY = Metric("se_ready_ratio", "gauge", "Share of the scored symbols that are ready.", (), "ratio")
DURATION = Metric("se_symbol_duration_seconds", "histogram", "Time per symbol.", ("phase",), "seconds")
SYMBOLS = Metric("se_symbols_total", "counter", "Symbols analysed.")
SYMBOL_ERRORS = Metric("se_symbol_errors_total", "counter", "Symbols with at least one error.")
SYMBOL_NO_DATA = Metric("se_symbol_no_data_total", "counter", "Symbols that lacked data.")
CRASHES = Metric("se_worker_crashes_total", "counter", "Celery worker processes that ended unexpectedly.")
DISABLED_STARTS = Metric(
    "se_disabled_starts_total", "counter", "Starts of a worker that found the engine switched off."
)

RATING_COUNT = Metric("se_rating_count", "gauge", "Symbols of the newest scan by rating.", ("rating",))
GATE_FAILURES = Metric(
    "se_gate_failure_ratio",
    "gauge",
    "Share of each gate in the newest failed checks.",
    ("gate",),
    "ratio",
)
FLAGGED = Metric(
    "se_flagged_ratio", "gauge", "Share of the newest scan's symbols with an invalidation flag.", (), "ratio"
)
PATTERN_TYPES = Metric("se_pattern_types", "gauge", "Different primary patterns in the newest scan.")
OVERLAP = Metric(
    "se_top50_overlap_ratio",
    "gauge",
    "Share of the newest scan's top 50 that was in the top 50 of the one before, of the same screeners.",
    (),
    "ratio",
)
SHIFT = Metric(
    "se_top50_shift_points",
    "gauge",
    "Mean change of the composite score of a top 50 between two scans, without the engine and with it.",
    (),
    "points",
)
SCORE_DRIFT = Metric(
    "se_score_drift_psi", "gauge", "PSI of the newest scan's scores against the saved baseline.", (), "nats"
)

FROM_LOG = (
    SCAN_SYMBOLS,
    SCAN_SCORE,
    SCAN_READY,
    SCANS,
    UNIVERSE,
    COVERAGE,
    READY,
    DURATION,
    SYMBOLS,
    SYMBOL_ERRORS,
    SYMBOL_NO_DATA,
    CRASHES,
    DISABLED_STARTS,
)
FROM_DATABASE = (RATING_COUNT, GATE_FAILURES, FLAGGED, PATTERN_TYPES, OVERLAP, SHIFT, SCORE_DRIFT)
METRICS = FROM_LOG + FROM_DATABASE
