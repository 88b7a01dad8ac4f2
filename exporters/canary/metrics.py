"""The metrics of a model canary, named as its rollout and its dashboards name them.

A window without events yields no sample, never a zero that a guard would take for a fact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rollguard.exporters.canary.events import HORIZONS_MS, ROUTES
from rollguard.exporters.canary.outcomes import (
    MIN_SAMPLE,
    cancel_to_fill,
    fill_rate,
    mean_markout,
    moments,
    win_rate,
)
from rollguard.exporters.canary.state import Cell, Cohort, Totals
from rollguard.exporters.exposition.families import Family, by_label, single
from rollguard.exporters.measures.drift_windows import Drift
from rollguard.metric import Metric

MIN_TRADES = 1000
"""Closed trades in the window below which `rolling_precision` is silent: of 0.55, 0.5 is 3.2 errors away."""

MIN_ORDERS = 160
"""Ended orders below which `fill_rate_rolling` is silent: of 0.4, 0.25 is 3.9 errors away."""

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
_SILENT = f"silent below {MIN_SAMPLE}"
WARMUP_EVENTS = Metric(
    "rollguard_exporter_warmup_events_total",
    "counter",
    "Trades, orders and scores passed over, as they came within 90 s of an executor's start.",
)
WINRATE = Metric(
    "winrate_rolling", "gauge", f"Share of closed trades that won; {_SILENT} of them.", ("route",), "ratio"
)
PRECISION = Metric(
    "rolling_precision",
    "gauge",
    f"Share of closed trades that won, over all routes; silent below {MIN_TRADES} trades.",
    (),
    "ratio",
)
FILL_RATE = Metric(
    "fill_rate_rolling",
    "gauge",
    f"Share of ended orders that were filled; silent below {MIN_ORDERS} of them.",
    ("route",),
    "ratio",
)
CANCEL_TO_FILL = Metric(
    "cancel_to_fill_ratio",
    "gauge",
    f"Cancelled orders per filled one; +Inf where none was filled, {_SILENT} of both.",
    ("route",),
    "ratio",
)
MARKOUTS = {
    horizon: Metric(
        f"avg_markout_{horizon}ms",
        "gauge",
        f"Mean markout {horizon} ms after the fill, in the producer's unit; {_SILENT}.",
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
DRIFT_EFFECTIVE_SAMPLE = Metric(
    "drift_effective_sample",
    "gauge",
    "Independent values that say as much as those in the drift window; 0 until a third of it is filled.",
    ("feature",),
    "rows",
)
PSI = Metric(
    "psi_feature", "gauge", "Population stability index against the reference, nats.", ("feature",), "nats"
)
KS = Metric("ks_feature", "gauge", "Kolmogorov-Smirnov distance to the reference.", ("feature",), "ratio")
METRICS = (
    *(OPENED, CLOSED, WON, PARITY_FAILED, FEATURES_UNKNOWN, WARMUP_EVENTS),
    *(WINRATE, PRECISION, FILL_RATE, CANCEL_TO_FILL),
    *MARKOUTS.values(),
    *SCORES.values(),
    *(metric for pair in COHORTS.values() for metric in pair),
    *(DRIFT_SAMPLE, DRIFT_EFFECTIVE_SAMPLE, PSI, KS),
)
"""What the exporter offers of its own, beside `exporters.runtime.health` and `exporters.runtime.intake`."""


def totals(found: Totals) -> Iterator[Family]:
    """Yield the counters, from zero on."""
    yield by_label(OPENED, found.trades_opened)
    yield by_label(CLOSED, found.trades_closed)
    yield by_label(WON, found.trades_won)
    yield single(PARITY_FAILED, found.parity_failures)
    yield single(FEATURES_UNKNOWN, found.features_unknown)
    yield single(WARMUP_EVENTS, found.warmup_events)


def rolling(sums: Mapping[Cell, float]) -> Iterator[Family]:
    """Yield what is judged over the rolling window.

    Args:
        sums: over the window, by (route or slot, quantity).
    """
    yield from _trades(sums)
    yield from _orders(sums)
    for horizon, metric in MARKOUTS.items():
        yield by_label(
            metric,
            {r: mean_markout(sums[r, f"markout_{horizon}"], sums[r, f"markouts_{horizon}"]) for r in ROUTES},
        )
    for slot, metric in SCORES.items():
        found = moments(sums[slot, "scores"], sums[slot, "score"], sums[slot, "score_squared"])
        stats = found._asdict() if found else {}
        yield Family(metric, {("online", stat): value for stat, value in stats.items()})


def cohort(found: Cohort) -> Iterator[Family]:
    """Yield what is judged since the stage began, on trades opened in it."""
    for route, (winrate, sample) in COHORTS.items():
        closed, won = found.closed[route], found.won[route]
        yield single(winrate, win_rate(won, closed, min_sample=1))
        yield single(sample, closed)


def drift(sample: int, measured: Iterable[Drift]) -> Iterator[Family]:
    """Yield the drift of the served features.

    Args:
        sample: rows in the window.
        measured: of each feature.
    """
    found = list(measured)
    yield single(DRIFT_SAMPLE, sample)
    yield by_label(DRIFT_EFFECTIVE_SAMPLE, {one.feature: one.sample for one in found})
    yield by_label(PSI, {one.feature: one.psi for one in found})
    yield by_label(KS, {one.feature: one.ks for one in found})


def _trades(sums: Mapping[Cell, float]) -> Iterator[Family]:
    rates = {route: win_rate(sums[route, "won"], sums[route, "closed"]) for route in ROUTES}
    yield by_label(WINRATE, rates)
    closed = sum(sums[route, "closed"] for route in ROUTES)
    won = sum(sums[route, "won"] for route in ROUTES)
    yield single(PRECISION, win_rate(won, closed, MIN_TRADES))


def _orders(sums: Mapping[Cell, float]) -> Iterator[Family]:
    rates, ratios = {}, {}
    for route in ROUTES:
        filled, cancelled = sums[route, "filled"], sums[route, "cancelled"]
        rates[route] = fill_rate(filled, cancelled, MIN_ORDERS)
        ratios[route] = cancel_to_fill(cancelled, filled)
    yield by_label(FILL_RATE, rates)
    yield by_label(CANCEL_TO_FILL, ratios)
