"""The metrics of a model canary by its events, as they are described."""

from __future__ import annotations

from exporters.canary_events import HORIZONS_MS
from exporters.canary_metrics import MIN_TRADES
from rollguard.metric import Metric

OPENED = Metric("trades_opened_total", "counter", "Trades opened.", ("route",))
CLOSED = Metric("trades_closed_total", "counter", "Trades closed.", ("route",))
WON = Metric("trades_won_total", "counter", "Trades closed with a profit.", ("route",))
PARITY_FAILED = Metric(
    "onnx_parity_fail_total",
    "counter",
    "Comparisons of the exported model with its original that did not agree.",
)
FEATURES_UNKNOWN = Metric(
    "rollguard_exporter_features_unknown_total",
    "counter",
    "Values of served features that the reference does not have.",
)
WINRATE = Metric("winrate_rolling", "gauge", "Share of closed trades that won.", ("route",), "ratio")
PRECISION = Metric(
    "rolling_precision",
    "gauge",
    f"Share of closed trades that won, over all routes; silent below {MIN_TRADES} trades.",
    (),
    "ratio",
)
FILL_RATE = Metric(
    "fill_rate_rolling", "gauge", "Share of ended orders that were filled.", ("route",), "ratio"
)
CANCEL_TO_FILL = Metric(
    "cancel_to_fill_ratio",
    "gauge",
    "Cancelled orders per filled one; +Inf where none was filled.",
    ("route",),
    "ratio",
)
MARKOUTS = {
    horizon: Metric(
        f"avg_markout_{horizon}ms",
        "gauge",
        f"Mean markout {horizon} ms after the fill, in the producer's unit.",
        ("route",),
    )
    for horizon in HORIZONS_MS
}
SCORES = {
    slot: Metric(
        f"{name}_score_distribution",
        "gauge",
        f"Mean and standard deviation of the scores of slot {slot}.",
        ("split", "stat"),
        "ratio",
    )
    for slot, name in (("active", "model"), ("shadow", "shadow"))
}
COHORTS = {
    route: (
        Metric(
            f"winrate_{name}",
            "gauge",
            f"Share that won of the {whose} opened and closed since the stage began.",
            (),
            "ratio",
        ),
        Metric(
            f"sample_{name}",
            "gauge",
            f"Number of {whose} opened and closed since the stage began.",
            (),
            "trades",
        ),
    )
    for route, name, whose in (
        ("canary", "canary", "canary trades"),
        ("paper", "baseline_active", "paper trades (the active model's)"),
    )
}
DRIFT_SAMPLE = Metric("drift_sample", "gauge", "Scored rows with features in the drift window.", (), "rows")
PSI = Metric(
    "psi_feature", "gauge", "Population stability index against the reference, nats.", ("feature",), "nats"
)
KS = Metric("ks_feature", "gauge", "Kolmogorov-Smirnov distance to the reference.", ("feature",), "ratio")
METRICS = (
    *(OPENED, CLOSED, WON, PARITY_FAILED, FEATURES_UNKNOWN, WINRATE, PRECISION, FILL_RATE, CANCEL_TO_FILL),
    *MARKOUTS.values(),
    *SCORES.values(),
    *(metric for pair in COHORTS.values() for metric in pair),
    *(DRIFT_SAMPLE, PSI, KS),
)
"""What the exporter offers of its own, beside `exporters.health` and `exporters.intake`."""
